//! The responses of the endpoints: plain text, JSON, or a scrape of the metrics.

use std::io::{self, Read};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, VARY};
use http::request::Parts;
use http::{Response, StatusCode};
use http_body_util::{Either, Full};
use hyper::body::{Body, Frame, SizeHint};

use crate::telemetry::metrics::{Scrape, ScrapeText};

const PLAIN: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
/// How much of a scrape is unpacked at once.
const PIECE_BYTES: usize = 16 * 1024;

/// A response of the admin endpoints.
pub(super) type AdminResponse = Response<Either<Full<Bytes>, Unpacked>>;

/// The body of a scrape that is unpacked while it is sent, at the client's pace.
#[derive(Debug)]
pub(super) struct Unpacked {
    text: ScrapeText,
    left: u64,
}

/// A response in plain text.
pub(super) fn text(status: StatusCode, body: impl Into<Bytes>) -> AdminResponse {
    typed(status, PLAIN, body)
}

/// A response of this type, which nobody may cache.
fn typed(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> AdminResponse {
    with_type(status, content_type, Either::Left(Full::new(body.into())))
}

/// A scrape: compressed as it is kept where the client accepts that, else unpacked.
pub(super) fn scrape(request: &Parts, content_type: &'static str, scrape: &Scrape) -> AdminResponse {
    let is_packed = takes_gzip(request);
    let body = if is_packed {
        Either::Left(Full::new(scrape.gzipped()))
    } else {
        Either::Right(Unpacked { text: scrape.text(), left: scrape.text_bytes() })
    };
    let mut response = with_type(StatusCode::OK, content_type, body);
    response.headers_mut().insert(VARY, HeaderValue::from_static("accept, accept-encoding"));
    if is_packed {
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

/// Whether `Accept-Encoding` names gzip and gives it any weight (RFC 9110 §12.5.3).
fn takes_gzip(request: &Parts) -> bool {
    let lists = request.headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).any(|coding| {
        let (name, parameters) = coding.split_once(';').unwrap_or((coding, ""));
        let weight = parameters.trim().strip_prefix("q=").and_then(|weight| weight.trim().parse::<f32>().ok());
        name.trim().eq_ignore_ascii_case("gzip") && weight.is_none_or(|weight| weight > 0.0)
    })
}

fn with_type(status: StatusCode, content_type: &'static str, body: Either<Full<Bytes>, Unpacked>) -> AdminResponse {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A response in JSON, or why it could not be written.
pub(super) fn json(body: serde_json::Result<Vec<u8>>) -> AdminResponse {
    match body {
        Ok(body) => typed(StatusCode::OK, JSON, body),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("cannot be written as JSON: {error}\n")),
    }
}

impl Body for Unpacked {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        Poll::Ready(match self.text.by_ref().take(PIECE_BYTES as u64).read_to_end(&mut piece) {
            Ok(0) => None,
            Ok(bytes) => {
                self.left = self.left.saturating_sub(bytes as u64);
                Some(Ok(Frame::data(piece.into())))
            }
            Err(error) => Some(Err(error)),
        })
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

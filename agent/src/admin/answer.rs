//! What an endpoint answers with: plain text, JSON or a given type. Knows no endpoint.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::Full;

const PLAIN: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// A whole answer.
pub(super) type Answer = Response<Full<Bytes>>;

/// A plain answer.
pub(super) fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    answer(status, PLAIN, body)
}

/// An answer of this type, which nobody may cache.
pub(super) fn answer(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// What was written as JSON, or why it could not be.
pub(super) fn json(body: serde_json::Result<Vec<u8>>) -> Answer {
    match body {
        Ok(body) => answer(StatusCode::OK, JSON, body),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("cannot be written as JSON: {error}\n")),
    }
}

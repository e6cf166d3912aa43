//! One request of a load, and what is made of its response.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Request, Response, Uri, Version};

use super::options::HttpLoad;
use crate::kept::Kept;
use crate::pattern::Pattern;

/// A connection of a load.
pub(super) type Connection = Kept<Full<Bytes>>;

/// What a request was answered with.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// Who answered, as its field `x-pod` says.
    pub(super) pod: Option<String>,
    pub(super) bytes: u64,
    /// False if a body that should be the pattern is not.
    pub(super) is_exact: bool,
    pub(super) grpc_status: Option<String>,
}

/// Sends a request, and reads the response to its end.
pub(super) async fn ask(connection: &Connection, load: &HttpLoad, number: u64) -> Result<Answer> {
    let request = request(load, number, load.address)?;
    // Over HTTP/1 the next request waits until this one's body has come: there is one worker.
    read(connection.ready().await?.send(request).await?).await
}

fn request(load: &HttpLoad, number: u64, address: SocketAddr) -> Result<Request<Full<Bytes>>> {
    let mut body = vec![0; usize::try_from(load.bytes)?];
    Pattern::default().fill(&mut body);
    let is_grpc = load.fields.iter().any(|(name, value)| name == "content-type" && value.contains("grpc"));
    if is_grpc {
        // One message, uncompressed.
        let length = u32::try_from(body.len())?.to_be_bytes();
        body.splice(0..0, [0].into_iter().chain(length));
    }
    let host = load.host.clone().unwrap_or_else(|| address.to_string());
    let target = load.targets[usize::try_from(number)? % load.targets.len()].replace("{n}", &number.to_string());
    let mut request = Request::builder().method(load.method.as_str());
    if load.http2 {
        request = request.version(Version::HTTP_2).uri(format!("http://{host}{target}").parse::<Uri>()?);
    } else {
        request = request.uri(target).header(HOST, host);
    }
    for (name, value) in &load.fields {
        request = request.header(name, value);
    }
    Ok(request.body(Full::new(body.into()))?)
}

async fn read(response: Response<Incoming>) -> Result<Answer> {
    let fields = response.headers();
    let text = |name: &str| fields.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let is_pattern = fields.get(CONTENT_TYPE).is_some_and(|kind| kind == "application/x-pattern");
    let mut answer = Answer {
        status: response.status().as_u16(),
        pod: text("x-pod"),
        bytes: 0,
        is_exact: true,
        grpc_status: text("grpc-status"),
    };
    let is_grpc = fields.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    let (mut body, mut pattern, mut scratch) = (response.into_body(), Pattern::default(), Vec::new());
    while let Some(frame) = body.frame().await {
        let frame = frame.context("reading the response")?;
        if let Some(trailers) = frame.trailers_ref() {
            let status = trailers.get("grpc-status").and_then(|status| status.to_str().ok());
            answer.grpc_status = status.map(str::to_owned).or(answer.grpc_status);
        } else if let Some(data) = frame.data_ref() {
            answer.bytes += data.len() as u64;
            answer.is_exact &= !is_pattern || pattern.matches(data, &mut scratch);
        }
    }
    ensure!(!is_grpc || answer.grpc_status.is_some(), "a gRPC response without grpc-status");
    Ok(answer)
}

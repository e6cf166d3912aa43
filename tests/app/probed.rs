//! The servers that a kubelet can probe: HTTP with `/healthz`, and gRPC with the standard health service.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, body::Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::net::TcpStream;

use crate::report::shown;

/// gRPC's path of a health check, its status for a method that is not there, and the answer: one message, uncompressed,
/// of two bytes, in which field 1 is 1, "serving".
const CHECK: &str = "/grpc.health.v1.Health/Check";
const UNIMPLEMENTED: &str = "12";
const SERVING: &[u8] = &[0, 0, 0, 0, 2, 0x08, 0x01];

/// Serves HTTP/1: `/healthz` is well, `/peer` tells the addresses it sees, nothing else is there.
pub(crate) async fn http(stream: TcpStream, peer: SocketAddr) -> io::Result<()> {
    let seen = json!({ "accept": shown(peer), "getsockname": shown(stream.local_addr()?) }).to_string() + "\n";
    let answer = service_fn(move |request: Request<Incoming>| {
        let (status, text) = match request.uri().path() {
            "/healthz" => (StatusCode::OK, "well\n".to_owned()),
            "/peer" => (StatusCode::OK, seen.clone()),
            _ => (StatusCode::NOT_FOUND, "not here\n".to_owned()),
        };
        let mut response = Response::new(Full::new(Bytes::from(text)));
        *response.status_mut() = status;
        async { Ok::<_, Infallible>(response) }
    });
    let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
    connection.await.map_err(io::Error::other)
}

/// Serves gRPC: the health service, which says that all is well.
pub(crate) async fn grpc(stream: TcpStream) -> io::Result<()> {
    let answer = service_fn(|request: Request<Incoming>| {
        let healthy = request.uri().path() == CHECK;
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static(if healthy { "0" } else { UNIMPLEMENTED }));
        let message = Full::new(Bytes::from_static(if healthy { SERVING } else { &[] }));
        let mut response = Response::new(message.with_trailers(async { Some(Ok(trailers)) }));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        async { Ok::<_, Infallible>(response) }
    });
    let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    builder.serve_connection(TokioIo::new(stream), answer).await.map_err(io::Error::other)
}

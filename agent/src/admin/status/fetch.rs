//! Asks a running agent for its status over its admin address.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;

use super::report::Status;

/// From the first SYN to the last byte of the status.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_STATUS_BYTES: usize = 16 * 1024 * 1024;

/// Why there is no status.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("no agent answers on {address}")]
    Connect { address: SocketAddr, source: io::Error },
    #[error("the agent did not answer in time")]
    Timeout,
    #[error("the agent broke off")]
    Http(#[from] hyper::Error),
    #[error("the agent answered {0}: {1}")]
    Refused(StatusCode, String),
    #[error("the answer could not be received whole: {0}")]
    Body(String),
    #[error("the answer is not one of this version")]
    NotAStatus(#[from] serde_json::Error),
}

/// Gets the status from the agent with this admin address.
///
/// # Errors
/// See [`FetchError`].
pub async fn fetch(address: SocketAddr) -> Result<Status, FetchError> {
    fetch_as(address, Method::GET, "/status").await
}

/// Asks an endpoint of the agent with this admin address, and reads its answer.
///
/// # Errors
/// See [`FetchError`].
pub async fn fetch_as<T: DeserializeOwned>(address: SocketAddr, method: Method, path: &str) -> Result<T, FetchError> {
    let asked = tokio::time::timeout(FETCH_TIMEOUT, ask(address, method, path)).await;
    Ok(serde_json::from_slice(&asked.map_err(|_| FetchError::Timeout)??)?)
}

async fn ask(address: SocketAddr, method: Method, path: &str) -> Result<Bytes, FetchError> {
    let stream = TcpStream::connect(address).await.map_err(|source| FetchError::Connect { address, source })?;
    let (mut client, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, address.to_string())
        .body(Empty::<Bytes>::new())
        .expect("method, path and address make a valid request");
    let answer = async move {
        let answer = client.send_request(request).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_STATUS_BYTES).collect().await;
        let body = body.map_err(|error| FetchError::Body(error.to_string()))?.to_bytes();
        if status != StatusCode::OK {
            return Err(FetchError::Refused(status, String::from_utf8_lossy(&body).trim_end().to_owned()));
        }
        Ok(body)
    };
    // The connection makes the answer move; it ends when the client, dropped with the answer, asks nothing more.
    let (body, _) = tokio::join!(answer, connection);
    body
}

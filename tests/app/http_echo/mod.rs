//! `http-echo`: an HTTP server that tells what it received, and answers as the request asks it to (`wishes.rs`). It speaks
//! HTTP/1 and, to a client that begins with HTTP/2's preface, HTTP/2. hyper parses and writes: what it refuses or makes of
//! a message is an independent implementation's word.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

mod answer;
mod script;
mod shared;
mod wishes;

use answer::Connection;
use shared::Shared;

/// The server.
#[derive(Debug, Clone)]
pub(crate) struct HttpEcho(Arc<Shared>);

impl HttpEcho {
    pub(crate) fn new(pod: String) -> Self {
        Self(Arc::new(Shared::new(pod)))
    }

    /// Serves a connection to its end.
    pub(crate) async fn serve(self, stream: TcpStream, peer: SocketAddr) -> io::Result<()> {
        let is_http2 = begins_with_preface(&stream).await?;
        let stream = stream.into_std()?;
        let socket = stream.try_clone()?;
        let stream = TokioIo::new(TcpStream::from_std(stream)?);
        let number = self.0.connects();
        let connection = Arc::new(Connection::new(self.0, number, peer, socket));
        let answering = connection.clone();
        let answer = service_fn(move |request| answering.clone().answer(request));
        if is_http2 {
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let mut serving = pin!(server.serve_connection(stream, answer));
            let served = tokio::select! {
                served = &mut serving => served,
                () = connection.leaves() => {
                    serving.as_mut().graceful_shutdown();
                    serving.await
                }
            };
            served.map_err(io::Error::other)
        } else {
            let server = hyper::server::conn::http1::Builder::new();
            server.serve_connection(stream, answer).with_upgrades().await.map_err(io::Error::other)
        }
    }
}

/// Whether a client begins with HTTP/2's preface; no method of HTTP/1 has its first three bytes.
async fn begins_with_preface(stream: &TcpStream) -> io::Result<bool> {
    const PREFACE: &[u8; 3] = b"PRI";
    let mut first = [0; PREFACE.len()];
    loop {
        let length = stream.peek(&mut first).await?;
        if length == 0 || length == first.len() || first[..length] != PREFACE[..length] {
            return Ok(first[..length] == *PREFACE);
        }
        tokio::task::yield_now().await;
    }
}

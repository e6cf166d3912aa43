//! A client's connection: opened when a request needs one, and kept for as long as the server keeps it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Request, Response, Uri, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use super::options::HttpLoad;
use crate::pattern::Pattern;

/// See the module.
#[derive(Debug)]
pub(super) struct Connection {
    address: SocketAddr,
    is_http2: bool,
    sender: Mutex<Sender>,
    opened: AtomicU64,
}

#[derive(Debug, Default)]
enum Sender {
    #[default]
    None,
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

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

impl Connection {
    pub(super) fn new(address: SocketAddr, is_http2: bool) -> Self {
        Self { address, is_http2, sender: Mutex::default(), opened: AtomicU64::new(0) }
    }

    /// How often it was opened since this was asked last.
    pub(super) fn take_opened(&self) -> u64 {
        self.opened.swap(0, Ordering::Relaxed)
    }

    /// The next request opens it anew.
    pub(super) async fn give_up(&self) {
        *self.sender.lock().await = Sender::None;
    }

    /// Sends a request, and reads the response to its end.
    pub(super) async fn ask(&self, load: &HttpLoad, number: u64) -> Result<Answer> {
        let request = request(load, number, self.address)?;
        let response = {
            let mut sender = self.sender.lock().await;
            self.ready(&mut sender).await?;
            match &mut *sender {
                // The next request waits until this one's body has come: the lock is not held for that, but there is
                // one worker.
                Sender::Http1(sender) => sender.send_request(request).await?,
                Sender::Http2(shared) => {
                    let mut own = shared.clone();
                    drop(sender);
                    own.send_request(request).await?
                }
                Sender::None => unreachable!("it was just opened"),
            }
        };
        read(response).await
    }

    /// Opens it unless it is open.
    async fn ready(&self, sender: &mut Sender) -> Result<()> {
        let is_open = match sender {
            Sender::None => false,
            Sender::Http1(sender) => sender.ready().await.is_ok(),
            Sender::Http2(sender) => sender.ready().await.is_ok(),
        };
        if is_open {
            return Ok(());
        }
        self.opened.fetch_add(1, Ordering::Relaxed);
        let stream = TcpStream::connect(self.address).await.context("connecting")?;
        stream.set_nodelay(true)?;
        let stream = TokioIo::new(stream);
        *sender = if self.is_http2 {
            let (sender, driver) = http2::handshake(TokioExecutor::new(), stream).await?;
            tokio::spawn(driver);
            Sender::Http2(sender)
        } else {
            let (sender, driver) = http1::handshake(stream).await?;
            tokio::spawn(driver);
            Sender::Http1(sender)
        };
        Ok(())
    }
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

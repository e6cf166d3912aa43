//! A client's connection: opened when a request needs one, and kept for as long as the server keeps it.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use anyhow::{Context, Result};
use hyper::body::{Body, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, MutexGuard};

/// See the module. `B` is the content of its requests.
#[derive(Debug)]
pub(crate) struct Kept<B> {
    address: SocketAddr,
    is_http2: bool,
    open: Mutex<Open<B>>,
    opened: AtomicU64,
}

#[derive(Debug)]
struct Open<B> {
    sender: Sender<B>,
    since: SystemTime,
}

#[derive(Debug)]
enum Sender<B> {
    None,
    Http1(http1::SendRequest<B>),
    Http2(http2::SendRequest<B>),
}

/// A connection that is open, for one request.
#[derive(Debug)]
pub(crate) struct Ready<'a, B> {
    /// When it was opened.
    pub(crate) since: SystemTime,
    way: Way<'a, B>,
}

#[derive(Debug)]
enum Way<'a, B> {
    /// Other requests wait until this one's response begins.
    Http1(MutexGuard<'a, Open<B>>),
    Http2(http2::SendRequest<B>),
}

impl<B> Kept<B>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    pub(crate) fn new(address: SocketAddr, is_http2: bool) -> Self {
        let open = Mutex::new(Open { sender: Sender::None, since: SystemTime::UNIX_EPOCH });
        Self { address, is_http2, open, opened: AtomicU64::new(0) }
    }

    /// How often it was opened since this was asked last.
    pub(crate) fn take_opened(&self) -> u64 {
        self.opened.swap(0, Ordering::Relaxed)
    }

    /// The next request opens it anew.
    pub(crate) async fn give_up(&self) {
        self.open.lock().await.sender = Sender::None;
    }

    /// Opens it unless it is open.
    pub(crate) async fn ready(&self) -> Result<Ready<'_, B>> {
        let mut open = self.open.lock().await;
        let is_open = match &mut open.sender {
            Sender::None => false,
            Sender::Http1(sender) => sender.ready().await.is_ok(),
            Sender::Http2(sender) => sender.ready().await.is_ok(),
        };
        if !is_open {
            self.connect(&mut open).await?;
        }
        let since = open.since;
        if let Sender::Http2(shared) = &open.sender {
            return Ok(Ready { since, way: Way::Http2(shared.clone()) });
        }
        Ok(Ready { since, way: Way::Http1(open) })
    }

    async fn connect(&self, open: &mut Open<B>) -> Result<()> {
        self.opened.fetch_add(1, Ordering::Relaxed);
        let stream = TcpStream::connect(self.address).await.context("connecting")?;
        stream.set_nodelay(true)?;
        open.since = SystemTime::now();
        let stream = TokioIo::new(stream);
        open.sender = if self.is_http2 {
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

impl<B: Body + Send + Unpin + 'static> Ready<'_, B> {
    /// Sends a request, and waits for the head of the response.
    pub(crate) async fn send(self, request: Request<B>) -> hyper::Result<Response<Incoming>> {
        match self.way {
            Way::Http1(mut open) => match &mut open.sender {
                Sender::Http1(sender) => sender.send_request(request).await,
                _ => unreachable!("it was just opened"),
            },
            Way::Http2(mut sender) => sender.send_request(request).await,
        }
    }
}

//! A connection on which an application is asked: by prior knowledge, without an upgrade (RFC 9113 §3.3).

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite};

use super::driver::{Driver, Shared};
use super::exchanges::Exchanges;
use super::stream::{ClientSide, ClientStream};
use crate::h2::{Role, SessionError, WindowBudget};
use crate::http::stream::BodyLength;
use crate::model::http::destination::Http2Keepalive;
use crate::model::http::head::RequestHead;
use crate::model::identity::Identity;

/// Streams that are opened before the server has said how many it allows: as many as servers should allow at least (RFC 9113
/// §6.5.2).
const MAX_STREAMS_BEFORE_SETTINGS: u32 = 100;

/// Why a stream cannot be opened on a connection. The request was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OpenError {
    /// It has as many streams as the server or the pod's budget allows, or its server does not read: it may take further ones
    /// later.
    #[error("the connection has no room for another stream")]
    Full,
    /// It takes no further streams ever.
    #[error("the connection takes no more streams")]
    GoingAway,
}

/// Opens streams on a connection, which its [`ClientDriver`] drives. After it is dropped the connection ends with the last stream.
#[derive(Debug)]
pub(crate) struct ClientConnection {
    shared: Arc<Shared>,
    opened: Instant,
}

/// Drives a connection. Its streams break when it is dropped.
#[derive(Debug)]
pub(crate) struct ClientDriver<IO> {
    driver: Driver<IO>,
}

impl ClientConnection {
    /// Begins a connection; requests may be sent at once. `budget`: what slow readers of its streams may make us hold.
    pub(crate) fn new<IO>(io: IO, budget: WindowBudget) -> (Self, ClientDriver<IO>)
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let driver = Driver::new(io, Role::Client, BytesMut::new(), budget);
        (Self { shared: driver.shared.clone(), opened: Instant::now() }, ClientDriver { driver })
    }

    /// Notes the identity that the server has proven. The first one counts.
    pub(crate) fn peer_proved(&self, identity: Identity) {
        let _ = self.shared.peer.set(identity);
    }

    /// Sends the head of a request. What `length` says follows by the stream.
    ///
    /// # Errors
    /// When the connection takes no further stream now, or ever.
    pub(crate) fn open(&self, head: &RequestHead, length: BodyLength) -> Result<ClientStream, OpenError> {
        let mut exchanges = self.shared.exchanges();
        if !exchanges.session.accepts_streams() {
            return Err(OpenError::GoingAway);
        }
        if !has_room(&exchanges) {
            return Err(OpenError::Full);
        }
        let id = exchanges.session.request(head, length == BodyLength::Empty).ok_or(OpenError::Full)?;
        Ok(ClientStream::new(self.shared.clone(), id, ClientSide { is_connect: head.method == b"CONNECT" }))
    }

    /// Whether it would take a stream now.
    pub(crate) fn takes_streams(&self) -> bool {
        let exchanges = self.shared.exchanges();
        exchanges.session.accepts_streams() && has_room(&exchanges)
    }

    /// Whether it takes no further streams ever.
    pub(crate) fn is_closed(&self) -> bool {
        !self.shared.exchanges().session.accepts_streams()
    }

    /// Streams that it takes at once.
    #[cfg(test)]
    pub(crate) fn max_streams(&self) -> u32 {
        max_streams(&self.shared.exchanges())
    }

    /// Streams that it has.
    pub(crate) fn load(&self) -> u32 {
        u32::try_from(self.shared.exchanges().session.open_streams()).unwrap_or(u32::MAX)
    }

    /// The requests that it has carried.
    pub(crate) fn requests(&self) -> u32 {
        self.shared.exchanges().session.streams_opened()
    }

    /// How long it has been open.
    pub(crate) fn age(&self) -> Duration {
        self.opened.elapsed()
    }

    /// Asks the server again and again whether it is there. Ready once it has left that unanswered for too long.
    pub(crate) fn unanswered(&self, keepalive: Http2Keepalive) -> impl Future<Output = ()> + Send + 'static {
        let shared = self.shared.clone();
        async move {
            loop {
                tokio::time::sleep(keepalive.interval).await;
                shared.exchanges().session.ask_whether_there();
                let answered = poll_fn(|cx| shared.exchanges().session.poll_is_there(cx));
                if tokio::time::timeout(keepalive.timeout, answered).await.is_err() {
                    return;
                }
            }
        }
    }

    /// For how long it has had no stream; `None` while it has some.
    pub(crate) fn idle_for(&self) -> Option<Duration> {
        self.shared.exchanges().idle_for()
    }
}

fn max_streams(exchanges: &Exchanges) -> u32 {
    let max = exchanges.session.max_streams();
    if exchanges.session.is_ready() { max } else { max.min(MAX_STREAMS_BEFORE_SETTINGS) }
}

fn has_room(exchanges: &Exchanges) -> bool {
    exchanges.session.open_streams() < max_streams(exchanges) as usize
        && !exchanges.session.is_stalled()
        && !exchanges.is_backlogged()
}

impl Drop for ClientConnection {
    fn drop(&mut self) {
        self.shared.exchanges().leave();
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> ClientDriver<IO> {
    /// Reads and writes what there is. Ready once the connection is over, with the reason.
    pub(crate) fn poll_drive(&mut self, cx: &mut Context<'_>) -> Poll<Arc<SessionError>> {
        self.driver.poll(cx)
    }
}

impl<IO> Drop for ClientDriver<IO> {
    fn drop(&mut self) {
        self.driver.abandon();
    }
}

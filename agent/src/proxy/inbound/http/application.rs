//! The application's side of an inbound connection that carries requests: connections over the pod's loopback, kept from one request
//! to the next. Those of one client are no other client's, so that the application is shown the right peer.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;

use super::connection::{Applications, HttpConnection};
use crate::http::{self, BodyLength, ExchangeError, Reuse, TakenIdle, h1, h2};
use crate::model::authorization::Permit;
use crate::model::http::head::{HttpVersion, RequestHead};
use crate::model::http::reply::Reason;
use crate::net::{self, ConnectError};
use crate::proxy::connector::ApplicationStream;

/// How long a connection may have been idle for a request that must not be sent twice: the application may be about to close it,
/// and nobody could tell whether the request was seen.
const FRESH_ENOUGH: Duration = Duration::from_secs(1);

/// One request on its way to the application.
pub(super) type Exchange = http::Exchange<TcpStream>;

/// A request that was begun.
pub(super) struct Begun {
    pub(super) exchange: Exchange,
    /// Where the connection carried other requests before, how long it has been without since.
    pub(super) idle_for: Option<Duration>,
}

/// Why a request was not begun.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("no request on a new connection: {0}")]
    Session(ExchangeError),
    /// It came over HTTP/2, and HTTP/1, which it goes on in, cannot say it.
    #[error("the request cannot be written in HTTP/1: {0}")]
    Unwritable(ExchangeError),
}

impl OpenError {
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::Connect(ConnectError::Timeout(..)) => Reason::ConnectTimeout,
            Self::Connect(_) | Self::Session(_) => Reason::ConnectFailed,
            Self::Unwritable(_) => Reason::BadRequest,
        }
    }
}

/// A request that policy has permitted, before it is sent.
pub(super) struct Sending<'a> {
    pub(super) connection: &'a HttpConnection,
    /// Proof that this request may be sent, and where.
    pub(super) permit: &'a Permit,
    pub(super) head: &'a RequestHead,
    pub(super) length: BodyLength,
    /// Whether a connection that was used before may be used: not once one of those has proven to be stale.
    pub(super) may_reuse: bool,
}

impl Sending<'_> {
    /// Queues the head of the request on a connection to the application, of the version of HTTP that the client speaks. An upgrade
    /// is between two connections of HTTP/1.
    ///
    /// # Errors
    /// When there is no connection, or the request cannot be written.
    pub(super) async fn begin(&self) -> Result<Begun, OpenError> {
        let is_http2 =
            self.head.version == HttpVersion::Http2 && self.head.upgrade.is_none() && self.length != BodyLength::Tunnel;
        if is_http2 { self.begin_http2().await } else { self.begin_http1().await }
    }

    async fn begin_http1(&self) -> Result<Begun, OpenError> {
        let may_be_lost = self.head.is_idempotent();
        let longest = if may_be_lost { Duration::MAX } else { FRESH_ENOUGH };
        let reuse = Reuse { longest, avoids_closing: !may_be_lost };
        let Applications { pool: applications, are_shared } = &self.connection.applications;
        let mut idle = self.may_reuse.then(|| applications.take_idle(&(), reuse)).flatten();
        if let Some(mut closed) = idle.take_if(|idle| !may_be_lost && !net::is_silent(idle.connection.io())) {
            applications.closed_after(&(), closed.idle_for);
            closed.connection.end();
        }
        let idle_for = idle.as_ref().map(|idle| idle.idle_for);
        if idle_for.is_none() && self.head.version != HttpVersion::Http2 && !are_shared {
            // A client of HTTP/1 has one request at a time: what it does not use now it never uses again.
            applications.clear();
        }
        let mut connection = match idle {
            Some(TakenIdle { connection, .. }) => connection,
            None => Box::new(h1::ClientConnection::new(Box::pin(self.connect()).await?)),
        };
        connection.send_request(self.head, self.length).map_err(OpenError::Unwritable)?;
        Ok(Begun { exchange: Exchange::Http1(connection), idle_for })
    }

    async fn begin_http2(&self) -> Result<Begun, OpenError> {
        let applications = &self.connection.applications.pool;
        if let Some(begun) = self.begin_on_shared() {
            return Ok(begun);
        }
        let opening = applications.opening(&());
        let _opening = opening.lock().await;
        // Whoever held it before may have opened one.
        if let Some(begun) = self.begin_on_shared() {
            return Ok(begun);
        }
        let tcp = Box::pin(self.connect()).await?;
        let (opened, mut driver) = h2::ClientConnection::new(tcp, self.connection.pod_proxy.budget.clone());
        let pod = self.connection.pod_proxy.pod.clone();
        tokio::spawn(async move {
            tokio::select! {
                ended = poll_fn(|cx| driver.poll_drive(cx)) => tracing::debug!(%ended, "HTTP/2 connection to an application ended"),
                () = pod.dead.cancelled() => {}
            }
        });
        let stream = opened.open(self.head, self.length).map_err(|_| OpenError::Session(ExchangeError::Refused))?;
        applications.put_shared(&(), Arc::new(opened), self.connection.applications.longest_idle());
        Ok(Begun { exchange: Exchange::Http2(stream), idle_for: None })
    }

    /// Begins the request on a connection of HTTP/2 that is there already.
    fn begin_on_shared(&self) -> Option<Begun> {
        // A stream that crosses the end of its connection was not looked at, and is sent again.
        let reuse = Reuse { longest: Duration::MAX, avoids_closing: false };
        let shared = self.connection.applications.pool.shared(&(), reuse, |_| true)?;
        let idle_for = shared.idle_for().unwrap_or_default();
        let stream = shared.open(self.head, self.length).ok()?;
        Some(Begun { exchange: Exchange::Http2(stream), idle_for: Some(idle_for) })
    }

    async fn connect(&self) -> Result<TcpStream, ConnectError> {
        let HttpConnection { pod_proxy, shown, .. } = self.connection;
        let stream = ApplicationStream::connect(&pod_proxy.proxy, &pod_proxy.pod, self.permit.clone(), *shown).await?;
        let tcp = stream.into_tcp();
        // Messages of HTTP say by themselves where they end.
        net::end_in_order(&tcp);
        Ok(tcp)
    }
}

/// Notes that a request has met the end of a connection that was idle for so long: further ones that must not be lost take no
/// connection that was idle for as long.
pub(super) fn note_lost(connection: &HttpConnection, error: &ExchangeError, idle_for: Duration) {
    if matches!(error, ExchangeError::NoResponse) {
        connection.applications.pool.closed_after(&(), idle_for);
    }
}

/// Keeps the connection of a request that has ended on both sides for the next one, where it can carry one.
pub(super) fn keep(connection: &HttpConnection, exchange: Exchange) {
    let Exchange::Http1(mut http1) = exchange else { return };
    if http1.is_reusable() {
        let Applications { pool, .. } = &connection.applications;
        pool.put_idle(&(), http1, connection.applications.longest_idle());
    } else {
        http1.end();
    }
}

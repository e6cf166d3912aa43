//! A request's way to one endpoint: a connection that is there already, or a new one, of the version of HTTP that the endpoint
//! speaks.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::OptionFuture;

use super::connection::HttpConnection;
use super::io::{HttpPool, PoolKey, UpstreamIo};
use crate::http::{self, BodyLength, ExchangeError, Reuse, TakenIdle, h1, h2};
use crate::limits::{Held, LimitKind};
use crate::model::http::destination::{ConnectionPool, DestinationPolicy, UpstreamProtocol};
use crate::model::http::head::{HttpVersion, RequestHead};
use crate::model::http::reply::TlsFailure;
use crate::model::identity::Identity;
use crate::model::resolve::{Transport, Upstream};
use crate::model::service::AppProtocol;
use crate::net::{self, ConnectError};
use crate::proxy::outbound::error::OutboundError;
use crate::proxy::outbound::upstream::{Outbound, UpstreamStream};
use crate::tls::origination::OriginationError;

/// How long a connection may have been idle for a request that must not be sent twice: its peer may be about to close it, and
/// nobody could tell whether the request was seen.
const FRESH_ENOUGH: Duration = Duration::from_secs(1);

/// One request on its way to an endpoint.
pub(super) type Exchange = http::Exchange<UpstreamIo>;

/// Why no request could be begun.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    #[error(transparent)]
    Connect(#[from] OutboundError),
    /// Opened, and of no use: the connection ended at once.
    #[error("no request on a new connection: {0}")]
    Session(ExchangeError),
    /// The endpoint speaks HTTP/1, in which this request cannot be written: it came over HTTP/2, where an authority may be one
    /// that `Host` may not be. The client made it so; no endpoint could take it.
    #[error("the request cannot be written in HTTP/1: {0}")]
    Unwritable(ExchangeError),
    #[error(transparent)]
    Tls(#[from] OriginationError),
    #[error("the pod has as many connections to upstreams as it may")]
    TooMany,
    #[error("as many requests wait for a connection to the destination as its connectionPool allows")]
    Overflow,
}

/// How one request is sent.
pub(super) struct Sending<'a> {
    pub(super) connection: &'a HttpConnection,
    pub(super) upstream: &'a Upstream,
    /// What connections to it are kept by.
    pub(super) pool_key: &'a PoolKey,
    /// The port of the service that the endpoint serves.
    pub(super) port: u16,
    pub(super) pool: &'a ConnectionPool,
    pub(super) head: &'a RequestHead,
    pub(super) length: BodyLength,
    /// Whether a connection that was used before may be used: not once one of those has proven to be stale.
    pub(super) may_reuse: bool,
}

/// A request that was begun.
pub(super) struct Begun {
    pub(super) exchange: Exchange,
    /// Where the connection carried other requests before, how long it has been without since.
    pub(super) idle_for: Option<Duration>,
}

impl OpenError {
    /// Whether it says nothing of the endpoint, and another one would be as little use.
    pub(super) fn is_before_endpoint(&self) -> bool {
        matches!(self, Self::Unwritable(_) | Self::TooMany | Self::Overflow)
    }

    /// Whether the policy of the endpoint refuses the pod, whatever it asks for.
    pub(super) fn is_denied_by_policy(&self) -> bool {
        matches!(self, Self::Connect(error) if error.is_denied_by_peer())
    }

    /// Whether the endpoint did not answer in time.
    pub(super) fn is_timeout(&self) -> bool {
        matches!(self, Self::Connect(OutboundError::Connect(ConnectError::Timeout(..))))
    }
}

impl Sending<'_> {
    /// Begins the request: its head is queued.
    ///
    /// # Errors
    /// When no connection can be had.
    pub(super) async fn begin(&self) -> Result<Begun, OpenError> {
        if let Some(begun) = self.begin_alone().await {
            return Ok(begun);
        }
        if self.version() == HttpVersion::Http2 { self.begin_http2().await } else { self.begin_http1().await }
    }

    /// The version of HTTP that the endpoint is spoken to in, as Istio chooses it.
    pub(super) fn version(&self) -> HttpVersion {
        let of_client = if self.head.version == HttpVersion::Http2 { HttpVersion::Http2 } else { HttpVersion::Http11 };
        match (self.pool.protocol, self.declared()) {
            // An upgrade is between two connections of HTTP/1.
            _ if self.length == BodyLength::Tunnel || self.head.upgrade.is_some() => HttpVersion::Http11,
            (UpstreamProtocol::Http2, _) => HttpVersion::Http2,
            (UpstreamProtocol::OfClient, _)
            | (UpstreamProtocol::OfPort | UpstreamProtocol::Http2OfPort, AppProtocol::Unknown) => of_client,
            (UpstreamProtocol::Http2OfPort, _) => HttpVersion::Http2,
            (UpstreamProtocol::OfPort, AppProtocol::Http2 | AppProtocol::Grpc) => HttpVersion::Http2,
            // gRPC is only there over HTTP/2.
            (UpstreamProtocol::OfPort, _) if self.head.is_grpc() => of_client,
            (UpstreamProtocol::OfPort, _) => HttpVersion::Http11,
        }
    }

    /// What the port of the service that the endpoint serves declares.
    fn declared(&self) -> AppProtocol {
        let service = self.upstream.service.as_ref();
        let port = service.and_then(|service| service.ports.iter().find(|known| known.service_port == self.port));
        port.map_or(AppProtocol::Unknown, |port| port.app_protocol)
    }

    fn http_pool(&self) -> &HttpPool {
        self.connection.pod_proxy.http_pool()
    }

    async fn begin_http1(&self) -> Result<Begun, OpenError> {
        let (mut connection, idle_for) = match self.take_idle().await {
            Some(TakenIdle { connection, idle_for }) => (connection, Some(idle_for)),
            None => {
                if let Some(begun) = self.begin_anew_alone().await {
                    return Ok(begun);
                }
                (Box::new(h1::ClientConnection::new(Box::pin(self.connect()).await?)), None)
            }
        };
        connection.send_request(self.head, self.length).map_err(OpenError::Unwritable)?;
        connection.io().note_request();
        Ok(Begun { exchange: Exchange::Http1(connection), idle_for })
    }

    /// A connection of HTTP/1 that was kept, where the request may take one.
    async fn take_idle(&self) -> Option<TakenIdle<UpstreamIo>> {
        let may_be_lost = self.head.is_idempotent();
        let idle_timeout = self.pool.idle_timeout.unwrap_or(Duration::MAX);
        let longest = if may_be_lost { idle_timeout } else { FRESH_ENOUGH.min(idle_timeout) };
        let reuse = Reuse { longest, avoids_closing: !may_be_lost };
        while self.may_reuse
            && let Some(mut taken) = self.http_pool().take_idle(self.pool_key, reuse)
        {
            let io = taken.connection.io();
            let is_unfit = !self.pool.admits_another_on(io.requests(), || io.age());
            if is_unfit || (io.is_read() && self.stands_alone(false)) {
                taken.connection.end();
            } else if may_be_lost || is_open(&mut taken.connection).await {
                return Some(taken);
            } else {
                self.http_pool().closed_after(self.pool_key, taken.idle_for);
                taken.connection.end();
            }
        }
        None
    }

    async fn begin_http2(&self) -> Result<Begun, OpenError> {
        let (pool, key) = (self.http_pool(), self.pool_key);
        if let Some(begun) = self.begin_on_shared() {
            return Ok(begun);
        }
        let opening = pool.opening(key);
        // Not for longer than one attempt may take: nobody stands in line behind attempts that fail one after the other.
        let _opening = tokio::time::timeout(self.connection.pod_proxy.proxy.timeouts.connect, opening.lock()).await;
        // Whoever held it before may have opened one.
        if let Some(begun) = self.begin_on_shared() {
            return Ok(begun);
        }
        if let Some(begun) = self.begin_anew_alone().await {
            return Ok(begun);
        }
        let budget = self.connection.pod_proxy.budget.clone();
        let io = Box::pin(self.connect()).await?;
        let (peer, is_read) = (io.peer().cloned(), io.is_read());
        let (opened, mut driver) = h2::ClientConnection::new(io, budget);
        if let Some(peer) = peer {
            opened.peer_proved(peer);
        }
        let pod = self.connection.pod_proxy.pod.clone();
        let unanswered = OptionFuture::from(self.pool.http2_keepalive.map(|keepalive| opened.unanswered(keepalive)));
        tokio::spawn(async move {
            tokio::select! {
                Some(()) = unanswered => tracing::debug!("HTTP/2 connection to an upstream given up: it answers no PING"),
                ended = poll_fn(|cx| driver.poll_drive(cx)) => tracing::debug!(%ended, "HTTP/2 connection to an upstream ended"),
                () = pod.dead.cancelled() => {}
            }
        });
        let stream = opened.open(self.head, self.length).map_err(|_| OpenError::Session(ExchangeError::Refused))?;
        // One that may carry no more requests ends with this one, and so does one that requests need not take.
        let is_needed = !(is_read && self.stands_alone(true));
        if is_needed
            && !self.connection.pod_proxy.proxy.drain.is_draining()
            && self.pool.admits_another_on(opened.requests(), || opened.age())
        {
            pool.put_shared(key, Arc::new(opened), self.pool.idle_timeout.unwrap_or(Duration::MAX));
        }
        Ok(Begun { exchange: Exchange::Http2(stream), idle_for: None })
    }

    /// Begins the request on a connection of HTTP/2 that is there already.
    fn begin_on_shared(&self) -> Option<Begun> {
        let (http_pool, limits) = (self.http_pool(), self.pool);
        let admits = |connection: &h2::ClientConnection| {
            connection.load() < limits.max_concurrent_streams
                && limits.admits_another_on(connection.requests(), || connection.age())
        };
        let avoids_closing = !self.head.is_idempotent();
        let reuse = Reuse { longest: limits.idle_timeout.unwrap_or(Duration::MAX), avoids_closing };
        let shared = http_pool.shared(self.pool_key, reuse, admits)?;
        let idle_for = shared.idle_for().unwrap_or_default();
        let stream = shared.open(self.head, self.length).ok()?;
        if !limits.admits_another_on(shared.requests(), || shared.age()) {
            http_pool.retire(self.pool_key, &shared);
        }
        Some(Begun { exchange: Exchange::Http2(stream), idle_for: Some(idle_for) })
    }

    /// Opens a connection to the endpoint. The state of that is large and few requests need it: callers put it in a box, so that it
    /// is no part of the state of a request, which moves from caller to callee.
    async fn connect(&self) -> Result<UpstreamIo, OpenError> {
        let HttpConnection { pod_proxy, source, original_dst, .. } = self.connection;
        let limits = &pod_proxy.pod.limits;
        let held = limits.of(LimitKind::HttpUpstreams).try_take().ok_or(OpenError::TooMany)?;
        let _pending = limits.of(LimitKind::PendingConnects).take().await;
        let outbound = Outbound { pod_proxy, source: source.clone(), original_dst: *original_dst };
        let io = match self.within_connect_timeout(outbound.open_beside(self.upstream)).await? {
            Some(opened) => UpstreamIo::beside(opened, held),
            None => self.open_by_network(&outbound, held).await?,
        };
        let Transport::Tls { settings, server_name, .. } = &self.upstream.transport else { return Ok(io) };
        let (origination, within) = (&pod_proxy.proxy.origination, pod_proxy.proxy.timeouts.handshake);
        let is_http2 = self.version() == HttpVersion::Http2;
        Ok(UpstreamIo::tls(origination.connect(settings, server_name, is_http2, io, within).await?))
    }
}

impl Sending<'_> {
    async fn open_by_network(&self, outbound: &Outbound<'_>, held: Held) -> Result<UpstreamIo, OutboundError> {
        let opened = self.within_connect_timeout(outbound.open_endpoint(self.upstream, None)).await?;
        Ok(match opened.stream {
            UpstreamStream::Tcp(tcp) => {
                net::keep_alive(&tcp, self.pool.tcp_keepalive);
                UpstreamIo::tcp(tcp, held)
            }
            UpstreamStream::Hbone(stream) => UpstreamIo::hbone(stream, held, opened.identity),
            UpstreamStream::Tls(io) => *io,
        })
    }

    /// Gives an opening the time of the DestinationRule, where that is less than the agent's own.
    async fn within_connect_timeout<T>(
        &self,
        opening: impl Future<Output = Result<T, OutboundError>>,
    ) -> Result<T, OutboundError> {
        let within = self.pool.connect_timeout;
        if within >= self.connection.pod_proxy.proxy.timeouts.connect {
            return opening.await;
        }
        let known = match &self.upstream.transport {
            Transport::Hbone { peer: address, .. } | Transport::Passthrough(address) => Some(*address),
            _ => None,
        };
        let address = known.unwrap_or(self.connection.original_dst.0);
        let opened = tokio::time::timeout(within, opening).await;
        opened.unwrap_or_else(|_| Err(ConnectError::Timeout(address, within).into()))
    }
}

/// Whether the server has not closed a connection that is idle, as far as that has come to this machine.
async fn is_open(connection: &mut h1::ClientConnection<UpstreamIo>) -> bool {
    if connection.io().is_silent() {
        return true;
    }
    // Before it comes back here, the runtime looks at the sockets and wakes the tasks that read them.
    tokio::task::yield_now().await;
    poll_fn(|cx| Poll::Ready(connection.poll_idle(cx).is_pending())).await
}

impl Exchange {
    /// The identity that the endpoint has proven; `None` where the connection is plaintext.
    pub(super) fn peer(&self) -> Option<&Identity> {
        match self {
            Self::Http1(connection) => connection.io().peer(),
            Self::Http2(stream) => stream.peer(),
            Self::Carried(stream) => Some(stream.peer()),
        }
    }

    /// A request has met the end of a connection that was idle for so long. A stream of its own has none to itself, and that a rule
    /// was broken says nothing of how long connections are kept.
    pub(super) fn note_lost(
        &self,
        connection: &HttpConnection,
        key: &PoolKey,
        error: &ExchangeError,
        idle_for: Duration,
    ) {
        if !matches!(self, Self::Carried(_)) && !matches!(error, ExchangeError::BrokenConnection(_)) {
            connection.pod_proxy.http_pool().closed_after(key, idle_for);
        }
    }

    /// The request has ended, and so has its response: the connection waits for others, where it can. While the process drains none
    /// does: nobody would look any more whether it is idle, and it would hold the drain.
    pub(super) fn finish(self, connection: &HttpConnection, key: &PoolKey, pool: &ConnectionPool, may_keep: bool) {
        let Self::Http1(mut http1) = self else { return };
        let is_draining = connection.pod_proxy.proxy.drain.is_draining();
        if may_keep
            && !is_draining
            && http1.is_reusable()
            && pool.admits_another_on(http1.io().requests(), || http1.io().age())
        {
            let longest = pool.idle_timeout.unwrap_or(Duration::MAX);
            connection.pod_proxy.http_pool().put_idle(key, http1, longest);
        } else if may_keep {
            http1.end();
        }
    }
}

/// The upstream as the policy of its destination wants it reached. The name that is asked for is that of the policy (`sni`), else the
/// host of the request as it is sent.
pub(super) fn over_tls(upstream: Upstream, policy: &DestinationPolicy, head: &RequestHead) -> Upstream {
    let Some(settings) = policy.tls.as_ref().filter(|tls| tls.is_own()) else { return upstream };
    let server_name = if settings.sni.is_empty() { host_of(head) } else { settings.sni.as_ref().into() };
    let transport = Transport::Tls { below: Box::new(upstream.transport), settings: settings.clone(), server_name };
    Upstream { transport, ..upstream }
}

/// The host that a request is for: an IPv6 address without its brackets.
fn host_of(head: &RequestHead) -> Arc<str> {
    let host = String::from_utf8_lossy(head.host());
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&host).into()
}

/// What clients are told of a failure.
pub(super) fn failure_of(error: &OriginationError) -> TlsFailure {
    match error {
        OriginationError::Settings(_) | OriginationError::ServerName(_) => TlsFailure::Settings,
        OriginationError::Certificate(_) => TlsFailure::Certificate,
        OriginationError::Handshake(_) | OriginationError::TimedOut(_) => TlsFailure::Handshake,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_that_is_asked_for_is_the_host_of_the_request() {
        for (authority, host) in [
            ("a.example", "a.example"),
            ("a.example:443", "a.example"),
            ("[2001:db8::1]:443", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("192.0.2.1:80", "192.0.2.1"),
            ("", ""),
        ] {
            let head = RequestHead { authority: authority.into(), ..RequestHead::default() };
            assert_eq!(&*host_of(&head), host, "{authority}");
        }
    }
}

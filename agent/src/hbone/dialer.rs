//! The client of HBONE: opening a connection (TCP, mTLS, HTTP/2 preface) and opening streams on it.

use std::fmt::Debug;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::age::AgeLimit;
use super::authority::parse_authority;
use super::connection::{Counted, HboneConnection, StreamSlot};
use super::error::{HboneError, handshake_failure_label};
use super::optimistic::OptimisticData;
use super::stream::HboneStream;
use super::transport::Transport;
use crate::h2::{Role, StreamError, WindowBudget};
use crate::lifecycle::{first_of, when_woken};
use crate::model::identity::Identity;
use crate::net::{self, ConnectError};
use crate::telemetry::metrics::{Metrics, Side};
use crate::tls::certificates::Certificates;
use crate::tls::handshake::{self, HandshakeError, Secured, TrustedDomains};

/// The other end of a connection and who it must be.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Target {
    pub(crate) peer: SocketAddr,
    pub(crate) identities: Vec<Identity>,
}

/// Whom connections are opened for: who that is, whom it trusts, and which network it is in.
pub(crate) trait Origin: Debug + Send + Sync + 'static {
    /// The identity that its connections carry now.
    fn identity(&self) -> Identity;

    /// The trust domains whose identities it accepts now.
    fn trusted_domains(&self) -> TrustedDomains;

    /// Connects to a peer from its network.
    fn connect(&self, peer: SocketAddr) -> impl Future<Output = Result<TcpStream, ConnectError>> + Send;
}

/// What HBONE connections of one origin are made with.
#[derive(Debug)]
pub(crate) struct Dialer<O> {
    pub(crate) origin: O,
    pub(crate) certificates: Certificates,
    pub(crate) metrics: Arc<Metrics>,
    /// Bounds the TLS handshake, and then the exchange of HTTP/2 settings.
    pub(crate) handshake_timeout: Duration,
    /// From a CONNECT request to its answer.
    pub(crate) request_timeout: Duration,
    /// What slow readers of the connections' streams may make us hold.
    pub(crate) budget: WindowBudget,
    /// How old connections get.
    pub(crate) age: AgeLimit,
    /// Whether requests may be streams of their own, where the peer says the same.
    pub(crate) has_request_streams: bool,
    /// Once it is cancelled, all connections are ended at once.
    pub(crate) closed: CancellationToken,
}

/// What became of a CONNECT request.
pub(super) enum Sent {
    Accepted {
        stream: HboneStream,
        /// How many bytes of the application were sent already.
        data_sent: usize,
        /// Whether the peer reads requests to this destination, and wants further ones as streams of their own.
        wants_streams: bool,
    },
    /// The connection takes no more streams (GOAWAY, or gone): the peer has not seen the request, and it may be sent on
    /// another connection. With the slot that the stream would have had.
    NotSeen(StreamSlot),
}

impl<O: Origin> Dialer<O> {
    /// Connects to a peer as the origin. `counted` counts the connection until it is closed.
    ///
    /// # Errors
    /// See [`HboneError`].
    pub(super) async fn dial(&self, target: &Target, counted: Counted) -> Result<Arc<HboneConnection>, HboneError> {
        let peer = target.peer;
        let own = self.certificates.get(&self.origin.identity()).await.map_err(HboneError::certificate)?;
        let tcp = self.origin.connect(peer).await.map_err(HboneError::connect)?;
        // Best effort: a socket that is dead already shows it at the first read.
        let _ = net::limit_unacknowledged_time(&SockRef::from(&tcp));
        let trusted = self.origin.trusted_domains();
        let secure = handshake::connect(&own, tcp, &target.identities, &trusted);
        let secured = tokio::time::timeout(self.handshake_timeout, secure)
            .await
            .unwrap_or(Err(HandshakeError::Timeout))
            .map_err(|error| {
                self.metrics.handshake_failed(Side::Upstream, handshake_failure_label(&error));
                HboneError::handshake(peer, error)
            })?;
        self.start(secured, peer, counted).await
    }

    /// Begins HTTP/2, and starts the task that drives the connection.
    async fn start(
        &self,
        secured: Secured<TcpStream>,
        peer: SocketAddr,
        counted: Counted,
    ) -> Result<Arc<HboneConnection>, HboneError> {
        let peer_identity = secured.peer.clone();
        let (budget, has_request_streams) = (self.budget.clone(), self.has_request_streams);
        let (transport, lifetime) = Transport::new(secured, Role::Client, budget, self.age, has_request_streams);
        // Until the peer has said what it allows. Only now is it sure that it took our certificate, too.
        match tokio::time::timeout(self.handshake_timeout, transport.ready()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(HboneError::session(peer, error)),
            Err(_) => return Err(HboneError::handshake(peer, HandshakeError::Timeout)),
        }
        let unused = CancellationToken::new();
        let close = unused.clone().drop_guard();
        let opened = HboneConnection::new(transport.clone(), peer_identity, peer, close, counted);
        let gauge = self.metrics.hbone_connection_opened(Side::Upstream);
        let (weak, closed) = (Arc::downgrade(&opened), self.closed.clone());
        tokio::spawn(async move {
            let transport = Driven(transport);
            let _gauge = gauge;
            let close_to_new_streams = || weak.upgrade().inspect(|connection| connection.close_to_new_streams());
            let mut is_retired = false;
            // Polled only when they have something to say, not each time that bytes move.
            let mut unneeded = pin!(first_of([unused.cancelled(), closed.cancelled()]));
            let mut retires = pin!(lifetime.retires());
            let mut retires = pin!(when_woken(retires.as_mut()));
            let ended = loop {
                tokio::select! {
                    biased;
                    ended = poll_fn(|cx| transport.0.poll_drive(cx)) => break ended,
                    () = &mut unneeded => break transport.0.abort().await,
                    () = &mut retires, if !is_retired => {
                        is_retired = true;
                        close_to_new_streams();
                        transport.0.session().http2.leave();
                    }
                    () = lifetime.ends(), if is_retired => break transport.0.abort().await,
                }
            };
            close_to_new_streams();
            tracing::debug!(%peer, %ended, "HBONE connection ended");
        });
        Ok(opened)
    }
}

/// A connection for as long as a task drives it. Where that panics the connection is over: its streams are reset.
struct Driven(Arc<Transport>);

impl Drop for Driven {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

impl StreamSlot {
    /// Sends a CONNECT request, with what the application has sent behind it, and waits for its answer, as long as that may take.
    ///
    /// # Errors
    /// See [`HboneError`].
    pub(super) async fn request(
        self,
        authority: &str,
        headers: &HeaderMap,
        optimistic: Option<&OptimisticData<'_>>,
        timeout: Duration,
    ) -> Result<Sent, HboneError> {
        if parse_authority(authority).is_err() {
            return Err(HboneError::authority(authority));
        }
        let connection = self.connection().clone();
        let (peer, transport) = (connection.peer, &connection.transport);
        // RFC 9113 §8.5: method and authority alone.
        let pseudo: [(&str, &[u8]); 2] = [(":method", b"CONNECT"), (":authority", authority.as_bytes())];
        let fields = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        let opened = transport.session().open(pseudo.into_iter().chain(fields));
        let Some(id) = opened else { return Ok(Sent::NotSeen(self)) };
        let stream = HboneStream::new(transport.clone(), id, Some(self));
        let mut data_sent = 0;
        let response = tokio::time::timeout(timeout, stream.response(optimistic, &mut data_sent)).await;
        match response {
            Ok(Ok((StatusCode::OK, wants_streams))) => Ok(Sent::Accepted { stream, data_sent, wants_streams }),
            Ok(Ok((status, _))) => Err(HboneError::refused(peer, status)),
            Ok(Err(StreamError::NotSeen)) => {
                let slot = stream.into_slot().expect("a stream that we open has a slot until it gives it back");
                Ok(Sent::NotSeen(slot))
            }
            Ok(Err(error)) => Err(HboneError::stream(peer, error).after_data(data_sent)),
            Err(_) => {
                // Whoever comes next does better not to wait for a peer that answers nothing.
                connection.close_to_new_streams();
                Err(HboneError::request_timeout(peer).after_data(data_sent))
            }
        }
    }
}

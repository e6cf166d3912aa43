//! The client of HBONE: opening a connection (mTLS, HTTP/2 preface) and opening streams on it.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;

use http::StatusCode;
use tokio::net::TcpStream;

use super::connection::{HboneConnection, StreamSlot};
use super::error::{SessionError, StreamError};
use super::session::Side as SessionSide;
use super::transport::Transport;
use super::{HboneStream, authority};
use crate::model::identity::Identity;
use crate::net::{self, ConnectError};
use crate::proxy::connector;
use crate::proxy::{PodProxy, Timeouts};
use crate::telemetry::metrics::Side;
use crate::tls::certificates::NoCertificate;
use crate::tls::handshake::{self, HandshakeError, Secured};

/// Why no stream could be opened, in the order in which things can go wrong.
#[derive(Debug, Clone, thiserror::Error)]
pub enum HboneError {
    #[error(transparent)]
    Certificate(#[from] NoCertificate),
    #[error(transparent)]
    Connect(#[from] Arc<ConnectError>),
    #[error("{peer}: {error}")]
    Handshake { peer: SocketAddr, error: Arc<HandshakeError> },
    #[error("{peer}: HTTP/2: {error}")]
    Session { peer: SocketAddr, error: Arc<SessionError> },
    #[error("{peer}: HTTP/2: {error}")]
    Stream { peer: SocketAddr, error: StreamError },
    #[error("{peer}: no answer to CONNECT in time")]
    RequestTimeout { peer: SocketAddr },
    #[error("{peer}: the proxy of the destination answered {status} ({})", meaning(*status))]
    Refused { peer: SocketAddr, status: StatusCode },
    #[error("authority {0:?} cannot be sent")]
    Authority(String),
}

impl HboneError {
    /// Whether the connection broke before the peer answered, without a word: as it does when the peer's agent dies.
    pub(super) fn is_peer_gone(&self) -> bool {
        match self {
            Self::Connect(error) => matches!(&**error, ConnectError::Connect(_, error) if is_broken(error)),
            Self::Handshake { error, .. } => matches!(&**error, HandshakeError::Tls(error) if is_broken(error)),
            Self::Session { error, .. } | Self::Stream { error: StreamError::Connection(error), .. } => {
                match &**error {
                    SessionError::Io(error) => is_broken(error),
                    SessionError::Closed => true,
                    _ => false,
                }
            }
            _ => false,
        }
    }

    /// Whether there is the pod, and no agent that listens in it.
    pub(super) fn is_nobody_listening(&self) -> bool {
        let Self::Connect(error) = self else { return false };
        matches!(&**error, ConnectError::Connect(_, error) if error.kind() == io::ErrorKind::ConnectionRefused)
    }
}

/// Errors of a connection that was there and is no more.
fn is_broken(error: &io::Error) -> bool {
    use io::ErrorKind;
    matches!(
        error.kind(),
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof
    )
}

/// What the statuses that ztunnel and we answer with mean.
fn meaning(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => "denied by policy",
        StatusCode::BAD_REQUEST => "request not understood",
        StatusCode::SERVICE_UNAVAILABLE => "application not reachable",
        _ => "no further explanation",
    }
}

/// The other end of a connection and who it must be.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    pub peer: SocketAddr,
    pub identities: Vec<Identity>,
}

impl HboneConnection {
    /// Connects to a peer from a pod's namespace, under the pod's identity.
    pub(super) async fn open(served: &PodProxy, target: &Target) -> Result<Arc<Self>, HboneError> {
        let proxy = &served.proxy;
        let peer = target.peer;
        let own = proxy.certificates.get(&served.identity()).await?;
        let tcp = connector::connect(&served.pod, peer, proxy.timeouts.connect).await.map_err(Arc::new)?;
        net::detect_dead_peer(&tcp);
        let trusted = proxy.trusted();
        let secure = handshake::connect(&own, tcp, &target.identities, &trusted);
        let secured = tokio::time::timeout(proxy.timeouts.handshake, secure)
            .await
            .unwrap_or(Err(HandshakeError::Timeout))
            .map_err(|error| {
                proxy.metrics.handshake_failed(Side::Upstream, crate::proxy::failure_label(&error));
                HboneError::Handshake { peer, error: Arc::new(error) }
            })?;
        Self::start(served, secured, peer).await
    }

    async fn start(served: &PodProxy, secured: Secured<TcpStream>, peer: SocketAddr) -> Result<Arc<Self>, HboneError> {
        let Secured { stream, records, received, peer: peer_identity } = secured;
        let transport = Transport::new(stream, SessionSide::Client, records, received);
        // Until the peer has said what it allows. Only now is it sure that it took our certificate, too.
        let greeted = poll_fn(|cx| match transport.poll_drive(cx) {
            Poll::Ready(error) => Poll::Ready(Err(error)),
            Poll::Pending if transport.session().is_ready() => Poll::Ready(Ok(())),
            Poll::Pending => Poll::Pending,
        });
        match tokio::time::timeout(served.proxy.timeouts.handshake, greeted).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(HboneError::Session { peer, error }),
            Err(_) => return Err(HboneError::Handshake { peer, error: Arc::new(HandshakeError::Timeout) }),
        }
        let close = tokio_util::sync::CancellationToken::new();
        let opened = Self::new(transport.clone(), peer_identity, peer, close.clone().drop_guard());
        let gauge = served.proxy.metrics.hbone_connection_opened(Side::Upstream);
        let (weak, dead) = (Arc::downgrade(&opened), served.pod.dead.clone());
        tokio::spawn(async move {
            let _gauge = gauge;
            let drive = || poll_fn(|cx| transport.poll_drive(cx));
            let ended = tokio::select! {
                biased;
                ended = drive() => ended,
                () = close.cancelled() => transport.abort().await,
                () = dead.cancelled() => transport.abort().await,
            };
            if let Some(connection) = weak.upgrade() {
                connection.close_to_new_streams();
            }
            tracing::debug!(%peer, %ended, "HBONE connection ended");
        });
        Ok(opened)
    }
}

impl StreamSlot {
    /// Sends a CONNECT request and waits for its answer. `Ok(Err(slot))` gives the place back: the connection takes no
    /// more streams (GOAWAY, or gone), the request was never seen by the peer and may be sent on another connection.
    pub(super) async fn request(
        self,
        authority: &str,
        headers: &http::HeaderMap,
        timeouts: Timeouts,
    ) -> Result<Result<HboneStream, StreamSlot>, HboneError> {
        if authority::parse(authority).is_err() {
            return Err(HboneError::Authority(authority.to_owned()));
        }
        let connection = self.connection().clone();
        let (peer, transport) = (connection.peer, &connection.transport);
        let opened = transport.session().open(authority, headers);
        let Some(id) = opened else { return Ok(Err(self)) };
        let stream = HboneStream::new(transport.clone(), id, Some(self));
        let answer = poll_fn(|cx| transport.session().poll_answer(id, cx));
        match tokio::time::timeout(timeouts.request, answer).await {
            Ok(Ok(StatusCode::OK)) => Ok(Ok(stream)),
            Ok(Ok(status)) => Err(HboneError::Refused { peer, status }),
            Ok(Err(StreamError::NotSeen)) => {
                Ok(Err(stream.into_slot().expect("a stream that we open has a place until it gives it back")))
            }
            Ok(Err(error)) => Err(HboneError::Stream { peer, error }),
            Err(_) => {
                // Whoever comes next does better not to wait for a peer that says nothing.
                connection.close_to_new_streams();
                Err(HboneError::RequestTimeout { peer })
            }
        }
    }
}

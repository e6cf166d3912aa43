//! The client of HBONE: opening a connection (mTLS, HTTP/2 preface) and opening streams on it.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri};

use super::HboneStream;
use super::connection::{HboneConnection, StreamSlot};
use crate::model::identity::Identity;
use crate::proxy::connector::{self, ConnectError};
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
    Http2 { peer: SocketAddr, error: Arc<h2::Error> },
    #[error("{peer}: no answer to CONNECT in time")]
    RequestTimeout { peer: SocketAddr },
    #[error("{peer}: the proxy of the destination answered {status} ({})", meaning(*status))]
    Refused { peer: SocketAddr, status: StatusCode },
    #[error("authority {0:?} cannot be sent")]
    Authority(String),
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
        connector::tune_hbone(&tcp);
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

    async fn start(
        served: &PodProxy,
        secured: Secured<tokio_rustls::client::TlsStream<tokio::net::TcpStream>>,
        peer: SocketAddr,
    ) -> Result<Arc<Self>, HboneError> {
        let http2 = |error| HboneError::Http2 { peer, error: Arc::new(error) };
        let preface = h2::client::Builder::new()
            .initial_window_size(super::STREAM_WINDOW_BYTES)
            .initial_connection_window_size(super::CONNECTION_WINDOW_BYTES)
            .max_frame_size(super::FRAME_BYTES)
            .max_send_buffer_size(super::SEND_BUFFER_BYTES)
            .max_header_list_size(super::HEADER_LIST_BYTES)
            .enable_push(false)
            .max_concurrent_reset_streams(super::RESET_STREAMS)
            .max_local_error_reset_streams(None)
            .handshake::<_, Bytes>(secured.stream);
        let (requests, connection) = preface.await.map_err(http2)?;
        let close = tokio_util::sync::CancellationToken::new();
        let opened = Self::new(requests, secured.peer, peer, close.clone().drop_guard());
        let gauge = served.proxy.metrics.hbone_connection_opened(Side::Upstream);
        let (weak, dead) = (Arc::downgrade(&opened), served.pod.dead.clone());
        tokio::spawn(async move {
            let _gauge = gauge;
            let ended = tokio::select! {
                ended = connection => ended,
                () = close.cancelled() => Ok(()),
                () = dead.cancelled() => Ok(()),
            };
            if let Some(connection) = weak.upgrade() {
                connection.close_to_new_streams();
            }
            if let Err(error) = ended {
                tracing::debug!(%peer, %error, "HBONE connection ended");
            }
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
        let peer = self.connection().peer;
        let uri =
            Uri::builder().authority(authority).build().map_err(|_| HboneError::Authority(authority.to_owned()))?;
        let mut request = Request::new(());
        *request.method_mut() = Method::CONNECT;
        *request.uri_mut() = uri;
        request.headers_mut().clone_from(headers);
        let answered = async {
            let mut requests = match self.connection().requests.clone().ready().await {
                Ok(requests) => requests,
                Err(_) => return Ok(None),
            };
            let (response, send) = match requests.send_request(request, false) {
                Ok(sent) => sent,
                Err(_) => return Ok(None),
            };
            match response.await {
                Ok(response) => Ok(Some((response, send))),
                Err(error) if was_not_seen(&error) => Ok(None),
                Err(error) => Err(HboneError::Http2 { peer, error: Arc::new(error) }),
            }
        };
        let answered = tokio::time::timeout(timeouts.request, answered)
            .await
            .map_err(|_| HboneError::RequestTimeout { peer })??;
        let Some((response, send)) = answered else { return Ok(Err(self)) };
        let status = response.status();
        if status != StatusCode::OK {
            return Err(HboneError::Refused { peer, status });
        }
        Ok(Ok(HboneStream::new(send, response.into_body(), Some(self))))
    }
}

/// RFC 9113 §8.7: a stream refused, or above the last one of a GOAWAY, was not processed and may be retried.
fn was_not_seen(error: &h2::Error) -> bool {
    error.reason() == Some(h2::Reason::REFUSED_STREAM)
        || (error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR))
}

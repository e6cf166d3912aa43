//! TLS of a destination's own for connections that carry no HTTP: where a DestinationRule says SIMPLE or MUTUAL for the port of the
//! service that was dialled, the agent puts TLS over the connection to the endpoint and moves the application's bytes in it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional_with_sizes};
use tokio::net::TcpStream;

use super::http::UpstreamIo;
use crate::model::address::OriginalDst;
use crate::model::http::destination::UpstreamTls;
use crate::model::http::visibility::SourceView;
use crate::model::resolve::Upstream;
use crate::net;
use crate::proxy::pod::PodProxy;
use crate::proxy::splice::SpliceError;
use crate::telemetry::connection::ByteCounts;
use crate::telemetry::ends::OutboundSource;
use crate::tls::origination::OriginationError;

/// What each direction of a connection holds at most outside of TLS: a record's content.
const BUFFER_BYTES: usize = 16 * 1024;

/// How a destination wants its connections secured.
#[derive(Debug)]
pub(super) struct OwnTls {
    settings: Arc<UpstreamTls>,
    /// The name that is asked for: that of the rule (`sni`), else the service's.
    server_name: Arc<str>,
}

impl OwnTls {
    /// What the DestinationRule for a dialled service says to a source; `None` where it asks for no TLS. What leads to a waypoint is the
    /// waypoint's to secure.
    pub(super) fn of(
        pod_proxy: &PodProxy,
        source: &OutboundSource,
        dialled: OriginalDst,
        upstream: &Upstream,
    ) -> Option<Self> {
        let service = upstream.service.as_ref().filter(|service| service.waypoint.is_none())?;
        let (pod, config) = (pod_proxy.pod.current(), pod_proxy.proxy.mesh.routes().current());
        let view = SourceView { namespace: &source.workload.namespace, labels: &pod.labels };
        let policy = config.destination_policy(view, &service.key, dialled.0.port(), None)?;
        let settings = policy.tls.clone().filter(|tls| tls.is_own())?;
        let server_name =
            if settings.sni.is_empty() { service.key.hostname.clone() } else { settings.sni.as_ref().into() };
        Some(Self { settings, server_name })
    }

    /// Puts TLS over a connection.
    ///
    /// # Errors
    /// Where it cannot be had as the rule says: nothing is sent without.
    pub(super) async fn over(
        self,
        connection: UpstreamIo,
        pod_proxy: &PodProxy,
    ) -> Result<UpstreamIo, OriginationError> {
        if self.settings.is_unsupported {
            return Err(OriginationError::Settings("credentialName is not supported".into()));
        }
        let (origination, within) = (&pod_proxy.proxy.origination, pod_proxy.proxy.timeouts.handshake);
        let stream = origination.connect(&self.settings, &self.server_name, false, connection, within).await?;
        Ok(UpstreamIo::tls(stream))
    }
}

/// The application's side of a connection, whose bytes are counted.
struct Counted {
    tcp: TcpStream,
    bytes: Arc<ByteCounts>,
    /// It broke, and not the other side.
    broke: bool,
}

impl Counted {
    fn note<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        self.broke |= result.is_err();
        result
    }
}

fn add(counter: &AtomicU64, count: usize) {
    counter.fetch_add(count as u64, Ordering::Relaxed);
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = ready!(Pin::new(&mut self.tcp).poll_read(cx, buf));
        add(&self.bytes.to_destination, buf.filled().len() - before);
        Poll::Ready(self.note(read))
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.tcp).poll_write(cx, bytes));
        add(&self.bytes.to_source, *written.as_ref().unwrap_or(&0));
        Poll::Ready(self.note(written))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = ready!(Pin::new(&mut self.tcp).poll_shutdown(cx));
        Poll::Ready(self.note(ended))
    }
}

/// Joins a connection of a pod with one under TLS. The end of one side's data is the end of the other's; a server that ends without
/// saying so in TLS has its data cut off, and the application sees a reset.
///
/// # Errors
/// When either side breaks.
pub(super) async fn relay(
    downstream: TcpStream,
    mut upstream: UpstreamIo,
    bytes: Arc<ByteCounts>,
) -> Result<(), SpliceError> {
    let mut downstream = Counted { tcp: downstream, bytes, broke: false };
    let moved = copy_bidirectional_with_sizes(&mut downstream, &mut upstream, BUFFER_BYTES, BUFFER_BYTES).await;
    match moved {
        Ok(_) => {
            net::end_in_order(&downstream.tcp);
            Ok(())
        }
        Err(error) if downstream.broke => Err(SpliceError::Downstream(error)),
        Err(error) => Err(SpliceError::Upstream(error)),
    }
}

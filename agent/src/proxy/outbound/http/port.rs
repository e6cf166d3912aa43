//! Whether a connection carries HTTP: by the port that was dialled, and then by its first bytes.

use std::cell::LazyCell;
use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::net::TcpStream;

use crate::http::{Detected, detect};
use crate::model::address::OriginalDst;
use crate::model::http::served::{Served, is_switched_off};
use crate::model::http::visibility::SourceView;
use crate::model::service::{Service, ServiceKey};
use crate::proxy::pod::PodProxy;
use crate::telemetry::ends::OutboundSource;

/// Bytes that are read at once to detect the protocol: more than that ever needs.
const DETECTION_READ_BYTES: usize = 4096;

/// A port of a service that carries HTTP: it declares so, or an object about HTTP names it.
pub(in crate::proxy::outbound) struct HttpPort<'a> {
    pub(super) pod_proxy: &'a Arc<PodProxy>,
    pub(super) original_dst: OriginalDst,
    pub(super) service: Arc<Service>,
    pub(super) port: u16,
}

/// A connection to such a port whose first bytes were looked at.
pub(in crate::proxy::outbound) enum Opened {
    Http(Detected, BytesMut),
    /// Bytes of another protocol; none where the client ended its side before it sent any.
    Other(BytesMut),
}

impl<'a> HttpPort<'a> {
    /// The port that an address means to a source, where it carries HTTP. A service whose requests a waypoint handles has none.
    pub(in crate::proxy::outbound) fn of(
        pod_proxy: &'a Arc<PodProxy>,
        source: &OutboundSource,
        original_dst: OriginalDst,
    ) -> Option<Self> {
        let mesh = pod_proxy.proxy.mesh.read();
        let pod = LazyCell::new(|| pod_proxy.pod.current());
        let is_named = |service: &ServiceKey, port| {
            let view = SourceView { namespace: &source.workload.namespace, labels: &pod.labels };
            pod_proxy.proxy.mesh.routes().current().routes(view, service, port).is_some()
        };
        match Served::of(&mesh, &source.workload, original_dst, || is_switched_off(&pod.labels), is_named) {
            Served::Http { service, port, because } => {
                tracing::trace!(%because, "a connection is looked into for HTTP");
                Some(Self { pod_proxy, original_dst, service, port })
            }
            Served::Tcp(because) => {
                tracing::trace!(%because, "a connection is moved as bytes");
                None
            }
        }
    }

    /// Reads the first bytes of a connection, until they say which protocol it carries.
    pub(in crate::proxy::outbound) async fn open(&self, downstream: &TcpStream) -> Opened {
        let mut received = BytesMut::new();
        loop {
            match self.read(downstream, &mut received).await {
                Ok(0) | Err(_) => return Opened::Other(received),
                Ok(_) => {}
            }
            match detect(&received) {
                Detected::NeedMore => {}
                Detected::Other => return Opened::Other(received),
                detected => return Opened::Http(detected, received),
            }
        }
    }

    async fn read(&self, downstream: &TcpStream, received: &mut BytesMut) -> io::Result<usize> {
        loop {
            tokio::select! {
                readable = downstream.readable() => readable?,
                () = self.pod_proxy.pod.dead.cancelled() => return Ok(0),
                () = self.pod_proxy.proxy.drain.closing() => return Ok(0),
            }
            received.reserve(DETECTION_READ_BYTES);
            match downstream.try_read_buf(received) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read,
            }
        }
    }
}

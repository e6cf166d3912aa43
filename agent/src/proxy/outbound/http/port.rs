//! Whether a connection carries HTTP: by the port that was dialled, and then by its first bytes.

use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::net::TcpStream;

use crate::http::{Detected, detect};
use crate::model::address::OriginalDst;
use crate::model::http::visibility::SourceView;
use crate::model::service::{AppProtocol, BalancingMode, Service};
use crate::proxy::pod::PodProxy;
use crate::telemetry::ends::OutboundSource;

/// Bytes that are read at once to detect the protocol: more than that ever needs.
const DETECTION_READ_BYTES: usize = 4096;
/// The label of a pod whose connections are not looked into: `off`.
const HTTP_LABEL: &str = "weir.dev/http";

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
        let service = mesh.service_at(&source.workload, original_dst)?;
        let port = original_dst.0.port();
        let protocol = service.ports.iter().find(|known| known.service_port == port)?.app_protocol;
        let is_passthrough =
            service.load_balancing.as_ref().is_some_and(|balancing| balancing.mode == BalancingMode::Passthrough);
        if service.waypoint.is_some() || is_passthrough {
            return None;
        }
        let pod = pod_proxy.pod.current();
        if pod.labels.get(HTTP_LABEL).is_some_and(|value| value == "off") {
            return None;
        }
        let is_named = || {
            let view = SourceView { namespace: &source.workload.namespace, labels: &pod.labels };
            pod_proxy.proxy.mesh.routes().current().routes(view, &service.key, port).is_some()
        };
        let carries_http = match protocol {
            AppProtocol::Http11 | AppProtocol::Http2 | AppProtocol::Grpc => true,
            AppProtocol::Unknown => is_named(),
            AppProtocol::Tcp | AppProtocol::Tls => false,
        };
        carries_http.then(|| Self { pod_proxy, original_dst, service: service.clone(), port })
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

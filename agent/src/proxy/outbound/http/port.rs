//! Whether a connection carries HTTP: by the port that was dialled, and then by its first bytes.

use std::cell::LazyCell;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::net::TcpStream;

use crate::http::{Detected, detect};
use crate::model::address::OriginalDst;
use crate::model::http::served::{Served, is_switched_off};
use crate::model::http::visibility::SourceView;
use crate::model::mesh::OutboundTrafficPolicy;
use crate::model::service::{Service, ServiceKey};
use crate::proxy::outbound::reach::Reach;
use crate::proxy::pod::PodProxy;
use crate::telemetry::ends::OutboundSource;

/// Bytes that are read at once to detect the protocol: more than that ever needs.
const DETECTION_READ_BYTES: usize = 4096;
/// How long a connection to a destination that the pod may not reach has to begin a request.
const BLOCKED_DETECTION_TIMEOUT: Duration = Duration::from_secs(1);

/// A port of a service that carries HTTP: it declares so, or an object about HTTP names it.
pub(in crate::proxy::outbound) struct HttpPort<'a> {
    pub(super) pod_proxy: &'a Arc<PodProxy>,
    pub(super) original_dst: OriginalDst,
    pub(super) dialled: Dialled,
    pub(super) port: u16,
}

/// What a connection that carries HTTP was opened to.
#[derive(Debug, Clone)]
pub(super) enum Dialled {
    Service(Arc<Service>),
    /// An address that the mesh does not know, or that of a service that is hidden from the pod: each request is for the service that
    /// its host names. One whose host names none is for the address itself, if that may be reached.
    Elsewhere(OutboundTrafficPolicy),
}

impl Dialled {
    pub(super) fn service(&self) -> Option<&Arc<Service>> {
        match self {
            Self::Service(service) => Some(service),
            Self::Elsewhere(_) => None,
        }
    }
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
        let reach = Reach::of(pod_proxy, &mesh, source, original_dst);
        let port = original_dst.0.port();
        let may_carry_http = match reach.policy {
            OutboundTrafficPolicy::AllowAny => mesh.is_host_port(port),
            // As with sidecars, at ports at which some service speaks HTTP: others are closed at once.
            OutboundTrafficPolicy::RegistryOnly => mesh.is_http_port(port),
        };
        if reach.is_hidden || (may_carry_http && mesh.is_unknown(&source.workload, original_dst)) {
            let dialled = Dialled::Elsewhere(reach.policy);
            let is_looked_into = may_carry_http && !is_switched_off(&pod.labels);
            return is_looked_into.then_some(Self { pod_proxy, original_dst, dialled, port });
        }
        let is_named = |service: &ServiceKey, port| {
            let view = SourceView { namespace: &source.workload.namespace, labels: &pod.labels };
            pod_proxy.proxy.mesh.routes().current().routes(view, service, port).is_some()
        };
        match Served::of(&mesh, &source.workload, original_dst, || is_switched_off(&pod.labels), is_named) {
            Served::Http { service, port, because } => {
                tracing::trace!(%because, "a connection is looked into for HTTP");
                Some(Self { pod_proxy, original_dst, dialled: Dialled::Service(service), port })
            }
            Served::Tcp(because) => {
                tracing::trace!(%because, "a connection is moved as bytes");
                None
            }
        }
    }

    /// Reads the first bytes of a connection, until they say which protocol it carries. One to what the pod may not reach is not
    /// waited for: it is closed if nothing comes, and would be anyway.
    pub(in crate::proxy::outbound) async fn open(&self, downstream: &TcpStream) -> Opened {
        match &self.dialled {
            Dialled::Service(_) | Dialled::Elsewhere(OutboundTrafficPolicy::AllowAny) => self.detect(downstream).await,
            Dialled::Elsewhere(OutboundTrafficPolicy::RegistryOnly) => {
                tokio::time::timeout(BLOCKED_DETECTION_TIMEOUT, self.detect(downstream))
                    .await
                    .unwrap_or_else(|_| Opened::Other(BytesMut::new()))
            }
        }
    }

    async fn detect(&self, downstream: &TcpStream) -> Opened {
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

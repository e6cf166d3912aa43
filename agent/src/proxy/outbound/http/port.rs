//! Whether a connection carries HTTP: by the port that was dialled, and then by its first bytes.

use std::cell::LazyCell;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::net::TcpStream;

use crate::http::Detected;
use crate::lifecycle::first_of;
use crate::model::address::OriginalDst;
use crate::model::http::served::{HttpWish, Served};
use crate::model::http::visibility::SourceView;
use crate::model::mesh::OutboundTrafficPolicy;
use crate::model::service::{Service, ServiceKey};
use crate::proxy::http::FirstBytes;
use crate::proxy::outbound::reach::Reach;
use crate::proxy::pod::PodProxy;
use crate::telemetry::ends::OutboundSource;

/// How long a connection to a destination that the pod may not reach has to begin a request.
const BLOCKED_DETECTION_TIMEOUT: Duration = Duration::from_secs(1);

/// A port that may carry HTTP: it declares so, an object about HTTP names its service, or the pod asks for that.
pub(in crate::proxy::outbound) struct HttpPort<'a> {
    pub(super) pod_proxy: &'a Arc<PodProxy>,
    pub(super) original_dst: OriginalDst,
    pub(super) dialled: Dialled,
    pub(super) port: u16,
    /// Nobody has declared what the port carries: its server may be the one that speaks first.
    pub(super) is_guess: bool,
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
    /// The client has said nothing, or too little to tell, and its server may be the one that speaks first.
    Undecided(FirstBytes),
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
            let is_looked_into = may_carry_http && HttpWish::of(&pod.labels) != HttpWish::Off;
            // What is at an address that the mesh does not know is not declared by a host with the same port.
            let is_guess = reach.policy == OutboundTrafficPolicy::AllowAny;
            return is_looked_into.then_some(Self { pod_proxy, original_dst, dialled, port, is_guess });
        }
        let is_named = |service: &ServiceKey, port| {
            let view = SourceView { namespace: &source.workload.namespace, labels: &pod.labels };
            pod_proxy.proxy.mesh.routes().current().routes(view, service, port).is_some()
        };
        match Served::of(&mesh, &source.workload, original_dst, || HttpWish::of(&pod.labels), is_named) {
            Served::Http { service, port, because } => {
                tracing::trace!(%because, "a connection is looked into for HTTP");
                let (dialled, is_guess) = (Dialled::Service(service), because.is_guess());
                Some(Self { pod_proxy, original_dst, dialled, port, is_guess })
            }
            Served::Tcp(because) => {
                tracing::trace!(%because, "a connection is moved as bytes");
                None
            }
        }
    }

    pub(in crate::proxy::outbound) fn pod_proxy(&self) -> &'a Arc<PodProxy> {
        self.pod_proxy
    }

    pub(in crate::proxy::outbound) fn original_dst(&self) -> OriginalDst {
        self.original_dst
    }

    /// Reads the first bytes of a connection, until they say which protocol it carries. One to what the pod may not reach is not
    /// waited for: it is closed if nothing comes, and would be anyway.
    pub(in crate::proxy::outbound) async fn open(&self, downstream: &mut TcpStream) -> Opened {
        let mut first = FirstBytes::default();
        let detected = match &self.dialled {
            _ if self.is_guess => match self.unless_over(first.guess(downstream)).await {
                Some(Some(detected)) => Some(detected),
                Some(None) => return Opened::Undecided(first),
                None => None,
            },
            Dialled::Service(_) | Dialled::Elsewhere(OutboundTrafficPolicy::AllowAny) => {
                self.unless_over(first.detect(downstream)).await
            }
            Dialled::Elsewhere(OutboundTrafficPolicy::RegistryOnly) => {
                let detecting = self.unless_over(first.detect(downstream));
                match tokio::time::timeout(BLOCKED_DETECTION_TIMEOUT, detecting).await {
                    Ok(detected) => detected,
                    Err(_) => return Opened::Other(BytesMut::new()),
                }
            }
        };
        Opened::of(detected, first)
    }

    /// Goes on to read a client whose server may speak first.
    pub(in crate::proxy::outbound) async fn guess(
        &self,
        downstream: &mut TcpStream,
        first: &mut FirstBytes,
    ) -> Detected {
        self.unless_over(first.guess_patiently(downstream)).await.unwrap_or(Detected::Other)
    }

    /// Waits for the client, and no longer than the pod is there and connections are served.
    async fn unless_over<T>(&self, reading: impl Future<Output = T>) -> Option<T> {
        let (pod, drain) = (&self.pod_proxy.pod, &self.pod_proxy.proxy.drain);
        tokio::select! {
            biased;
            read = reading => Some(read),
            () = first_of([pod.dead.cancelled(), drain.closing()]) => None,
        }
    }
}

impl Opened {
    fn of(detected: Option<Detected>, first: FirstBytes) -> Self {
        match detected {
            Some(detected @ (Detected::Http1 | Detected::Http2)) => Self::Http(detected, first.received),
            _ => Self::Other(first.received),
        }
    }
}

//! Requests that the agent makes for a pod by itself, to ask somebody about the pod's requests: an external authorizer, a rate limit
//! service. Each goes to a port of a service of the mesh as a request of the pod would: to an endpoint that is picked now, over
//! HBONE under the pod's identity where the endpoint speaks it, with the pool and the TLS of the DestinationRule that counts for the
//! pod. It is the service itself that is asked, as with Istio: no route is looked up.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::connection::HttpConnection;
use super::port::{Dialled, HttpPort};
use super::whole_request::{Place, WholeRequest, WholeRequestError, WholeResponse};
use crate::http::{BodyLength, KeptBody};
use crate::limits::LimitKind;
use crate::model::address::OriginalDst;
use crate::model::http::head::RequestHead;
use crate::model::http::visibility::SourceView;
use crate::model::mesh::Mesh;
use crate::model::service::{Service, ServiceKey};
use crate::proxy::pod::PodProxy;
use crate::telemetry::ends::OutboundSource;

/// One request, before it is sent.
#[derive(Debug)]
pub(in crate::proxy) struct AgentRequest<'a> {
    /// The full name of a service, as objects of Istio name one: `host`, or `namespace/host`.
    pub(in crate::proxy) service: &'a str,
    pub(in crate::proxy) port: u16,
    /// Its version says what is spoken where the port declares nothing. Without an authority it gets that of the service.
    pub(in crate::proxy) head: RequestHead,
    pub(in crate::proxy) body: Bytes,
    /// How long the whole response may take.
    pub(in crate::proxy) within: Duration,
    /// Bytes that the content of the response may have.
    pub(in crate::proxy) longest_response: usize,
}

/// Why a request of the agent has no response.
#[derive(Debug, thiserror::Error)]
pub(in crate::proxy) enum AgentRequestError {
    #[error("the mesh has no service {0:?}: name one of Kubernetes, or of a ServiceEntry, in full")]
    UnknownService(String),
    #[error("service {0} has no port {1}")]
    UnknownPort(ServiceKey, u16),
    #[error("as many requests of the agent for this pod are under way as the limit agent_requests allows")]
    TooMany,
    #[error("no response within {0:?}")]
    TimedOut(Duration),
    #[error("the pod is gone")]
    PodGone,
    #[error(transparent)]
    Failed(#[from] WholeRequestError),
}

impl AgentRequest<'_> {
    /// Sends the request for a pod, and waits for the whole response. Whoever stops waiting cancels it.
    ///
    /// # Errors
    /// When there is no such service, or no response in time.
    pub(in crate::proxy) async fn send(
        mut self,
        pod_proxy: &Arc<PodProxy>,
    ) -> Result<WholeResponse, AgentRequestError> {
        let limit = pod_proxy.pod.limits.of(LimitKind::AgentRequests);
        let _held = limit.try_take().ok_or(AgentRequestError::TooMany)?;
        let (connection, place) = self.destination(pod_proxy)?;
        if self.head.authority.is_empty() {
            self.head.authority = format!("{}:{}", place.service.hostname, place.port).into_bytes();
        }
        let length = match self.body.len() {
            0 => BodyLength::Empty,
            length => BodyLength::Known(length as u64),
        };
        let body =
            KeptBody { data: Some(self.body).into_iter().filter(|data| !data.is_empty()).collect(), trailers: None };
        let whole = WholeRequest {
            connection: &connection,
            place: &place,
            head: &self.head,
            length,
            body: &body,
            // Who is asked a question may be asked it again.
            is_repeatable: true,
            longest_response: Some(self.longest_response),
        };
        tokio::select! {
            // In a box: its state is large, and part of that of whoever asks.
            responded = tokio::time::timeout(self.within, Box::pin(whole.send())) => match responded {
                Ok(responded) => Ok(responded?),
                Err(_) => Err(AgentRequestError::TimedOut(self.within)),
            },
            () = pod_proxy.pod.dead.cancelled() => Err(AgentRequestError::PodGone),
        }
    }

    /// The service as the pod sees it.
    fn destination(&self, pod_proxy: &Arc<PodProxy>) -> Result<(HttpConnection, Place), AgentRequestError> {
        let (port, mesh) = (self.port, pod_proxy.proxy.mesh.read());
        let workload = pod_proxy.source_workload(&mesh);
        let service = find(&mesh, self.service, &workload.namespace);
        let service = service.ok_or_else(|| AgentRequestError::UnknownService(self.service.to_owned()))?.clone();
        let pod = pod_proxy.pod.current();
        let view = SourceView { namespace: &workload.namespace, labels: &pod.labels };
        let policy = pod_proxy.proxy.mesh.routes().current().destination_policy(view, &service.key, port, None);
        let listed = service.ports.iter().any(|known| known.service_port == port);
        let policy = policy.filter(|_| listed);
        let policy = policy.ok_or_else(|| AgentRequestError::UnknownPort(service.key.clone(), port))?;
        let place = Place { service: service.key.clone(), port, policy };
        let own = workload.addresses.first().copied().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let identity = pod_proxy.pod.identity(&mesh.settings().trust_domain);
        let of_service = service.vips.iter().find_map(|vip| vip.single()).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        drop(mesh);
        let original_dst = OriginalDst(SocketAddr::new(of_service, port));
        let source = OutboundSource { addr: SocketAddr::new(own, 0), workload, identity };
        let port = HttpPort { pod_proxy, original_dst, dialled: Dialled::Service(service), port, is_guess: false };
        Ok((HttpConnection::new(port, source), place))
    }
}

/// The service that an object of Istio names.
fn find<'m>(mesh: &'m Mesh, name: &str, from_namespace: &str) -> Option<&'m Arc<Service>> {
    match name.split_once('/') {
        Some((namespace, host)) => mesh.service(&ServiceKey::new(namespace, host)),
        None => mesh.service_by_hostname(name, from_namespace),
    }
}

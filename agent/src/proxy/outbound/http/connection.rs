//! What the requests of one connection of a pod have in common.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::endpoints::EndpointState;
use super::io::PoolKey;
use super::port::{Dialled, HttpPort};
use crate::model::address::OriginalDst;
use crate::model::http::head::{HttpFields, ResponseHead};
use crate::model::http::hop;
use crate::model::resolve::{Picked, Transport, Upstream};
use crate::model::service::ServiceKey;
use crate::model::workload::Workload;
use crate::proxy::pod::PodProxy;
use crate::telemetry::ends::{ConnectionEnds, OutboundSource};
use crate::telemetry::request_ends::RequestEnds;

/// Schemes of authentication that hold for a connection and all that follows on it (RFC 4559 §6).
const OF_CONNECTIONS: [&[u8]; 2] = [b"ntlm", b"negotiate"];
/// The fields in which a server asks for one, and in which a client answers.
const AUTHENTICATION: [&str; 4] = ["www-authenticate", "proxy-authenticate", "authorization", "proxy-authorization"];

/// See the module.
pub(super) struct HttpConnection {
    pub(super) pod_proxy: Arc<PodProxy>,
    pub(super) source: OutboundSource,
    /// The address that the application dialled.
    pub(super) original_dst: OriginalDst,
    pub(super) dialled: Dialled,
    pub(super) port: u16,
    /// Both ends of a request before an endpoint is chosen.
    pub(super) ends: Arc<RequestEnds>,
    /// Whether a server has asked for authentication that holds for a connection, not for a request.
    authenticates_connections: AtomicBool,
    /// The endpoints that were chosen last.
    known: Mutex<Vec<Arc<KnownEndpoint>>>,
}

/// Endpoints that a connection remembers, at most.
const MAX_KNOWN_ENDPOINTS: usize = 16;

/// An endpoint that requests of a connection are sent to, with what all of them would look up.
pub(super) struct KnownEndpoint {
    pub(super) upstream: Upstream,
    /// What its connections are kept by.
    pub(super) pool_key: PoolKey,
    /// Both ends of requests to it.
    pub(super) ends: Arc<RequestEnds>,
    /// What the pod has seen of it, where it is a workload of the mesh.
    pub(super) state: Option<Arc<EndpointState>>,
    /// The service and its port that it serves.
    service: ServiceKey,
    port: u16,
}

impl KnownEndpoint {
    /// Whether it is what was resolved for a port of a service, by the same objects of the mesh.
    fn is(&self, resolved: &Upstream, service: &ServiceKey, port: u16) -> bool {
        let known = &self.upstream;
        is_same(known.workload.as_ref(), resolved.workload.as_ref())
            && is_same(known.service.as_ref(), resolved.service.as_ref())
            && self.port == port
            && known.transport == resolved.transport
            && self.service == *service
    }

    /// Requests of this node that are under way to it, and what it has told the pod of late of having too much to do.
    pub(super) fn load(&self) -> u32 {
        self.state.as_ref().map_or(0, |state| state.load())
    }
}

fn is_same<T>(one: Option<&Arc<T>>, other: Option<&Arc<T>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (one, other) => one.is_none() && other.is_none(),
    }
}

impl HttpConnection {
    pub(super) fn new(port: HttpPort<'_>, source: OutboundSource) -> Self {
        let HttpPort { pod_proxy, original_dst, dialled, port, .. } = port;
        let first = ConnectionEnds {
            service: dialled.service().cloned(),
            ..ConnectionEnds::outbound(source.clone(), original_dst, None)
        };
        let ends = RequestEnds::new(&pod_proxy.proxy.requests, &pod_proxy.pod.telemetry, first);
        let pod_proxy = pod_proxy.clone();
        let authenticates_connections = AtomicBool::new(false);
        Self {
            pod_proxy,
            source,
            original_dst,
            dialled,
            port,
            ends,
            authenticates_connections,
            known: Mutex::default(),
        }
    }

    /// What a request has in common with the others of its connection, where it may outlive that.
    pub(super) fn detached(&self) -> Self {
        Self {
            pod_proxy: self.pod_proxy.clone(),
            source: self.source.clone(),
            original_dst: self.original_dst,
            dialled: self.dialled.clone(),
            port: self.port,
            ends: self.ends.clone(),
            authenticates_connections: AtomicBool::new(self.authenticates_connections()),
            known: Mutex::default(),
        }
    }

    /// Takes up a response: what agents tell each other goes no further, and what it asks the client to prove is noted.
    pub(super) fn take_up(&self, response: &mut ResponseHead) {
        hop::remove(&mut response.fields);
        if matches!(response.status, 401 | 407) && is_of_connection(&response.fields) {
            self.authenticates_connections.store(true, Ordering::Relaxed);
        }
    }

    /// Whether a server has asked for authentication that holds for a connection.
    pub(super) fn authenticates_connections(&self) -> bool {
        self.authenticates_connections.load(Ordering::Relaxed)
    }

    /// What is known of an endpoint that was picked for a port of a service; `None` where no request has gone there. It is reached in
    /// the same way as long as the objects of the mesh are the same, but for TLS of its own, which depends on the request.
    pub(super) fn known_as(&self, picked: Picked<'_>, port: u16) -> Option<Arc<KnownEndpoint>> {
        let is_it = |known: &&Arc<KnownEndpoint>| {
            let Upstream { workload, service, transport } = &known.upstream;
            known.port == port
                && !matches!(transport, Transport::Tls { .. })
                && workload.as_ref().is_some_and(|workload| Arc::ptr_eq(workload, picked.endpoint))
                && service.as_ref().is_some_and(|service| Arc::ptr_eq(service, picked.service))
        };
        self.known.lock().iter().find(is_it).cloned()
    }

    /// What is known of an endpoint that was resolved for a port of a service.
    pub(super) fn known(&self, resolved: Upstream, service: &ServiceKey, port: u16) -> Arc<KnownEndpoint> {
        let mut known = self.known.lock();
        if let Some(endpoint) = known.iter().find(|endpoint| endpoint.is(&resolved, service, port)) {
            return endpoint.clone();
        }
        let proxy = &self.pod_proxy.proxy;
        let ends = ConnectionEnds::outbound(self.source.clone(), self.original_dst, Some(&resolved));
        let endpoints = &self.pod_proxy.endpoints;
        let state = |workload: &Arc<Workload>| endpoints.state(&proxy.endpoints, &workload.uid, service, port);
        let state = resolved.workload.as_ref().map(state);
        let endpoint = Arc::new(KnownEndpoint {
            pool_key: PoolKey::new(&resolved.transport),
            ends: RequestEnds::new(&proxy.requests, &self.pod_proxy.pod.telemetry, ends),
            upstream: resolved,
            state,
            service: service.clone(),
            port,
        });
        if known.len() == MAX_KNOWN_ENDPOINTS {
            known.remove(0);
        }
        known.push(endpoint.clone());
        endpoint
    }
}

/// Whether the fields are about authentication that holds for a connection.
pub(super) fn is_of_connection(fields: &HttpFields) -> bool {
    let is_one = |value: &[u8]| {
        let scheme = value.split(|byte| matches!(byte, b' ' | b',')).next().unwrap_or_default();
        OF_CONNECTIONS.iter().any(|of_connections| scheme.eq_ignore_ascii_case(of_connections))
    };
    AUTHENTICATION.iter().any(|name| fields.values(name).any(is_one))
}

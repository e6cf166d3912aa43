//! What the requests of one connection of a pod have in common.

use std::sync::Arc;

use parking_lot::Mutex;

use super::port::HttpPort;
use crate::model::address::OriginalDst;
use crate::model::resolve::{Transport, Upstream};
use crate::model::service::Service;
use crate::model::workload::Workload;
use crate::proxy::pod::PodProxy;
use crate::telemetry::ends::{ConnectionEnds, OutboundSource};
use crate::telemetry::request_ends::RequestEnds;

/// See the module.
pub(super) struct HttpConnection {
    pub(super) pod_proxy: Arc<PodProxy>,
    pub(super) source: OutboundSource,
    /// The address that the application dialled.
    pub(super) original_dst: OriginalDst,
    /// The service of that address.
    pub(super) service: Arc<Service>,
    pub(super) port: u16,
    /// Both ends of a request before an endpoint is chosen.
    pub(super) ends: Arc<RequestEnds>,
    /// Both ends of requests to the endpoints that were chosen last.
    ends_at: Mutex<Vec<EndsAt>>,
}

/// Endpoints of a connection whose [`RequestEnds`] are remembered, at most.
const MAX_ENDS: usize = 16;

/// The ends of requests to one endpoint.
struct EndsAt {
    workload: Option<Arc<Workload>>,
    transport: Transport,
    ends: Arc<RequestEnds>,
}

impl HttpConnection {
    pub(super) fn new(port: HttpPort<'_>, source: OutboundSource) -> Self {
        let HttpPort { pod_proxy, original_dst, service, port } = port;
        let first = ConnectionEnds {
            service: Some(service.clone()),
            ..ConnectionEnds::outbound(source.clone(), original_dst, None)
        };
        let ends = RequestEnds::new(&pod_proxy.proxy.requests, &pod_proxy.pod.requests, first);
        let pod_proxy = pod_proxy.clone();
        Self { pod_proxy, source, original_dst, service, port, ends, ends_at: Mutex::default() }
    }

    /// What a request has in common with the others of its connection, where it may outlive that.
    pub(super) fn detached(&self) -> Self {
        Self {
            pod_proxy: self.pod_proxy.clone(),
            source: self.source.clone(),
            original_dst: self.original_dst,
            service: self.service.clone(),
            port: self.port,
            ends: self.ends.clone(),
            ends_at: Mutex::default(),
        }
    }

    /// The ends of requests to an endpoint.
    pub(super) fn ends_at(&self, upstream: &Upstream) -> Arc<RequestEnds> {
        let mut known = self.ends_at.lock();
        let is_it = |at: &&EndsAt| {
            let is_same = match (&at.workload, &upstream.workload) {
                (Some(one), Some(other)) => Arc::ptr_eq(one, other),
                (one, other) => one.is_none() && other.is_none(),
            };
            is_same && at.transport == upstream.transport
        };
        if let Some(at) = known.iter().find(is_it) {
            return at.ends.clone();
        }
        let ends = ConnectionEnds::outbound(self.source.clone(), self.original_dst, Some(upstream));
        let ends = RequestEnds::new(&self.pod_proxy.proxy.requests, &self.pod_proxy.pod.requests, ends);
        if known.len() == MAX_ENDS {
            known.remove(0);
        }
        let (workload, transport) = (upstream.workload.clone(), upstream.transport.clone());
        known.push(EndsAt { workload, transport, ends: ends.clone() });
        ends
    }
}

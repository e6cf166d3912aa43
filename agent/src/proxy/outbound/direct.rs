//! Where a pod's connections to an address go, if the agent of the source would do nothing with their bytes but move them.

use std::sync::Arc;

use super::http::HttpPort;
use super::own_tls::OwnTls;
use super::reach::Reach;
use crate::model::address::OriginalDst;
use crate::model::resolve::{Transport, Upstream};
use crate::proxy::pod::PodProxy;
use crate::telemetry::ends::OutboundSource;

impl PodProxy {
    /// Whether an upstream is a pod of this node, as far as its address says.
    pub(super) fn is_of_this_node(&self, upstream: &Upstream) -> bool {
        matches!(&upstream.transport, Transport::Hbone { peer, .. } if self.neighbours.at(peer.ip()).is_some())
    }
}

/// The upstreams among which chance decides, each with its weight; `None` where a connection is looked into for HTTP, gets TLS of its
/// destination's own or may go nowhere.
pub(in crate::proxy) fn untouched_upstreams(
    pod_proxy: &Arc<PodProxy>,
    dialled: OriginalDst,
) -> Option<Vec<(Upstream, u64)>> {
    let source = {
        let mesh = pod_proxy.proxy.mesh.read();
        let identity = pod_proxy.pod.identity(&mesh.settings().trust_domain);
        OutboundSource { addr: dialled.0, workload: pod_proxy.source_workload(&mesh), identity }
    };
    if HttpPort::of(pod_proxy, &source, dialled).is_some() {
        return None;
    }
    let upstreams = {
        let mesh = pod_proxy.proxy.mesh.read();
        let reach = Reach::of(pod_proxy, &mesh, &source, dialled);
        if reach.is_hidden {
            return None;
        }
        mesh.upstreams_by_chance(reach.policy, &source.workload, dialled)?
    };
    let has_own_tls = |(upstream, _): &(Upstream, u64)| OwnTls::of(pod_proxy, &source, dialled, upstream).is_some();
    (!upstreams.iter().any(has_own_tls)).then_some(upstreams)
}

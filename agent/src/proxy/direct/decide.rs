//! What may be direct: which endpoints of this node a pod may connect to without the agent, and whether a connection may go on.
//!
//! Everything that the agent would do with the bytes of a connection, or would have to know of each one, keeps it at the agent: HTTP, TLS of
//! the destination's own, a waypoint, rate limits, tokens, policies in a dry run or of action AUDIT.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use weir_common::HBONE_PORT;

use crate::capture::direct::MAX_ENDPOINTS;
use crate::capture::noted::Pair;
use crate::model::address::OriginalDst;
use crate::model::authorization::AccessRequest;
use crate::model::resolve::{Transport, Upstream};
use crate::proxy::pod::PodProxy;
use crate::proxy::{inbound, outbound};

/// An endpoint of this node.
pub(super) struct Endpoint {
    pub(super) pair: Pair,
    pub(super) server: Arc<PodProxy>,
}

/// The endpoints that a pod's connections to an address lead to, with equal chances; `None` where all of them go by the agent. So they do where
/// an endpoint is elsewhere: the agent draws among all, and would not know that some were drawn already.
pub(super) fn endpoints(source: &Arc<PodProxy>, dialled: SocketAddr) -> Option<Vec<Endpoint>> {
    let upstreams = outbound::untouched_upstreams(source, OriginalDst(dialled))?;
    let weight = upstreams.first()?.1;
    if upstreams.len() > MAX_ENDPOINTS || upstreams.iter().any(|(_, other)| *other != weight) {
        return None;
    }
    upstreams.iter().map(|(upstream, _)| endpoint(source, dialled, upstream)).collect()
}

fn endpoint(source: &Arc<PodProxy>, dialled: SocketAddr, upstream: &Upstream) -> Option<Endpoint> {
    let Transport::Hbone { peer, authority, identities } = &upstream.transport else { return None };
    let endpoint: SocketAddr = authority.parse().ok()?;
    if peer.ip() != endpoint.ip() || peer.port() != HBONE_PORT || endpoint.is_ipv4() != dialled.is_ipv4() {
        return None;
    }
    let server = source.neighbours.at(endpoint.ip())?;
    if is_going(source) || is_going(&server) || Arc::ptr_eq(source, &server) {
        return None;
    }
    let is_known = {
        let mesh = source.proxy.mesh.read();
        let known = server.known_workload(&mesh);
        known.is_some_and(|known| upstream.workload.as_ref().is_some_and(|workload| known.uid == workload.uid))
    };
    if !is_known || !inbound::allows_unasked(&server, &access_request(source, endpoint)?) {
        return None;
    }
    let (identity, trusted) = (server.identity(), source.proxy.trusted());
    if !identities.iter().any(|expected| trusted.same(&identity, expected)) {
        return None;
    }
    let pair = Pair { source: source.pod.netns.cookie(), server: server.pod.netns.cookie(), endpoint };
    Some(Endpoint { pair, server })
}

/// Whether policy lets a direct connection go on.
pub(super) fn may_go_on(source: &PodProxy, server: &PodProxy, endpoint: SocketAddr) -> bool {
    access_request(source, endpoint).is_some_and(|request| inbound::still_allows(server, &request))
}

/// What policy is asked.
fn access_request(source: &PodProxy, endpoint: SocketAddr) -> Option<AccessRequest> {
    let source_ip = address_of(source, endpoint)?;
    Some(AccessRequest { source: Some(source.identity()), source_ip, destination: endpoint })
}

/// The address that a pod's direct connections to an endpoint come from: the first of that family, as the kernel programs have it.
fn address_of(source: &PodProxy, endpoint: SocketAddr) -> Option<IpAddr> {
    source.pod.spec.addresses.iter().find(|address| address.is_ipv4() == endpoint.is_ipv4()).copied()
}

fn is_going(pod_proxy: &PodProxy) -> bool {
    let pod = &pod_proxy.pod;
    pod.left.is_cancelled() || pod.dead.is_cancelled() || pod.is_leaving()
}

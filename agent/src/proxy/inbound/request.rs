//! A CONNECT request of an HBONE peer, or what a pod of the same node asks for in its place: which address of the pod it is for, and on whose
//! behalf it comes.

use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::Arc;

use http::StatusCode;

use super::admission::Accepted;
use super::client::Downstream;
use super::connection::{Established, InboundConnection};
use super::peers::AuthenticatedPeer;
use crate::enrollment::pod::OpenConnection;
use crate::hbone::{self, ActiveStream, Authority, InvalidAuthority, parse_authority};
use crate::limits::{Held, LimitKind};
use crate::proxy::pod::PodProxy;
use crate::proxy::workers::{Load, Workers};
use crate::telemetry::connection::ResponseFlag;

/// Why a request names nothing that is served here.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadRequest {
    #[error("only CONNECT is served here")]
    NotConnect,
    #[error(transparent)]
    Authority(#[from] InvalidAuthority),
    #[error("{0} is not an address of this pod")]
    ForeignAddress(SocketAddr),
    #[error("{0}:{1} is not served by this pod")]
    ForeignService(String, u16),
}

/// Serves a request to the end of its stream.
pub(super) fn serve(
    pod_proxy: Arc<PodProxy>,
    peer: AuthenticatedPeer,
    request: Downstream,
) -> impl Future<Output = ()> + Send + 'static {
    // No asynchronous function: its future would have room for the request as long as it lasts.
    let established = Box::pin(establish(pod_proxy.clone(), peer, request));
    async move {
        if let Some((established, _counted)) = established.await {
            // In a box: the runtime moves a new task eight times.
            Box::pin(established.run(&pod_proxy)).await;
        }
    }
}

/// What counts a connection while it is open.
type Counted = ((Held, Held), OpenConnection, Load, ActiveStream);

/// Connects the application that a request is for. `None` where that fails: the client is told, and it is recorded.
async fn establish(
    pod_proxy: Arc<PodProxy>,
    peer: AuthenticatedPeer,
    request: Downstream,
) -> Option<(Established, Counted)> {
    let refused = |request: Downstream, status: StatusCode, error: &dyn Display| {
        let accepted = Accepted { source: peer.addr, local: peer.listener };
        accepted.record_refused(&pod_proxy, ResponseFlag::ConnectFailure, error);
        request.refuse_with(status);
    };
    let destination = match destination_of(&pod_proxy, &peer, request.authority()) {
        Ok(destination) => destination,
        Err(error) => {
            refused(request, StatusCode::BAD_REQUEST, &error);
            return None;
        }
    };
    let Some(of_peer) = peer.limit.try_take() else {
        let error = "the peer holds as many of the pod's inbound connections as one peer may";
        refused(request, StatusCode::SERVICE_UNAVAILABLE, &error);
        return None;
    };
    let Some(of_pod) = pod_proxy.pod.limits.of(LimitKind::InboundConnections).try_take() else {
        let error = "the pod has as many inbound connections as it may have";
        refused(request, StatusCode::SERVICE_UNAVAILABLE, &error);
        return None;
    };
    let open = pod_proxy.pod.count_connection();
    let load = pod_proxy.proxy.workers.count_load(Workers::current());
    let client = client_address(&peer, request.forwarded());
    let connection = InboundConnection { pod_proxy: &pod_proxy, client, destination, peer: Some(&peer) };
    let established = connection.establish(request).await?;
    Some((established, ((of_pod, of_peer), open, load, peer.activity.stream())))
}

/// The pod's own address and port that a request asks for. Without an authority it is no CONNECT request.
pub(super) fn destination_of(
    pod_proxy: &PodProxy,
    peer: &AuthenticatedPeer,
    authority: Option<&str>,
) -> Result<SocketAddr, BadRequest> {
    match parse_authority(authority.ok_or(BadRequest::NotConnect)?)? {
        Authority::Address(address) if pod_proxy.pod.spec.addresses.contains(&address.ip()) => Ok(address),
        Authority::Address(address) => Err(BadRequest::ForeignAddress(address)),
        Authority::Hostname(hostname, port) => {
            let mesh = pod_proxy.proxy.mesh.read();
            let workload = pod_proxy.known_workload(&mesh);
            let mapped = workload.as_ref().and_then(|workload| {
                let service = mesh.service_by_hostname(&hostname, &workload.namespace)?;
                let ports = workload.services.get(&service.key)?;
                ports.iter().find(|mapping| mapping.service_port == port)
            });
            match mapped {
                Some(mapping) => Ok(SocketAddr::new(peer.listener.ip(), mapping.target_port)),
                None => Err(BadRequest::ForeignService(hostname, port)),
            }
        }
    }
}

/// The client as the application is shown it: its address as the network has it, its port as its proxy says.
pub(super) fn client_address(peer: &AuthenticatedPeer, forwarded: Option<&[u8]>) -> SocketAddr {
    let claimed = forwarded.and_then(hbone::client_of);
    claimed.filter(|claimed| claimed.ip() == peer.addr.ip()).unwrap_or(peer.addr)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hbone::Activity;
    use crate::limits::NodeLimits;
    use crate::model::identity::{Identity, TrustDomain};

    #[test]
    fn a_peer_cannot_claim_another_address_than_its_own() {
        let peer = AuthenticatedPeer {
            identity: Identity::new(TrustDomain::new(""), "shop", "client"),
            certificate: [0; 32],
            addr: "10.0.0.1:50000".parse().expect("an address"),
            listener: "10.0.0.2:15008".parse().expect("an address"),
            limit: Arc::new(NodeLimits::new(|_| 1).for_pod().of(LimitKind::InboundOfPeer).clone()),
            activity: Arc::new(Activity::begin()),
        };
        for (forwarded, expected) in [
            (Some("for=\"10.0.0.1:41000\""), "10.0.0.1:41000"),
            (Some("for=\"10.0.0.9:41000\""), "10.0.0.1:50000"),
            (Some("for=unknown"), "10.0.0.1:50000"),
            (None, "10.0.0.1:50000"),
        ] {
            let client = client_address(&peer, forwarded.map(str::as_bytes));
            assert_eq!(client.to_string(), expected, "{forwarded:?}");
        }
    }
}

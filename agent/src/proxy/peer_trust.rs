//! Peers of open HBONE connections are held to what is trusted now, not to what was trusted when they connected: roots, trust
//! domains and revocation lists. A connection whose peer would be refused takes no further streams (GOAWAY) and drains; one whose
//! peer's certificate is revoked ends at once.

use std::sync::Arc;

use super::node::Proxy;
use crate::telemetry::metrics::Side;
use crate::tls::trust::PeerRole;

/// Checks the peers again at every change of what is trusted. Runs for ever.
pub(super) async fn watch(proxy: Arc<Proxy>) {
    let (mut mesh, mut trust) = (proxy.mesh.watch(), proxy.certificates.watch_trust());
    let mut domains = proxy.trusted();
    loop {
        tokio::select! {
            changed = mesh.changed() => {
                let now = proxy.trusted();
                if changed.is_err() {
                    return;
                }
                if now == domains {
                    continue;
                }
                domains = now;
            }
            changed = trust.changed() => if changed.is_err() {
                return;
            },
        }
        for (role, why) in proxy.certificates.check_peers(&domains).await {
            let side = match role {
                PeerRole::Client => Side::Downstream,
                PeerRole::Server => Side::Upstream,
            };
            tracing::info!(side = side.label(), %why, "the peer of an HBONE connection is no longer trusted");
            proxy.metrics.peer_distrusted(side, why.label());
        }
    }
}

//! Inbound connections that are open now, asked again whenever the mesh changes: one that policy no longer permits is
//! closed.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::{PodProxy, Proxy};
use crate::model::authorization::AccessRequest;

#[derive(Debug, Default)]
pub(super) struct LiveConnections {
    entries: Mutex<HashMap<u64, Entry>>,
    next: AtomicU64,
}

#[derive(Debug)]
struct Entry {
    served: Arc<PodProxy>,
    request: AccessRequest,
    revoked: CancellationToken,
}

/// A connection on the list, until dropped.
#[derive(Debug)]
pub(super) struct Tracked {
    proxy: Arc<Proxy>,
    id: u64,
    pub(super) revoked: CancellationToken,
}

/// Puts a connection on the list. Call it before asking for the permit, so that no change of policy falls in between.
pub(super) fn track(served: &Arc<PodProxy>, request: &AccessRequest) -> Tracked {
    let live = &served.proxy.live;
    let id = live.next.fetch_add(1, Ordering::Relaxed);
    let revoked = CancellationToken::new();
    let entry = Entry { served: served.clone(), request: request.clone(), revoked: revoked.clone() };
    live.entries.lock().insert(id, entry);
    Tracked { proxy: served.proxy.clone(), id, revoked }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        self.proxy.live.entries.lock().remove(&self.id);
    }
}

/// Asks again at every change of the mesh. Runs for ever.
pub(super) async fn watch(proxy: Arc<Proxy>) {
    let mut changes = proxy.mesh.watch();
    while changes.changed().await.is_ok() {
        let mesh = proxy.mesh.read();
        for entry in proxy.live.entries.lock().values() {
            // A workload that has left the mesh keeps what it has: pods are removed before their last bytes are sent.
            let Some(workload) = entry.served.known_workload(&mesh) else { continue };
            let verdict = mesh.authorize(&entry.served.as_destination(&workload), &entry.request);
            if verdict.outcome.is_err() && !entry.revoked.is_cancelled() {
                proxy.metrics.policy_closed_connection();
                entry.revoked.cancel();
            }
        }
    }
}

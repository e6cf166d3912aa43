//! Inbound connections that are open now. When policies, or the workload that a connection reaches, change, it is decided
//! again, and closed if policy no longer permits it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::enrollment::pod::{Changeable, EnrolledPod};
use crate::model::authorization::{AccessRequest, Destination};
use crate::model::mesh::Mesh;
use crate::model::workload::Workload;
use crate::state::SharedMesh;
use crate::telemetry::metrics::Metrics;

/// The inbound connections of this node that are open now. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct LiveConnections(Arc<Entries>);

#[derive(Debug, Default)]
struct Entries {
    by_id: Mutex<HashMap<u64, Entry>>,
    next: AtomicU64,
}

#[derive(Debug)]
struct Entry {
    pod: Arc<EnrolledPod>,
    request: AccessRequest,
    revoked: CancellationToken,
    /// What the last decision here depended on; `None` until the first.
    basis: Option<Basis>,
}

/// A connection on the list, until dropped.
#[derive(Debug)]
pub(super) struct Tracked {
    live: LiveConnections,
    id: u64,
    pub(super) revoked: CancellationToken,
}

impl LiveConnections {
    /// Puts a connection on the list. Call it before asking for the permit, so that no change of policy falls in between.
    pub(super) fn track(&self, pod: &Arc<EnrolledPod>, request: &AccessRequest) -> Tracked {
        let id = self.0.next.fetch_add(1, Ordering::Relaxed);
        let revoked = CancellationToken::new();
        let entry = Entry { pod: pod.clone(), request: request.clone(), revoked: revoked.clone(), basis: None };
        self.0.by_id.lock().insert(id, entry);
        Tracked { live: self.clone(), id, revoked }
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        self.live.0.by_id.lock().remove(&self.id);
    }
}

/// A pod as a decision about a connection to it sees it, at this moment.
pub(super) fn as_destination<'a>(
    pod: &EnrolledPod,
    current: &'a Changeable,
    workload: &'a Workload,
) -> Destination<'a> {
    Destination { workload, labels: &current.labels, is_leaving: pod.is_leaving() }
}

/// All that a decision about a connection depends on, besides the request, which does not change.
#[derive(Debug)]
struct Basis {
    policy_version: u64,
    /// Held, so that a workload that took its place in memory cannot be mistaken for it.
    workload: Arc<Workload>,
    /// Held likewise: the pod's labels.
    pod: Arc<Changeable>,
    is_leaving: bool,
}

impl Basis {
    fn of(mesh: &Mesh, workload: &Arc<Workload>, pod: Arc<Changeable>, is_leaving: bool) -> Self {
        Self { policy_version: mesh.policy_version(), workload: workload.clone(), pod, is_leaving }
    }

    /// Whether the decision may be another one now. The same policies about the same workload decide the same.
    fn is_outdated(&self, mesh: &Mesh, workload: &Arc<Workload>, pod: &Arc<Changeable>, is_leaving: bool) -> bool {
        self.policy_version != mesh.policy_version()
            || !Arc::ptr_eq(&self.workload, workload)
            || !Arc::ptr_eq(&self.pod, pod)
            || self.is_leaving != is_leaving
    }
}

/// Looks at the open connections at every change of the mesh, and decides again about those whose decision may be another
/// one now. Runs for ever.
pub(super) async fn watch(live: LiveConnections, mesh: SharedMesh, metrics: Arc<Metrics>) {
    let mut changes = mesh.watch();
    while changes.changed().await.is_ok() {
        let mesh = mesh.read();
        for entry in live.0.by_id.lock().values_mut() {
            // A workload that has left the mesh keeps what it has: pods are removed before their last bytes are sent.
            let Some(workload) = mesh.workload_of_pod(entry.pod.spec.key()) else { continue };
            let current = entry.pod.current();
            let destination = as_destination(&entry.pod, &current, workload);
            let is_leaving = destination.is_leaving;
            if entry.basis.as_ref().is_some_and(|basis| !basis.is_outdated(&mesh, workload, &current, is_leaving)) {
                continue;
            }
            let verdict = mesh.authorize(&destination, &entry.request);
            entry.basis = Some(Basis::of(&mesh, workload, current.clone(), is_leaving));
            if verdict.outcome.is_err() && !entry.revoked.is_cancelled() {
                metrics.policy_closed_connection();
                entry.revoked.cancel();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::authorization::{Action, Authorization, PolicyScope};
    use crate::model::mesh::{MeshSettings, MeshUpdate};
    use crate::telemetry::fixture;

    fn policy() -> MeshUpdate {
        MeshUpdate::Authorization(Box::new(Authorization {
            key: "shop/deny".into(),
            namespace: "shop".into(),
            scope: PolicyScope::Namespace,
            action: Action::Deny,
            dry_run: false,
            groups: Vec::new(),
            invalid: None,
        }))
    }

    fn workload(app: &str) -> Workload {
        fixture::workload("shop", app, "10.0.0.1")
    }

    #[test]
    fn a_decision_is_outdated_by_policies_and_by_its_own_workload_only() {
        let update = |workload: Workload| MeshUpdate::Workload(Box::new(workload));
        let (server, peer) = (workload("server"), fixture::workload("shop", "peer", "10.0.0.2"));
        let listing = Workload { authorization_policies: vec!["shop/deny".into()], ..server.clone() };
        for (name, updates, expected) in [
            ("nothing changes", vec![], false),
            ("another workload comes", vec![update(peer.clone())], false),
            ("another workload leaves", vec![update(peer.clone()), MeshUpdate::RemoveAddress(peer.uid.clone())], false),
            ("the same workload is sent again", vec![update(server.clone())], false),
            ("the workload lists a policy", vec![update(listing)], true),
            (
                "the workload goes and comes",
                vec![MeshUpdate::RemoveAddress(server.uid.clone()), update(server.clone())],
                true,
            ),
            ("a policy comes", vec![policy()], true),
            ("a policy goes", vec![MeshUpdate::RemoveAuthorization("shop/deny".into())], true),
            ("a policy object goes", vec![MeshUpdate::RemovePolicyObject("shop/deny".into())], true),
            ("settings come", vec![MeshUpdate::Settings(MeshSettings::default())], true),
        ] {
            let mut mesh = Mesh::default();
            mesh.apply(update(server.clone()));
            let pod = Arc::new(Changeable { labels: BTreeMap::new(), probe_ports: Vec::new() });
            let basis = Basis::of(&mesh, mesh.workload(&server.uid).unwrap(), pod.clone(), false);
            updates.into_iter().for_each(|update| mesh.apply(update));
            let now = mesh.workload(&server.uid).unwrap();
            assert_eq!(basis.is_outdated(&mesh, now, &pod, false), expected, "{name}");
            assert!(basis.is_outdated(&mesh, now, &pod, true), "{name}, and the pod leaves the mesh");
            let described_anew = Arc::new((*pod).clone());
            assert!(basis.is_outdated(&mesh, now, &described_anew, false), "{name}, and the pod has other labels");
        }
    }
}

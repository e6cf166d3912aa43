//! Inbound connections that are open now. When policies, or the workload that a connection reaches, change, it is decided
//! again, and closed if policy no longer permits it. A connection whose requests are decided about one by one is told of the change,
//! and decides again about those that are under way.
//!
//! They are kept by pod. A change of the mesh costs a pod whose decisions stay the same one comparison, however many
//! connections it has, and a connection that opens or closes meanwhile waits for no other pod's. Where they may change, some
//! are decided about at a time: neither the mesh nor the pod's list is held for longer than that.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::found_by::FoundBy;
use crate::enrollment::pod::{Changeable, EnrolledPod};
use crate::model::authentication::{AuthenticationConfig, SelectedPod};
use crate::model::authorization::{AccessRequest, Destination};
use crate::model::mesh::Mesh;
use crate::model::rate_limit::config::RateLimitConfig;
use crate::model::workload::Workload;
use crate::state::SharedMesh;
use crate::telemetry::metrics::Metrics;

/// How long connections are decided about in a row. What comes meanwhile waits that long, and for one decision more: a policy may
/// have very many values, so that a number of decisions bounds no time.
const DECIDING_IN_A_ROW: Duration = Duration::from_micros(500);

/// The inbound connections of this node that are open now. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct LiveConnections(Arc<Mutex<Vec<Weak<PodConnections>>>>);

impl LiveConnections {
    /// The list of a pod's connections, empty at first; kept for as long as somebody has it.
    pub(super) fn of_pod(&self, pod: Arc<EnrolledPod>) -> Arc<PodConnections> {
        let list = Arc::new(PodConnections { pod, connections: Mutex::default() });
        self.0.lock().push(Arc::downgrade(&list));
        list
    }

    /// The lists that somebody still has.
    fn all(&self) -> Vec<Arc<PodConnections>> {
        let mut lists = self.0.lock();
        lists.retain(|list| list.strong_count() > 0);
        lists.iter().filter_map(Weak::upgrade).collect()
    }
}

/// The inbound connections of one pod that are open now.
#[derive(Debug)]
pub(super) struct PodConnections {
    pod: Arc<EnrolledPod>,
    connections: Mutex<Connections>,
}

/// A connection on the list, until dropped.
#[derive(Debug)]
pub(super) struct Tracked {
    list: Arc<PodConnections>,
    number: u64,
    pub(super) revoked: CancellationToken,
}

/// A connection on the list whose requests are decided about one by one.
#[derive(Debug)]
pub(super) struct TrackedRequests {
    pub(super) connection: Tracked,
    pub(super) changes: PolicyChanges,
}

/// Tells of changes after which another decision may be due.
#[derive(Debug, Clone)]
pub(super) struct PolicyChanges(watch::Receiver<()>);

impl PolicyChanges {
    /// Looks at the changes that were told of so far as known. Call it before deciding, so that none falls in between.
    pub(super) fn catch_up(&mut self) {
        self.0.mark_unchanged();
    }

    /// Whether there was a change that is not known.
    pub(super) fn is_behind(&self) -> bool {
        self.0.has_changed().unwrap_or(true)
    }

    /// Resolves with the next change.
    pub(super) async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            // The connection is not on the list any more.
            std::future::pending().await
        }
    }
}

impl PodConnections {
    /// Puts a connection on the list. Call it before asking for the permit, so that no change of policy falls in between.
    pub(super) fn track(self: &Arc<Self>, request: &AccessRequest) -> Tracked {
        self.add(Entry::of_bytes(request, false))
    }

    /// The same for a connection of which nobody has looked whether it carries requests: it ends when requests to its port become
    /// limited, or their tokens have to be verified.
    pub(super) fn track_unread(self: &Arc<Self>, request: &AccessRequest) -> Tracked {
        self.add(Entry::of_bytes(request, true))
    }

    /// The same for a connection whose requests are decided about one by one.
    pub(super) fn track_requests(self: &Arc<Self>, request: &AccessRequest) -> TrackedRequests {
        let (changed, changes) = watch::channel(());
        let entry = Entry { changed: Some(changed), ..Entry::of_bytes(request, false) };
        TrackedRequests { connection: self.add(entry), changes: PolicyChanges(changes) }
    }

    fn add(self: &Arc<Self>, entry: Entry) -> Tracked {
        let revoked = entry.revoked.clone();
        let number = self.connections.lock().add(entry);
        Tracked { list: self.clone(), number, revoked }
    }

    /// Ends the connections whose requests nobody reads, where a RequestAuthentication is about the pod by now.
    fn end_unread(&self, config: &Arc<AuthenticationConfig>, workload: Option<Arc<Workload>>, metrics: &Metrics) {
        let now = FoundBy { config: config.clone(), pod: self.pod.current(), workload };
        let mut connections = self.connections.lock();
        if connections.authenticated.as_ref() == Some(&now) {
            return;
        }
        let (namespace, labels) = (&*self.pod.spec.namespace, &now.pod.labels);
        if config.about(SelectedPod { namespace, labels, workload: now.workload.as_deref() }).next().is_some() {
            let open = connections.by_number.values().filter(|entry| !entry.revoked.is_cancelled());
            for entry in open.filter(|entry| entry.is_unread) {
                metrics.policy_closed_connection();
                entry.revoked.cancel();
            }
        }
        connections.authenticated = Some(now);
    }

    /// Decides again about some of the connections whose decision may be another one now. Returns whether there are more.
    fn decide_again(&self, mesh: &Mesh, limits: &Arc<RateLimitConfig>, metrics: &Metrics) -> bool {
        // A workload that has left the mesh keeps what it has: pods are removed before their last bytes are sent.
        let Some(workload) = mesh.workload_of_pod(self.pod.spec.key()) else { return false };
        let current = self.pod.current();
        let destination = as_destination(&self.pod, &current, workload);
        let now = Basis::of(mesh, limits, workload, current.clone(), destination.is_leaving);
        let counting = OnceCell::new();
        let are_limited = |port| {
            let find = || limits.counting(&self.pod.spec.namespace, &current.labels, &workload.services);
            counting.get_or_init(find).iter().any(|limit| limit.counts_at(port))
        };
        let begun = Instant::now();
        let is_time_over = || begun.elapsed() >= DECIDING_IN_A_ROW;
        self.connections.lock().decide_again(now, is_time_over, |entry| {
            let Entry { request, revoked, changed, is_unread } = entry;
            let is_denied = match changed {
                None => {
                    mesh.authorize(&destination, request).outcome.is_err()
                        || (*is_unread && are_limited(request.destination.port()))
                }
                // Requests that are under way decide by themselves.
                Some(_) => mesh.admit(&destination, request).outcome.is_err(),
            };
            if is_denied && !revoked.is_cancelled() {
                metrics.policy_closed_connection();
                revoked.cancel();
            }
            if let Some(changed) = changed {
                changed.send_replace(());
            }
        })
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        self.list.connections.lock().by_number.remove(&self.number);
    }
}

/// A connection as the list has it.
#[derive(Debug)]
struct Entry {
    request: AccessRequest,
    revoked: CancellationToken,
    /// Where its requests are decided about one by one: whom to tell.
    changed: Option<watch::Sender<()>>,
    /// It may carry requests, and nobody has looked.
    is_unread: bool,
}

impl Entry {
    fn of_bytes(request: &AccessRequest, is_unread: bool) -> Self {
        Self { request: request.clone(), revoked: CancellationToken::new(), changed: None, is_unread }
    }
}

/// Connections, and how far they were decided about.
#[derive(Debug, Default)]
struct Connections {
    /// By what it was looked last whether requests have to be read; `None` until the first time.
    authenticated: Option<FoundBy<AuthenticationConfig>>,
    /// In the order in which they came.
    by_number: BTreeMap<u64, Entry>,
    next: u64,
    /// What the last decisions here depended on; `None` until the first.
    basis: Option<Basis>,
    /// From this number on connections were not decided about since their admission.
    new_from: u64,
    /// The number at which a pass over all before those goes on, if there is one.
    pass: Option<u64>,
    /// The basis has changed during the pass: another one follows. A pass is never begun anew, or connections at its end
    /// would not be reached while policies change often.
    another_pass: bool,
}

impl Connections {
    fn add(&mut self, entry: Entry) -> u64 {
        let number = self.next;
        self.next += 1;
        self.by_number.insert(number, entry);
        number
    }

    /// Has `decide` look at all connections where the basis is another one now, else at those that have come since the last
    /// time: their admission may have been decided on an older one. After each it asks whether that has to do for now; returns whether
    /// there are more.
    fn decide_again(&mut self, now: Basis, is_over: impl Fn() -> bool, mut decide: impl FnMut(&Entry)) -> bool {
        if self.basis.as_ref().is_some_and(|basis| *basis != now) {
            self.another_pass = self.pass.is_some();
            self.pass.get_or_insert(0);
        }
        self.basis = Some(now);
        let mut enough = false;
        let mut decide_in = |numbers: Range<u64>| {
            for (number, entry) in self.by_number.range(numbers) {
                if enough {
                    return Some(*number);
                }
                decide(entry);
                enough = is_over();
            }
            None
        };
        let next_new = decide_in(self.new_from..self.next);
        self.new_from = next_new.unwrap_or(self.next);
        if let Some(from) = self.pass {
            self.pass = decide_in(from..self.new_from);
            if self.pass.is_none() && std::mem::take(&mut self.another_pass) {
                self.pass = Some(0);
            }
        }
        next_new.is_some() || self.pass.is_some()
    }
}

/// A pod as a decision about a connection to it sees it, at this moment.
#[must_use]
pub fn as_destination<'a>(pod: &EnrolledPod, current: &'a Changeable, workload: &'a Workload) -> Destination<'a> {
    Destination { workload, labels: &current.labels, is_leaving: pod.is_leaving() }
}

/// All that a decision about a connection depends on, besides the request, which does not change. The same policies and limits about the
/// same workload and the same labels of the pod decide the same.
#[derive(Debug)]
struct Basis {
    policy_version: u64,
    limits: Arc<RateLimitConfig>,
    /// Held, so that a workload that took its place in memory cannot be mistaken for it.
    workload: Arc<Workload>,
    /// Held likewise: the pod's labels.
    pod: Arc<Changeable>,
    is_leaving: bool,
}

impl Basis {
    fn of(
        mesh: &Mesh,
        limits: &Arc<RateLimitConfig>,
        workload: &Arc<Workload>,
        pod: Arc<Changeable>,
        is_leaving: bool,
    ) -> Self {
        let (limits, workload) = (limits.clone(), workload.clone());
        Self { policy_version: mesh.policy_version(), limits, workload, pod, is_leaving }
    }
}

impl PartialEq for Basis {
    fn eq(&self, other: &Self) -> bool {
        self.policy_version == other.policy_version
            && self.limits == other.limits
            && Arc::ptr_eq(&self.workload, &other.workload)
            && Arc::ptr_eq(&self.pod, &other.pod)
            && self.is_leaving == other.is_leaving
    }
}

/// Looks at the open connections at every change of the mesh, of rate limits or of whose tokens count, and decides again about those
/// whose decision may be another one now. Runs for ever.
pub(super) async fn watch(live: LiveConnections, mesh: SharedMesh, metrics: Arc<Metrics>) {
    let (mut changes, mut object_changes) = (mesh.watch(), mesh.routes().watch());
    let of_requests = || {
        let config = mesh.routes().current();
        (config.rate_limits().clone(), config.authentication().clone())
    };
    let mut current = of_requests();
    loop {
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            changed = object_changes.changed() => {
                if changed.is_err() {
                    return;
                }
                let now = of_requests();
                // Most changes of objects about requests are none of these.
                if now == current {
                    continue;
                }
                current = now;
            }
        }
        let (limits, authentication) = &current;
        for list in live.all() {
            if !authentication.objects.is_empty() {
                let workload = mesh.read().workload_of_pod(list.pod.spec.key()).cloned();
                list.end_unread(authentication, workload, &metrics);
            }
            while list.decide_again(&mesh.read(), limits, &metrics) {
                tokio::task::yield_now().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::model::authorization::{Action, Authorization, Groups, PolicyScope};
    use crate::model::mesh::{MeshSettings, MeshUpdate};
    use crate::telemetry::fixture;

    fn policy() -> MeshUpdate {
        MeshUpdate::Authorization(Box::new(Authorization {
            key: "shop/deny".into(),
            namespace: "shop".into(),
            scope: PolicyScope::Namespace,
            action: Action::Deny,
            dry_run: false,
            provider: "".into(),
            groups: Groups::default(),
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
            let (mut mesh, limits) = (Mesh::default(), Arc::default());
            mesh.apply(update(server.clone()));
            let pod = Arc::new(Changeable { labels: BTreeMap::new(), probe_ports: Vec::new() });
            let basis = Basis::of(&mesh, &limits, mesh.workload(&server.uid).unwrap(), pod.clone(), false);
            updates.into_iter().for_each(|update| mesh.apply(update));
            let now = mesh.workload(&server.uid).unwrap();
            let now_of = |pod: &Arc<Changeable>, is_leaving| Basis::of(&mesh, &limits, now, pod.clone(), is_leaving);
            assert_eq!(basis != now_of(&pod, false), expected, "{name}");
            assert!(basis != now_of(&pod, true), "{name}, and the pod leaves the mesh");
            let described_anew = Arc::new((*pod).clone());
            assert!(basis != now_of(&described_anew, false), "{name}, and the pod has other labels");
        }
    }

    #[test]
    fn endpoints_that_come_and_go_ask_about_new_connections_only() {
        let (own, other) = (workload("server"), fixture::workload("shop", "other", "10.0.0.9"));
        let mut mesh = Mesh::default();
        mesh.apply(MeshUpdate::Workload(Box::new(own.clone())));
        let request = AccessRequest {
            source: None,
            source_ip: "10.0.0.7".parse().expect("an address"),
            destination: "10.0.0.1:80".parse().expect("an address"),
        };
        let pod = Arc::new(Changeable { labels: BTreeMap::new(), probe_ports: Vec::new() });
        let mut connections = Connections::default();
        let add = |connections: &mut Connections, count: u32| {
            for _ in 0..count {
                connections.add(Entry::of_bytes(&request, false));
            }
        };
        let asked = |connections: &mut Connections, mesh: &Mesh| {
            let (mut asked, own) = (0, mesh.workload(&own.uid).expect("it is there"));
            let basis = || Basis::of(mesh, &Arc::default(), own, pod.clone(), false);
            while connections.decide_again(basis(), || true, |_| asked += 1) {}
            asked
        };
        add(&mut connections, 20_000);
        assert_eq!(asked(&mut connections, &mesh), 20_000, "none was asked about before");
        for change in 0..20 {
            let update = match change % 2 {
                0 => MeshUpdate::Workload(Box::new(other.clone())),
                _ => MeshUpdate::RemoveAddress(other.uid.clone()),
            };
            mesh.apply(update);
            assert_eq!(asked(&mut connections, &mesh), 0, "change {change}");
        }
        add(&mut connections, 3);
        assert_eq!(asked(&mut connections, &mesh), 3, "those that came since");
        mesh.apply(policy());
        assert_eq!(asked(&mut connections, &mesh), 20_003, "policy changed");
    }
    #[test]
    fn all_are_asked_about_in_turn_however_often_policies_change() {
        let own = workload("server");
        let mut mesh = Mesh::default();
        mesh.apply(MeshUpdate::Workload(Box::new(own.clone())));
        let pod = Arc::new(Changeable { labels: BTreeMap::new(), probe_ports: Vec::new() });
        let mut connections = Connections::default();
        let entry = |port: u16| {
            let request = AccessRequest {
                source: None,
                source_ip: "10.0.0.7".parse().expect("an address"),
                destination: ("10.0.0.1".parse::<std::net::IpAddr>().expect("an address"), port).into(),
            };
            Entry::of_bytes(&request, false)
        };
        for port in 1..=10 {
            connections.add(entry(port));
        }
        let mut turn = |changes: bool, comes: Option<u16>| {
            if changes {
                mesh.apply(policy());
            }
            if let Some(port) = comes {
                connections.add(entry(port));
            }
            let own = mesh.workload(&own.uid).expect("it is there");
            let asked = RefCell::new(Vec::new());
            let basis = Basis::of(&mesh, &Arc::default(), own, pod.clone(), false);
            let port = |entry: &Entry| entry.request.destination.port();
            let four = || asked.borrow().len() == 4;
            let more = connections.decide_again(basis, four, |entry| asked.borrow_mut().push(port(entry)));
            (asked.into_inner(), more)
        };
        for (changes, comes, asked, more) in [
            (false, None, vec![1, 2, 3, 4], true),
            (true, None, vec![5, 6, 7, 8], true),
            (true, Some(11), vec![9, 10, 11, 1], true),
            (true, None, vec![2, 3, 4, 5], true),
            (false, Some(12), vec![12, 6, 7, 8], true),
            (false, None, vec![9, 10, 11, 12], true),
            (false, None, vec![1, 2, 3, 4], true),
            (false, None, vec![5, 6, 7, 8], true),
            (false, None, vec![9, 10, 11, 12], false),
            (false, None, vec![], false),
            (false, Some(13), vec![13], false),
        ] {
            assert_eq!(turn(changes, comes), (asked, more));
        }
    }
}

//! What choosing endpoints remembers: whose turn it is (`loadBalancer.simple: ROUND_ROBIN`), and who is new (`warmup`).

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::model::balance::{Warming, Warmup};
use crate::model::mesh::Mesh;
use crate::model::peer_authentication::Labels;
use crate::model::service::ServiceKey;
use crate::model::workload::HealthStatus;

/// Destinations of one pod from which on all begin anew.
const MAX_DESTINATIONS: usize = 4096;

/// The turns of one pod, by a hash of the destination: two of one hash would only share their turns.
#[derive(Debug, Default)]
pub(in crate::proxy) struct Turns {
    next: Mutex<HashMap<u64, u64>>,
    hasher: RandomState,
}

impl Turns {
    /// The number of the next turn at a port of a service, and a subset. A first one is by chance, so that not all pods begin with
    /// the same endpoint.
    pub(super) fn take(&self, service: &ServiceKey, port: u16, subset: Option<&Labels>) -> u64 {
        let destination = self.hasher.hash_one((service, port, subset));
        let mut next = self.next.lock();
        if next.len() >= MAX_DESTINATIONS && !next.contains_key(&destination) {
            next.clear();
        }
        let turn = next.entry(destination).or_insert_with(|| rand::random::<u32>().into());
        *turn = turn.wrapping_add(1);
        *turn
    }
}

/// Services with a warm-up from which on all are looked at anew.
const MAX_SERVICES: usize = 4096;

/// Since when endpoints of services serve, where a DestinationRule has new ones warm up. Shared by all pods of the node.
#[derive(Debug, Default)]
pub(in crate::proxy) struct Warmups(Mutex<HashMap<ServiceKey, Known>>);

/// The endpoints of one service.
#[derive(Debug, Default)]
struct Known {
    /// The changes of the service's endpoints up to which they are known.
    changes: u64,
    /// Those that serve, with the time of their first sight; `None` for those that were there when the service was first looked at.
    since: HashMap<Arc<str>, Option<Instant>>,
    /// Those that may still warm up.
    young: Vec<(Arc<str>, Instant)>,
    /// The longest warm-up that was asked for.
    longest: Duration,
}

impl Warmups {
    /// The endpoints of a service that warm up now; `None` where there are none.
    pub(super) fn warming(&self, mesh: &Mesh, service: &ServiceKey, warmup: &Warmup, now: Instant) -> Option<Warming> {
        let mut all = self.0.lock();
        if all.len() >= MAX_SERVICES && !all.contains_key(service) {
            all.clear();
        }
        let changes = mesh.endpoint_changes(service);
        let known = match all.get_mut(service) {
            Some(known) if known.changes == changes => known,
            Some(known) => {
                known.follow(mesh, service, Some(now));
                known
            }
            None => {
                let known = all.entry(service.clone()).or_default();
                known.follow(mesh, service, None);
                known
            }
        };
        known.changes = changes;
        known.longest = known.longest.max(warmup.duration);
        let longest = known.longest;
        known.young.retain(|(_, since)| now.saturating_duration_since(*since) < longest);
        let percent = |(uid, since): &(Arc<str>, Instant)| {
            Some((uid.clone(), warmup.percent(now.saturating_duration_since(*since))?))
        };
        Warming::of(known.young.iter().filter_map(percent))
    }
}

impl Known {
    /// Takes note of who serves now; `since` is the time of whoever did not before. One that stops to serve begins anew.
    fn follow(&mut self, mesh: &Mesh, service: &ServiceKey, since: Option<Instant>) {
        let mut before = std::mem::take(&mut self.since);
        for endpoint in mesh.endpoints(service).filter(|endpoint| endpoint.status == HealthStatus::Healthy) {
            let known = before.remove(&endpoint.uid);
            if known.is_none()
                && let Some(since) = since
            {
                self.young.push((endpoint.uid.clone(), since));
            }
            self.since.insert(endpoint.uid.clone(), known.unwrap_or(since));
        }
        let serving = &self.since;
        self.young.retain(|(uid, since)| serving.get(uid) == Some(&Some(*since)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::mesh::MeshUpdate;
    use crate::model::service::PortMapping;
    use crate::model::workload::Workload;

    #[test]
    fn turns_of_a_destination_follow_each_other() {
        let (turns, service) = (Turns::default(), ServiceKey::new("s", "web"));
        let subset = Labels::from([("version".to_owned(), "v1".to_owned())]);
        let first = turns.take(&service, 80, None);
        let other = turns.take(&service, 80, Some(&subset));
        assert_eq!((turns.take(&service, 80, None), turns.take(&service, 80, None)), (first + 1, first + 2));
        assert_eq!(turns.take(&service, 80, Some(&subset)), other + 1);
        for port in 0..u16::try_from(MAX_DESTINATIONS).expect("few") * 2 {
            turns.take(&service, port, None);
        }
        assert!(turns.next.lock().len() <= MAX_DESTINATIONS);
    }

    fn endpoint(name: &str, status: HealthStatus) -> MeshUpdate {
        let ports = vec![PortMapping { service_port: 80, target_port: 80 }];
        let services = std::collections::BTreeMap::from([(ServiceKey::new("s", "web"), ports)]);
        let workload = Workload { status, services: services.into(), ..Workload::new(name, "s", name) };
        MeshUpdate::Workload(Box::new(workload))
    }

    #[test]
    fn endpoints_that_come_later_warm_up() {
        let (warmups, service, start) = (Warmups::default(), ServiceKey::new("s", "web"), Instant::now());
        let mut mesh = Mesh::default();
        let warmup = Warmup { duration: Duration::from_secs(100), minimum_percent: 10.0, aggression: 1.0 };
        let at =
            |mesh: &Mesh, seconds: u64| warmups.warming(mesh, &service, &warmup, start + Duration::from_secs(seconds));
        let only = |uid: &str, percent: u8| Warming::of([(uid.into(), percent)]);
        mesh.apply(endpoint("old", HealthStatus::Healthy));
        assert_eq!(at(&mesh, 0), None, "it was there");
        mesh.apply(endpoint("new", HealthStatus::Unhealthy));
        assert_eq!(at(&mesh, 10), None, "it does not serve yet");
        mesh.apply(endpoint("new", HealthStatus::Healthy));
        assert_eq!(at(&mesh, 20), only("new", 10));
        assert_eq!(at(&mesh, 70), only("new", 50));
        mesh.apply(endpoint("old", HealthStatus::Healthy));
        assert_eq!(at(&mesh, 95), only("new", 75));
        assert_eq!(at(&mesh, 120), None, "it has its whole share");
        mesh.apply(endpoint("new", HealthStatus::Unhealthy));
        assert_eq!(at(&mesh, 130), None);
        mesh.apply(endpoint("new", HealthStatus::Healthy));
        assert_eq!(at(&mesh, 140), only("new", 10), "it begins anew");
    }
}

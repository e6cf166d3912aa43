//! Every upstream that one connection may be resolved to: for whoever has to draw without asking the mesh again.

use std::net::SocketAddr;

use super::endpoint::{Destination, Resolution, Subject};
use super::upstream::Upstream;
use crate::model::address::{OriginalDst, canonical};
use crate::model::balance::{Choice, RequestedPort};
use crate::model::mesh::{Mesh, OutboundTrafficPolicy};
use crate::model::workload::Workload;

impl Mesh {
    /// The upstreams among which chance decides where a connection goes, each with its weight. `None` where something else decides, where
    /// there is a waypoint or another way in between, and where the connection goes nowhere.
    #[must_use]
    pub fn upstreams_by_chance(
        &self,
        policy: OutboundTrafficPolicy,
        source: &Workload,
        dialled: OriginalDst,
    ) -> Option<Vec<(Upstream, u64)>> {
        let destination: SocketAddr = canonical(dialled.0);
        let (subject, choice, excluded) = (Subject::Connection, Choice::default(), &|_: &Workload| false);
        let resolution =
            Resolution { mesh: self, source, destination, subject, choice, policy, excluded, random: || 0 };
        match Destination::of(self, source, destination.ip()) {
            Destination::Workload(workload) if workload.waypoint.is_none() => {
                let upstream = self.resolve_under(policy, source, dialled, || 0).ok()?;
                Some(vec![(upstream, 1)])
            }
            Destination::Service(service) => {
                if !resolution.is_plain(service) {
                    return None;
                }
                let port = RequestedPort::Service(destination.port());
                let endpoints = self.services.endpoints(&service.key)?.by_chance(service, port, source)?;
                let reach = |(endpoint, weight)| Some((resolution.reach_endpoint(service, endpoint).ok()?, weight));
                endpoints.into_iter().map(reach).collect()
            }
            Destination::Workload(_) | Destination::Unknown => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::resolve::Transport;
    use crate::model::sample::{gateway_named, mesh, service, serving, workload};
    use crate::model::service::Service;
    use crate::model::workload::HealthStatus;

    #[test]
    fn what_chance_decides_is_told_and_nothing_else() {
        let web = |name: &str, ip: &str| serving(workload(name, &[ip]), &[("web", 80, 8080)]);
        let away = Workload { status: HealthStatus::Unhealthy, ..web("away", "10.0.0.3") };
        let heavy = Workload { capacity: 3, ..web("heavy", "10.0.0.2") };
        let pods = || [web("one", "10.0.0.1"), heavy.clone(), away.clone()];
        let plain = || service("web", &["10.96.0.7"], &[(80, 8080)]);
        let told = |service: Service, dialled: &str| {
            let mut mesh = mesh([service.into()]);
            pods().into_iter().for_each(|pod| mesh.apply(pod.into()));
            let dialled = OriginalDst(dialled.parse().expect("an address"));
            let source = workload("client", &["10.0.9.9"]);
            let found = mesh.upstreams_by_chance(OutboundTrafficPolicy::AllowAny, &source, dialled)?;
            let shown = |(upstream, weight): &(Upstream, u64)| match &upstream.transport {
                Transport::Hbone { authority, .. } => format!("{authority} {weight}"),
                other => format!("{other:?}"),
            };
            let mut shown: Vec<_> = found.iter().map(shown).collect();
            shown.sort();
            Some(shown.join(", "))
        };
        let affine = Service { client_ip_affinity: true, ..plain() };
        let behind = Service { waypoint: Some(gateway_named("w.example.com")), ..plain() };
        for (service, dialled, expected) in [
            (plain(), "10.96.0.7:80", Some("10.0.0.1:8080 1, 10.0.0.2:8080 3")),
            (plain(), "10.0.0.1:8080", Some("10.0.0.1:8080 1")),
            (plain(), "10.96.0.7:81", None),
            (affine, "10.96.0.7:80", None),
            (behind, "10.96.0.7:80", None),
            (plain(), "192.0.2.1:80", None),
        ] {
            assert_eq!(told(service, dialled).as_deref(), expected, "{dialled}");
        }
    }
}

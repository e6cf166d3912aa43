//! Collectors that MeshConfig names as providers of spans: each is a service of the mesh, whose endpoints the agent connects to by
//! itself, outside of the pods. A change of the endpoints is followed; spans are lost only where there are none.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::transport::channel::Change;
use tonic::transport::{Channel, Endpoint};

use super::exporter::{EXPORT_TIMEOUT, Exporter};
use crate::model::http::trace::Sampling;
use crate::model::mesh::Mesh;
use crate::model::telemetry::config::TelemetryConfig;
use crate::model::telemetry::providers::{Collector, ProviderKind};
use crate::model::workload::{HealthStatus, Workload};
use crate::state::SharedMesh;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::spans::Tracing;

/// Endpoints of one collector that are connected to, at most.
const MAX_ENDPOINTS: usize = 64;
/// Changes of endpoints that may wait to be taken.
const CHANGES: usize = 2 * MAX_ENDPOINTS;

/// What spans are sent to, by the names of providers.
#[derive(Debug)]
pub struct SpanProviders {
    mesh: SharedMesh,
    metrics: Arc<Metrics>,
    /// Counts where no object says how many requests are recorded.
    sampling: Sampling,
    running: HashMap<Collector, Running>,
}

#[derive(Debug)]
struct Running {
    tracing: Arc<Tracing>,
    /// Follows the endpoints, and ends with it.
    _following: JoinSet<()>,
}

impl SpanProviders {
    /// None yet.
    #[must_use]
    pub fn new(mesh: SharedMesh, metrics: Arc<Metrics>, sampling: Sampling) -> Self {
        Self { mesh, metrics, sampling, running: HashMap::new() }
    }

    /// The providers that a configuration has. Collectors that it has no longer get what is under way, and nothing more.
    pub fn of(&mut self, telemetry: &TelemetryConfig) -> Vec<(Arc<str>, Arc<Tracing>)> {
        let mut found = Vec::new();
        for provider in &telemetry.defaults.providers {
            if let ProviderKind::Spans(collector) = &provider.kind {
                found.push((provider.name.clone(), collector.clone()));
            }
        }
        self.running.retain(|collector, _| found.iter().any(|(_, wanted)| wanted == collector));
        found.into_iter().map(|(name, collector)| (name, self.tracing(collector))).collect()
    }

    fn tracing(&mut self, collector: Collector) -> Arc<Tracing> {
        if let Some(running) = self.running.get(&collector) {
            return running.tracing.clone();
        }
        let (tracing, waiting) = Tracing::new(self.sampling);
        let tracing = Arc::new(tracing);
        let (channel, changes) = Channel::balance_channel(CHANGES);
        tokio::spawn(Exporter::over(channel, self.metrics.clone()).run(waiting));
        let mut following = JoinSet::new();
        following.spawn(follow(self.mesh.clone(), collector.clone(), changes));
        self.running.insert(collector, Running { tracing: tracing.clone(), _following: following });
        tracing
    }
}

/// Tells a channel which endpoints its collector has, for as long as it exists.
async fn follow(mesh: SharedMesh, collector: Collector, changes: mpsc::Sender<Change<SocketAddr, Endpoint>>) {
    let (mut mesh_changes, mut known) = (mesh.watch(), BTreeSet::new());
    loop {
        let current = endpoints(&mesh.read(), &collector);
        let removed = known.difference(&current).map(|gone| Change::Remove(*gone));
        let added = current.difference(&known).map(|address| Change::Insert(*address, endpoint(*address)));
        for change in removed.chain(added).collect::<Vec<_>>() {
            if changes.send(change).await.is_err() {
                return;
            }
        }
        known = current;
        if mesh_changes.changed().await.is_err() {
            return;
        }
    }
}

fn endpoint(address: SocketAddr) -> Endpoint {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address is an authority");
    endpoint.connect_timeout(EXPORT_TIMEOUT).timeout(EXPORT_TIMEOUT)
}

/// Where the healthy endpoints of a collector listen.
fn endpoints(mesh: &Mesh, collector: &Collector) -> BTreeSet<SocketAddr> {
    let Some(service) = mesh.service_by_hostname(&collector.service, "") else { return BTreeSet::new() };
    let of_workload = |workload: &Arc<Workload>| {
        let ports = workload.services.get(&service.key)?;
        let port = ports.iter().find(|port| port.service_port == collector.port)?.target_port;
        Some(SocketAddr::new(*workload.addresses.first()?, port))
    };
    let healthy = mesh.endpoints(&service.key).filter(|workload| workload.status == HealthStatus::Healthy);
    healthy.filter_map(of_workload).take(MAX_ENDPOINTS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::fixture::mesh;

    #[test]
    fn a_collector_is_where_the_endpoints_of_its_service_listen() {
        let mesh = mesh();
        for (service, port, expected) in [
            ("reviews.shop.svc.cluster.local", 80, &["10.0.0.2:9080"][..]),
            ("reviews.shop.svc.cluster.local", 81, &[]),
            ("nobody.shop.svc.cluster.local", 80, &[]),
        ] {
            let collector = Collector { service: service.into(), port };
            let expected: BTreeSet<SocketAddr> =
                expected.iter().map(|address| address.parse().expect("it is one")).collect();
            assert_eq!(endpoints(&mesh, &collector), expected, "{service}:{port}");
        }
    }
}

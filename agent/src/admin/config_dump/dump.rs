//! The whole dump, as one JSON object.

use serde::Serialize;
use serde_json::Value;

use super::certificates::{self, IdentityView};
use super::connections::{self, PodsView};
use super::policies::PolicyView;
use super::services::{self, ServiceView, StagedServices};
use super::settings;
use super::workloads::WorkloadView;
use crate::admin::sources::{AdminSources, MeshCopy};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ConfigDump<'a> {
    workloads: Vec<WorkloadView<'a>>,
    services: Vec<ServiceView<'a>>,
    policies: Vec<PolicyView<'a>>,
    /// Policies and routes as their authors wrote them.
    objects: Vec<Value>,
    /// Services that workloads name but nobody has described yet.
    staged_services: StagedServices<'a>,
    static_config: Value,
    version: Value,
    config: Value,
    certificates: Vec<IdentityView<'a>>,
    workload_state: PodsView<'a>,
}

/// Everything of now, as text.
///
/// # Errors
/// Never for the types that are in it.
pub(in crate::admin) fn config_dump(sources: &AdminSources) -> serde_json::Result<Vec<u8>> {
    // The lock is held for the copy of references only, not while a large mesh is written.
    let mesh = MeshCopy::of(&sources.mesh.read());
    write(sources, mesh)
}

fn write(sources: &AdminSources, mut mesh: MeshCopy) -> serde_json::Result<Vec<u8>> {
    mesh.workloads.sort_by(|a, b| a.uid.cmp(&b.uid));
    mesh.services.sort_by(|a, b| a.key.cmp(&b.key));
    mesh.authorizations.sort_by(|a, b| a.key.cmp(&b.key));
    let (certificates, pods, connections) =
        ((sources.certificates)(), (sources.pods)(), sources.metrics.live_connections());
    let endpoints = services::endpoints(&mesh.workloads);
    let dump = ConfigDump {
        workloads: mesh.workloads.iter().map(|workload| WorkloadView::new(workload)).collect(),
        services: mesh.services.iter().map(|service| ServiceView::new(service, &endpoints)).collect(),
        policies: mesh.authorizations.iter().map(|policy| PolicyView::new(policy, &mesh.policy_objects)).collect(),
        objects: (sources.objects)(),
        staged_services: services::staged(&mesh.services, &endpoints),
        static_config: settings::static_config(&sources.config),
        version: settings::version(),
        config: settings::settings(&sources.config),
        certificates: certificates::identities(&certificates, &*sources.describe_certificate),
        workload_state: connections::by_pod(&pods, &connections),
    };
    serde_json::to_vec_pretty(&dump)
}

#[cfg(test)]
mod tests;

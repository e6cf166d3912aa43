//! Labels of pods that tell endpoints apart, from Kubernetes to the mesh: istiod's workload API carries two labels.

use std::sync::Arc;
use std::time::Duration;

use super::settings;
use crate::config::{AgentConfig, ObjectsFrom};
use crate::kubernetes::{PodLabels, connect};
use crate::lifecycle::Ready;
use crate::model::mesh::MeshUpdate;
use crate::state::SharedMesh;
use crate::telemetry::metrics::Metrics;
use crate::xds::XdsStatus;

/// How long readiness waits for the labels that the last good configuration asks for. After that the agent serves without.
const FIRST_LABELS_GRACE: Duration = Duration::from_secs(5);

/// Begins to follow the labels that objects ask for, where the agent has access to Kubernetes. Files say labels themselves.
pub(super) async fn start(
    config: &AgentConfig,
    mesh: &SharedMesh,
    status: &XdsStatus,
    metrics: &Arc<Metrics>,
    ready: &Ready,
) {
    let has_access = config.kubernetes.is_on() || config.istiod.objects == ObjectsFrom::Kubernetes;
    if !has_access || config.files.config.is_some() {
        return;
    }
    // Why there is no access is told by what cannot do without.
    let Ok(client) = connect(&settings::cluster_access(config)).await else { return };
    let sink = {
        let mesh = mesh.clone();
        Box::new(move |uid, labels| mesh.apply([MeshUpdate::PodLabels(uid, labels)]))
    };
    let mut labels = PodLabels::new(client, &config.node.cluster_id, metrics.clone(), sink);
    status.add_object_faults({
        let faults = labels.faults();
        move || faults.told()
    });
    let (blocker, synced, routes) = (ready.block("labels of pods"), status.clone(), mesh.routes().clone());
    tokio::spawn(async move {
        let mut changed = routes.watch();
        synced.first_sync().await;
        labels.follow(routes.current().asked_labels());
        if tokio::time::timeout(FIRST_LABELS_GRACE, labels.all_listed()).await.is_err() {
            tracing::warn!("Kubernetes has not told all labels of pods yet: subsets may lack endpoints until it does");
        }
        drop(blocker);
        while changed.changed().await.is_ok() {
            labels.follow(routes.current().asked_labels());
        }
    });
}

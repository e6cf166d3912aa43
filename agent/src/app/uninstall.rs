//! Takes Weir off a node while its agent still runs, where the cluster says that it is uninstalled.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep, timeout_at};

use super::cni::{self, Cni};
use super::foundation::Foundation;
use super::kubernetes::Cluster;
use crate::capture::Capture;
use crate::config::AgentConfig;
use crate::enrollment::pod::{EnrolledPod, Origin};
use crate::kubernetes::Annotations;
use crate::node_files;
use crate::state::SharedMesh;

/// How long an agent that is uninstalled waits for the API server and the control plane, of the two seconds that it has.
const CLUSTER_TIMEOUT: Duration = Duration::from_secs(1);
/// How long inbound connections of pods are still captured after their outbound ones are not. The agents of other nodes
/// stop a little earlier or later, and until then send HBONE.
const INBOUND_CAPTURE_OVERLAP: Duration = Duration::from_millis(500);

/// Takes Weir off this node, within two seconds: pods say no more that they are captured, what they open goes direct, those who
/// talk to them have a moment to do so too, then nothing is captured, and programs, maps and files go. Connections that are
/// open go on until the process ends. What fails is reported and does not stop the rest.
pub(super) async fn uninstall_node(foundation: &Foundation, cni: Option<Cni>, cluster: Option<Cluster>) {
    let Foundation { config, enrollment, mesh, .. } = foundation;
    cni::uninstall(config, cni).await;
    let deadline = Instant::now() + CLUSTER_TIMEOUT;
    let pods = enrollment.pods();
    tracing::info!(pods = pods.len(), "Weir is taken off this node");
    if let Some(cluster) = cluster {
        let annotations = Annotations::new(cluster.directory.clone());
        // From here on Kubernetes enrols nothing.
        drop(cluster);
        let pods: Vec<_> = pods.iter().filter(|pod| pod.spec.origin == Origin::Kubernetes).cloned().collect();
        match timeout_at(deadline, remove_annotations(&annotations, &pods)).await {
            Ok(Removed::None) => tracing::warn!("no pod's annotation could be removed: the rights to do so are gone"),
            Ok(Removed::SomeOrAll) => {
                let _ = timeout_at(deadline, until_no_hbone(mesh, &pods)).await;
            }
            Err(_) => tracing::warn!("the API server does not answer: annotations of pods may stay"),
        }
    }
    if !pods.is_empty() {
        enrollment.release_outbound();
        sleep(INBOUND_CAPTURE_OVERLAP).await;
    }
    let (enrollment, bpf_dir) = (enrollment.clone(), config.directories.bpf_dir.clone());
    let ended = tokio::task::spawn_blocking(move || {
        enrollment.unenroll_all();
        Capture::uninstall(&bpf_dir)
    });
    match ended.await {
        Ok(Ok(())) => tracing::info!("nothing is captured on this node any more"),
        Ok(Err(error)) => tracing::error!(%error, "kernel programs may be left on this node"),
        Err(error) => tracing::error!(%error, "kernel programs may be left on this node"),
    }
    remove_files(config);
}

/// Removes the agent's files. To be called again when the process ends, since it may have written meanwhile.
pub(super) fn remove_files(config: &AgentConfig) {
    match node_files::remove(&config.directories.run_dir, &config.directories.state_dir) {
        Ok(left) => left.iter().for_each(|path| tracing::info!(path = %path.display(), "left: not of Weir's making")),
        Err(error) => tracing::warn!(%error, "files are left on this node"),
    }
}

/// How the removal of the pods' annotations ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Removed {
    /// Every write was refused.
    None,
    /// At least one is removed, or there was none.
    SomeOrAll,
}

async fn remove_annotations(annotations: &Annotations, pods: &[Arc<EnrolledPod>]) -> Removed {
    let writes = pods.iter().map(|pod| annotations.write(&pod.spec.namespace, &pod.spec.name, &pod.spec.uid, false));
    let results = join_all(writes).await;
    let failures = results.iter().filter_map(|result| result.as_ref().err());
    let failed = failures.inspect(|error| tracing::debug!(%error, "an annotation is left")).count();
    if failed == pods.len() && failed > 0 { Removed::None } else { Removed::SomeOrAll }
}

/// Resolves once the mesh says of none of these pods that it accepts HBONE: peers then connect to them directly.
async fn until_no_hbone(mesh: &SharedMesh, pods: &[Arc<EnrolledPod>]) {
    let mut changes = mesh.watch();
    let accepts_hbone = |pod: &Arc<EnrolledPod>| mesh.read().says_hbone(pod.spec.key());
    while pods.iter().any(accepts_hbone) && changes.changed().await.is_ok() {}
}

//! Kubernetes beside the agent: what is started where there is a cluster, and what is left of Weir when it is taken off
//! a node.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use futures_util::future::join_all;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};

use crate::capture::Capture;
use crate::config::AgentConfig;
use crate::config::kubernetes::KubernetesArg;
use crate::enrollment::Enrollment;
use crate::enrollment::cluster::ClusterEnrollment;
use crate::enrollment::pod::{EnrolledPod, Origin};
use crate::kubernetes::{Annotations, ClusterAccess, Directory, Installation, MembershipRules, connect};
use crate::lifecycle::Ready;
use crate::model::workload::TunnelProtocol;
use crate::state::SharedMesh;
use crate::telemetry::metrics::Metrics;

/// When an uninstalled agent ceases to wait for the API server and the mesh, of the two seconds that it has.
const FAREWELL: Duration = Duration::from_secs(1);
/// How long what comes to pods is captured after what they open is not: other nodes' agents are told to stop a little
/// earlier or later, and until then theirs come over HBONE.
const LAST_MOMENT: Duration = Duration::from_millis(500);

/// The cluster that this node is of. Dropping it ends enrolment from Kubernetes: what is enrolled stays so.
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) directory: Directory,
    pub(super) installation: Installation,
    following: JoinHandle<()>,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.following.abort();
    }
}

/// Begins to enrol pods as Kubernetes says, unless that is off. To be called after pods of a former agent are restored.
///
/// # Errors
/// When it was asked for and cannot be: no credentials, no name of this node.
pub(super) async fn start(
    config: &AgentConfig,
    enrollment: &Arc<Enrollment>,
    mesh: &SharedMesh,
    metrics: &Arc<Metrics>,
    ready: &Ready,
) -> anyhow::Result<Option<Cluster>> {
    if !config.kubernetes.is_on() {
        return Ok(None);
    }
    ensure!(!config.node.is_empty(), "--node (NODE_NAME): without it nobody knows which pods of the cluster are here");
    let access = match &config.kubernetes.kubeconfig {
        Some(path) => ClusterAccess::Kubeconfig(path.clone()),
        None => ClusterAccess::InCluster,
    };
    let client = match connect(&access).await {
        Ok(client) => client,
        Err(error) if config.kubernetes.enroll_from_kubernetes == KubernetesArg::Auto => {
            tracing::warn!(%error, "pods are not enrolled from Kubernetes");
            return Ok(None);
        }
        Err(error) => return Err(error).context("--enroll-from-kubernetes"),
    };
    let directory = Directory::start(client, &config.node, rules(config), mesh.joining().clone(), metrics);
    let own_pod = (config.pod_namespace.clone(), config.pod_name.clone());
    let daemon_set = config.kubernetes.daemon_set.clone();
    let installation = Installation::start(directory.clone(), own_pod, daemon_set, metrics.clone());
    let (network, netns_dir) = (config.network.clone(), &config.kubernetes.netns_dir);
    let starting = ready.block("kubernetes");
    let cluster =
        ClusterEnrollment::new(directory.clone(), enrollment.clone(), mesh.clone(), network, netns_dir, starting);
    let following = tokio::spawn(cluster.run());
    Ok(Some(Cluster { directory, installation, following }))
}

/// Whether an agent that is told to stop is to leave nothing behind, rather than to be followed by another.
pub(super) async fn is_uninstalling(cluster: Option<&Cluster>) -> bool {
    match cluster {
        Some(cluster) => cluster.installation.confirm_uninstalling().await,
        None => false,
    }
}

/// Which pods are left out, whatever labels say.
pub(super) fn rules(config: &AgentConfig) -> MembershipRules {
    let excluded = config.kubernetes.exclude_namespaces.iter().chain([&config.pod_namespace]);
    MembershipRules {
        excluded_namespaces: excluded.filter(|name| !name.is_empty()).cloned().collect(),
        own_pod: (config.pod_namespace.clone(), config.pod_name.clone()),
    }
}

/// Takes Weir off this node while it still runs, within two seconds: pods say no more that they are captured, what they open
/// goes direct, those who talk to them have a moment to do so too, then nothing is captured, and programs, maps and files go.
/// Connections that are open go on until the process ends. What fails is reported and does not stop the rest.
pub(super) async fn uninstall_node(
    config: &AgentConfig,
    cluster: Option<Cluster>,
    enrollment: &Arc<Enrollment>,
    mesh: &SharedMesh,
) {
    let deadline = Instant::now() + FAREWELL;
    let pods = enrollment.pods();
    tracing::info!(pods = pods.len(), "Weir is taken off this node");
    if let Some(cluster) = cluster {
        let annotations = Annotations::new(cluster.directory.clone());
        // Nothing is enrolled from here on.
        drop(cluster);
        let pods: Vec<_> = pods.iter().filter(|pod| pod.spec.origin == Origin::Kubernetes).cloned().collect();
        match timeout_at(deadline, take_word_back(&annotations, &pods)).await {
            Ok(0) => tracing::warn!("no pod's annotation could be removed: the rights to do so are gone"),
            Ok(_) => {
                let _ = timeout_at(deadline, heard(mesh, &config.network, &pods)).await;
            }
            Err(_) => tracing::warn!("the API server does not answer: annotations of pods may stay"),
        }
    }
    if !pods.is_empty() {
        enrollment.let_go_outbound();
        sleep(LAST_MOMENT).await;
    }
    let (enrollment, bpf_dir) = (enrollment.clone(), config.bpf_dir.clone());
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

/// Removes what is below the agent's directories; the directories themselves are often mounts. To be called again when
/// the process ends, since it may have written meanwhile.
pub(super) fn remove_files(config: &AgentConfig) {
    for directory in [&config.run_dir, &config.state_dir] {
        if let Err(error) = empty(directory) {
            tracing::warn!(directory = %directory.display(), %error, "files are left on this node");
        }
        // Fails where it is a mount, and that is fine.
        let _ = std::fs::remove_dir(directory);
    }
}

fn empty(directory: &Path) -> std::io::Result<()> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let removed = if entry.file_type()?.is_dir() {
            std::fs::remove_dir_all(entry.path())
        } else {
            std::fs::remove_file(entry.path())
        };
        match removed {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Removes the annotations, and tells of how many that is certain (one more if there was nothing to do).
async fn take_word_back(annotations: &Annotations, pods: &[Arc<EnrolledPod>]) -> usize {
    let writes = pods.iter().map(|pod| annotations.write(&pod.spec.namespace, &pod.spec.name, &pod.spec.uid, false));
    let results = join_all(writes).await;
    let failed =
        results.iter().filter_map(|result| result.as_ref().err()).inspect(|error| tracing::debug!(%error, "left"));
    pods.len() - failed.count() + usize::from(pods.is_empty())
}

/// Resolves once the mesh says of none of these pods that it speaks HBONE.
async fn heard(mesh: &SharedMesh, network: &str, pods: &[Arc<EnrolledPod>]) {
    let mut changes = mesh.watch();
    let says_hbone = |pod: &Arc<EnrolledPod>| {
        let (mesh, spec) = (mesh.read(), &pod.spec);
        let workload = mesh.workload_of_pod(network, &spec.namespace, &spec.name, &spec.addresses);
        workload.is_some_and(|workload| workload.protocol == TunnelProtocol::Hbone)
    };
    while pods.iter().any(says_hbone) && changes.changed().await.is_ok() {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_go_and_a_directory_that_is_not_there_is_fine() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::create_dir_all(dir.path().join("certificates/a")).expect("made");
        std::fs::write(dir.path().join("certificates/a/key.pem"), "x").expect("written");
        std::fs::write(dir.path().join("agent.sock"), "x").expect("written");
        empty(dir.path()).expect("it can be emptied");
        assert_eq!(std::fs::read_dir(dir.path()).expect("it stays").count(), 0);
        empty(&dir.path().join("missing")).expect("nothing to do");
    }
}

//! The connection to Kubernetes, and the enrolment of this node's pods that follows from it.

use anyhow::{Context, ensure};
use tokio::task::JoinHandle;

use super::foundation::Foundation;
use super::settings;
use crate::capture::proc_directory;
use crate::config::KubernetesArg;
use crate::enrollment::cluster::ClusterEnrollment;
use crate::kubernetes::{Directory, Installation, connect};

/// The cluster that this node belongs to. Dropping it ends enrolment from Kubernetes; what is enrolled stays enrolled.
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) directory: Directory,
    pub(super) installation: Installation,
    enrolling: JoinHandle<()>,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.enrolling.abort();
    }
}

/// Begins to enrol the pods that Kubernetes says are in the mesh, unless that is off. To be called after the pods of a former
/// agent are restored.
///
/// # Errors
/// When it was asked for, and there are no credentials for the API server or this node has no name.
pub(super) async fn start(foundation: &Foundation) -> anyhow::Result<Option<Cluster>> {
    let Foundation { config, enrollment, mesh, metrics, .. } = foundation;
    if !config.kubernetes.is_on() {
        return Ok(None);
    }
    ensure!(
        !config.node.node.is_empty(),
        "--node (NODE_NAME): without it nobody knows which pods of the cluster are here"
    );
    let client = match connect(&settings::cluster_access(config)).await {
        Ok(client) => client,
        Err(error) if config.kubernetes.enroll_from_kubernetes == KubernetesArg::Auto => {
            tracing::warn!(%error, "pods are not enrolled from Kubernetes");
            return Ok(None);
        }
        Err(error) => return Err(error).context("--enroll-from-kubernetes"),
    };
    let directory = Directory::start(
        client,
        &config.node.node,
        settings::membership_rules(config),
        mesh.joining().clone(),
        metrics,
    );
    let own_pod = (config.node.pod_namespace.clone(), config.node.pod_name.clone());
    let daemon_set = config.kubernetes.daemon_set.clone();
    let installation = Installation::start(directory.clone(), own_pod, daemon_set, metrics.clone());
    let netns_dir = &config.kubernetes.netns_dir;
    let starting = foundation.ready.block("kubernetes");
    let host_proc = proc_directory(config.capture.host_proc.as_deref());
    let cluster =
        ClusterEnrollment::new(directory.clone(), enrollment.clone(), mesh.clone(), netns_dir, &host_proc, starting);
    let enrolling = tokio::spawn(cluster.run());
    Ok(Some(Cluster { directory, installation, enrolling }))
}

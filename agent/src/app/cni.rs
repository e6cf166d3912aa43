//! The CNI plugin beside the agent: the socket that it asks at, the file that speaks for us while we are away, and its
//! place in the node's CNI chain. Started where there is a cluster: nobody else says which pods are for the mesh.

use std::sync::Arc;

use anyhow::Context;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use weir_cni::section::{PLUGIN, Section};

use super::kubernetes::{self, Cluster};
use crate::cni::{self, Caller, Installer, Sandboxes};
use crate::config::AgentConfig;
use crate::enrollment::Enrollment;
use crate::telemetry::metrics::Metrics;

/// The plugin's socket, below the run directory.
pub(super) const SOCKET_NAME: &str = "cni.sock";
/// What it reads when nobody listens there, below the state directory: a node starts its pods after a reboot, too.
pub(super) const NAMESPACES_NAME: &str = "mesh-namespaces.json";

/// What serves the plugin. Dropping it leaves the plugin installed: pods that come now wait for the next agent.
#[derive(Debug)]
pub(super) struct Cni {
    /// Who decides about pods, whoever asks.
    pub(super) sandboxes: Arc<Sandboxes>,
    stop: CancellationToken,
    namespaces: JoinHandle<()>,
    keeping: Option<JoinHandle<()>>,
}

impl Drop for Cni {
    fn drop(&mut self) {
        self.stop.cancel();
        self.namespaces.abort();
    }
}

/// Begins to answer the plugin, and to keep it installed if that is wanted.
///
/// # Errors
/// When the socket cannot be made.
pub(super) fn start(
    config: &AgentConfig,
    cluster: Option<&Cluster>,
    enrollment: &Arc<Enrollment>,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<Option<Cni>> {
    let Some(cluster) = cluster else {
        if config.cni.directories().is_some() {
            tracing::warn!(
                "the CNI plugin is not installed: without Kubernetes nobody says which pods are for the mesh"
            );
        }
        return Ok(None);
    };
    let directory = &cluster.directory;
    let socket = config.run_dir.join(SOCKET_NAME);
    let listener = cni::bind(&socket).with_context(|| format!("CNI socket {}", socket.display()))?;
    let netns_dir = config.kubernetes.netns_dir.clone();
    let sandboxes = Arc::new(Sandboxes::new(directory.clone(), enrollment.clone(), netns_dir, metrics.clone()));
    let stop = CancellationToken::new();
    let answering = sandboxes.clone();
    let answer = move |request| answering.clone().answer(Caller::Cni, request);
    tokio::spawn(cni::serve(listener, answer, stop.clone().cancelled_owned()));
    let namespaces = cni::keep_namespaces(directory.clone(), config.state_dir.join(NAMESPACES_NAME));
    let installer = installer(config).context("the agent's own program")?;
    let keeping = installer.map(|installer| tokio::spawn(cni::keep_installed(installer, stop.clone())));
    Ok(Some(Cni { sandboxes, stop, namespaces: tokio::spawn(namespaces), keeping }))
}

/// Takes the plugin off the node, after nothing puts it back any more. What fails is reported: the rest of Weir goes all
/// the same.
pub(super) async fn uninstall(config: &AgentConfig, running: Option<Cni>) {
    if let Some(mut running) = running {
        running.stop.cancel();
        if let Some(keeping) = running.keeping.take() {
            // It ends between two looks.
            let _ = keeping.await;
        }
    }
    let Some((plugins, configurations)) = config.cni.given() else { return };
    let (plugins, configurations) = (plugins.to_owned(), configurations.to_owned());
    let removing = tokio::task::spawn_blocking(move || Installer::uninstall(&plugins, &configurations));
    match removing.await {
        Ok(Ok(_)) => tracing::info!("the CNI plugin is taken out"),
        Ok(Err(error)) => tracing::error!(%error, "the CNI plugin is left on this node"),
        Err(error) => tracing::error!(%error, "the CNI plugin is left on this node"),
    }
}

fn installer(config: &AgentConfig) -> std::io::Result<Option<Installer>> {
    let Some((plugins, configurations)) = config.cni.directories() else { return Ok(None) };
    Ok(Some(Installer {
        plugin: config.cni.plugin()?,
        plugins_dir: plugins.to_owned(),
        configurations_dir: configurations.to_owned(),
        section: Section {
            plugin: PLUGIN.to_owned(),
            // The agent sees these directories under the names that they have on the host.
            socket: config.run_dir.join(SOCKET_NAME),
            namespaces_file: config.state_dir.join(NAMESPACES_NAME),
            timeout_seconds: config.cni.cni_timeout_seconds,
            others_timeout_seconds: config.cni.cni_others_timeout_seconds,
            exclude_namespaces: kubernetes::rules(config).excluded_namespaces.into_iter().collect(),
            made_of: None,
        },
    }))
}

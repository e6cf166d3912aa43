//! What serves the CNI plugin: the socket at which it asks about new pods, the file that it reads while no agent runs, and its
//! place in the node's CNI chain. Started where there is a cluster: nothing else says which pods are in the mesh.

use std::sync::Arc;

use anyhow::Context;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use weir_cni::section::{PLUGIN, Section};

use super::foundation::Foundation;
use super::kubernetes::Cluster;
use super::settings;
use crate::cni::{self, Caller, Installer, Sandboxes};
use crate::config::AgentConfig;

/// See the module. Dropping it leaves the plugin installed: new pods wait for the next agent.
#[derive(Debug)]
pub(super) struct Cni {
    /// Decides about new pods, also for NRI.
    pub(super) sandboxes: Arc<Sandboxes>,
    stop: CancellationToken,
    writing_namespaces: JoinHandle<()>,
    keeping_installed: Option<JoinHandle<()>>,
}

impl Drop for Cni {
    fn drop(&mut self) {
        self.stop.cancel();
        self.writing_namespaces.abort();
    }
}

/// Begins to answer the plugin, and to keep it installed if that is wanted.
///
/// # Errors
/// When the socket cannot be made.
pub(super) fn start(foundation: &Foundation, cluster: Option<&Cluster>) -> anyhow::Result<Option<Cni>> {
    let config = &*foundation.config;
    let Some(cluster) = cluster else {
        if config.cni.directories().is_some() {
            tracing::warn!(
                "the CNI plugin is not installed: without Kubernetes nobody says which pods are for the mesh"
            );
        }
        return Ok(None);
    };
    let directory = &cluster.directory;
    let socket = config.directories.run_dir.join(cni::SOCKET_NAME);
    let listener = cni::bind(&socket).with_context(|| format!("CNI socket {}", socket.display()))?;
    let netns_dir = config.kubernetes.netns_dir.clone();
    let sandboxes = Arc::new(Sandboxes::new(
        directory.clone(),
        foundation.enrollment.clone(),
        netns_dir,
        foundation.metrics.clone(),
    ));
    let stop = CancellationToken::new();
    let answering = sandboxes.clone();
    let answer = move |request| answering.clone().answer(Caller::Cni, request);
    tokio::spawn(cni::serve(listener, answer, stop.clone().cancelled_owned()));
    let namespaces = cni::keep_namespaces(directory.clone(), config.directories.state_dir.join(cni::NAMESPACES_NAME));
    let installer = installer(config).context("the agent's own program")?;
    let keeping_installed = installer.map(|installer| tokio::spawn(cni::keep_installed(installer, stop.clone())));
    Ok(Some(Cni { sandboxes, stop, writing_namespaces: tokio::spawn(namespaces), keeping_installed }))
}

/// Removes the plugin from the node, after stopping what would install it again. A failure is reported, and does not keep the
/// rest of Weir from being removed.
pub(super) async fn uninstall(config: &AgentConfig, running: Option<Cni>) {
    if let Some(mut running) = running {
        running.stop.cancel();
        if let Some(keeping_installed) = running.keeping_installed.take() {
            // It ends before its next check.
            let _ = keeping_installed.await;
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
            socket: config.directories.run_dir.join(cni::SOCKET_NAME),
            namespaces_file: config.directories.state_dir.join(cni::NAMESPACES_NAME),
            timeout_seconds: config.cni.cni_timeout_seconds,
            others_timeout_seconds: config.cni.cni_others_timeout_seconds,
            exclude_namespaces: settings::membership_rules(config).excluded_namespaces.into_iter().collect(),
            made_of: None,
        },
    }))
}

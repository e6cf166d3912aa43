//! The agent as an NRI plugin of the container runtime, where that offers NRI. Started where there is a cluster: nothing else
//! says which pods are in the mesh.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::cni::Cni;
use super::foundation::Foundation;
use super::settings;
use crate::cni::{NAMESPACES_NAME, SOCKET_NAME};
use crate::config::Location;
use crate::nri::{self, Limits, NriStatus, Pods};

/// How long the container runtime may take to register an agent that succeeds another. Usually it takes a moment.
const REGISTRATION_TIMEOUT: Duration = Duration::from_secs(2);

/// What answers the container runtime. Dropping it closes the connection as soon as no answer is under way.
#[derive(Debug)]
pub(super) struct Nri {
    pub(super) status: NriStatus,
    stop: CancellationToken,
}

impl Drop for Nri {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Nri {
    /// Resolves once the container runtime has registered this agent as a plugin, or will not soon. An agent before this one
    /// can end then without a new pod being missed.
    pub(super) async fn wait_until_tried(&self) {
        if tokio::time::timeout(REGISTRATION_TIMEOUT, self.status.tried()).await.is_err() {
            tracing::warn!(
                "the container runtime does not take this agent in: new pods may be missed while it takes over"
            );
        }
    }
}

/// Begins to answer the container runtime, unless that is off: what the CNI plugin would be answered for the same pod.
pub(super) fn start(foundation: &Foundation, cni: Option<&Cni>) -> Option<Nri> {
    let config = &foundation.config;
    let socket = config.nri.socket()?;
    let is_named = matches!(config.nri.nri_socket, Location::At(_));
    let Some(cni) = cni else {
        if is_named {
            tracing::warn!("NRI is not used: without Kubernetes nobody says which pods are for the mesh");
        }
        return None;
    };
    let status = NriStatus::new(socket, is_named, foundation.metrics.clone());
    let pods = Arc::new(Pods {
        sandboxes: cni.sandboxes.clone(),
        limits: Limits {
            in_mesh: Duration::from_secs(config.cni.cni_timeout_seconds),
            others: Duration::from_secs(config.cni.cni_others_timeout_seconds),
        },
        exclude_namespaces: settings::membership_rules(config).excluded_namespaces,
        namespaces_file: config.directories.state_dir.join(NAMESPACES_NAME),
        socket: config.directories.run_dir.join(SOCKET_NAME),
    });
    let stop = CancellationToken::new();
    tokio::spawn(nri::keep(socket.to_owned(), pods, status.clone(), stop.clone()));
    Some(Nri { status, stop })
}

//! Where the mesh comes from, and as whom the agent asks.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;

use super::node::NodeDescription;
use crate::control_channel::{ControlHeaders, OwnServices, RootSource};
use crate::model::mesh::MeshSettings;
use crate::telemetry::metrics::Metrics;

/// The settings of the discovery stream.
#[derive(Debug, Clone)]
pub struct XdsOptions {
    /// `https://host:port`; `http` for loopback only.
    pub address: String,
    /// Name to expect in the control plane's certificate; the host of the address unless set.
    pub server_name: Option<String>,
    /// The control plane's root certificates, reread for every connection.
    pub root_ca: RootSource,
    /// Services whose addresses are known without DNS.
    pub services: OwnServices,
    /// Headers to send with the request.
    pub headers: ControlHeaders,
    /// Ask for users' Istio objects as well.
    pub objects: bool,
    /// File with the bearer token, reread for every connection.
    pub token: PathBuf,
    pub node: NodeDescription,
    /// What counts where the mesh configuration says nothing.
    pub settings: MeshSettings,
    /// Where the last good configuration is kept; `None` keeps none.
    pub state_dir: Option<PathBuf>,
    /// Whether the state directory is this process's to write to, or another agent's.
    pub may_save: watch::Receiver<bool>,
    pub metrics: Arc<Metrics>,
}

//! What on the node the agent works with besides the kernel: the kubelet, Kubernetes, the CNI plugin and the container
//! runtime's NRI. No connection waits for any of them.

use tokio::sync::watch;

use super::cni::{self, Cni};
use super::foundation::Foundation;
use super::kubelet;
use super::kubernetes::{self, Cluster};
use super::nri::{self, Nri};
use crate::capture::KubeletStatus;

/// See the module. Dropping it leaves what is enrolled and installed as it is.
#[derive(Debug)]
pub(super) struct Integrations {
    pub(super) kubelet: watch::Receiver<KubeletStatus>,
    /// `None` where pods are not enrolled from Kubernetes; then nothing of the following is used either.
    pub(super) cluster: Option<Cluster>,
    pub(super) cni: Option<Cni>,
    pub(super) nri: Option<Nri>,
}

impl Integrations {
    /// Starts those that the settings ask for. To be called after the pods of a former agent are restored.
    ///
    /// # Errors
    /// When Kubernetes was asked for and cannot be reached by any credentials, or the CNI plugin's socket cannot be made.
    pub(super) async fn start(foundation: &Foundation) -> anyhow::Result<Self> {
        let kubelet = kubelet::watch_kubelet(foundation.capture.clone());
        let cluster = kubernetes::start(foundation).await?;
        let cni = cni::start(foundation, cluster.as_ref())?;
        let nri = nri::start(foundation, cni.as_ref());
        Ok(Self { kubelet, cluster, cni, nri })
    }

    /// Whether an agent that stops has to remove all of Weir from the node, because no other agent follows.
    pub(super) async fn is_uninstalling(&self) -> bool {
        match &self.cluster {
            Some(cluster) => cluster.installation.confirm_uninstalling().await,
            None => false,
        }
    }
}

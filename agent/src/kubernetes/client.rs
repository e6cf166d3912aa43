//! How the API server is reached: as a pod of the cluster, or by a kubeconfig.

use std::path::PathBuf;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use super::KubernetesError;
use crate::causes::with_causes;

/// Time for a connection to the API server.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A watch on which nothing comes for so long is taken for dead: bookmarks come every minute.
const READ_TIMEOUT: Duration = Duration::from_secs(100);

/// Who we are to the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClusterAccess {
    /// The pod's service account, and the address that the kubelet names in the environment. The token is reread as it
    /// is rotated.
    InCluster,
    Kubeconfig(PathBuf),
}

/// A client of the cluster's API. Nothing is asked yet.
///
/// # Errors
/// When the credentials cannot be read.
pub async fn connect(access: &ClusterAccess) -> Result<Client, KubernetesError> {
    let unusable = |what: String| move |reason: String| KubernetesError::Access { what, reason };
    let mut config = match access {
        ClusterAccess::InCluster => {
            let failed = unusable("the pod's service account".to_owned());
            Config::incluster().map_err(|error| failed(with_causes(&error)))?
        }
        ClusterAccess::Kubeconfig(path) => {
            let failed = unusable(format!("kubeconfig {}", path.display()));
            let read = async {
                let kubeconfig = Kubeconfig::read_from(path)?;
                Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await
            };
            read.await.map_err(|error| failed(with_causes(&error)))?
        }
    };
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    config.reset_reader_on_write = true;
    let failed = unusable("the cluster's certificates".to_owned());
    Client::try_from(config).map_err(|error| failed(with_causes(&error)))
}

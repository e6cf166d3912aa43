//! The client of the API server: its credentials, as a pod of the cluster or from a kubeconfig, its timeouts, and its errors.

use std::path::PathBuf;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use crate::causes::with_causes;

/// How long a connection to the API server may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A watch on which nothing comes for so long counts as dead: bookmarks come every minute.
const READ_TIMEOUT: Duration = Duration::from_secs(100);
/// How long the API server may take to answer about one object.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// Why the Kubernetes API did not give what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum KubernetesError {
    #[error("{what}: {reason}")]
    Access { what: String, reason: String },
    #[error("{what}: the API server answered {code}: {message}")]
    Refused { what: String, code: u16, message: String },
    #[error("{what}: {reason}")]
    Unreachable { what: String, reason: String },
    #[error("{what}: no answer within {seconds} s")]
    Timeout { what: String, seconds: u64 },
}

impl KubernetesError {
    /// For `map_err`: the error of the client, with what was asked for.
    pub(super) fn because(what: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let what = what.into();
        move |error| match error {
            kube::Error::Api(status) => Self::Refused { what, code: status.code, message: status.message },
            other => Self::Unreachable { what, reason: with_causes(&other) },
        }
    }

    /// The HTTP status that the API server answered with, if it answered.
    #[must_use]
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }
}

/// Where the agent's credentials for the cluster are.
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

/// The API server's answer to a request about one object, `what`, unless it takes too long.
///
/// # Errors
/// When the server refuses, cannot be reached, or does not answer within three seconds.
pub(super) async fn within_timeout<T>(
    what: String,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, KubernetesError> {
    match tokio::time::timeout(ANSWER_TIMEOUT, request).await {
        Ok(answer) => answer.map_err(KubernetesError::because(what)),
        Err(_) => Err(KubernetesError::Timeout { what, seconds: ANSWER_TIMEOUT.as_secs() }),
    }
}

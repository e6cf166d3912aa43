//! The annotation `ambient.istio.io/redirection` of a pod, which says that its traffic is captured: the control plane reads it,
//! and announces to all peers that the pod accepts HBONE. It is written through the `status` subresource, so that the agent needs no
//! right to change pods.

use std::sync::Arc;

use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tokio::sync::Semaphore;

use super::client::{KubernetesError, within_timeout};
use super::directory::Directory;
use super::wire::{Pod, REDIRECTION, REDIRECTION_ENABLED};

/// Patches that are under way at once. Each takes a connection.
const MAX_CONCURRENT_PATCHES: usize = 8;
/// There is no such pod, or the one of that name has another uid: another pod is not to be annotated.
const NOT_FOUND: u16 = 404;
const CONFLICT: u16 = 409;

/// Writes annotations. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Annotations {
    directory: Directory,
    permits: Arc<Semaphore>,
}

impl Annotations {
    #[must_use]
    pub fn new(directory: Directory) -> Self {
        Self { directory, permits: Arc::new(Semaphore::new(MAX_CONCURRENT_PATCHES)) }
    }

    /// Writes that a pod's traffic is captured, or removes the annotation. Fine if the pod is gone.
    ///
    /// # Errors
    /// When the API server refuses or does not answer.
    pub async fn write(&self, namespace: &str, name: &str, uid: &str, captured: bool) -> Result<(), KubernetesError> {
        let _permit = self.permits.acquire().await.expect("the semaphore is never closed");
        let value = captured.then_some(REDIRECTION_ENABLED);
        // The uid is a precondition: it cannot be changed.
        let patch = Patch::Merge(json!({ "metadata": { "uid": uid, "annotations": { REDIRECTION: value } } }));
        let api: Api<Pod> = Api::namespaced(self.directory.client().clone(), namespace);
        let (params, what) = (PatchParams::default(), format!("annotating pod {namespace}/{name}"));
        match within_timeout(what, api.patch_status(name, &params, &patch)).await {
            Err(error) if matches!(error.code(), Some(NOT_FOUND | CONFLICT)) => Ok(()),
            Err(error) => Err(error),
            Ok(_) => Ok(()),
        }
    }
}

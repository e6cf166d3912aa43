//! The word on a pod that its traffic is captured: the control plane reads it, and tells everybody that the pod speaks
//! HBONE. Written through the pod's status, so that no right to change what a pod is is needed.

use std::sync::Arc;

use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tokio::sync::Semaphore;

use super::directory::answered;
use super::wire::{Pod, REDIRECTION, REDIRECTION_ENABLED};
use super::{Directory, KubernetesError};

/// Patches that are under way at once: each takes a connection.
const AT_ONCE: usize = 8;
/// There is no such object, or another one of that name: somebody else's pod is not ours to write to.
const NOT_FOUND: u16 = 404;
const CONFLICT: u16 = 409;

/// Writes annotations. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Annotations {
    directory: Directory,
    places: Arc<Semaphore>,
}

impl Annotations {
    #[must_use]
    pub fn new(directory: Directory) -> Self {
        Self { directory, places: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Says on a pod that its traffic is captured, or no longer. Fine if the pod is gone.
    ///
    /// # Errors
    /// When the API server refuses or does not answer.
    pub async fn write(&self, namespace: &str, name: &str, uid: &str, captured: bool) -> Result<(), KubernetesError> {
        let _place = self.places.acquire().await.expect("the semaphore is never closed");
        let value = captured.then_some(REDIRECTION_ENABLED);
        // The uid is a condition: it cannot be changed.
        let patch = Patch::Merge(json!({ "metadata": { "uid": uid, "annotations": { REDIRECTION: value } } }));
        let api: Api<Pod> = Api::namespaced(self.directory.client().clone(), namespace);
        let (params, what) = (PatchParams::default(), format!("annotating pod {namespace}/{name}"));
        match answered(what, api.patch_status(name, &params, &patch)).await {
            Err(error) if matches!(error.code(), Some(NOT_FOUND | CONFLICT)) => Ok(()),
            Err(error) => Err(error),
            Ok(_) => Ok(()),
        }
    }
}

//! What was found for a pod among all objects of a kind holds for as long as the objects, the labels of the pod and its workload are the
//! very same.

use std::sync::Arc;

use crate::enrollment::pod::Changeable;
use crate::model::workload::Workload;

/// What something was found by. It is held, so that what took its place in memory is not mistaken for it.
#[derive(Debug)]
pub(super) struct FoundBy<C> {
    /// All objects of the kind.
    pub(super) config: Arc<C>,
    /// The labels of the pod.
    pub(super) pod: Arc<Changeable>,
    /// As the mesh knows the pod.
    pub(super) workload: Option<Arc<Workload>>,
}

/// Equal where all parts are the very same.
impl<C> PartialEq for FoundBy<C> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.config, &other.config)
            && Arc::ptr_eq(&self.pod, &other.pod)
            && self.workload.as_ref().map(Arc::as_ptr) == other.workload.as_ref().map(Arc::as_ptr)
    }
}

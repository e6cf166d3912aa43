//! The policies in force for a pod, as its requests are decided about: found anew only where policies, the labels of the pod or its workload
//! are others than the last time.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

use super::revocation::as_destination;
use crate::enrollment::pod::{Changeable, EnrolledPod};
use crate::model::authorization::Destination;
use crate::model::mesh::{Mesh, PodPolicies};
use crate::model::workload::Workload;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct KnownPolicies(ArcSwapOption<Known>);

/// Policies, and what they were found by. It is held, so that what took its place in memory is not mistaken for it.
#[derive(Debug)]
struct Known {
    workload: Arc<Workload>,
    pod: Arc<Changeable>,
    policies: PodPolicies,
}

impl KnownPolicies {
    /// Asks a question about a pod, as policies and the pod are now.
    pub(super) fn ask<T>(
        &self,
        mesh: &Mesh,
        pod: &EnrolledPod,
        workload: &Arc<Workload>,
        question: impl FnOnce(&PodPolicies, &Destination<'_>) -> T,
    ) -> T {
        let current = pod.current();
        let destination = as_destination(pod, &current, workload);
        if let Some(known) = &*self.0.load()
            && Arc::ptr_eq(&known.workload, workload)
            && Arc::ptr_eq(&known.pod, &current)
            && mesh.has_policies(&known.policies)
        {
            return question(&known.policies, &destination);
        }
        let policies = mesh.pod_policies(&destination);
        let answer = question(&policies, &destination);
        self.0.store(Some(Arc::new(Known { workload: workload.clone(), pod: current.clone(), policies })));
        answer
    }
}

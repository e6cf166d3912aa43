//! The policies in force for a pod, as its requests are decided about: found anew only where policies, the labels of the pod or its workload
//! are others than the last time.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

use super::revocation::as_destination;
use crate::enrollment::pod::{Changeable, EnrolledPod};
use crate::model::authorization::{AccessRequest, HttpRequest, RequestVerdict};
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
    /// Decides whether a request that a connection carries may reach a pod, as policies and the pod are now.
    pub(super) fn authorize_request(
        &self,
        mesh: &Mesh,
        pod: &EnrolledPod,
        workload: &Arc<Workload>,
        connection: &AccessRequest,
        request: &HttpRequest<'_>,
    ) -> RequestVerdict {
        let current = pod.current();
        let destination = as_destination(pod, &current, workload);
        let decide = |known: &Known| mesh.authorize_request_under(&known.policies, &destination, connection, request);
        if let Some(known) = &*self.0.load()
            && Arc::ptr_eq(&known.workload, workload)
            && Arc::ptr_eq(&known.pod, &current)
            && mesh.has_policies(&known.policies)
        {
            return decide(known);
        }
        let policies = mesh.pod_policies(&destination);
        let known = Known { workload: workload.clone(), pod: current.clone(), policies };
        let verdict = decide(&known);
        self.0.store(Some(Arc::new(known)));
        verdict
    }
}

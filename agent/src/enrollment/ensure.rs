//! Enrolment by those who may say the same thing twice, each in its own time: the CNI plugin's call, the watch of
//! Kubernetes, and the list of a former agent. Whoever is first enrols the pod; the others find it done.

use std::sync::Arc;

use super::netns::Netns;
use super::pod::{EnrolledPod, PodSpec};
use super::{Enrollment, EnrollmentError};
use crate::capture::NotCaptured;

impl Enrollment {
    /// Enrols a pod unless it is enrolled as described. One whose sandbox was made anew is enrolled with the new one,
    /// and what it was before is over.
    ///
    /// # Errors
    /// See [`EnrollmentError`]; nothing is left of the attempt, and no other pod is touched.
    pub fn ensure(&self, spec: PodSpec) -> Result<Arc<EnrolledPod>, EnrollmentError> {
        let mut outcome = Err(EnrollmentError::HandedOver);
        self.ensure_all([spec], |_, result| outcome = result);
        outcome
    }

    /// [`Self::ensure`] for many pods, which are written to the list together: each is told of as soon as it is captured.
    /// Nothing is told of those that have become a successor's to enrol.
    pub fn ensure_all(
        &self,
        specs: impl IntoIterator<Item = PodSpec>,
        mut tell: impl FnMut(&str, Result<Arc<EnrolledPod>, EnrollmentError>),
    ) {
        let mut is_changed = false;
        for spec in specs {
            let uid = spec.uid.clone();
            // Others who come or go get their turn in between. A successor hears of the pod by the same way.
            let Ok(_one_at_a_time) = self.turn() else { return };
            let result = self.ensure_unsaved(spec, &mut is_changed);
            tell(&uid, result);
        }
        if !is_changed {
            return;
        }
        let Ok(_one_at_a_time) = self.turn() else { return };
        if let Err(error) = self.save() {
            // They are captured all the same, and whoever had them enrolled will say so again after a restart.
            tracing::warn!(%error, "the list of enrolled pods could not be written, it is being retried");
        }
    }

    /// Ends the enrolment of many pods, which are taken from the list together: new connections go direct, those that are
    /// open may finish. One that is not enrolled is fine. Nothing is told of those that have become a successor's.
    pub fn unenroll_many(&self, uids: &[String], mut tell: impl FnMut(&str, Result<(), EnrollmentError>)) {
        for uid in uids {
            let Ok(_one_at_a_time) = self.turn() else { return };
            let ended = self.forget(uid);
            tell(uid, ended);
        }
        let Ok(_one_at_a_time) = self.turn() else { return };
        if let Err(error) = self.save() {
            // The pods have left all the same; a list that names them too long does no harm.
            tracing::warn!(%error, "the list of enrolled pods could not be written, it is being retried");
        }
    }

    /// Has what every pod opens from now on go direct, whereas what comes to it is captured as before. What remains is to
    /// end every enrolment.
    pub fn let_go_outbound(&self) {
        if let Err(error) = self.capture.let_go_outbound() {
            tracing::warn!(%error, "what pods open is captured until the end");
        }
    }

    /// Ends every enrolment.
    pub fn unenroll_all(&self) {
        let uids: Vec<_> = self.pods().iter().map(|pod| pod.spec.uid.clone()).collect();
        self.unenroll_many(&uids, |uid, ended| {
            if let Err(error) = ended {
                tracing::warn!(uid, %error, "a pod could not be taken back whole");
            }
        });
    }

    /// Whether the kernel captures an enrolled pod now: asked of the kernel, not remembered.
    #[must_use]
    pub fn is_captured(&self, uid: &str) -> bool {
        let pod = self.pods.lock().get(uid).cloned();
        pod.is_some_and(|pod| self.prove(&pod).is_ok())
    }

    /// Asks the kernel whether it captures a pod.
    ///
    /// # Errors
    /// What is missing.
    pub(super) fn prove(&self, pod: &EnrolledPod) -> Result<(), NotCaptured> {
        self.capture.prove(pod.netns.cookie())
    }

    fn ensure_unsaved(&self, spec: PodSpec, is_changed: &mut bool) -> Result<Arc<EnrolledPod>, EnrollmentError> {
        let former = self.pods.lock().get(&spec.uid).cloned();
        if let Some(former) = former {
            let is_same_netns = Netns::open(&spec.netns)?.cookie() == former.netns.cookie();
            let has_addresses = spec.addresses.iter().all(|address| former.spec.addresses.contains(address));
            if is_same_netns && has_addresses {
                return Ok(former);
            }
            tracing::info!(uid = spec.uid, pod = spec.name, "the pod's sandbox was made anew");
            if !is_same_netns {
                former.dead.cancel();
            }
            self.forget(&spec.uid)?;
        }
        let pod = self.enroll_unsaved(spec)?;
        *is_changed = true;
        Ok(pod)
    }

    /// Ends pods that are dead, or no longer have an address that is this pod's now: whoever has an address is who it
    /// was given to last.
    pub(super) fn end_former_owners(&self, spec: &PodSpec, netns: &Netns) {
        for other in self.pods() {
            let Some(address) = spec.addresses.iter().find(|address| other.spec.addresses.contains(address)) else {
                continue;
            };
            let is_same = other.netns.cookie() == netns.cookie();
            let has_it = || other.netns.addresses().is_ok_and(|addresses| addresses.contains(address));
            if is_same || (other.is_alive() && has_it()) {
                continue;
            }
            tracing::info!(uid = other.spec.uid, pod = other.spec.name, %address, "pod has lost its address to another");
            other.dead.cancel();
            if let Err(error) = self.forget(&other.spec.uid) {
                tracing::warn!(uid = other.spec.uid, %error, "a dead pod could not be taken back whole");
            }
        }
    }
}

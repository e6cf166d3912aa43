//! Enrolment and its end, for those who say so: once (the API), or again and again and each in its own time (Kubernetes, the
//! container runtime). Of the latter whoever is first enrols the pod, and the others find it done.

use std::sync::Arc;

use super::error::EnrollmentError;
use super::list_writer::NotWritten;
use super::netns::{Netns, NetnsError};
use super::pod::{Changeable, EnrolledPod, PodSpec};
use super::registry::Enrollment;

impl Enrollment {
    /// Enrols a pod: opens the listeners in its namespace, captures it, remembers it. All or nothing; where the disk stands
    /// still it is remembered as soon as that goes on.
    ///
    /// # Errors
    /// See [`EnrollmentError`]; nothing is left of the attempt, and no other pod is touched.
    pub fn enroll(&self, spec: PodSpec) -> Result<Arc<EnrolledPod>, EnrollmentError> {
        let _one_at_a_time = self.turn()?;
        if self.pods.lock().contains_key(&spec.uid) {
            return Err(EnrollmentError::DuplicateUid(spec.uid));
        }
        let pod = self.enroll_unsaved(spec)?;
        match self.save() {
            Ok(()) => {}
            Err(NotWritten::Failed(error)) => {
                // The error worth reporting is the first one.
                let _ = self.remove(&pod.spec.uid);
                return Err(EnrollmentError::Store(error));
            }
            Err(error @ NotWritten::Stalled) => {
                // Nobody knows for how long, and a pod must be able to start meanwhile.
                tracing::warn!(uid = pod.spec.uid, %error, "the list of enrolled pods does not name the pod yet");
            }
        }
        Ok(pod)
    }

    /// Ends a pod's enrolment: its new connections go direct; those that are open may finish.
    ///
    /// # Errors
    /// When there is no such pod, or the kernel refuses to take something back.
    pub fn unenroll(&self, uid: &str) -> Result<(), EnrollmentError> {
        let _one_at_a_time = self.turn()?;
        if !self.pods.lock().contains_key(uid) {
            return Err(EnrollmentError::Unknown(uid.to_owned()));
        }
        let ended = self.remove(uid);
        if let Err(error) = self.save() {
            // The pod has left in any case. A list that names it too long does no harm once the pod is dead.
            tracing::warn!(uid, %error, "the list of enrolled pods could not be written, it is being retried");
        }
        ended
    }

    /// Enrols a pod unless it is enrolled as described. One whose sandbox was made anew is enrolled with the new one, and its
    /// connections in the old one end.
    ///
    /// # Errors
    /// See [`EnrollmentError`]; nothing is left of the attempt, and no other pod is touched.
    pub fn ensure(&self, spec: PodSpec) -> Result<Arc<EnrolledPod>, EnrollmentError> {
        let mut outcome = Err(EnrollmentError::HandedOver);
        self.ensure_all([spec], |_, result| outcome = result);
        outcome
    }

    /// [`Self::ensure`] for many pods, which are written to the list together. `report` is called for each as soon as it is
    /// captured; not for those that have become a successor's to enrol.
    pub fn ensure_all(
        &self,
        specs: impl IntoIterator<Item = PodSpec>,
        mut report: impl FnMut(&str, Result<Arc<EnrolledPod>, EnrollmentError>),
    ) {
        let mut is_changed = false;
        for spec in specs {
            let uid = spec.uid.clone();
            // Released after each pod, so that others get their turn in between.
            let Ok(_one_at_a_time) = self.turn() else { return };
            let result = self.ensure_unsaved(spec, &mut is_changed);
            report(&uid, result);
        }
        if !is_changed {
            return;
        }
        let Ok(_one_at_a_time) = self.turn() else { return };
        // They are captured in any case, and whoever had them enrolled will say so again after a restart.
        self.save_or_warn();
    }

    /// Ends the enrolment of many pods, which are taken from the list together: new connections go direct, those that are open
    /// may finish. One that is not enrolled is fine. `report` is not called for those that have become a successor's.
    pub fn unenroll_many(&self, uids: &[String], mut report: impl FnMut(&str, Result<(), EnrollmentError>)) {
        for uid in uids {
            let Ok(_one_at_a_time) = self.turn() else { return };
            let ended = self.remove(uid);
            report(uid, ended);
        }
        let Ok(_one_at_a_time) = self.turn() else { return };
        // The pods have left in any case. A list that names them too long does no harm.
        self.save_or_warn();
    }

    /// Makes what can change about enrolled pods what it is now. Returns whether anything did.
    pub fn follow(&self, pods: Vec<(Arc<EnrolledPod>, Changeable)>) -> bool {
        let Ok(_one_at_a_time) = self.turn() else { return false };
        let mut is_changed = false;
        for (pod, current) in pods.into_iter().filter(|(pod, _)| !pod.left.is_cancelled()) {
            match self.follow_unsaved(&pod, current) {
                Ok(changed) => is_changed |= changed,
                Err(error) => tracing::warn!(uid = pod.spec.uid, %error, "a change of the pod is not followed"),
            }
        }
        if is_changed {
            self.save_or_warn();
        }
        is_changed
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

    /// Ends the capture of every pod's outbound connections, whereas inbound ones are captured as before: the first step of
    /// ending every enrolment.
    pub fn release_outbound(&self) {
        if let Err(error) = self.capture.let_go_outbound() {
            tracing::warn!(%error, "what pods open is captured until the end");
        }
    }

    /// All of an enrolment but the list on disk.
    fn enroll_unsaved(&self, mut spec: PodSpec) -> Result<Arc<EnrolledPod>, EnrollmentError> {
        let netns = Netns::open(&spec.netns)?;
        if spec.addresses.is_empty() {
            spec.addresses = netns.addresses().map_err(|source| NetnsError::Inside {
                path: spec.netns.clone(),
                what: "addresses",
                source,
            })?;
        }
        if spec.addresses.is_empty() {
            let reason = "none given, and the network namespace has none yet".to_owned();
            return Err(EnrollmentError::Invalid { field: "addresses", reason });
        }
        self.end_former_owners(&spec, &netns);
        self.refuse_taken(&spec, &netns)?;
        self.add(spec, netns)
    }

    fn follow_unsaved(&self, pod: &EnrolledPod, current: Changeable) -> Result<bool, EnrollmentError> {
        let former = pod.current();
        if *former == current {
            return Ok(false);
        }
        if former.probe_ports != current.probe_ports {
            self.capture.set_probe_ports(pod.netns.cookie(), &current.probe_ports)?;
        }
        tracing::info!(uid = pod.spec.uid, pod = pod.spec.name, labels = ?current.labels, "the pod is described anew");
        pod.set_current(current);
        Ok(true)
    }

    fn ensure_unsaved(&self, spec: PodSpec, is_changed: &mut bool) -> Result<Arc<EnrolledPod>, EnrollmentError> {
        let former = self.pods.lock().get(&spec.uid).cloned();
        if let Some(former) = former {
            let is_same_netns = Netns::open(&spec.netns)?.cookie() == former.netns.cookie();
            let has_addresses = spec.addresses.iter().all(|address| former.spec.addresses.contains(address));
            if is_same_netns && has_addresses {
                *is_changed |= self.follow_unsaved(&former, changeable(spec))?;
                return Ok(former);
            }
            tracing::info!(uid = spec.uid, pod = spec.name, "the pod's sandbox was made anew");
            if !is_same_netns {
                former.dead.cancel();
            }
            self.remove(&spec.uid)?;
        }
        let pod = self.enroll_unsaved(spec)?;
        *is_changed = true;
        Ok(pod)
    }

    /// Ends the enrolment of pods that are dead, or no longer have an address that is this pod's now: an address belongs to the
    /// pod that it was given to last.
    fn end_former_owners(&self, spec: &PodSpec, netns: &Netns) {
        for other in self.pods() {
            let Some(address) = spec.addresses.iter().find(|address| other.spec.addresses.contains(address)) else {
                continue;
            };
            let is_same = other.netns.cookie() == netns.cookie();
            let has_it = || other.netns.device_of(*address).is_ok_and(|device| device.is_some());
            if is_same || (other.is_alive() && has_it()) {
                continue;
            }
            tracing::info!(uid = other.spec.uid, pod = other.spec.name, %address, "pod has lost its address to another");
            other.dead.cancel();
            if let Err(error) = self.remove(&other.spec.uid) {
                tracing::warn!(uid = other.spec.uid, %error, "a dead pod could not be taken back whole");
            }
        }
    }

    fn refuse_taken(&self, spec: &PodSpec, netns: &Netns) -> Result<(), EnrollmentError> {
        for other in self.pods.lock().values() {
            let by = || format!("{}/{}", other.spec.namespace, other.spec.name);
            if other.netns.cookie() == netns.cookie() {
                return Err(EnrollmentError::DuplicateNetns { path: spec.netns.clone(), by: by() });
            }
            if let Some(&address) = spec.addresses.iter().find(|a| other.spec.addresses.contains(a)) {
                return Err(EnrollmentError::DuplicateAddress { address, by: by() });
            }
        }
        Ok(())
    }
}

fn changeable(spec: PodSpec) -> Changeable {
    Changeable { labels: spec.labels, probe_ports: spec.probe_ports }
}

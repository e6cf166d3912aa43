//! Enrolment on behalf of the container runtime, which makes and removes the sandboxes of pods. It removes a sandbox before
//! Kubernetes says anything: until it makes another, nobody enrols the pod again in what is left of the old one.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::error::EnrollmentError;
use super::netns::Netns;
use super::pod::{EnrolledPod, PodSpec};
use super::registry::Enrollment;

/// How long a pod counts as without a sandbox, in case the call for its next one is lost.
const LOST_SANDBOX_TIMEOUT: Duration = Duration::from_secs(30);

impl Enrollment {
    /// [`Self::ensure`] for a pod whose sandbox has just been made.
    ///
    /// # Errors
    /// See [`EnrollmentError`]; nothing is left of the attempt, and no other pod is touched.
    pub fn ensure_in_sandbox(&self, spec: PodSpec) -> Result<Arc<EnrolledPod>, EnrollmentError> {
        self.lost_sandboxes.lock().remove(&spec.uid);
        self.ensure(spec)
    }

    /// Ends the enrolment of the pod in this very sandbox, known by the path of its network namespace, if there is one; a
    /// newer sandbox of the same pod is another. Nothing of the pod goes on: its processes are gone, or go with the sandbox.
    ///
    /// # Errors
    /// When the kernel refuses to take something back.
    pub fn release_sandbox(&self, netns: &Path) -> Result<Option<Arc<EnrolledPod>>, EnrollmentError> {
        let Some(pod) = self.pods().into_iter().find(|pod| is_in(pod, netns)) else { return Ok(None) };
        self.lost_sandboxes.lock().insert(pod.spec.uid.clone(), Instant::now());
        pod.dead.cancel();
        match self.unenroll(&pod.spec.uid) {
            Ok(()) | Err(EnrollmentError::Unknown(_)) => Ok(Some(pod)),
            Err(error) => Err(error),
        }
    }

    /// True from when a pod's sandbox went until it has another, for half a minute at most.
    #[must_use]
    pub fn has_lost_sandbox(&self, uid: &str) -> bool {
        self.lost_sandboxes.lock().get(uid).is_some_and(|since| since.elapsed() < LOST_SANDBOX_TIMEOUT)
    }

    /// Forgets the lost sandboxes of pods that are no more.
    pub fn forget_lost_sandboxes(&self, exists: impl Fn(&str) -> bool) {
        self.lost_sandboxes.lock().retain(|uid, _| exists(uid));
    }
}

/// By its path, or by the namespace itself, which may have more names than one.
fn is_in(pod: &EnrolledPod, path: &Path) -> bool {
    pod.spec.netns == path || Netns::open(path).is_ok_and(|netns| netns.cookie() == pod.netns.cookie())
}

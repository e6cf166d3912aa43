//! What happens to enrolled pods without anybody asking: those of a former agent are restored, the enrolment of pods that die
//! is ended, and a list that could not be written is written again.

use std::time::{Duration, Instant};

use super::error::EnrollmentError;
use super::netns::Netns;
use super::ownership::Owner;
use super::pod::PodSpec;
use super::registry::Enrollment;

/// Pause between two attempts to write the list of pods.
const SAVE_RETRY_INTERVAL: Duration = Duration::from_secs(3);
/// How soon the death of a pod is noticed.
const LIVENESS_INTERVAL: Duration = Duration::from_millis(250);

impl Enrollment {
    /// Enrols again the pods that a former agent on this node had enrolled, and forgets those that died meanwhile.
    pub fn restore(&self) {
        let list = self.store.load();
        let mut is_as_listed = true;
        for spec in list {
            let (uid, name) = (spec.uid.clone(), format!("{}/{}", spec.namespace, spec.name));
            if spec.cgroup.as_deref().is_some_and(|cgroup| !cgroup.exists()) {
                tracing::info!(uid, pod = name, "pod died while no agent ran");
                is_as_listed = false;
                continue;
            }
            match reopen(&spec).and_then(|netns| self.add(spec, netns)) {
                Ok(_) => tracing::info!(uid, pod = name, "pod is enrolled again"),
                Err(error) => {
                    tracing::warn!(uid, pod = name, %error, "pod is not enrolled again");
                    is_as_listed = false;
                }
            }
        }
        self.release_strays();
        if let Err(error) = self.capture.end_takeover() {
            tracing::warn!(%error, "programs of another version are still attached");
        }
        self.supervisor.release_untaken();
        if is_as_listed {
            // A disk may take longer than all of this.
            return self.report_count();
        }
        if let Err(error) = self.save() {
            tracing::warn!(%error, "the list of enrolled pods could not be written");
        }
    }

    /// Ends the enrolment of pods as they die. Runs for ever.
    pub async fn watch_liveness(&self) {
        let mut interval = tokio::time::interval(LIVENESS_INTERVAL);
        let mut last_retry = Instant::now();
        loop {
            interval.tick().await;
            if self.is_unsaved() && last_retry.elapsed() >= SAVE_RETRY_INTERVAL {
                last_retry = Instant::now();
                self.save_again();
            }
            self.end_dead_pods();
        }
    }

    fn end_dead_pods(&self) {
        let owner = self.ownership.owner();
        for pod in self.pods() {
            if owner == Owner::Undecided || pod.is_alive() {
                continue;
            }
            tracing::info!(uid = pod.spec.uid, pod = pod.spec.name, "pod is gone");
            pod.dead.cancel();
            if owner == Owner::Successor {
                // Its capture is the successor's to end.
                self.pods.lock().remove(&pod.spec.uid);
                self.supervisor.release(pod.netns.cookie().0);
                continue;
            }
            if let Err(error) = self.unenroll(&pod.spec.uid) {
                tracing::warn!(uid = pod.spec.uid, %error, "a dead pod could not be taken back whole");
            }
        }
    }

    /// Ends what the kernel still captures of pods that are not on the list.
    fn release_strays(&self) {
        let known: Vec<_> = self.pods.lock().values().map(|pod| pod.netns.cookie()).collect();
        for cookie in self.capture.enrolled().into_iter().filter(|cookie| !known.contains(cookie)) {
            if let Err(error) = self.capture.unenroll(cookie) {
                tracing::warn!(?cookie, %error, "a pod that is not on the list is still captured");
            }
        }
    }

    fn save_again(&self) {
        let Ok(_one_at_a_time) = self.turn() else { return };
        if self.save().is_ok() {
            tracing::info!("the list of enrolled pods is written again");
        }
    }
}

/// The namespace of a pod that a former agent enrolled, if its path still leads there.
fn reopen(spec: &PodSpec) -> Result<Netns, EnrollmentError> {
    let netns = Netns::open(&spec.netns)?;
    if spec.netns_cookie.is_some_and(|cookie| cookie != netns.cookie().0) {
        return Err(EnrollmentError::OtherNetns(spec.netns.clone()));
    }
    Ok(netns)
}

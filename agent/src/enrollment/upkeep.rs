//! What happens to enrolled pods without anybody asking: those of a former agent are restored, the enrolment of pods that die
//! is ended, and a list that could not be written is written again.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::MissedTickBehavior;

use super::error::EnrollmentError;
use super::netns::Netns;
use super::ownership::Owner;
use super::pod::PodSpec;
use super::registry::Enrollment;

/// Pause between two attempts to write the list of pods.
const SAVE_RETRY_INTERVAL: Duration = Duration::from_secs(3);
/// Pause between two looks at which pods' listeners have to be noted anew, and which pods forward packets.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);
/// How soon the death of a pod is noticed.
const LIVENESS_INTERVAL: Duration = Duration::from_millis(250);

/// When something is to be done again at the earliest.
#[derive(Debug)]
struct Due {
    save: Instant,
    sweep: Instant,
}

impl Enrollment {
    /// Enrols again the pods that a former agent on this node had enrolled, and forgets those that died meanwhile.
    pub fn restore(&self) {
        let list = self.list.load();
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

    /// Ends the enrolment of pods as they die, and keeps what the kernel notes of the others small. Runs for ever.
    pub async fn watch_liveness(self: Arc<Self>) {
        let mut interval = tokio::time::interval(LIVENESS_INTERVAL);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut due = Due { save: Instant::now(), sweep: Instant::now() };
        loop {
            interval.tick().await;
            if !self.needs_care(&due) {
                continue;
            }
            let enrollment = self.clone();
            // It may wait for a disk, and for the outcome of a succession: the runtime's thread serves everything else.
            let round = tokio::task::spawn_blocking(move || {
                enrollment.look_after_pods(&mut due);
                due
            });
            due = round.await.unwrap_or(Due { save: Instant::now(), sweep: Instant::now() });
        }
    }

    /// Whether there is anything for [`Self::look_after_pods`] to do. Never waits.
    fn needs_care(&self, due: &Due) -> bool {
        let now = Instant::now();
        self.must_save(due, now) || now >= due.sweep || self.pods().iter().any(|pod| !pod.is_alive())
    }

    fn must_save(&self, due: &Due, now: Instant) -> bool {
        self.is_unsaved() && now >= due.save
    }

    fn look_after_pods(&self, due: &mut Due) {
        let now = Instant::now();
        if self.must_save(due, now) {
            due.save = now + SAVE_RETRY_INTERVAL;
            self.save_again();
        }
        self.end_dead_pods();
        if now >= due.sweep {
            due.sweep = now + SWEEP_INTERVAL;
            self.sweep_listeners();
            self.forwarding.look(&self.pods());
        }
    }

    /// Has the kernel's notes about listeners looked at again, of the pods that need it.
    fn sweep_listeners(&self) {
        let unswept = self.capture.unswept();
        if unswept.is_empty() || self.ownership.owner() != Owner::ThisAgent {
            return;
        }
        for pod in self.pods().iter().filter(|pod| unswept.contains(&pod.netns.cookie())) {
            // A pod whose enrolment has ended meanwhile must not be noted again.
            let Ok(_one_at_a_time) = self.turn() else { return };
            if pod.left.is_cancelled() {
                continue;
            }
            if let Err(error) = self.capture.sweep(pod.netns.cookie(), pod.netns.as_fd()) {
                tracing::warn!(uid = pod.spec.uid, %error, "the notes about its listeners are not up to date");
            }
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

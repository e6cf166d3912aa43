//! [`ClusterEnrollment`]: compares what Kubernetes wants with what is enrolled, pod by pod, whenever either changes, and has
//! the next step of each carried out.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use super::actions::{Actions, Done, StepResult};
use super::netns_index::NetnsIndex;
use super::step::{self, Enrolled, EnrollmentStep, Memory, Next, View, Wanted};
use crate::enrollment::pod::{Changeable, EnrolledPod, Origin};
use crate::enrollment::registry::Enrollment;
use crate::kubernetes::{DescribedPod, Directory, KnownPod};
use crate::lifecycle::ReadyBlocker;
use crate::pauses::Pauses;
use crate::state::SharedMesh;

/// First and longest pause before a step that failed is tried again.
const FIRST_RETRY_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_RETRY_PAUSE: Duration = Duration::from_secs(15);

/// See the module.
#[derive(Debug)]
pub struct ClusterEnrollment {
    directory: Directory,
    enrollment: Arc<Enrollment>,
    mesh: SharedMesh,
    actions: Actions,
    /// By uid.
    pods: HashMap<String, Followed>,
    outcomes: mpsc::UnboundedReceiver<StepResult>,
    /// Until capture of every pod that was here before was tried.
    starting: Option<ReadyBlocker>,
}

/// What is remembered of a pod.
#[derive(Debug)]
struct Followed {
    memory: Memory,
    pauses: Pauses,
}

impl Followed {
    fn new(memory: Memory) -> Self {
        Self { memory, pauses: Pauses::new(FIRST_RETRY_PAUSE, LONGEST_RETRY_PAUSE) }
    }
}

impl ClusterEnrollment {
    /// To be made after the pods of a former agent are restored: those count as known for long. `netns_dir` is where
    /// their network namespaces have names, `host_proc` where the node's processes are. `starting` is dropped once capture of every pod that was here before was tried.
    #[must_use]
    pub fn new(
        directory: Directory,
        enrollment: Arc<Enrollment>,
        mesh: SharedMesh,
        netns_dir: &Path,
        host_proc: &Path,
        starting: ReadyBlocker,
    ) -> Self {
        let restored = enrollment.pods();
        let (sender, outcomes) = mpsc::unbounded_channel();
        Self {
            actions: Actions::new(enrollment.clone(), directory.clone(), NetnsIndex::new(netns_dir, host_proc), sender),
            directory,
            mesh,
            pods: restored.iter().map(|pod| (pod.spec.uid.clone(), Followed::new(Memory::default()))).collect(),
            enrollment,
            outcomes,
            starting: Some(starting),
        }
    }

    /// Runs for ever. Dropping it leaves everything as it is.
    pub async fn run(mut self) {
        let (mut directory, mut enrolled) = (self.directory.watch(), self.enrollment.watch());
        let mut mesh = self.mesh.watch();
        loop {
            let deadline = self.round(Instant::now());
            let is_anybody_leaving = self.pods.values().any(|followed| followed.memory.is_leaving());
            tokio::select! {
                // Neither ever ends: this holds both.
                _ = directory.changed() => {}
                _ = enrolled.changed() => {}
                () = changed_if(&mut mesh, is_anybody_leaving) => {}
                outcome = self.outcomes.recv() => {
                    outcome.into_iter().for_each(|outcome| self.on_outcome(outcome));
                }
                () = reached(deadline) => {}
            }
            while let Ok(outcome) = self.outcomes.try_recv() {
                self.on_outcome(outcome);
            }
        }
    }

    /// Begins the next step of each pod. Returns when to do so again at the latest.
    fn round(&mut self, now: Instant) -> Option<Instant> {
        let is_complete = self.directory.is_complete();
        let mut known: BTreeMap<_, _> =
            self.directory.pods().into_iter().map(|known| (known.pod.uid.clone(), known)).collect();
        let enrolled: BTreeMap<_, _> =
            self.enrollment.pods().into_iter().map(|pod| (pod.spec.uid.clone(), pod)).collect();
        self.enrollment.forget_lost_sandboxes(|uid| known.contains_key(uid));
        self.pods.retain(|uid, _| known.contains_key(uid) || enrolled.contains_key(uid));
        let uids: Vec<String> =
            known.keys().chain(enrolled.keys().filter(|uid| !known.contains_key(*uid))).cloned().collect();
        let (mut deadline, mut pending, mut untried) = (None, 0, 0);
        let (mut to_enroll, mut to_annotate, mut to_release) = (Vec::new(), Vec::new(), Vec::new());
        let mut to_follow = Vec::new();
        for uid in uids {
            let (pod, here) = (known.remove(&uid), enrolled.get(&uid));
            to_follow.extend(pod.as_ref().zip(here).and_then(|(known, here)| change(known, here)));
            let view = self.view(pod.as_ref(), here, is_complete);
            let is_pending =
                view.wanted == Wanted::In && view.enrolled == Enrolled::No && view.has_addresses && !view.is_ending;
            let fresh = || Followed::new(Memory::since(now));
            let followed = self.pods.entry(uid.clone()).or_insert_with(fresh);
            pending += usize::from(is_pending);
            untried += usize::from(is_pending && followed.memory.retry_at.is_none());
            if here.is_none() {
                // If it is enrolled later, the graces of a new pod count from then.
                followed.memory.enrolled_at = Some(now);
            }
            let next = step::next(&view, &mut followed.memory, now);
            if let Some(pod) = here {
                pod.set_leaving(followed.memory.is_leaving());
            }
            match next {
                Next::Nothing => {}
                Next::At(at) => deadline = Some(deadline.map_or(at, |earliest: Instant| earliest.min(at))),
                Next::Do(step) => {
                    match (step, pod, here) {
                        (EnrollmentStep::Enroll, Some(pod), _) => to_enroll.push(pod),
                        (EnrollmentStep::Annotate(captured), Some(pod), _) => to_annotate.push((pod.pod, captured)),
                        (EnrollmentStep::Release, _, Some(here)) => to_release.push((here.clone(), view.wanted)),
                        // The pod that the step is about is not there any more.
                        _ => continue,
                    }
                    followed.memory.begin(step);
                }
            }
        }
        self.enrollment.report_pending(pending);
        self.actions.follow(to_follow, &self.mesh);
        self.actions.enroll(to_enroll);
        to_annotate.into_iter().for_each(|(pod, captured)| self.actions.annotate(pod, captured));
        self.actions.release(to_release);
        if is_complete && untried == 0 {
            self.starting = None;
        }
        deadline
    }

    fn view(&self, known: Option<&KnownPod>, here: Option<&Arc<EnrolledPod>>, is_complete: bool) -> View {
        let wanted = match known {
            None if is_complete => Wanted::Gone,
            None => Wanted::Undecided,
            Some(known) if known.is_finished => Wanted::Finished,
            Some(known) if !known.is_decided => Wanted::Undecided,
            // The container runtime may be about to make it another sandbox.
            Some(known) if self.enrollment.has_lost_sandbox(&known.pod.uid) => Wanted::Undecided,
            Some(known) if known.pod.in_mesh => Wanted::In,
            Some(_) => Wanted::Out,
        };
        let addresses = known.map(|known| known.pod.addresses.as_slice()).unwrap_or_default();
        View {
            wanted,
            is_annotated: known.is_some_and(|known| known.is_annotated),
            has_addresses: !addresses.is_empty(),
            is_ending: known.is_some_and(|known| known.is_ending),
            enrolled: match here.map(|pod| pod.spec.origin) {
                None => Enrolled::No,
                Some(Origin::Kubernetes) => Enrolled::ByKubernetes,
                Some(Origin::Node) => Enrolled::ByNode,
            },
            has_new_addresses: here
                .is_some_and(|pod| addresses.iter().any(|address| !pod.spec.addresses.contains(address))),
            mesh_says_hbone: wanted == Wanted::Out
                && here.is_some_and(|pod| self.mesh.read().says_hbone(pod.spec.key())),
        }
    }

    fn on_outcome(&mut self, outcome: StepResult) {
        let Some(followed) = self.pods.get_mut(&outcome.uid) else { return };
        let (memory, now) = (&mut followed.memory, Instant::now());
        memory.is_busy = false;
        match outcome.result {
            Ok(done) => {
                followed.pauses.reset();
                memory.retry_at = None;
                match done {
                    Done::Annotated(captured) => memory.written = Some((captured, now)),
                    Done::Released => memory.forget_leaving(),
                }
            }
            Err(error) => {
                let pause = followed.pauses.take();
                memory.retry_at = Some(now + pause);
                tracing::warn!(
                    uid = outcome.uid,
                    pod = outcome.pod,
                    error,
                    retry_in_ms = pause.as_millis(),
                    "not done yet"
                );
            }
        }
    }
}

/// What Kubernetes says of a pod that it had enrolled, where that is not what the pod is enrolled with.
fn change(known: &KnownPod, here: &Arc<EnrolledPod>) -> Option<(Arc<EnrolledPod>, Changeable)> {
    let DescribedPod { labels, probe_ports, .. } = &known.pod;
    let current = here.current();
    let is_same = current.labels == *labels && current.probe_ports == *probe_ports;
    if is_same || here.spec.origin != Origin::Kubernetes {
        return None;
    }
    Some((here.clone(), Changeable { labels: labels.clone(), probe_ports: probe_ports.clone() }))
}

/// Resolves at the next change, if it is wanted; else never.
async fn changed_if(version: &mut watch::Receiver<u64>, wanted: bool) {
    if !wanted || version.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Resolves at a time; never, if there is none.
async fn reached(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

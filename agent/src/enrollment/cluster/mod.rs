//! Keeps the enrolled pods of this node what Kubernetes says they should be: those that are in the mesh are captured and
//! say so in an annotation, those that leave it are let go in order. What a pod's next step is, is `step`'s to decide.

mod act;
mod netns_index;
mod step;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};

use self::act::{Done, Outcome};
use self::netns_index::NetnsIndex;
use self::step::{Enrolled, Memory, Next, Step, View, Wanted};
use super::Enrollment;
use super::pod::{EnrolledPod, Origin};
use crate::kubernetes::{Annotations, Directory, KnownPod};
use crate::lifecycle::ReadyBlocker;
use crate::pauses::Pauses;
use crate::state::SharedMesh;

/// First and longest pause before a step that failed is tried again.
const RETRY_PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(15));

/// What it takes to follow Kubernetes.
#[derive(Debug)]
pub struct ClusterEnrollment {
    directory: Directory,
    enrollment: Arc<Enrollment>,
    annotations: Annotations,
    mesh: SharedMesh,
    index: Arc<Mutex<NetnsIndex>>,
    pods: HashMap<String, Followed>,
    outcomes: (mpsc::UnboundedSender<Outcome>, mpsc::UnboundedReceiver<Outcome>),
    /// Until every pod that was here before is captured, or was tried.
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
        Self { memory, pauses: Pauses::new(RETRY_PAUSE.0, RETRY_PAUSE.1) }
    }
}

impl ClusterEnrollment {
    /// To be made after the pods of a former agent are restored: those count as long known. `netns_dir` is where their
    /// network namespaces have names. `starting` is dropped once the pods that were here before are captured.
    #[must_use]
    pub fn new(
        directory: Directory,
        enrollment: Arc<Enrollment>,
        mesh: SharedMesh,
        netns_dir: &Path,
        starting: ReadyBlocker,
    ) -> Self {
        let restored = enrollment.pods();
        Self {
            annotations: Annotations::new(directory.clone()),
            directory,
            mesh,
            index: Arc::new(Mutex::new(NetnsIndex::new(netns_dir))),
            pods: restored.iter().map(|pod| (pod.spec.uid.clone(), Followed::new(Memory::default()))).collect(),
            enrollment,
            outcomes: mpsc::unbounded_channel(),
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
                outcome = self.outcomes.1.recv() => {
                    outcome.into_iter().for_each(|outcome| self.take(outcome));
                }
                () = reached(deadline) => {}
            }
            while let Ok(outcome) = self.outcomes.1.try_recv() {
                self.take(outcome);
            }
        }
    }

    /// Begins what is to be done for each pod; tells when to look again at the latest.
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
        for uid in uids {
            let (pod, here) = (known.remove(&uid), enrolled.get(&uid));
            let view = self.view(pod.as_ref(), here, is_complete);
            let is_pending =
                view.wanted == Wanted::In && view.enrolled == Enrolled::No && view.has_addresses && !view.is_ending;
            let fresh = || Followed::new(Memory::since(now));
            let followed = self.pods.entry(uid.clone()).or_insert_with(fresh);
            pending += usize::from(is_pending);
            untried += usize::from(is_pending && followed.memory.retry_at.is_none());
            if here.is_none() {
                // Should it be enrolled again, it is new again.
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
                        (Step::Enroll, Some(pod), _) => to_enroll.push(pod),
                        (Step::Annotate(captured), Some(pod), _) => to_annotate.push((pod.pod, captured)),
                        (Step::Release, _, Some(here)) => to_release.push((here.clone(), view.wanted)),
                        // Nobody is there any more to do it to.
                        _ => continue,
                    }
                    followed.memory.begin(step);
                }
            }
        }
        self.enrollment.metrics.set_pending_pods(pending);
        self.enroll(to_enroll);
        to_annotate.into_iter().for_each(|(pod, captured)| self.annotate(pod, captured));
        self.release(to_release);
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
            // It may have a new one soon, by the container runtime's word.
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
            is_moved: here.is_some_and(|pod| addresses.iter().any(|address| !pod.spec.addresses.contains(address))),
            mesh_says_hbone: wanted == Wanted::Out
                && here.is_some_and(|pod| self.mesh.read().says_hbone(pod.spec.key())),
        }
    }

    /// Learns how a step ended.
    fn take(&mut self, outcome: Outcome) {
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

/// Resolves when something changes, if anybody wants to know.
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

//! [`Enrollment`]: the pods of this node. One is added or removed here at a time, together with its capture, its sockets at
//! the supervisor, and its place on the list on disk.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};

use super::error::EnrollmentError;
use super::forwarding::Forwarding;
use super::list_writer::{ListWriter, NotWritten};
use super::listeners::{self, Enrolled};
use super::netns::{Netns, NetnsError};
use super::ownership::{Owner, Ownership, Turn};
use super::pod::{EnrolledPod, PodSpec};
use super::store::PodStore;
use crate::capture::{Capture, NotCaptured, PodCapture};
use crate::limits::NodeLimits;
use crate::supervisor::SupervisorLink;
use crate::telemetry::metrics::{Metrics, StateFile};

/// The pods of this node. Shared as `Arc<Enrollment>`.
#[derive(Debug)]
pub struct Enrollment {
    pub(super) capture: Arc<Capture>,
    metrics: Arc<Metrics>,
    limits: Arc<NodeLimits>,
    /// The list on disk.
    pub(super) list: ListWriter,
    /// Holds duplicates of the listeners.
    pub(super) supervisor: Arc<SupervisorLink>,
    /// By uid.
    pub(super) pods: Mutex<BTreeMap<String, Arc<EnrolledPod>>>,
    /// One pod is enrolled or unenrolled at a time, so that two never race for an address.
    pub(super) ownership: Ownership,
    /// The list on disk is not the one in force.
    unsaved: AtomicBool,
    arrivals: mpsc::UnboundedSender<Enrolled>,
    /// Changes whenever a pod is enrolled or unenrolled.
    version: watch::Sender<u64>,
    /// Pods whose sandbox went and has no successor yet, by uid, and since when.
    pub(super) lost_sandboxes: Mutex<BTreeMap<String, Instant>>,
    pub(super) forwarding: Forwarding,
}

impl Enrollment {
    /// An empty list, and the stream of the pods that will be enrolled.
    #[must_use]
    pub fn new(
        capture: Arc<Capture>,
        metrics: Arc<Metrics>,
        limits: Arc<NodeLimits>,
        store: PodStore,
        supervisor: Arc<SupervisorLink>,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<Enrolled>) {
        let (arrivals, stream) = mpsc::unbounded_channel();
        let list = ListWriter::new(store);
        let (pods, ownership, unsaved, lost_sandboxes, forwarding) = Default::default();
        let enrollment = Self {
            capture,
            metrics,
            limits,
            list,
            supervisor,
            pods,
            ownership,
            unsaved,
            arrivals,
            version: watch::Sender::new(0),
            lost_sandboxes,
            forwarding,
        };
        (Arc::new(enrollment), stream)
    }

    /// Changes whenever a pod is enrolled or unenrolled.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// The enrolled pods, by uid.
    pub fn pods(&self) -> Vec<Arc<EnrolledPod>> {
        self.pods.lock().values().cloned().collect()
    }

    /// Packets that a pod has forwarded between its interfaces, where it was seen to.
    #[must_use]
    pub fn forwarded_by(&self, pod: &EnrolledPod) -> Option<u64> {
        self.forwarding.of(pod.netns.cookie())
    }

    /// Counts a request that was refused, by the field that was wrong.
    pub fn count_refusal(&self, error: &EnrollmentError) {
        self.metrics.enrollment_refused(error.field());
    }

    /// Whether the kernel captures an enrolled pod now: asked of the kernel, not remembered.
    #[must_use]
    pub fn is_captured(&self, uid: &str) -> bool {
        let pod = self.pods.lock().get(uid).cloned();
        pod.is_some_and(|pod| self.prove(&pod).is_ok())
    }

    /// Stops enrolling and unenrolling pods, until [`resume`](Self::resume) or [`hand_over`](Self::hand_over): a successor
    /// takes over. Those who ask meanwhile wait. It is not done while the disk has yet to take a list, which would end in the
    /// place of the successor's; pods come and go until then.
    pub fn freeze(&self) {
        loop {
            self.list.wait_until_idle();
            let turn = self.ownership.pass_to(Owner::Undecided);
            let saved = if self.is_unsaved() { self.save() } else { Ok(()) };
            match saved {
                Ok(()) => return,
                Err(NotWritten::Failed(error)) => {
                    tracing::warn!(%error, "the successor finds an outdated list of enrolled pods");
                    return;
                }
                Err(NotWritten::Stalled) => {}
            }
            drop(turn);
            drop(self.ownership.pass_to(Owner::ThisAgent));
        }
    }

    /// The successor failed: pods are enrolled and unenrolled here again.
    pub fn resume(&self) {
        drop(self.ownership.pass_to(Owner::ThisAgent));
    }

    /// The successor serves: it enrols pods from now on, and writes the list. What belongs to a pod that dies still ends here.
    pub fn hand_over(&self) {
        drop(self.ownership.pass_to(Owner::Successor));
    }

    /// Whether this agent is the one that enrols and unenrols pods.
    pub fn is_in_charge(&self) -> bool {
        self.ownership.owner() == Owner::ThisAgent
    }

    /// The caller's turn to enrol or unenrol pods, as long as it is held.
    ///
    /// # Errors
    /// When a successor serves the node.
    pub(super) fn turn(&self) -> Result<Turn<'_>, EnrollmentError> {
        self.ownership.turn().ok_or(EnrollmentError::HandedOver)
    }

    /// Asks the kernel whether it captures a pod.
    ///
    /// # Errors
    /// What is missing.
    pub(super) fn prove(&self, pod: &EnrolledPod) -> Result<(), NotCaptured> {
        self.capture.prove(pod.netns.cookie())
    }

    /// Listeners, capture, registry, proxy: in this order, so that no connection is steered to where nobody listens.
    ///
    /// # Errors
    /// When the listeners cannot be opened, or the kernel refuses; then nothing is left of the attempt.
    pub(super) fn add(&self, spec: PodSpec, netns: Netns) -> Result<Arc<EnrolledPod>, EnrollmentError> {
        let held = self.supervisor.take_held(netns.cookie().0).and_then(listeners::from_held);
        let in_place = held.is_some();
        let listeners = held.map_or_else(|| netns.listeners(), Ok).map_err(|source| NetnsError::Inside {
            path: spec.netns.clone(),
            what: "opening listeners",
            source,
        })?;
        let device = spec.addresses.first().map(|&address| netns.device_of(address)).transpose();
        let device = device.unwrap_or_else(|error| {
            tracing::warn!(pod = spec.name, %error, "the interface of the pod's addresses is not known");
            None
        });
        let kubelets = || self.capture.pod_cgroup(spec.kubelet_uid.as_deref().unwrap_or(&spec.uid));
        let cgroup = spec.cgroup.clone().or_else(kubelets);
        let pod = Arc::new(EnrolledPod::new(spec, netns, self.limits.for_pod()));
        self.capture.enroll(&PodCapture {
            netns: pod.netns.as_fd(),
            cookie: pod.netns.cookie(),
            addresses: &pod.spec.addresses,
            cgroup: cgroup.as_deref(),
            probe_ports: &pod.spec.probe_ports,
            device: device.flatten().unwrap_or_default(),
            listeners: &listeners,
            listeners_in_place: in_place,
            closed_without_agent: true,
        })?;
        if !in_place {
            // Only after capture steers to them: the next worker takes sockets that are held for those that it steers to.
            self.supervisor.hold(pod.netns.cookie().0, &pod.spec.uid, &listeners::named(&listeners));
        }
        self.pods.lock().insert(pod.spec.uid.clone(), pod.clone());
        // The receiver only goes away when the process ends.
        let _ = self.arrivals.send(Enrolled { pod: pod.clone(), listeners });
        self.version.send_modify(|version| *version += 1);
        Ok(pod)
    }

    /// Ends a pod's capture: its new connections go direct; those that are open may finish. Fine if it is not enrolled.
    ///
    /// # Errors
    /// When the kernel refuses to take something back. The pod is no longer enrolled even then.
    pub(super) fn remove(&self, uid: &str) -> Result<(), EnrollmentError> {
        let Some(pod) = self.pods.lock().remove(uid) else { return Ok(()) };
        // No new connection is steered to us from here on; then the proxy empties the backlogs and closes the listeners.
        let ended = self.capture.unenroll(pod.netns.cookie());
        self.supervisor.release(pod.netns.cookie().0);
        pod.left.cancel();
        self.version.send_modify(|version| *version += 1);
        Ok(ended?)
    }

    /// Writes the list to disk, and its length to the metrics.
    ///
    /// # Errors
    /// When the state directory cannot be written, or its disk stands still; it is tried again later.
    pub(super) fn save(&self) -> Result<(), NotWritten> {
        // Not held while the disk is waited for: who serves questions asks for pods, too.
        let list: Vec<PodSpec> = self.pods().iter().map(|pod| pod.current_spec()).collect();
        self.metrics.set_pods(list.len());
        let saved = self.list.write(list);
        self.unsaved.store(saved.is_err(), Ordering::Relaxed);
        if saved.is_err() {
            self.metrics.state_write_failed(StateFile::EnrolledPods);
        }
        saved
    }

    /// [`save`](Self::save), where a failure does no harm beyond a list that is outdated for a while.
    pub(super) fn save_or_warn(&self) {
        if let Err(error) = self.save() {
            tracing::warn!(%error, "the list of enrolled pods could not be written, it is being retried");
        }
    }

    /// Whether the list on disk is not the one in force.
    pub(super) fn is_unsaved(&self) -> bool {
        self.unsaved.load(Ordering::Relaxed)
    }

    /// Writes the number of enrolled pods to the metrics.
    pub(super) fn report_count(&self) {
        self.metrics.set_pods(self.pods.lock().len());
    }

    /// Writes to the metrics how many pods are to be enrolled and are not.
    pub(super) fn report_pending(&self, pods: usize) {
        self.metrics.set_pending_pods(pods);
    }
}

//! Which pods of this node are enrolled, and all that belongs to one: namespace, listeners, capture.
//!
//! [`Enrollment`] owns them. Everything that enrols a pod (the API on the Unix socket, the list on disk after a restart)
//! ends in [`Enrollment::enroll`]; everything that ends one (the API, the pod's death) in [`Enrollment::unenroll`].

pub mod api;
mod check;
pub mod cluster;
mod door;
mod duty;
mod ensure;
mod hand_over;
mod holding;
pub mod netns;
pub mod pod;
mod sandboxes;
pub mod store;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};

pub use self::check::check_name;
use self::duty::{Duty, Holder};
use self::netns::{Netns, NetnsError};
use self::pod::{EnrolledPod, PodSpec};
use self::store::PodStore;
use crate::capture::{Capture, CaptureError, PodCapture, PodListeners};
use crate::supervisor::SupervisorLink;
use crate::telemetry::metrics::{Metrics, StateFile};

/// How often it is tried to write the list of pods that could not be written.
const SAVE_RETRY: Duration = Duration::from_secs(3);
/// How soon the death of a pod is noticed.
const LIVENESS_INTERVAL: Duration = Duration::from_millis(250);

/// A pod came; the proxy takes its listeners. (That it left shows in [`EnrolledPod::left`].)
#[derive(Debug)]
pub struct Enrolled {
    pub pod: Arc<EnrolledPod>,
    pub listeners: PodListeners,
}

/// Why a pod was not enrolled or unenrolled; each names the field that is wrong.
#[derive(Debug, thiserror::Error)]
pub enum EnrollmentError {
    #[error("{field}: {reason}")]
    Invalid { field: &'static str, reason: String },
    #[error("uid: {0:?} is already enrolled")]
    DuplicateUid(String),
    #[error("netns: {path} is already enrolled as pod {by:?}")]
    DuplicateNetns { path: PathBuf, by: String },
    #[error("addresses: {address} is already enrolled by pod {by:?}")]
    DuplicateAddress { address: std::net::IpAddr, by: String },
    #[error("netns: {0}")]
    Netns(#[from] NetnsError),
    #[error("netns: {0} leads to another namespace than at enrolment")]
    OtherNetns(PathBuf),
    #[error("uid: {0:?} is not enrolled")]
    Unknown(String),
    #[error("capture: {0}")]
    Capture(#[from] CaptureError),
    #[error("the list of enrolled pods could not be written: {0}")]
    Store(std::io::Error),
    #[error("agent: another one serves this node now; ask again")]
    HandedOver,
}

impl EnrollmentError {
    /// The field of the request that is to blame, or the part of the agent.
    fn field(&self) -> &'static str {
        match self {
            Self::Invalid { field, .. } => field,
            Self::DuplicateUid(_) | Self::Unknown(_) => "uid",
            Self::DuplicateNetns { .. } | Self::Netns(_) | Self::OtherNetns(_) => "netns",
            Self::DuplicateAddress { .. } => "addresses",
            Self::Capture(_) => "capture",
            Self::Store(_) => "store",
            Self::HandedOver => "agent",
        }
    }
}

/// The pods of this node. Shared as `Arc<Enrollment>`.
#[derive(Debug)]
pub struct Enrollment {
    capture: Arc<Capture>,
    metrics: Arc<Metrics>,
    store: PodStore,
    /// Holds duplicates of the listeners.
    supervisor: Arc<SupervisorLink>,
    pods: Mutex<BTreeMap<String, Arc<EnrolledPod>>>,
    /// One pod comes or goes at a time, so that two never race for an address.
    duty: Duty,
    /// The list on disk is not the one in force.
    unsaved: AtomicBool,
    arrivals: mpsc::UnboundedSender<Enrolled>,
    /// Changes whenever a pod comes or goes.
    version: watch::Sender<u64>,
    /// Pods whose sandbox went and has no successor yet, by uid, and since when.
    lost_sandboxes: Mutex<BTreeMap<String, Instant>>,
}

impl Enrollment {
    /// An empty list, and the stream of pods to come.
    #[must_use]
    pub fn new(
        capture: Arc<Capture>,
        metrics: Arc<Metrics>,
        store: PodStore,
        supervisor: Arc<SupervisorLink>,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<Enrolled>) {
        let (arrivals, stream) = mpsc::unbounded_channel();
        let (pods, duty, unsaved, lost_sandboxes) = Default::default();
        let version = watch::Sender::new(0);
        let enrollment =
            Self { capture, metrics, store, supervisor, pods, duty, unsaved, arrivals, version, lost_sandboxes };
        (Arc::new(enrollment), stream)
    }

    /// Enrols a pod: opens the listeners in its namespace, captures it, remembers it. All or nothing.
    ///
    /// # Errors
    /// See [`EnrollmentError`]; nothing is left of the attempt, and no other pod is touched.
    pub fn enroll(&self, spec: PodSpec) -> Result<Arc<EnrolledPod>, EnrollmentError> {
        let _one_at_a_time = self.turn()?;
        self.refuse_duplicate_uid(&spec)?;
        let pod = self.enroll_unsaved(spec)?;
        if let Err(error) = self.save() {
            // The error worth reporting is the first one.
            let _ = self.forget(&pod.spec.uid);
            return Err(EnrollmentError::Store(error));
        }
        Ok(pod)
    }

    /// All of an enrolment but the list on disk.
    fn enroll_unsaved(&self, mut spec: PodSpec) -> Result<Arc<EnrolledPod>, EnrollmentError> {
        let netns = Netns::open(&spec.netns)?;
        if spec.addresses.is_empty() {
            spec.addresses = netns.addresses().map_err(|source| NetnsError::Inside {
                path: spec.netns.clone(),
                what: "getifaddrs",
                source,
            })?;
        }
        if spec.addresses.is_empty() {
            let reason = "none given, and the network namespace has none yet".to_owned();
            return Err(EnrollmentError::Invalid { field: "addresses", reason });
        }
        self.end_former_owners(&spec, &netns);
        self.refuse_taken(&spec, &netns)?;
        self.take(spec, netns)
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
        let ended = self.forget(uid);
        if let Err(error) = self.save() {
            // The pod has left all the same; a list that names it too long does no harm once the pod is dead.
            tracing::warn!(uid, %error, "the list of enrolled pods could not be written, it is being retried");
        }
        ended
    }

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
            match reopen(&spec).and_then(|netns| self.take(spec, netns)) {
                Ok(_) => tracing::info!(uid, pod = name, "pod is enrolled again"),
                Err(error) => {
                    tracing::warn!(uid, pod = name, %error, "pod is not enrolled again");
                    is_as_listed = false;
                }
            }
        }
        self.drop_strays();
        if let Err(error) = self.capture.end_takeover() {
            tracing::warn!(%error, "programs of another version are still attached");
        }
        self.supervisor.release_untaken();
        if is_as_listed {
            // A disk may take longer than all of this.
            return self.metrics.set_pods(self.pods.lock().len());
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
            if self.unsaved.load(Ordering::Relaxed) && last_retry.elapsed() >= SAVE_RETRY {
                last_retry = Instant::now();
                self.save_again();
            }
            let holder = self.duty.holder();
            for pod in self.pods() {
                if holder == Holder::Undecided || pod.is_alive() {
                    continue;
                }
                tracing::info!(uid = pod.spec.uid, pod = pod.spec.name, "pod is gone");
                pod.dead.cancel();
                if holder == Holder::Successor {
                    self.pods.lock().remove(&pod.spec.uid);
                    self.supervisor.release(pod.netns.cookie().0);
                    continue;
                }
                if let Err(error) = self.unenroll(&pod.spec.uid) {
                    tracing::warn!(uid = pod.spec.uid, %error, "a dead pod could not be taken back whole");
                }
            }
        }
    }

    /// Changes whenever a pod comes or goes.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// The enrolled pods, by uid.
    pub fn pods(&self) -> Vec<Arc<EnrolledPod>> {
        self.pods.lock().values().cloned().collect()
    }

    /// Counts a request that was refused, by the field that was wrong.
    pub fn count_refusal(&self, error: &EnrollmentError) {
        self.metrics.enrollment_refused(error.field());
    }

    fn refuse_duplicate_uid(&self, spec: &PodSpec) -> Result<(), EnrollmentError> {
        if self.pods.lock().contains_key(&spec.uid) {
            return Err(EnrollmentError::DuplicateUid(spec.uid.clone()));
        }
        Ok(())
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

    /// Listeners, capture, list, proxy: in this order, so that no connection is steered to nobody.
    fn take(&self, spec: PodSpec, netns: Netns) -> Result<Arc<EnrolledPod>, EnrollmentError> {
        let held = self.supervisor.take_held(netns.cookie().0).and_then(holding::listeners);
        let in_place = held.is_some();
        let listeners = held.map_or_else(|| netns.listeners(), Ok).map_err(|source| NetnsError::Inside {
            path: spec.netns.clone(),
            what: "opening listeners",
            source,
        })?;
        let pod = Arc::new(EnrolledPod::new(spec, netns));
        self.capture.enroll(&PodCapture {
            netns: std::os::fd::AsFd::as_fd(&pod.netns),
            cookie: pod.netns.cookie(),
            addresses: &pod.spec.addresses,
            listeners: &listeners,
            listeners_in_place: in_place,
            closed_without_agent: true,
        })?;
        if !in_place {
            // After they are where capture steers to: what is held is in place.
            self.supervisor.hold(pod.netns.cookie().0, &pod.spec.uid, &holding::named(&listeners));
        }
        self.pods.lock().insert(pod.spec.uid.clone(), pod.clone());
        // The receiver only goes away when the process ends.
        let _ = self.arrivals.send(Enrolled { pod: pod.clone(), listeners });
        self.version.send_modify(|version| *version += 1);
        Ok(pod)
    }

    fn forget(&self, uid: &str) -> Result<(), EnrollmentError> {
        let Some(pod) = self.pods.lock().remove(uid) else { return Ok(()) };
        // No new connection is steered to us from here on; then the proxy empties the backlogs and lets go.
        let ended = self.capture.unenroll(pod.netns.cookie());
        self.supervisor.release(pod.netns.cookie().0);
        pod.left.cancel();
        self.version.send_modify(|version| *version += 1);
        Ok(ended?)
    }

    /// Takes back what the kernel still captures for pods that are not on the list.
    fn drop_strays(&self) {
        let known: Vec<_> = self.pods.lock().values().map(|pod| pod.netns.cookie()).collect();
        for cookie in self.capture.enrolled().into_iter().filter(|cookie| !known.contains(cookie)) {
            if let Err(error) = self.capture.unenroll(cookie) {
                tracing::warn!(?cookie, %error, "a pod that is not on the list is still captured");
            }
        }
    }

    /// Writes the list, and counts it.
    fn save(&self) -> std::io::Result<()> {
        let pods = self.pods.lock();
        self.metrics.set_pods(pods.len());
        let saved = self.store.save(pods.values().map(|pod| &pod.spec));
        self.unsaved.store(saved.is_err(), Ordering::Relaxed);
        if saved.is_err() {
            self.metrics.state_write_failed(StateFile::EnrolledPods);
        }
        saved
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

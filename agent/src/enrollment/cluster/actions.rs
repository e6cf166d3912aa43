//! The steps of `step`, carried out: what enters namespaces and the kernel on threads that may block, requests to the API
//! server as tasks. Each reports its outcome.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::mpsc::UnboundedSender;

use super::netns_index::{NetnsIndex, NotFound};
use super::step::Wanted;
use crate::capture::NotCaptured;
use crate::enrollment::error::EnrollmentError;
use crate::enrollment::pod::{Changeable, EnrolledPod, Origin, PodSpec};
use crate::enrollment::registry::Enrollment;
use crate::kubernetes::{Annotations, DescribedPod, Directory, KnownPod};
use crate::state::SharedMesh;

/// A step that went well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Done {
    Annotated(bool),
    Released,
}

/// How a step ended.
#[derive(Debug)]
pub(super) struct StepResult {
    pub(super) uid: String,
    /// For the log.
    pub(super) pod: String,
    pub(super) result: Result<Done, String>,
}

/// Why a pod is not enrolled.
#[derive(Debug, thiserror::Error)]
enum NotEnrolled {
    #[error(transparent)]
    NotFound(#[from] NotFound),
    #[error(transparent)]
    Refused(#[from] EnrollmentError),
    #[error("the kernel does not capture it: {0}")]
    Unproved(#[from] NotCaptured),
}

/// Carries out steps.
#[derive(Debug)]
pub(super) struct Actions {
    enrollment: Arc<Enrollment>,
    directory: Directory,
    annotations: Annotations,
    index: Arc<Mutex<NetnsIndex>>,
    outcomes: UnboundedSender<StepResult>,
}

impl Actions {
    pub(super) fn new(
        enrollment: Arc<Enrollment>,
        directory: Directory,
        index: NetnsIndex,
        outcomes: UnboundedSender<StepResult>,
    ) -> Self {
        let annotations = Annotations::new(directory.clone());
        Self { enrollment, directory, annotations, index: Arc::new(Mutex::new(index)), outcomes }
    }

    /// Enrols pods, and annotates each as soon as its capture is proved.
    pub(super) fn enroll(&self, pods: Vec<KnownPod>) {
        if pods.is_empty() {
            return;
        }
        let enrolling = Enrolling {
            enrollment: self.enrollment.clone(),
            index: self.index.clone(),
            annotations: self.annotations.clone(),
            outcomes: self.outcomes.clone(),
            runtime: Handle::current(),
            began: Instant::now(),
        };
        // One thread for all: pods are enrolled one at a time anyway.
        tokio::task::spawn_blocking(move || enrolling.run(pods));
    }

    /// Makes what can change about enrolled pods what Kubernetes says now, and has decisions taken again that depend on it.
    pub(super) fn follow(&self, pods: Vec<(Arc<EnrolledPod>, Changeable)>, mesh: &SharedMesh) {
        if pods.is_empty() {
            return;
        }
        let (enrollment, mesh) = (self.enrollment.clone(), mesh.clone());
        tokio::task::spawn_blocking(move || {
            if enrollment.follow(pods) {
                mesh.touch();
            }
        });
    }

    /// Writes to a pod's annotation that it is captured, after asking the kernel, or that it no longer is.
    pub(super) fn annotate(&self, pod: DescribedPod, captured: bool) {
        let (enrollment, annotations) = (self.enrollment.clone(), self.annotations.clone());
        let outcomes = self.outcomes.clone();
        tokio::spawn(async move {
            let uid = pod.uid.clone();
            // Asks the kernel, and may wait for a pod that is being enrolled.
            let proof = tokio::task::spawn_blocking(move || enrollment.is_captured(&uid));
            let result = if captured && !proof.await.unwrap_or(false) {
                Err("the kernel does not capture it".to_owned())
            } else {
                let written = annotations.write(&pod.namespace, &pod.name, &pod.uid, captured).await;
                written.map(|()| Done::Annotated(captured)).map_err(|error| error.to_string())
            };
            report_described(&outcomes, pod, result);
        });
    }

    /// Ends the capture of pods. Open connections of those that are gone are closed; the API server is asked once more whether
    /// they are, since a watch may lag behind.
    pub(super) fn release(&self, pods: Vec<(Arc<EnrolledPod>, Wanted)>) {
        if pods.is_empty() {
            return;
        }
        let (enrollment, directory) = (self.enrollment.clone(), self.directory.clone());
        let outcomes = self.outcomes.clone();
        tokio::spawn(async move {
            let confirm = |(pod, why): (Arc<EnrolledPod>, Wanted)| {
                let directory = &directory;
                async move {
                    let confirmed = confirm_release(directory, &pod, why).await;
                    (pod, why, confirmed)
                }
            };
            let answers = join_all(pods.into_iter().map(confirm));
            let (mut leaving, mut by_uid) = (Vec::new(), HashMap::new());
            for (pod, why, confirmed) in answers.await {
                match confirmed {
                    Ok(()) => {
                        leaving.push(pod.spec.uid.clone());
                        by_uid.insert(pod.spec.uid.clone(), (pod, why));
                    }
                    Err(reason) => report(&outcomes, &pod, Err(reason)),
                }
            }
            let releasing = tokio::task::spawn_blocking(move || {
                by_uid
                    .values()
                    .filter(|(pod, why)| *why != Wanted::Out && !pod.is_alive())
                    .for_each(|(pod, _)| pod.dead.cancel());
                enrollment.unenroll_many(&leaving, |uid, ended| {
                    let Some((pod, why)) = by_uid.get(uid) else { return };
                    tracing::info!(uid, pod = name_of(pod), ?why, ok = ended.is_ok(), "pod is unenrolled");
                    report(&outcomes, pod, ended.map(|()| Done::Released).map_err(|error| error.to_string()));
                });
            });
            // A panic in there is in the log, and the pods stay enrolled.
            let _ = releasing.await;
        });
    }
}

/// Confirms that a pod is still to be released; else says why not.
async fn confirm_release(directory: &Directory, pod: &EnrolledPod, why: Wanted) -> Result<(), String> {
    if why != Wanted::Gone {
        return Ok(());
    }
    match directory.is_gone(&pod.spec.namespace, &pod.spec.name, &pod.spec.uid).await {
        Ok(true) => Ok(()),
        Ok(false) => Err("the watch does not know it, but the API server does".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Enrols pods, on a thread that may block.
struct Enrolling {
    enrollment: Arc<Enrollment>,
    index: Arc<Mutex<NetnsIndex>>,
    annotations: Annotations,
    outcomes: UnboundedSender<StepResult>,
    runtime: Handle,
    began: Instant,
}

impl Enrolling {
    fn run(self, pods: Vec<KnownPod>) {
        let mut specs = Vec::with_capacity(pods.len());
        let mut by_uid = HashMap::with_capacity(pods.len());
        for (known, spec) in self.find_namespaces(pods) {
            match spec {
                Ok(spec) => {
                    specs.push(spec);
                    by_uid.insert(known.pod.uid.clone(), known);
                }
                Err(error) => self.finish(known, Err(error.into())),
            }
        }
        self.enrollment.ensure_all(specs, |uid, enrolled| {
            let Some(known) = by_uid.remove(uid) else { return };
            let proved = match enrolled {
                Ok(pod) => self.enrollment.prove(&pod).map(|()| pod).map_err(NotEnrolled::from),
                Err(error) => Err(error.into()),
            };
            self.finish(known, proved);
        });
    }

    fn find_namespaces(&self, pods: Vec<KnownPod>) -> Vec<(KnownPod, Result<PodSpec, NotFound>)> {
        let mut index = self.index.lock();
        let refreshed = index.refresh();
        let find = |known: KnownPod| {
            let found = refreshed.clone().and_then(|()| index.find(&known.pod));
            let spec = found.map(|netns| PodSpec {
                uid: known.pod.uid.clone(),
                kubelet_uid: Some(known.pod.kubelet_uid.clone()),
                name: known.pod.name.clone(),
                namespace: known.pod.namespace.clone(),
                workload_name: Some(known.pod.workload_name.clone()),
                service_account: known.pod.service_account.clone(),
                netns,
                cgroup: None,
                addresses: known.pod.addresses.clone(),
                labels: known.pod.labels.clone(),
                probe_ports: known.pod.probe_ports.clone(),
                resolv_conf: known.pod.resolv_conf.clone(),
                netns_cookie: None,
                origin: Origin::Kubernetes,
            });
            (known, spec)
        };
        pods.into_iter().map(find).collect()
    }

    /// Annotates a pod with whether it is captured now, and reports the outcome.
    fn finish(&self, known: KnownPod, enrolled: Result<Arc<EnrolledPod>, NotEnrolled>) {
        let pod = known.pod;
        // After a failure the pod may be captured all the same: the container runtime's call can be ahead of the watch, and have
        // enrolled it with an address that the watch has not reported yet.
        let captured = enrolled.is_ok() || self.enrollment.is_captured(&pod.uid);
        if let Ok(enrolled) = &enrolled {
            tracing::info!(
                uid = pod.uid,
                pod = format!("{}/{}", pod.namespace, pod.name),
                service_account = pod.service_account,
                addresses = ?enrolled.spec.addresses,
                after_ms = self.began.elapsed().as_millis(),
                "pod is enrolled"
            );
        }
        let failure = enrolled.err().map(|error| error.to_string());
        let (annotations, outcomes) = (self.annotations.clone(), self.outcomes.clone());
        self.runtime.spawn(async move {
            let written = if known.is_annotated == captured {
                Ok(())
            } else {
                annotations.write(&pod.namespace, &pod.name, &pod.uid, captured).await
            };
            let result = match (failure, written) {
                (Some(failure), _) => Err(failure),
                (None, Err(error)) => Err(error.to_string()),
                (None, Ok(())) => Ok(Done::Annotated(true)),
            };
            report_described(&outcomes, pod, result);
        });
    }
}

fn report_described(outcomes: &UnboundedSender<StepResult>, pod: DescribedPod, result: Result<Done, String>) {
    let name = format!("{}/{}", pod.namespace, pod.name);
    // The receiver only goes away when the process ends.
    let _ = outcomes.send(StepResult { uid: pod.uid, pod: name, result });
}

fn report(outcomes: &UnboundedSender<StepResult>, pod: &EnrolledPod, result: Result<Done, String>) {
    let _ = outcomes.send(StepResult { uid: pod.spec.uid.clone(), pod: name_of(pod), result });
}

fn name_of(pod: &EnrolledPod) -> String {
    format!("{}/{}", pod.spec.namespace, pod.spec.name)
}

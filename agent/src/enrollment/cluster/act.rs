//! The steps themselves: entering namespaces and the kernel on threads that may wait, the API server by its own means.
//! Each tells how it ended; none decides what comes next.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::mpsc::UnboundedSender;

use super::ClusterEnrollment;
use super::netns_index::{NetnsIndex, NotFound};
use super::step::Wanted;
use crate::capture::NotCaptured;
use crate::enrollment::pod::{EnrolledPod, Origin, PodSpec};
use crate::enrollment::{Enrollment, EnrollmentError};
use crate::kubernetes::{Annotations, DescribedPod, KnownPod};

/// A step that went well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Done {
    Annotated(bool),
    Released,
}

/// How a step ended.
#[derive(Debug)]
pub(super) struct Outcome {
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

impl ClusterEnrollment {
    /// Enrols pods, and says so on each as soon as its capture is proved.
    pub(super) fn enroll(&self, pods: Vec<KnownPod>) {
        if pods.is_empty() {
            return;
        }
        let enrolling = Enrolling {
            enrollment: self.enrollment.clone(),
            index: self.index.clone(),
            annotations: self.annotations.clone(),
            outcomes: self.outcomes.0.clone(),
            runtime: Handle::current(),
            began: Instant::now(),
        };
        // One thread for all: the kernel's side is one at a time anyway.
        tokio::task::spawn_blocking(move || enrolling.run(pods));
    }

    /// Says on a pod that it is captured, after asking the kernel, or that it no longer is.
    pub(super) fn annotate(&self, pod: DescribedPod, captured: bool) {
        let (enrollment, annotations) = (self.enrollment.clone(), self.annotations.clone());
        let outcomes = self.outcomes.0.clone();
        tokio::spawn(async move {
            let result = if captured && !enrollment.is_captured(&pod.uid) {
                Err("the kernel does not capture it".to_owned())
            } else {
                let written = annotations.write(&pod.namespace, &pod.name, &pod.uid, captured).await;
                written.map(|()| Done::Annotated(captured)).map_err(|error| error.to_string())
            };
            send(&outcomes, pod, result);
        });
    }

    /// Ends a pod's capture. Of a pod that is gone nothing goes on either; that it is, is asked once more, since a watch
    /// may lag behind.
    pub(super) fn release(&self, uid: String, why: Wanted) {
        let Some(pod) = self.enrollment.pods().into_iter().find(|pod| pod.spec.uid == uid) else {
            // The receiver only goes away when the process ends.
            let _ = self.outcomes.0.send(Outcome { uid, pod: String::new(), result: Ok(Done::Released) });
            return;
        };
        let (enrollment, directory) = (self.enrollment.clone(), self.directory.clone());
        let outcomes = self.outcomes.0.clone();
        tokio::spawn(async move {
            let name = format!("{}/{}", pod.spec.namespace, pod.spec.name);
            let is_so = match why {
                Wanted::Gone => directory.is_gone(&pod.spec.namespace, &pod.spec.name, &uid).await,
                _ => Ok(true),
            };
            let result = match is_so {
                Ok(true) => let_go(enrollment, pod, why).await,
                Ok(false) => Err("the watch does not know it, but the API server does".to_owned()),
                Err(error) => Err(error.to_string()),
            };
            let _ = outcomes.send(Outcome { uid, pod: name, result });
        });
    }
}

async fn let_go(enrollment: Arc<Enrollment>, pod: Arc<EnrolledPod>, why: Wanted) -> Result<Done, String> {
    let ending = tokio::task::spawn_blocking(move || {
        if why != Wanted::Out && !pod.is_alive() {
            pod.dead.cancel();
        }
        let ended = enrollment.unenroll(&pod.spec.uid);
        if ended.is_ok() {
            tracing::info!(
                uid = pod.spec.uid,
                pod = format!("{}/{}", pod.spec.namespace, pod.spec.name),
                ?why,
                "pod is unenrolled"
            );
        }
        ended
    });
    match ending.await {
        Ok(Ok(()) | Err(EnrollmentError::Unknown(_))) => Ok(Done::Released),
        Ok(Err(error)) => Err(error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

/// Pods on their way into the mesh, on a thread that may wait.
struct Enrolling {
    enrollment: Arc<Enrollment>,
    index: Arc<Mutex<NetnsIndex>>,
    annotations: Annotations,
    outcomes: UnboundedSender<Outcome>,
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
                Err(error) => self.tell(known, Err(error.into())),
            }
        }
        self.enrollment.ensure_all(specs, |uid, enrolled| {
            let Some(known) = by_uid.remove(uid) else { return };
            let proved = match enrolled {
                Ok(pod) => self.enrollment.prove(&pod).map(|()| pod).map_err(NotEnrolled::from),
                Err(error) => Err(error.into()),
            };
            self.tell(known, proved);
        });
    }

    fn find_namespaces(&self, pods: Vec<KnownPod>) -> Vec<(KnownPod, Result<PodSpec, NotFound>)> {
        let mut index = self.index.lock();
        let refreshed = index.refresh();
        let find = |known: KnownPod| {
            let found = refreshed.clone().and_then(|()| index.find(&known.pod.addresses));
            let spec = found.map(|netns| PodSpec {
                uid: known.pod.uid.clone(),
                name: known.pod.name.clone(),
                namespace: known.pod.namespace.clone(),
                service_account: known.pod.service_account.clone(),
                netns,
                cgroup: None,
                addresses: known.pod.addresses.clone(),
                labels: known.pod.labels.clone(),
                netns_cookie: None,
                origin: Origin::Kubernetes,
            });
            (known, spec)
        };
        pods.into_iter().map(find).collect()
    }

    /// Says on the pod what is true of it now, and tells how it went.
    fn tell(&self, known: KnownPod, enrolled: Result<Arc<EnrolledPod>, NotEnrolled>) {
        let (pod, captured) = (known.pod, enrolled.is_ok());
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
            send(&outcomes, pod, result);
        });
    }
}

fn send(outcomes: &UnboundedSender<Outcome>, pod: DescribedPod, result: Result<Done, String>) {
    let name = format!("{}/{}", pod.namespace, pod.name);
    // The receiver only goes away when the process ends.
    let _ = outcomes.send(Outcome { uid: pod.uid, pod: name, result });
}

//! The steps themselves: entering namespaces and the kernel on threads that may wait, the API server by its own means.
//! Each tells how it ended; none decides what comes next.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::mpsc::UnboundedSender;

use super::ClusterEnrollment;
use super::netns_index::{NetnsIndex, NotFound};
use super::step::Wanted;
use crate::capture::NotCaptured;
use crate::enrollment::pod::{EnrolledPod, Origin, PodSpec};
use crate::enrollment::{Enrollment, EnrollmentError};
use crate::kubernetes::{Annotations, DescribedPod, Directory, KnownPod};

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

    /// Ends the capture of pods. Of those that are gone nothing goes on either; that they are, is asked once more, since
    /// a watch may lag behind.
    pub(super) fn release(&self, pods: Vec<(Arc<EnrolledPod>, Wanted)>) {
        if pods.is_empty() {
            return;
        }
        let (enrollment, directory) = (self.enrollment.clone(), self.directory.clone());
        let outcomes = self.outcomes.0.clone();
        tokio::spawn(async move {
            let ask = |(pod, why): (Arc<EnrolledPod>, Wanted)| {
                let directory = &directory;
                async move {
                    let is_so = is_still_so(directory, &pod, why).await;
                    (pod, why, is_so)
                }
            };
            let asked = join_all(pods.into_iter().map(ask));
            let (mut going, mut by_uid) = (Vec::new(), HashMap::new());
            for (pod, why, is_so) in asked.await {
                match is_so {
                    Ok(()) => {
                        going.push(pod.spec.uid.clone());
                        by_uid.insert(pod.spec.uid.clone(), (pod, why));
                    }
                    Err(reason) => tell_of(&outcomes, &pod, Err(reason)),
                }
            }
            let letting_go = tokio::task::spawn_blocking(move || {
                by_uid
                    .values()
                    .filter(|(pod, why)| *why != Wanted::Out && !pod.is_alive())
                    .for_each(|(pod, _)| pod.dead.cancel());
                enrollment.unenroll_many(&going, |uid, ended| {
                    let Some((pod, why)) = by_uid.get(uid) else { return };
                    tracing::info!(uid, pod = name_of(pod), ?why, ok = ended.is_ok(), "pod is unenrolled");
                    tell_of(&outcomes, pod, ended.map(|()| Done::Released).map_err(|error| error.to_string()));
                });
            });
            // A panic in there is in the log, and its pods stay as they are.
            let _ = letting_go.await;
        });
    }
}

/// Whether a pod is to be let go still; else why not.
async fn is_still_so(directory: &Directory, pod: &EnrolledPod, why: Wanted) -> Result<(), String> {
    if why != Wanted::Gone {
        return Ok(());
    }
    match directory.is_gone(&pod.spec.namespace, &pod.spec.name, &pod.spec.uid).await {
        Ok(true) => Ok(()),
        Ok(false) => Err("the watch does not know it, but the API server does".to_owned()),
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
                workload_name: Some(known.pod.workload_name.clone()),
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
        let pod = known.pod;
        // Whoever was faster than the watch may have enrolled it with an address that is news to us.
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
            send(&outcomes, pod, result);
        });
    }
}

fn send(outcomes: &UnboundedSender<Outcome>, pod: DescribedPod, result: Result<Done, String>) {
    let name = format!("{}/{}", pod.namespace, pod.name);
    // The receiver only goes away when the process ends.
    let _ = outcomes.send(Outcome { uid: pod.uid, pod: name, result });
}

fn tell_of(outcomes: &UnboundedSender<Outcome>, pod: &EnrolledPod, result: Result<Done, String>) {
    let _ = outcomes.send(Outcome { uid: pod.spec.uid.clone(), pod: name_of(pod), result });
}

fn name_of(pod: &EnrolledPod) -> String {
    format!("{}/{}", pod.spec.namespace, pod.spec.name)
}

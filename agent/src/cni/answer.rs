//! The answer about a sandbox, for the CNI plugin and for NRI: Kubernetes says whether the pod is for the mesh, `enrollment`
//! captures it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use weir_cni::wire::{Answer, Command, Request};

use crate::enrollment::pod::{Origin, PodSpec};
use crate::enrollment::{Enrollment, EnrollmentError, check_name};
use crate::kubernetes::{DescribedPod, Directory};
use crate::telemetry::metrics::Metrics;

/// Where container runtimes keep the names of network namespaces, as the host calls it.
const HOST_NETNS_DIRS: [&str; 2] = ["/var/run/netns", "/run/netns"];

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// The CNI plugin.
    Cni,
    /// The container runtime itself.
    Nri,
}

/// Answers about the sandboxes of this node.
#[derive(Debug)]
pub struct Sandboxes {
    directory: Directory,
    enrollment: Arc<Enrollment>,
    netns_dir: PathBuf,
    metrics: Arc<Metrics>,
}

impl Sandboxes {
    /// `netns_dir` is where the agent sees the directory that the host calls `/var/run/netns`.
    #[must_use]
    pub fn new(directory: Directory, enrollment: Arc<Enrollment>, netns_dir: PathBuf, metrics: Arc<Metrics>) -> Self {
        Self { directory, enrollment, netns_dir, metrics }
    }

    /// The answer to one request. For a pod of the mesh it comes once its traffic is captured.
    pub async fn answer(self: Arc<Self>, caller: Caller, request: Request) -> Answer {
        let pod = format!("{}/{}", request.namespace, request.name);
        let (command, container) = (request.command, request.container.clone());
        let metrics = self.metrics.clone();
        let answer = match command {
            Command::Add => self.add(request).await,
            Command::Del => self.release(&request.netns).await,
            Command::Check => self.check(request).await,
        };
        match caller {
            Caller::Cni => metrics.cni_called(name_of(command), kind_of(&answer)),
            Caller::Nri => metrics.nri_asked(name_of(command), kind_of(&answer)),
        }
        match &answer {
            Answer::Failed { reason } | Answer::Unknown { reason } => {
                tracing::warn!(?caller, ?command, pod, container, reason, "a sandbox is not let in");
            }
            _ => tracing::debug!(?caller, ?command, pod, container, ?answer, "asked about a sandbox"),
        }
        answer
    }

    /// True while pods come and go through this agent.
    #[must_use]
    pub fn is_in_charge(&self) -> bool {
        self.enrollment.is_in_charge()
    }

    /// The namespaces whose pods must be in the mesh; `None` until all are known.
    #[must_use]
    pub fn mesh_namespaces(&self) -> Option<BTreeSet<String>> {
        self.directory.mesh_namespaces()
    }

    async fn add(self: Arc<Self>, request: Request) -> Answer {
        let pod = match self.describe(&request).await {
            Ok(pod) if !pod.in_mesh => return Answer::NotForTheMesh,
            Ok(pod) => pod,
            Err(reason) => return Answer::Unknown { reason },
        };
        // Enters the pod's namespace and asks the kernel: some milliseconds in which a worker must not be held.
        let enrolling = tokio::task::spawn_blocking(move || self.enroll(pod, &request));
        match enrolling.await {
            Ok(Ok(())) => Answer::Enrolled,
            Ok(Err(refusal)) => refusal,
            Err(_) => Answer::Failed { reason: "enrolling panicked; see the agent's log".to_owned() },
        }
    }

    async fn check(self: Arc<Self>, request: Request) -> Answer {
        let pod = match self.describe(&request).await {
            Ok(pod) if !pod.in_mesh => return Answer::NotForTheMesh,
            Ok(pod) => pod,
            Err(reason) => return Answer::Unknown { reason },
        };
        let captured = tokio::task::spawn_blocking(move || self.enrollment.is_captured(&pod.uid)).await;
        match captured {
            Ok(true) => Answer::Enrolled,
            _ => Answer::Failed { reason: "its traffic is not captured".to_owned() },
        }
    }

    /// What Kubernetes says of the pod, or why that is not known.
    async fn describe(&self, request: &Request) -> Result<DescribedPod, String> {
        let Request { namespace, name, uid, .. } = request;
        // They become part of the question to the API server.
        for (field, text) in [("namespace", namespace), ("name", name)] {
            check_name(field, text).map_err(|error| error.to_string())?;
        }
        let uid = Some(uid.as_str()).filter(|uid| !uid.is_empty());
        match self.directory.pod(namespace, name, uid).await {
            Ok(Some(pod)) => Ok(pod),
            Ok(None) => Err("the Kubernetes API has no such pod".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn enroll(&self, pod: DescribedPod, request: &Request) -> Result<(), Answer> {
        let uid = pod.uid.clone();
        let spec = PodSpec {
            uid: pod.uid,
            kubelet_uid: Some(pod.kubelet_uid),
            name: pod.name,
            namespace: pod.namespace,
            workload_name: Some(pod.workload_name),
            service_account: pod.service_account,
            netns: here(&request.netns, &self.netns_dir),
            cgroup: None,
            addresses: request.addresses.clone(),
            labels: pod.labels,
            probe_ports: pod.probe_ports,
            resolv_conf: pod.resolv_conf,
            netns_cookie: None,
            origin: Origin::Kubernetes,
        };
        let enrolled = self.enrollment.ensure_in_sandbox(spec).map_err(|error| {
            let reason = error.to_string();
            if matches!(error, EnrollmentError::HandedOver) {
                // Asked again, the plugin finds the successor.
                return Answer::Unknown { reason };
            }
            self.enrollment.count_refusal(&error);
            Answer::Failed { reason }
        })?;
        if !self.enrollment.is_captured(&uid) {
            return Err(Answer::Failed { reason: "the kernel does not capture it".to_owned() });
        }
        tracing::info!(
            uid,
            pod = format!("{}/{}", enrolled.spec.namespace, enrolled.spec.name),
            service_account = enrolled.spec.service_account,
            addresses = ?enrolled.spec.addresses,
            "pod is enrolled before it starts"
        );
        Ok(())
    }

    /// Ends the enrolment of the pod in this very sandbox; a newer sandbox of the same pod is another.
    async fn release(self: Arc<Self>, netns: &str) -> Answer {
        let path = here(netns, &self.netns_dir);
        let releasing = tokio::task::spawn_blocking(move || match self.enrollment.release_sandbox(&path) {
            Ok(Some(pod)) => tracing::info!(uid = pod.spec.uid, pod = pod.spec.name, "the pod's sandbox goes"),
            Ok(None) => {}
            Err(error) => tracing::warn!(path = %path.display(), %error, "a sandbox was not taken back whole"),
        });
        // Whatever went wrong is in the log, and a sandbox must be able to go.
        let _ = releasing.await;
        Answer::Released
    }
}

fn name_of(command: Command) -> &'static str {
    match command {
        Command::Add => "add",
        Command::Del => "del",
        Command::Check => "check",
    }
}

fn kind_of(answer: &Answer) -> &'static str {
    match answer {
        Answer::Enrolled => "enrolled",
        Answer::NotForTheMesh => "not_for_the_mesh",
        Answer::Released => "released",
        Answer::Failed { .. } => "failed",
        Answer::Unknown { .. } => "unknown",
    }
}

/// A path of the host as the agent sees it. What is not where namespaces have names stays as it is.
fn here(path: &str, netns_dir: &Path) -> PathBuf {
    let name = HOST_NETNS_DIRS.iter().find_map(|directory| Path::new(path).strip_prefix(directory).ok());
    match name.and_then(Path::to_str) {
        Some(name) if !name.is_empty() && !name.contains('/') && name != ".." => netns_dir.join(name),
        _ => PathBuf::from(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_the_host_are_found_where_the_agent_sees_them() {
        for (path, expected) in [
            ("/var/run/netns/cni-1", "/host/netns/cni-1"),
            ("/run/netns/cni-1", "/host/netns/cni-1"),
            ("/var/run//netns/cni-1", "/host/netns/cni-1"),
            ("/run/netns/../x", "/run/netns/../x"),
            ("/run/netns/..", "/run/netns/.."),
            ("/run/netns", "/run/netns"),
            ("/run/netnsx/a", "/run/netnsx/a"),
            ("/proc/12/ns/net", "/proc/12/ns/net"),
            ("", ""),
        ] {
            assert_eq!(here(path, Path::new("/host/netns")), Path::new(expected), "{path}");
        }
    }
}

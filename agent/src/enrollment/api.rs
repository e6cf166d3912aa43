//! The enrolment API on a Unix socket: the gRPC service, and the client that the commands use.

use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures_util::{Stream, stream};
use hyper_util::rt::TokioIo;
use tokio::net::{UnixListener, UnixStream};
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status};

use super::netns::is_pod_address;
use super::pod::PodSpec;
use super::{Enrollment, EnrollmentError};
use crate::proto::enrollment as wire;
use crate::state::SharedMesh;
use crate::telemetry::metrics::Metrics;

/// Pause after a failed accept(): it usually means that file descriptors ran out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Longest text taken for a name; Kubernetes allows 253.
const MAX_NAME: usize = 253;

/// Serves the API at a path until `stop` resolves. Only root may connect: the socket's mode is 0600.
///
/// # Errors
/// When the socket cannot be made.
pub async fn serve(
    path: PathBuf,
    enrollment: Arc<Enrollment>,
    mesh: SharedMesh,
    network: String,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    // A socket file that a killed agent left behind.
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).with_context(|| format!("enrolment socket {}", path.display()))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    let incoming = incoming(listener, enrollment.metrics.clone());
    let service = wire::enrollment_server::EnrollmentServer::new(Api { enrollment, mesh, network });
    Server::builder().add_service(service).serve_with_incoming_shutdown(incoming, stop).await.context("enrolment API")
}

/// Connections as they come. An error would end the API for good, so whoever cannot be accepted now waits.
fn incoming(listener: UnixListener, metrics: Arc<Metrics>) -> impl Stream<Item = std::io::Result<UnixStream>> {
    stream::unfold((listener, metrics), |(listener, metrics)| async move {
        loop {
            match listener.accept().await {
                Ok((client, _)) => return Some((Ok(client), (listener, metrics))),
                Err(error) => {
                    metrics.accept_failed();
                    tracing::debug!(%error, "cannot accept a client of the enrolment API");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    })
}

/// A client of the API at a path.
///
/// # Errors
/// When no agent answers there.
pub async fn client(path: &Path) -> anyhow::Result<wire::enrollment_client::EnrollmentClient<Channel>> {
    let socket = path.to_owned();
    let channel = Endpoint::from_static("http://agent.invalid")
        .connect_with_connector(tower::service_fn(move |_| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        }))
        .await
        .with_context(|| format!("no agent answers at {} (is `weir agent` running?)", path.display()))?;
    Ok(wire::enrollment_client::EnrollmentClient::new(channel))
}

#[derive(Debug)]
struct Api {
    enrollment: Arc<Enrollment>,
    mesh: SharedMesh,
    network: String,
}

#[tonic::async_trait]
impl wire::enrollment_server::Enrollment for Api {
    async fn enroll(&self, request: Request<wire::EnrollRequest>) -> Result<Response<wire::EnrollResponse>, Status> {
        let pod = request.into_inner().pod.ok_or_else(|| Status::invalid_argument("pod: missing"))?;
        let spec = check(pod)?;
        // Enters the pod's namespace and asks its kernel tables: some milliseconds in which a worker must not be held.
        let enrollment = self.enrollment.clone();
        let enrolling = tokio::task::spawn_blocking(move || enrollment.enroll(spec));
        let pod = enrolling.await.map_err(|_| Status::internal("enrolling panicked; see the agent's log"))??;
        tracing::info!(
            uid = pod.spec.uid,
            pod = format!("{}/{}", pod.spec.namespace, pod.spec.name),
            identity = %pod.identity(&self.mesh.read().settings().trust_domain),
            addresses = ?pod.spec.addresses,
            "pod is enrolled"
        );
        let addresses = pod.spec.addresses.iter().map(ToString::to_string).collect();
        Ok(Response::new(wire::EnrollResponse { addresses }))
    }

    async fn unenroll(
        &self,
        request: Request<wire::UnenrollRequest>,
    ) -> Result<Response<wire::UnenrollResponse>, Status> {
        let uid = request.into_inner().uid;
        self.enrollment.unenroll(&uid)?;
        tracing::info!(uid, "pod is unenrolled");
        Ok(Response::new(wire::UnenrollResponse {}))
    }

    async fn list(&self, _: Request<wire::ListRequest>) -> Result<Response<wire::ListResponse>, Status> {
        let pods = self.enrollment.pods();
        let mesh = self.mesh.read();
        let listed = pods.iter().map(|pod| wire::EnrolledPod {
            pod: Some(to_wire(&pod.spec)),
            netns_cookie: pod.netns.cookie().0,
            identity: pod.identity(&mesh.settings().trust_domain).to_string(),
            known_to_mesh: mesh
                .workload_of_pod(&self.network, &pod.spec.namespace, &pod.spec.name, &pod.spec.addresses)
                .is_some(),
            connections_open: pod.connections_open(),
        });
        Ok(Response::new(wire::ListResponse { pods: listed.collect() }))
    }
}

impl From<EnrollmentError> for Status {
    fn from(error: EnrollmentError) -> Self {
        let text = error.to_string();
        match error {
            EnrollmentError::Invalid { .. } | EnrollmentError::Netns(_) | EnrollmentError::OtherNetns(_) => {
                Self::invalid_argument(text)
            }
            EnrollmentError::DuplicateUid(_)
            | EnrollmentError::DuplicateNetns { .. }
            | EnrollmentError::DuplicateAddress { .. } => Self::already_exists(text),
            EnrollmentError::Unknown(_) => Self::not_found(text),
            EnrollmentError::Capture(_) | EnrollmentError::Store(_) => Self::internal(text),
        }
    }
}

fn check(pod: wire::Pod) -> Result<PodSpec, EnrollmentError> {
    check_name("uid", &pod.uid)?;
    check_name("name", &pod.name)?;
    check_name("namespace", &pod.namespace)?;
    let service_account = if pod.service_account.is_empty() { "default".to_owned() } else { pod.service_account };
    check_name("service_account", &service_account)?;
    check_path("netns", &pod.netns)?;
    let cgroup = if pod.cgroup.is_empty() { None } else { Some(check_cgroup(&pod.cgroup)?) };
    let mut addresses = Vec::with_capacity(pod.addresses.len());
    for text in &pod.addresses {
        let address = check_address(text)?;
        if addresses.contains(&address) {
            return Err(EnrollmentError::Invalid { field: "addresses", reason: format!("{text} is given twice") });
        }
        addresses.push(address);
    }
    Ok(PodSpec {
        uid: pod.uid,
        name: pod.name,
        namespace: pod.namespace,
        service_account,
        netns: pod.netns.into(),
        cgroup,
        addresses,
        labels: pod.labels.into_iter().collect(),
        netns_cookie: None,
    })
}

/// Names end up in SPIFFE ids, metric labels and log lines: what Kubernetes allows in names, nothing else.
fn check_name(field: &'static str, text: &str) -> Result<(), EnrollmentError> {
    let reason = if text.is_empty() {
        "missing".to_owned()
    } else if text.len() > MAX_NAME {
        format!("longer than {MAX_NAME} characters")
    } else if let Some(c) = text.chars().find(|c| !(c.is_ascii_alphanumeric() || "-._".contains(*c))) {
        format!("{c:?} is not allowed (letters, digits, '-', '.' and '_' are)")
    } else {
        return Ok(());
    };
    Err(EnrollmentError::Invalid { field, reason })
}

fn check_path(field: &'static str, text: &str) -> Result<PathBuf, EnrollmentError> {
    let reason = if text.is_empty() {
        "missing"
    } else if !text.starts_with('/') {
        "not an absolute path"
    } else {
        return Ok(text.into());
    };
    Err(EnrollmentError::Invalid { field, reason: reason.to_owned() })
}

fn check_cgroup(text: &str) -> Result<PathBuf, EnrollmentError> {
    let path = check_path("cgroup", text)?;
    if path.join("cgroup.procs").is_file() {
        return Ok(path);
    }
    let reason = format!("{text} is not a cgroup directory (it has no cgroup.procs)");
    Err(EnrollmentError::Invalid { field: "cgroup", reason })
}

fn check_address(text: &str) -> Result<IpAddr, EnrollmentError> {
    let invalid = |reason: &str| EnrollmentError::Invalid { field: "addresses", reason: format!("{text:?} {reason}") };
    let address: IpAddr = text.parse().map_err(|_| invalid("is not an IP address"))?;
    let address = address.to_canonical();
    if is_pod_address(address) { Ok(address) } else { Err(invalid("is not an address a pod can be reached at")) }
}

fn to_wire(spec: &PodSpec) -> wire::Pod {
    wire::Pod {
        uid: spec.uid.clone(),
        name: spec.name.clone(),
        namespace: spec.namespace.clone(),
        service_account: spec.service_account.clone(),
        netns: spec.netns.display().to_string(),
        cgroup: spec.cgroup.as_ref().map(|path| path.display().to_string()).unwrap_or_default(),
        addresses: spec.addresses.iter().map(ToString::to_string).collect(),
        labels: spec.labels.clone().into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> wire::Pod {
        wire::Pod {
            uid: "u".to_owned(),
            name: "n".to_owned(),
            namespace: "ns".to_owned(),
            netns: "/run/netns/x".to_owned(),
            addresses: vec!["10.0.0.1".to_owned(), "fd00::1".to_owned()],
            ..Default::default()
        }
    }

    #[test]
    fn a_whole_description_is_taken_and_defaults_are_filled_in() {
        let spec = check(pod()).expect("valid");
        assert_eq!(spec.service_account, "default");
        assert_eq!(spec.addresses.len(), 2);
    }

    #[test]
    fn every_wrong_field_is_named() {
        type Break = fn(&mut wire::Pod);
        let cases: [(&str, Break); 10] = [
            ("uid: missing", |p| p.uid.clear()),
            ("name: missing", |p| p.name.clear()),
            ("namespace: ' ' is not allowed", |p| p.namespace = "a b".to_owned()),
            ("service_account: '/' is not allowed", |p| p.service_account = "a/b".to_owned()),
            ("netns: missing", |p| p.netns.clear()),
            ("netns: not an absolute path", |p| p.netns = "run/netns/x".to_owned()),
            ("cgroup: /nowhere is not a cgroup directory", |p| p.cgroup = "/nowhere".to_owned()),
            ("addresses: \"x\" is not an IP address", |p| p.addresses.push("x".to_owned())),
            ("addresses: \"127.0.0.1\" is not an address a pod", |p| p.addresses.push("127.0.0.1".to_owned())),
            ("addresses: 10.0.0.1 is given twice", |p| p.addresses.push("10.0.0.1".to_owned())),
        ];
        for (expected, damage) in cases {
            let mut pod = pod();
            damage(&mut pod);
            let error = check(pod).expect_err(expected).to_string();
            assert!(error.starts_with(expected), "{error:?} should start with {expected:?}");
        }
    }
}

//! The gRPC service of the enrolment API.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::net::UnixListener;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use super::check::{check, check_name};
use super::incoming::incoming;
use crate::enrollment::error::EnrollmentError;
use crate::enrollment::pod::PodSpec;
use crate::enrollment::registry::Enrollment;
use crate::proto::enrollment as wire;
use crate::state::SharedMesh;

/// Name of the API's socket, below the agent's run directory.
pub const SOCKET_NAME: &str = "agent.sock";
/// Bytes of one request. A pod with all labels that Kubernetes would take is a tenth of it.
const MAX_REQUEST_BYTES: usize = 256 * 1024;
/// Streams of one client that are served at once.
const MAX_STREAMS: u32 = 16;
/// Time for one request: entering a namespace takes milliseconds, but pods are enrolled one after the other.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// The API's socket, in the place of a former agent's. Only root may connect: its mode is 0600.
///
/// # Errors
/// When the socket cannot be made.
pub fn bind(path: &Path) -> anyhow::Result<UnixListener> {
    // The socket file of an agent that was killed, or of one that still drains.
    let _ = std::fs::remove_file(path);
    let listener = UnixListener::bind(path).with_context(|| format!("enrolment socket {}", path.display()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Serves the API until `stop` resolves.
///
/// # Errors
/// When the socket fails.
pub async fn serve(
    listener: UnixListener,
    enrollment: Arc<Enrollment>,
    mesh: SharedMesh,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let service = wire::enrollment_server::EnrollmentServer::new(Api { enrollment, mesh })
        .max_decoding_message_size(MAX_REQUEST_BYTES);
    Server::builder()
        .max_concurrent_streams(MAX_STREAMS)
        .timeout(REQUEST_TIMEOUT)
        .add_service(service)
        .serve_with_incoming_shutdown(incoming(listener), stop)
        .await
        .context("enrolment API")
}

#[derive(Debug)]
struct Api {
    enrollment: Arc<Enrollment>,
    mesh: SharedMesh,
}

impl Api {
    /// Counts and logs a refusal on its way to the client.
    fn refuse(&self, error: EnrollmentError) -> Status {
        self.enrollment.count_refusal(&error);
        tracing::warn!(%error, "enrolment request refused");
        error.into()
    }
}

#[tonic::async_trait]
impl wire::enrollment_server::Enrollment for Api {
    async fn enroll(&self, request: Request<wire::EnrollRequest>) -> Result<Response<wire::EnrollResponse>, Status> {
        let missing = || EnrollmentError::Invalid { field: "pod", reason: "missing".to_owned() };
        let pod = request.into_inner().pod.ok_or_else(missing);
        let spec = pod.and_then(check).map_err(|error| self.refuse(error))?;
        // Entering the pod's namespace and its kernel tables takes milliseconds, for which a runtime thread must not block.
        let enrollment = self.enrollment.clone();
        let enrolling = tokio::task::spawn_blocking(move || enrollment.enroll(spec));
        let enrolled = enrolling.await.map_err(|_| Status::internal("enrolling panicked; see the agent's log"))?;
        let pod = enrolled.map_err(|error| self.refuse(error))?;
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
        check_name("uid", &uid).map_err(|error| self.refuse(error))?;
        let (enrollment, asked) = (self.enrollment.clone(), uid.clone());
        let ending = tokio::task::spawn_blocking(move || enrollment.unenroll(&asked));
        let ended = ending.await.map_err(|_| Status::internal("unenrolling panicked; see the agent's log"))?;
        ended.map_err(|error| self.refuse(error))?;
        tracing::info!(uid, "pod is unenrolled");
        Ok(Response::new(wire::UnenrollResponse {}))
    }

    async fn list(&self, _: Request<wire::ListRequest>) -> Result<Response<wire::ListResponse>, Status> {
        let pods = self.enrollment.pods();
        let mesh = self.mesh.read();
        let listed = pods.iter().map(|pod| wire::EnrolledPod {
            pod: Some(to_wire(&pod.current_spec())),
            netns_cookie: pod.netns.cookie().0,
            identity: pod.identity(&mesh.settings().trust_domain).to_string(),
            known_to_mesh: mesh.workload_of_pod(pod.spec.key()).is_some(),
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
            EnrollmentError::HandedOver => Self::unavailable(text),
        }
    }
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
        probe_ports: spec.probe_ports.iter().copied().map(u32::from).collect(),
        resolv_conf: spec.resolv_conf.clone().unwrap_or_default(),
    }
}

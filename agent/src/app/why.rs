//! What `weir why` is answered with: the enrolled pods, the mesh and the routes of this moment, and what the proxy has seen.

use std::sync::Arc;

use crate::admin::Explain;
use crate::enrollment::Enrollment;
use crate::model::authorization::{AccessRequest, Admission, Authorizer, Denied, HttpRequest, Permit, RequestDenied};
use crate::model::http::config::HttpConfig;
use crate::model::http::head::RequestHead;
use crate::model::http::served::is_declared_as_bytes;
use crate::model::mesh::Mesh;
use crate::model::peer_authentication::Labels;
use crate::model::workload::Workload;
use crate::proxy::{Proxy, as_destination};
use crate::state::SharedMesh;
use crate::why::{Asker, explain, find_pod};

/// Answers questions about requests of the node's pods.
pub(super) fn explainer(proxy: Arc<Proxy>, enrollment: Arc<Enrollment>, mesh: SharedMesh) -> Explain {
    Box::new(move |question| {
        let pods = enrollment.pods();
        let names: Vec<_> = pods.iter().map(|pod| (&*pod.spec.uid, &*pod.spec.namespace, &*pod.spec.name)).collect();
        let pod = &pods[find_pod(&question.pod, &names)?];
        let (config, current) = (mesh.routes().current(), pod.current());
        let mesh = mesh.read();
        let source = proxy.source_workload(pod, &mesh);
        let authorize = |workload: &Workload, connection: &AccessRequest, request: Option<&RequestHead>| {
            authorize(&enrollment, &mesh, &config, workload, connection, request)
        };
        let asker = Asker {
            pod: &pod.spec.name,
            labels: &current.labels,
            identity: &pod.identity(&mesh.settings().trust_domain),
            source: &source,
            is_known: mesh.workload_of_pod(pod.spec.key()).is_some(),
            mesh: &mesh,
            config: &config,
            seen: &|uid, service, port| proxy.seen_of(pod, uid, service, port),
            authorize: &authorize,
            labels_of: &|workload| labels_of(&enrollment, &mesh, workload),
            request: None,
        };
        explain(&asker, question)
    })
}

/// The labels of the pod of this node that is a workload.
fn labels_of(enrollment: &Enrollment, mesh: &Mesh, workload: &Workload) -> Option<Labels> {
    let is_it = |known: &Arc<Workload>| known.uid == workload.uid;
    let pod = { enrollment.pods() }.into_iter().find(|pod| mesh.workload_of_pod(pod.spec.key()).is_some_and(is_it))?;
    Some(pod.current().labels.clone())
}

/// What policy says of a connection to a workload, or of a request on it; `None` where it is no pod of this node.
fn authorize(
    enrollment: &Enrollment,
    mesh: &Mesh,
    config: &HttpConfig,
    workload: &Workload,
    connection: &AccessRequest,
    request: Option<&RequestHead>,
) -> Option<Result<Permit, String>> {
    let is_it = |known: &Arc<Workload>| known.uid == workload.uid;
    let pod = { enrollment.pods() }.into_iter().find(|pod| mesh.workload_of_pod(pod.spec.key()).is_some_and(is_it))?;
    let current = pod.current();
    let destination = as_destination(&pod, &current, workload);
    let may_carry_requests = !is_declared_as_bytes(mesh, workload, connection.destination.port());
    let Some(request) = request.filter(|_| may_carry_requests) else {
        return Some(mesh.authorize(&destination, connection).outcome.map_err(|denied| denied.to_string()));
    };
    Some(match mesh.admit(&destination, connection).outcome {
        Ok(Admission::Bytes(permit)) => Ok(permit),
        Ok(Admission::Requests) => {
            let verdict = mesh.authorize_request(&destination, connection, &HttpRequest::of(request));
            verdict.outcome.map_err(|denied| told(config, &denied))
        }
        Err(denied) => Err(denied.to_string()),
    })
}

/// Why policy denies a request. Nobody is asked here: an external authorizer may yet allow it.
fn told(config: &HttpConfig, denied: &RequestDenied) -> String {
    let Denied::NotAllowedByProvider { policy, provider } = &denied.why else { return denied.to_string() };
    match config.telemetry().defaults.authorizer(provider) {
        Ok(authorizer) => {
            let Authorizer { service, port, .. } = &**authorizer;
            format!(
                "unless the external authorizer {provider} ({service} port {port}) allows it, whom policy {policy} asks"
            )
        }
        Err(reason) => format!("{denied}: {reason}"),
    }
}

//! What `weir why` is answered with: the enrolled pods, the mesh and the routes of this moment, and what the proxy has seen.

use std::sync::Arc;

use crate::admin::Explain;
use crate::enrollment::Enrollment;
use crate::enrollment::pod::EnrolledPod;
use crate::model::authentication::SelectedPod;
use crate::model::authorization::{
    AccessRequest, Admission, Authorization, Authorizer, Denied, Destination, HttpRequest, Permit, RequestDenied,
};
use crate::model::http::config::HttpConfig;
use crate::model::http::head::RequestHead;
use crate::model::http::served::{Carries, carries};
use crate::model::mesh::Mesh;
use crate::model::peer_authentication::Labels;
use crate::model::workload::Workload;
use crate::proxy::{ForeseenRequest, Proxy, as_destination};
use crate::state::SharedMesh;
use crate::why::{Asker, AtDestination, as_written, explain, find_pod};

/// Answers questions about requests of the node's pods.
pub(super) fn explainer(proxy: Arc<Proxy>, enrollment: Arc<Enrollment>, mesh: SharedMesh) -> Explain {
    Box::new(move |question| {
        let pods = enrollment.pods();
        let names: Vec<_> = pods.iter().map(|pod| (&*pod.spec.uid, &*pod.spec.namespace, &*pod.spec.name)).collect();
        let pod = &pods[find_pod(&question.pod, &names)?];
        let (config, current) = (mesh.routes().current(), pod.current());
        let mesh = mesh.read();
        let source = proxy.source_workload(pod, &mesh);
        let place = Place { proxy: &proxy, mesh: &mesh, config: &config, pods: &pods };
        let at_destination = |workload: &Workload, connection: &AccessRequest, request: Option<&RequestHead>| {
            place.at_destination(workload, connection, request)
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
            at_destination: &at_destination,
            labels_of: &|workload| place.labels_of(workload),
            request: None,
        };
        explain(&asker, question)
    })
}

/// What is known here of what a workload would make of a connection, or of a request on it.
struct Place<'a> {
    proxy: &'a Proxy,
    mesh: &'a Mesh,
    config: &'a HttpConfig,
    /// Of this node.
    pods: &'a [Arc<EnrolledPod>],
}

impl Place<'_> {
    fn pod_of(&self, workload: &Workload) -> Option<&Arc<EnrolledPod>> {
        let is_it = |known: &Arc<Workload>| known.uid == workload.uid;
        self.pods.iter().find(|pod| self.mesh.workload_of_pod(pod.spec.key()).is_some_and(is_it))
    }

    fn labels_of(&self, workload: &Workload) -> Option<Labels> {
        self.pod_of(workload).map(|pod| pod.current().labels.clone())
    }

    fn at_destination(
        &self,
        workload: &Workload,
        connection: &AccessRequest,
        request: Option<&RequestHead>,
    ) -> AtDestination {
        let Self { proxy, mesh, config, .. } = self;
        let request = request.filter(|_| carries(mesh, workload, connection.destination.port()) != Carries::Bytes);
        let labels = self.labels_of(workload).unwrap_or_default();
        let selected = SelectedPod { namespace: &workload.namespace, labels: &labels, workload: Some(workload) };
        let foreseen = request.map(|head| (head, proxy.foresee(config.authentication(), selected, head)));
        let unknown = Destination { labels: &labels, ..Destination::of(workload) };
        let asking = mesh.asking_policies(&unknown).map(|policy| asks(config, policy));
        let authorizers = if request.is_some() { asking.collect() } else { Vec::new() };
        let decided = self.pod_of(workload).map(|pod| {
            let current = pod.current();
            let destination = as_destination(pod, &current, workload);
            decide(mesh, config, &destination, connection, foreseen.as_ref())
        });
        let token = foreseen.and_then(|(_, foreseen)| foreseen.token);
        AtDestination { decided, token, authorizers }
    }
}

/// What the agent would decide, phase by phase as [`crate::proxy`] does.
fn decide(
    mesh: &Mesh,
    config: &HttpConfig,
    destination: &Destination<'_>,
    connection: &AccessRequest,
    request: Option<&(&RequestHead, ForeseenRequest)>,
) -> Result<Permit, String> {
    let Some((head, foreseen)) = request else {
        let outcome = mesh.authorize(destination, connection).outcome;
        return outcome.map_err(|denied| noted(mesh, &denied, denied.to_string()));
    };
    let admitted = mesh.admit(destination, connection).outcome;
    let admitted = admitted.map_err(|denied| noted(mesh, &denied, denied.to_string()))?;
    let policies = mesh.pod_policies(destination);
    if let Some(denied) = mesh.authorizer_needed(&policies, destination, connection, &HttpRequest::of(head)) {
        return Err(noted(mesh, &denied.why, told(config, &denied)));
    }
    if foreseen.is_refused {
        return Err("its token does not count".to_owned());
    }
    match admitted {
        Admission::Bytes(permit) => Ok(permit),
        Admission::Requests => {
            let verdict = mesh.authorize_request_under(&policies, destination, connection, &foreseen.request());
            verdict.outcome.map_err(|denied| noted(mesh, &denied.why, told(config, &denied)))
        }
    }
}

/// Whom a CUSTOM policy has asked.
fn asks(config: &HttpConfig, policy: &Authorization) -> String {
    let (key, provider) = (&policy.key, &policy.provider);
    match config.telemetry().defaults.authorizer(provider) {
        Ok(authorizer) => {
            let Authorizer { service, port, .. } = &**authorizer;
            format!("policy {key} has {provider} asked ({service} port {port})")
        }
        Err(reason) => format!("policy {key} denies what it matches: {reason}"),
    }
}

/// A refusal, with what may surprise somebody who has read the status of its policy.
fn noted(mesh: &Mesh, denied: &Denied, told: String) -> String {
    told + denied.policy().map_or("", |policy| as_written(mesh, policy))
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

//! Gathers the status of the agent, and what an operator has to be warned of.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::render::duration;
use super::report::{KubernetesStatus, MeshCounts, NriState, PodStatus, Status, SupervisorStatus};
use crate::admin::sources::{AdminSources, MeshCopy, PodEntry};
use crate::kubernetes::WatchReport;
use crate::limits::ReachedLimit;
use crate::model::authorization::{Action, Authorization};
use crate::model::http::config::HttpConfig;
use crate::model::policy_object::{PolicyObject, PolicyTarget};
use crate::nri::NriReport;
use crate::telemetry::connection::LiveConnection;
use crate::tls::certificates::CertificateStatus;

/// The status of now.
pub(in crate::admin) fn collect(sources: &AdminSources) -> Status {
    let mesh = MeshCopy::of(&sources.mesh.read());
    of_mesh(sources, &mesh)
}

fn of_mesh(sources: &AdminSources, mesh: &MeshCopy) -> Status {
    let (pods, certificates) = ((sources.pods)(), (sources.certificates)());
    let connections = sources.metrics.live_connections();
    let mut status = Status {
        node: sources.config.node.node.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_seconds: sources.started.elapsed().as_secs(),
        supervisor: supervisor(sources),
        waiting_for: sources.ready.waiting_for().into_iter().map(str::to_owned).collect(),
        control_plane: (sources.control_plane)(),
        kubernetes: (sources.kubernetes)().map(kubernetes_status),
        nri: (sources.nri)().map(nri_state),
        last_good_age_seconds: sources.metrics.last_good_age().map(|age| age.as_secs()),
        mesh: MeshCounts {
            workloads: mesh.workloads.len(),
            services: mesh.services.len(),
            policies: mesh.authorizations.len(),
        },
        pods: pod_statuses(&pods, &certificates, &connections),
        capture: kernel_counters(sources),
        policies_as_written: policies_as_written(mesh),
        policies_of_waypoints: policies_of_waypoints(mesh),
        warnings: Vec::new(),
    };
    status.warnings = configuration_warnings(&status);
    status.warnings.extend(status.kubernetes.as_ref().and_then(kubernetes_warning));
    status.warnings.extend(status.nri.as_ref().and_then(nri_warning));
    status.warnings.extend(certificate_warnings(&certificates));
    status.warnings.extend(pod_warnings(&status.pods));
    status.warnings.extend(policy_warnings(&pods, mesh));
    status.warnings.extend(authorizer_warnings(mesh, &sources.mesh.routes().current()));
    status.warnings.extend((sources.warnings)());
    let dropped = sources.log.dropped_lines();
    if dropped > 0 {
        status.warnings.push(format!("{dropped} log lines were dropped: the log is not read fast enough"));
    }
    status
}

/// The policies that say more than their L4 form, each with what of it is not enforced as it is written.
fn policies_as_written(mesh: &MeshCopy) -> Vec<String> {
    let formed = mesh.policy_objects.iter().filter(|object| object.own_form.is_some());
    let told = |object: &Arc<PolicyObject>| {
        let notes = object.notes.iter().map(|note| format!("; {note}"));
        std::iter::once(object.key.to_string()).chain(notes).collect()
    };
    formed.map(told).collect()
}

fn policies_of_waypoints(mesh: &MeshCopy) -> Vec<String> {
    let elsewhere = mesh.policy_objects.iter().filter(|object| object.target == PolicyTarget::Elsewhere);
    elsewhere.map(|object| object.key.to_string()).collect()
}

fn supervisor(sources: &AdminSources) -> SupervisorStatus {
    let start_info = &sources.supervisor;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    SupervisorStatus {
        supervisor: start_info.supervisor,
        worker: std::process::id(),
        uptime_seconds: now.as_secs().saturating_sub(start_info.supervisor_since),
        restarts: start_info.restarts,
        last_end: start_info.last_end.clone(),
    }
}

fn kubernetes_status(report: WatchReport) -> KubernetesStatus {
    let since = report.connected_since.and_then(|since| SystemTime::now().duration_since(since).ok());
    KubernetesStatus {
        connected_seconds: since.map(|since| since.as_secs()),
        complete: report.is_complete,
        pods: report.pods,
        in_mesh: report.in_mesh,
        last_error: report.last_error,
    }
}

fn kubernetes_warning(status: &KubernetesStatus) -> Option<String> {
    if status.connected_seconds.is_some() {
        return None;
    }
    let why = status.last_error.as_deref().unwrap_or("no answer yet");
    Some(format!("Kubernetes is not followed, pods are neither enrolled nor let go: {why}"))
}

fn nri_state(report: NriReport) -> NriState {
    let (since, runtime) = report.connected.unzip();
    let since = since.and_then(|since| SystemTime::now().duration_since(since).ok());
    NriState {
        socket: report.socket.display().to_string(),
        connected_seconds: runtime.is_some().then(|| since.unwrap_or_default().as_secs()),
        runtime,
        last_error: report.last_error,
    }
}

fn nri_warning(status: &NriState) -> Option<String> {
    let why = status.last_error.as_deref().filter(|_| status.runtime.is_none())?;
    Some(format!("the container runtime does not ask about new pods (NRI at {}): {why}", status.socket))
}

fn kernel_counters(sources: &AdminSources) -> BTreeMap<String, u64> {
    let counters = (sources.kernel_counters)();
    counters.into_iter().filter(|(_, count)| *count > 0).map(|(verdict, count)| (verdict.to_owned(), count)).collect()
}

fn pod_statuses(
    pods: &[PodEntry],
    certificates: &[CertificateStatus],
    connections: &[LiveConnection],
) -> Vec<PodStatus> {
    let mut open: HashMap<&str, usize> = HashMap::new();
    for own in connections.iter().filter_map(|connection| connection.ends.own_workload()) {
        *open.entry(&own.uid).or_default() += 1;
    }
    let by_identity: HashMap<_, _> = certificates.iter().map(|status| (&status.identity, status)).collect();
    let mut statuses: Vec<_> = pods
        .iter()
        .map(|pod| PodStatus {
            namespace: pod.namespace.clone(),
            name: pod.name.clone(),
            identity: pod.identity.to_string(),
            addresses: pod.addresses.clone(),
            captured: pod.captured,
            known_to_mesh: pod.workload_uid.is_some(),
            certificate_seconds_left: by_identity.get(&pod.identity).and_then(|status| seconds_left(status)),
            connections_open: pod.workload_uid.as_deref().and_then(|uid| open.get(uid)).copied().unwrap_or_default(),
            requests_in_flight: pod.requests_in_flight,
            requests_ended: pod.requests_ended,
            requests_failed: pod.requests_failed,
            requests_denied: pod.requests_denied,
            limits_reached: pod.limits_reached.clone(),
        })
        .collect();
    statuses.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    statuses
}

/// Until the certificate expires; negative once it has.
fn seconds_left(certificate: &CertificateStatus) -> Option<i64> {
    let now = SystemTime::now();
    let seconds = |time: std::time::Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    Some(match certificate.not_after?.duration_since(now) {
        Ok(left) => seconds(left),
        // An expired certificate is never shown as having zero seconds left.
        Err(past) => -seconds(past.duration()) - 1,
    })
}

fn configuration_warnings(status: &Status) -> Vec<String> {
    let plane = &status.control_plane;
    let mut warnings = Vec::new();
    if !plane.connected {
        let why = plane.last_error.as_deref().unwrap_or("no connection was made yet");
        let age = match status.last_good_age_seconds {
            Some(seconds) => format!("the configuration in use is {} old", duration(seconds)),
            None => "there is no configuration".to_owned(),
        };
        warnings.push(format!("no connection to {}: {why}; {age}", plane.source));
    }
    if !plane.unanswered.is_empty() {
        let types = plane.unanswered.join(", ");
        warnings.push(format!("{} has not answered {types}: connections are served without", plane.source));
    }
    let unfollowed = |why| format!("objects of Kubernetes are not followed, those known stay in force: {why}");
    warnings.extend(plane.not_followed.iter().map(unfollowed));
    let unsaved =
        |why| format!("the last good configuration could not be written, a restart would lose changes: {why}");
    warnings.extend(plane.not_saved.as_ref().map(unsaved));
    warnings.extend(plane.rejected.iter().map(|reason| format!("configuration was refused: {reason}")));
    warnings
}

fn certificate_warnings(certificates: &[CertificateStatus]) -> Vec<String> {
    certificates
        .iter()
        .filter_map(|certificate| {
            let identity = &certificate.identity;
            let why = certificate.last_error.as_deref();
            match (seconds_left(certificate), why) {
                (Some(left), why) if left < 0 => Some(format!(
                    "the certificate of {identity} expired {} ago: {}",
                    duration(left.unsigned_abs()),
                    why.unwrap_or("it was not renewed")
                )),
                (Some(left), Some(why)) => Some(format!(
                    "the certificate of {identity} expires in {} and cannot be renewed: {why}",
                    duration(left.unsigned_abs())
                )),
                (None, Some(why)) => Some(format!("there is no certificate for {identity}: {why}")),
                (_, None) => None,
            }
        })
        .collect()
}

fn pod_warnings(pods: &[PodStatus]) -> Vec<String> {
    let mut warnings = Vec::new();
    for pod in pods {
        let name = format!("{}/{}", pod.namespace, pod.name);
        if !pod.captured {
            warnings.push(format!("{name} is enrolled but its traffic is not captured"));
        }
        if !pod.known_to_mesh {
            warnings.push(format!("{name} is enrolled but the mesh does not know it as a workload"));
        }
        for ReachedLimit { limit, maximum, held, times } in &pod.limits_reached {
            // What a limit bounds for each peer is not counted for the pod; what it bounds for all pods together they may all hold.
            let now = if *held > 0 { format!("; {held} of {maximum} are held now") } else { String::new() };
            warnings.push(format!("{name} has reached its limit {limit} {times} times{now}"));
        }
    }
    warnings
}

/// Policies that deny because they are missing or cannot be understood, as far as pods of this node are concerned.
fn policy_warnings(pods: &[PodEntry], mesh: &MeshCopy) -> Vec<String> {
    let mut warnings: Vec<_> = mesh
        .authorizations
        .iter()
        .filter_map(|policy| {
            let reason = policy.invalid.as_ref()?;
            Some(format!("policy {} cannot be understood and denies everything in its scope: {reason}", policy.key))
        })
        .collect();
    let known: BTreeSet<_> = mesh.authorizations.iter().map(|policy| &policy.key).collect();
    let here: BTreeSet<_> = pods.iter().filter_map(|pod| pod.workload_uid.as_ref()).collect();
    for workload in mesh.workloads.iter().filter(|workload| here.contains(&workload.uid)) {
        for policy in workload.authorization_policies.iter().filter(|policy| !known.contains(policy)) {
            warnings.push(format!(
                "{}/{} denies every connection: policy {policy} is in force for it but not known",
                workload.namespace, workload.name
            ));
        }
    }
    warnings
}

/// CUSTOM policies whose external authorizer there is none of.
fn authorizer_warnings(mesh: &MeshCopy, config: &HttpConfig) -> Vec<String> {
    let custom = mesh.authorizations.iter().filter(|policy| policy.action == Action::Custom && !policy.dry_run);
    let warning = |policy: &Arc<Authorization>| {
        let reason = config.telemetry().defaults.authorizer(&policy.provider).err()?;
        Some(format!("policy {} denies what it matches, and nobody is asked: {reason}", policy.key))
    };
    custom.filter_map(warning).collect()
}

#[cfg(test)]
mod tests;

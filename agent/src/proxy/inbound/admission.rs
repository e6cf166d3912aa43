//! Whether an inbound connection may reach its pod: which workload the pod is, and what policy says.

use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::error::{InboundError, RefusedRequest};
use crate::model::authorization::{AccessRequest, Admission, Destination, DryRun, HttpRequest, Permit, RequestDenied};
use crate::model::http::served::{Carries, carries};
use crate::model::mesh::{Mesh, PodPolicies};
use crate::model::workload::Workload;
use crate::proxy::pod::PodProxy;
use crate::proxy::revocation::{self, Tracked, TrackedRequests};
use crate::telemetry::connection::{RefusedConnection, ResponseFlag};
use crate::telemetry::ends::Reporter;

/// How long a connection waits for the mesh to tell us of the pod it is for.
const WORKLOAD_WAIT: Duration = Duration::from_secs(3);

/// The addresses of a connection that was accepted, canonical.
#[derive(Debug, Clone, Copy)]
pub(super) struct Accepted {
    pub(super) source: SocketAddr,
    /// The address that was dialled: one of the pod's namespace, where capture steered the connection here.
    pub(super) local: SocketAddr,
}

impl Accepted {
    /// Whether somebody in the pod dialled the agent's listener itself, which serves only what capture steers to it: the
    /// connection's destination would be the listener again, and so on without end. The listener is on loopback, and what
    /// capture steers to it came to another address of the pod's namespace.
    pub(super) fn is_dialled_directly(&self) -> bool {
        self.local.ip().is_loopback()
    }

    /// Records that the connection was refused, where nothing but its addresses is known.
    pub(super) fn record_refused(&self, pod_proxy: &PodProxy, flag: ResponseFlag, error: &dyn Display) {
        let Self { source: source_addr, local: listener } = *self;
        let refused = RefusedConnection { reporter: Reporter::Destination, source_addr, listener, flag };
        refused.record(&pod_proxy.proxy.metrics, &pod_proxy.pod.telemetry, error);
    }

    /// Records that the agent's listener was dialled directly.
    pub(super) fn record_dialled_directly(&self, pod_proxy: &PodProxy) {
        let error = "the agent's listener was dialled directly";
        self.record_refused(pod_proxy, ResponseFlag::Denied, &error);
    }
}

/// What policy makes of a connection.
pub(super) enum Admitted {
    /// Its bytes may move.
    Bytes(Permit, Tracked),
    /// Something is to be said about each of its requests, by policy, say, which may allow some.
    Requests(TrackedRequests),
}

/// Asks what policy makes of a connection, and keeps it on the list of those that are authorized again as policy changes. At a port that
/// is declared to carry something else than HTTP it is not looked into: policies about requests have their meaning for TCP.
pub(super) async fn admit(pod_proxy: &Arc<PodProxy>, request: &AccessRequest) -> Result<Admitted, InboundError> {
    let workload = destination_workload(pod_proxy).await?;
    if !may_carry_requests(pod_proxy, request, &workload) {
        let tracked = pod_proxy.live.track(request);
        return Ok(Admitted::Bytes(permit_bytes(pod_proxy, request, &workload)?, tracked));
    }
    let tracked = pod_proxy.live.track_unread(request);
    let verdict = ask(pod_proxy, &workload, |mesh, destination| mesh.admit(destination, request));
    if verdict.outcome.as_ref().is_ok_and(|admission| are_read(pod_proxy, request, admission)) {
        drop(tracked);
        // On the list as one whose requests are decided about before it is asked once more: no change of policy falls in between.
        // Should none be about requests any more, each request is allowed.
        let tracked = pod_proxy.live.track_requests(request);
        ask(pod_proxy, &workload, |mesh, destination| mesh.admit(destination, request)).outcome?;
        return Ok(Admitted::Requests(tracked));
    }
    report_audit(pod_proxy, request, verdict.audited_by.as_deref());
    report_dry_run(pod_proxy, request, &verdict.dry_run);
    match verdict.outcome? {
        Admission::Bytes(permit) => Ok(Admitted::Bytes(permit, tracked)),
        Admission::Requests => Err(InboundError::Revoked),
    }
}

/// The same for requests that come as streams of their own, which are decided about one by one. `None` where there is nothing to
/// say about them: inside of CONNECT their bytes are moved without being read.
pub(super) async fn admit_requests(
    pod_proxy: &Arc<PodProxy>,
    request: &AccessRequest,
) -> Result<Option<TrackedRequests>, InboundError> {
    let workload = destination_workload(pod_proxy).await?;
    if !may_carry_requests(pod_proxy, request, &workload) {
        return Ok(None);
    }
    // On the list before policy is asked: no change falls in between.
    let tracked = pod_proxy.live.track_requests(request);
    let admission = ask(pod_proxy, &workload, |mesh, destination| mesh.admit(destination, request)).outcome?;
    Ok(are_read(pod_proxy, request, &admission).then_some(tracked))
}

/// Whether a connection may reach the pod without that its agent is asked about it, or does anything with its bytes: policy allows
/// it whatever it carries, and has nothing to tell of it.
pub(in crate::proxy) fn allows_unasked(pod_proxy: &PodProxy, request: &AccessRequest) -> bool {
    let workload = pod_proxy.known_workload(&pod_proxy.proxy.mesh.read());
    let Some(workload) = workload.filter(|_| !pod_proxy.pod.is_leaving()) else { return false };
    let is_silent = |audited_by: &Option<Arc<str>>, dry_run: &DryRun| {
        audited_by.is_none() && dry_run.would_deny.is_empty() && !dry_run.no_allow_matched
    };
    if !may_carry_requests(pod_proxy, request, &workload) {
        let verdict = ask(pod_proxy, &workload, |mesh, destination| mesh.authorize(destination, request));
        return verdict.outcome.is_ok() && is_silent(&verdict.audited_by, &verdict.dry_run);
    }
    let verdict = ask(pod_proxy, &workload, |mesh, destination| mesh.admit(destination, request));
    let is_admitted = verdict.outcome.as_ref().is_ok_and(|admission| !are_read(pod_proxy, request, admission));
    is_admitted && is_silent(&verdict.audited_by, &verdict.dry_run)
}

/// Whether a connection that was so may go on: as one that the agent moves the bytes of.
pub(in crate::proxy) fn still_allows(pod_proxy: &PodProxy, request: &AccessRequest) -> bool {
    // A workload that has left the mesh keeps what it has.
    let Some(workload) = pod_proxy.known_workload(&pod_proxy.proxy.mesh.read()) else { return true };
    match ask(pod_proxy, &workload, |mesh, destination| mesh.authorize(destination, request)).outcome {
        Ok(permit) => {
            !may_carry_requests(pod_proxy, request, &workload)
                || !are_judged(pod_proxy, request, &Admission::Bytes(permit))
        }
        Err(_) => false,
    }
}

fn may_carry_requests(pod_proxy: &PodProxy, request: &AccessRequest, workload: &Workload) -> bool {
    carries(&pod_proxy.proxy.mesh.read(), workload, request.destination.port()) != Carries::Bytes
}

/// Whether the requests of a connection that is admitted are read: they are judged, or the pod's spans tell of each. A connection that is
/// open does not end for the sake of spans.
fn are_read(pod_proxy: &PodProxy, request: &AccessRequest, admission: &Admission) -> bool {
    are_judged(pod_proxy, request, admission) || is_traced(pod_proxy)
}

/// Whether policy, a rate limit or a RequestAuthentication has something to say about each request of a connection that is admitted.
fn are_judged(pod_proxy: &PodProxy, request: &AccessRequest, admission: &Admission) -> bool {
    let are_limited = || {
        let config = pod_proxy.proxy.mesh.routes().current();
        let limits = || pod_proxy.counting_limits(&pod_proxy.proxy.mesh.read(), config.rate_limits());
        !config.rate_limits().objects.is_empty() && limits().limits.count_at(request.destination.port())
    };
    match admission {
        Admission::Requests => true,
        Admission::Bytes(_) => are_limited() || authenticates(pod_proxy),
    }
}

/// Whether a RequestAuthentication is about the pod.
fn authenticates(pod_proxy: &PodProxy) -> bool {
    let PodProxy { proxy, pod, authenticator, .. } = pod_proxy;
    let config = proxy.mesh.routes().current();
    authenticator.rules(config.authentication(), pod, &proxy.mesh, &proxy.key_sets).is_some()
}

/// Whether each request to the pod is to have a span.
fn is_traced(pod_proxy: &PodProxy) -> bool {
    pod_proxy.proxy.requests.records_spans_of_server(&pod_proxy.pod.telemetry)
}

/// Asks for a permit for the bytes of a connection that turned out to carry no requests: policies about requests have their meaning
/// for TCP.
pub(super) async fn admit_bytes(
    pod_proxy: &Arc<PodProxy>,
    request: &AccessRequest,
) -> Result<(Permit, Tracked), InboundError> {
    let tracked = pod_proxy.live.track(request);
    let workload = destination_workload(pod_proxy).await?;
    Ok((permit_bytes(pod_proxy, request, &workload)?, tracked))
}

/// A permit for the bytes of a connection of which nobody knows yet whether it carries requests; `None` where policy allows it none that
/// is not a request. Once bytes are to move, [`admit_bytes`] is asked.
pub(super) fn permit_for_now(pod_proxy: &PodProxy, request: &AccessRequest) -> Option<Permit> {
    let workload = workload_now(pod_proxy)?.ok()?;
    ask(pod_proxy, &workload, |mesh, destination| mesh.authorize(destination, request)).outcome.ok()
}

fn permit_bytes(pod_proxy: &PodProxy, request: &AccessRequest, workload: &Workload) -> Result<Permit, InboundError> {
    let verdict = ask(pod_proxy, workload, |mesh, destination| mesh.authorize(destination, request));
    report_audit(pod_proxy, request, verdict.audited_by.as_deref());
    report_dry_run(pod_proxy, request, &verdict.dry_run);
    Ok(verdict.outcome?)
}

/// Asks the mesh as it is now about the pod as it is now.
fn ask<T>(pod_proxy: &PodProxy, workload: &Workload, question: impl FnOnce(&Mesh, &Destination<'_>) -> T) -> T {
    let current = pod_proxy.pod.current();
    let mesh = pod_proxy.proxy.mesh.read();
    question(&mesh, &revocation::as_destination(&pod_proxy.pod, &current, workload))
}

/// The same about a request, with the policies in force for the pod as they are known.
fn ask_about_request<T>(
    pod_proxy: &PodProxy,
    workload: &Arc<Workload>,
    question: impl FnOnce(&Mesh, &PodPolicies, &Destination<'_>) -> T,
) -> T {
    let PodProxy { proxy, pod, policies, .. } = pod_proxy;
    let mesh = proxy.mesh.read();
    policies.ask(&mesh, pod, workload, |found, destination| question(&mesh, found, destination))
}

/// What policy says about a request.
pub(super) struct JudgedRequest {
    pub(super) outcome: Result<Permit, RefusedRequest>,
    /// An AUDIT policy that matches.
    pub(super) audited_by: Option<Arc<str>>,
}

/// Decides about one request of a connection. Where neither the mesh knows the pod nor its labels say which policies are about it,
/// the request is refused.
pub(super) fn judge_request(
    pod_proxy: &PodProxy,
    connection: &AccessRequest,
    request: &HttpRequest<'_>,
) -> JudgedRequest {
    let Some(Ok(workload)) = workload_now(pod_proxy) else {
        return JudgedRequest { outcome: Err(RefusedRequest::UnknownWorkload), audited_by: None };
    };
    let verdict = ask_about_request(pod_proxy, &workload, |mesh, found, destination| {
        mesh.authorize_request_under(found, destination, connection, request)
    });
    let is_final = !matches!(&verdict.outcome, Err(denied) if denied.needs_provider());
    if is_final {
        report_dry_run(pod_proxy, connection, &verdict.dry_run);
    }
    JudgedRequest {
        outcome: verdict.outcome.map_err(RefusedRequest::Denied),
        audited_by: verdict.audited_by.filter(|_| is_final),
    }
}

/// Which external authorizer a request of a connection needs the answer of, before its token is verified and [`judge_request`] is asked.
/// `None` where none is missing, and while nobody knows which policies are about the pod.
pub(super) fn authorizer_needed(
    pod_proxy: &PodProxy,
    connection: &AccessRequest,
    request: &HttpRequest<'_>,
) -> Option<RequestDenied> {
    let workload = workload_now(pod_proxy)?.ok()?;
    ask_about_request(pod_proxy, &workload, |mesh, found, destination| {
        mesh.authorizer_needed(found, destination, connection, request)
    })
}

/// Whether a request may be allowed whose authorizers have not all answered, and whose token is not verified.
///
/// # Errors
/// Why it is not, whatever they say and whoever sent it.
pub(super) fn may_be_allowed(
    pod_proxy: &PodProxy,
    connection: &AccessRequest,
    request: &HttpRequest<'_>,
) -> Result<(), RefusedRequest> {
    let Some(Ok(workload)) = workload_now(pod_proxy) else { return Err(RefusedRequest::UnknownWorkload) };
    let may_be = ask_about_request(pod_proxy, &workload, |mesh, found, destination| {
        mesh.may_be_allowed(found, destination, connection, request)
    });
    Ok(may_be?)
}

/// Tells of a connection that an AUDIT policy matches, whatever it carries. A request is told of by its own record.
fn report_audit(pod_proxy: &PodProxy, request: &AccessRequest, policy: Option<&str>) {
    let Some(policy) = policy else { return };
    pod_proxy.proxy.metrics.audited();
    tracing::info!(
        target: "access",
        source = ?request.source.as_ref().map(ToString::to_string),
        source_ip = %request.source_ip,
        destination = %request.destination,
        audited_by = policy,
        "an AUDIT policy matches the connection"
    );
}

fn report_dry_run(pod_proxy: &PodProxy, request: &AccessRequest, dry_run: &DryRun) {
    if dry_run.would_deny.is_empty() && !dry_run.no_allow_matched {
        return;
    }
    pod_proxy.proxy.metrics.dry_run_denied();
    tracing::info!(
        target: "access",
        source = ?request.source.as_ref().map(ToString::to_string),
        source_ip = %request.source_ip,
        destination = %request.destination,
        policies = ?dry_run.would_deny,
        "dry-run policy would deny"
    );
}

/// The pod as policy is asked about it: as the mesh knows it, or by its labels, where policies say whom they select. `None` while
/// neither is known.
fn workload_now(pod_proxy: &PodProxy) -> Option<Result<Arc<Workload>, InboundError>> {
    let mesh = pod_proxy.proxy.mesh.read();
    let known = pod_proxy.known_workload(&mesh).map(Ok).or_else(|| pod_proxy.workload_by_labels(&mesh));
    known.map(|known| known.map_err(InboundError::from))
}

/// The same, as soon as it is known.
async fn destination_workload(pod_proxy: &PodProxy) -> Result<Arc<Workload>, InboundError> {
    let mut changes = pod_proxy.proxy.mesh.watch();
    let known = async {
        loop {
            let unclear = match workload_now(pod_proxy) {
                Some(Ok(workload)) => return Ok(workload),
                Some(Err(unclear)) => Some(unclear),
                None => None,
            };
            // The mesh may yet tell of the pod, or a policy whom it selects.
            if changes.changed().await.is_err() {
                return Err(unclear.unwrap_or(InboundError::UnknownWorkload));
            }
        }
    };
    match tokio::time::timeout(WORKLOAD_WAIT, known).await {
        Ok(known) => known,
        Err(_) => match workload_now(pod_proxy) {
            Some(Err(unclear)) => Err(unclear),
            _ => Err(InboundError::UnknownWorkload),
        },
    }
}

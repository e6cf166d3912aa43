//! Rate limits on the way of a request that policy permits: within them it goes on, beyond one it is answered here.

use std::sync::Arc;

use bytes::Bytes;

use super::connection::HttpConnection;
use super::global_limit::{self, BeyondLimit};
use crate::limits::LimitKind;
use crate::model::authorization::{AccessRequest, HttpRequest};
use crate::model::http::config::HttpConfig;
use crate::model::http::head::{HttpFields, RequestHead, ResponseHead};
use crate::model::http::local_reply::HttpResponseFlag;
use crate::model::rate_limit::answer::{answer_fields, quota_fields};
use crate::model::rate_limit::config::RateLimitConfig;
use crate::model::rate_limit::objects::Measure;
use crate::model::rate_limit::{Beyond, Decision, LimitedRequest, Quota, UnderWay};
use crate::proxy::http::Answer;
use crate::proxy::pod::PodProxy;
use crate::proxy::rate_limits::{CountingLimits, now};
use crate::rate_limit_service::ServiceAnswer;
use crate::telemetry::metrics::LimitOutcome;

/// A request that is within all limits of its pod, until dropped.
#[derive(Debug, Default)]
pub(super) struct WithinLimits {
    _under_way: Vec<UnderWay>,
    told: Option<Quota>,
    /// What services that keep limits say besides, of each limit.
    answers: Vec<ServiceAnswer>,
}

impl WithinLimits {
    /// Says in a response what is left, where an object wants that, and what services say.
    pub(super) fn tell(&self, response: &mut ResponseHead) {
        if let Some(quota) = &self.told {
            quota_fields(quota, &mut response.fields);
        }
        self.answers.iter().for_each(|answer| add(&answer.response_fields, &mut response.fields));
    }

    /// Says in the request what services say to the application.
    pub(super) fn change(&self, request: &mut RequestHead) {
        self.answers.iter().for_each(|answer| add(&answer.request_fields, &mut request.fields));
    }
}

fn add(from: &HttpFields, to: &mut HttpFields) {
    from.iter().for_each(|(name, value)| to.append(name, value));
}

/// Asks the limits of the pod about a request.
///
/// # Errors
/// When it is beyond one of them.
pub(super) async fn check(
    connection: &HttpConnection,
    config: &HttpConfig,
    request: &HttpRequest<'_>,
) -> Result<WithinLimits, Box<BeyondLimit>> {
    let pod_proxy = &connection.pod_proxy;
    let taken = take(pod_proxy, config.rate_limits(), &connection.access, request);
    let Some((limits, decision)) = taken else { return Ok(WithinLimits::default()) };
    let Decision { refused, would_refuse, within, under_way, told, to_ask } = decision;
    within.into_iter().for_each(|position| limits.count(position, LimitOutcome::Allowed));
    would_refuse.into_iter().for_each(|position| tell_dry_run(connection, &limits, position));
    if let Some((position, beyond)) = refused {
        limits.count(position, LimitOutcome::Limited);
        return Err(refusal(&limits, position, &beyond, None, request.head.is_grpc()));
    }
    let mut answers = Vec::new();
    for position in to_ask {
        let Some(asked) = Box::pin(global_limit::ask(connection, &limits, position, request)).await? else { continue };
        match asked.beyond {
            None => answers.push(asked),
            Some(_) if limits.limits.at(position).object.dry_run => tell_dry_run(connection, &limits, position),
            Some(beyond) => {
                limits.count(position, LimitOutcome::Limited);
                let is_grpc = request.head.is_grpc();
                return Err(refusal(&limits, position, &beyond, Some(&asked), is_grpc));
            }
        }
    }
    Ok(WithinLimits { _under_way: under_way, told, answers })
}

/// Counts a request of a connection for each limit of the pod that it is about, unless it is beyond one of them. `None` where none counts
/// at the port.
fn take(
    pod_proxy: &PodProxy,
    config: &Arc<RateLimitConfig>,
    connection: &AccessRequest,
    http: &HttpRequest<'_>,
) -> Option<(Arc<CountingLimits>, Decision)> {
    if config.objects.is_empty() {
        return None;
    }
    let mesh = pod_proxy.proxy.mesh.read();
    let counting = pod_proxy.counting_limits(&mesh, config);
    if !counting.limits.count_at(connection.destination.port()) {
        return None;
    }
    let places = pod_proxy.pod.limits.of(LimitKind::RateLimitSources);
    let request = LimitedRequest { connection, http, now: now() };
    let decision = mesh.take_limits(&counting.limits, request, || places.try_take());
    drop(mesh);
    Some((counting, decision))
}

fn tell_dry_run(connection: &HttpConnection, limits: &CountingLimits, position: usize) {
    limits.count(position, LimitOutcome::DryRun);
    tracing::info!(
        target: "access",
        limit = %limits.name(position),
        source_ip = %connection.access.source_ip,
        destination = %connection.access.destination,
        "dry-run rate limit would refuse"
    );
}

/// The answer to a request beyond a limit.
fn refusal(
    limits: &CountingLimits,
    position: usize,
    beyond: &Beyond,
    asked: Option<&ServiceAnswer>,
    is_grpc: bool,
) -> Box<BeyondLimit> {
    let limit = limits.limits.at(position);
    let response = &limit.object.response;
    // Envoy's texts: of its local rate limit, of adaptive concurrency, and of its global rate limit.
    let (text, details) = match limit.rule.measure {
        Measure::Rate { .. } => ("local_rate_limited", "local_rate_limited"),
        Measure::Concurrency { .. } => ("reached concurrency limit", "reached_concurrency_limit"),
        Measure::Global(_) => ("", "request_rate_limited"),
    };
    let mut head = ResponseHead::default();
    answer_fields(response, beyond, is_grpc, &mut head.fields);
    if let Some(asked) = asked {
        add(&asked.response_fields, &mut head.fields);
    }
    let body = asked.and_then(|asked| asked.body.clone());
    let own = || response.body.as_ref().map_or(text, |body| body);
    let body = body.unwrap_or_else(|| Bytes::copy_from_slice(own().as_bytes()));
    let answer = Answer { head, status: response.status, body, details: details.into() };
    let why = format!("beyond rate limit {}", limits.name(position));
    Box::new(BeyondLimit { answer, flag: HttpResponseFlag::RateLimited, why })
}

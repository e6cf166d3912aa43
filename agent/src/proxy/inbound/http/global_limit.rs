//! A limit that a rate limit service keeps: the agent asks it for the pod, as a request of the pod's own.

use bytes::Bytes;

use super::connection::HttpConnection;
use crate::model::authorization::HttpRequest;
use crate::model::http::head::{HttpFields, ResponseHead};
use crate::model::http::local_reply::HttpResponseFlag;
use crate::model::rate_limit::objects::GlobalLimit;
use crate::proxy::http::Answer;
use crate::proxy::outbound::{GrpcCall, GrpcCallError};
use crate::proxy::rate_limits::CountingLimits;
use crate::rate_limit_service::{LONGEST_ANSWER, METHOD, NoAnswer, ServiceAnswer, answer, question};
use crate::telemetry::metrics::LimitOutcome;

/// A request that is beyond a limit, or whose limits cannot be known.
#[derive(Debug)]
pub(super) struct BeyondLimit {
    pub(super) answer: Answer,
    pub(super) flag: HttpResponseFlag,
    /// For the log.
    pub(super) why: String,
}

/// Why a service said nothing.
#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error(transparent)]
    Call(#[from] GrpcCallError),
    #[error(transparent)]
    Answer(#[from] NoAnswer),
}

/// Asks the service that keeps the limit at a position. `None` where the request has none of the limit's descriptors, or passes because the
/// service says nothing.
///
/// # Errors
/// When the service says nothing, and the limit is to refuse then.
pub(super) async fn ask(
    connection: &HttpConnection,
    limits: &CountingLimits,
    position: usize,
    request: &HttpRequest<'_>,
) -> Result<Option<ServiceAnswer>, Box<BeyondLimit>> {
    let Some(limit) = limits.limits.global_at(position) else { return Ok(None) };
    let sent: Vec<_> =
        limit.descriptors.iter().filter_map(|descriptor| descriptor.of(&connection.access, request)).collect();
    if sent.is_empty() {
        return Ok(None);
    }
    match call(connection, limit, &question(&limit.domain, sent)).await {
        Ok(asked) => {
            if asked.beyond.is_none() {
                limits.count(position, LimitOutcome::Allowed);
            }
            Ok(Some(asked))
        }
        Err(error) => {
            limits.count(position, LimitOutcome::Error);
            let name = limits.name(position);
            let is_let_through = limit.fail_open || limits.limits.at(position).object.dry_run;
            tracing::info!(target: "access", limit = %name, %error, is_let_through, "a rate limit service gave no answer");
            if is_let_through { Ok(None) } else { Err(Box::new(unanswered(&name, &error))) }
        }
    }
}

async fn call(connection: &HttpConnection, limit: &GlobalLimit, message: &[u8]) -> Result<ServiceAnswer, AskError> {
    let call = GrpcCall {
        service: &limit.service,
        port: limit.port,
        method: METHOD,
        metadata: HttpFields::default(),
        within: limit.timeout,
        longest_message: LONGEST_ANSWER,
    };
    Ok(answer(&call.send(&connection.pod_proxy, message).await?)?)
}

/// Envoy's answer where its rate limit filter is to deny without an answer of the service.
fn unanswered(limit: &str, error: &AskError) -> BeyondLimit {
    let answer =
        Answer { head: ResponseHead::default(), status: 500, body: Bytes::new(), details: "rate_limiter_error".into() };
    let why = format!("rate limit {limit} is not known: {error}");
    BeyondLimit { answer, flag: HttpResponseFlag::RateLimitServiceError, why }
}

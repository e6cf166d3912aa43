//! Forwarding a request: endpoints are tried until one answers with something that is not to be tried again, and its response
//! goes to the client.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::breakers::{Breaker, Taken};
use super::choose::Chosen;
use super::connection::KnownEndpoint;
use super::endpoints::{EndpointState, UnderWay};
use super::failure::Failure;
use super::mirror::Mirrors;
use super::plan::Plan;
use super::request::Request;
use super::upstream::{Begun, Exchange, OpenError, Sending};
use crate::http::{self, BodyLength, Broken, Downstream, ExchangeError, RequestBody, ResponseBody};
use crate::model::http::grpc::grpc_status;
use crate::model::http::head::{HttpVersion, ResponseHead};
use crate::model::http::local_reply::HttpResponseFlag;
use crate::model::http::outlier::EndpointResult;
use crate::model::http::policies::RetryPolicy;
use crate::model::http::reply::{LocalReply, Reason};
use crate::model::http::retry::Outcome;
use crate::model::http::retry_fields;

/// Bytes of a request's content that are kept so that it can be sent again. A request with more is sent once.
const MAX_REPLAYED_BYTES: usize = 64 * 1024;

/// What one attempt came to.
enum Attempt {
    /// The head of a final response is here.
    Responded(Exchange, BodyLength),
    Failed(Failure),
}

/// A request on its way through its attempts.
struct Forwarding<'r, 'a, D> {
    request: &'r mut Request<'a, D>,
    plan: Plan,
    body: RequestBody,
    response: ResponseHead,
    tried: Vec<Arc<str>>,
    retries: u32,
    /// Whether a connection that was used before may be used.
    may_reuse: bool,
    mirrors: Option<Mirrors>,
    /// Where the destination has limits: its counts, and what this request takes of them.
    breaker: Option<Arc<Breaker>>,
    place: Option<Taken>,
    retry_place: Option<Taken>,
    /// When the last attempt began.
    begun: Option<Instant>,
}

/// Forwards a request as planned; or answers why it cannot be.
///
/// # Errors
/// When the client did not get the whole response.
pub(super) async fn run<D: Downstream>(request: &mut Request<'_, D>, plan: Result<Plan, Reason>) -> Result<(), Broken> {
    let plan = match plan {
        Ok(plan) => plan,
        Err(reason) => return request.reply(reason, false).await,
    };
    request.change_request(&plan);
    plan.timeouts.announce(request.head, request.config.proxy_headers().debug);
    retry_fields::remove(request.head);
    request.watcher.set_timeout(plan.timeouts.total);
    let breaker = request.connection.pod_proxy.breakers.of(&plan.service, plan.port, &plan.policy);
    let _request_place =
        match breaker.as_ref().map(|breaker| breaker.begin_request(&plan.policy.pool, plan.policy.retry_budget)) {
            Some(None) => return request.reply(Reason::Overflow, false).await,
            taken => taken.flatten(),
        };
    let mirrors = request.mirrors(&plan);
    let body = RequestBody::new(request.length, MAX_REPLAYED_BYTES);
    let mut response = ResponseHead::default();
    response.fields.preserve_case(request.config.proxy_headers().preserve_case);
    let mut forwarding = Forwarding {
        request,
        plan,
        body,
        response,
        tried: Vec::new(),
        retries: 0,
        may_reuse: true,
        mirrors,
        breaker,
        place: None,
        retry_place: None,
        begun: None,
    };
    let running = pin!(forwarding.run());
    running.await
}

impl<D: Downstream> Forwarding<'_, '_, D> {
    async fn run(&mut self) -> Result<(), Broken> {
        let mut last = None;
        if let Some(mirrors) = self.mirrors.take_if(|_| self.body.is_received()) {
            self.request.send_copies(mirrors, &self.body);
        }
        loop {
            let chosen = match last.take() {
                Some(chosen) => chosen,
                None => match self.request.choose(&self.plan, &self.tried) {
                    Ok(chosen) => chosen,
                    Err(reason) => return self.request.reply(reason, self.retries > 0).await,
                },
            };
            self.request.watcher.record.attempt(&chosen.endpoint.ends);
            let under_way = chosen.endpoint.state.as_deref().map(EndpointState::begin);
            let attempt = pin!(self.attempt(&chosen.endpoint)).await;
            let attempt = match attempt {
                Err(Broken::Timeout) => {
                    self.request.note_result(&self.plan, &chosen, EndpointResult::Timeout);
                    return self.request.reply(self.plan.timeouts.reason(), self.retries > 0).await;
                }
                attempt => attempt?,
            };
            if let Some(mirrors) = self.mirrors.take() {
                self.request.send_copies(mirrors, &self.body);
            }
            if let Some(result) = self.result_of(&attempt) {
                self.request.note_result(&self.plan, &chosen, result);
            }
            let failure = match attempt {
                Attempt::Responded(exchange, length) => match self.wants_other_response() {
                    false => return pin!(self.respond(&chosen, exchange, length, under_way)).await,
                    true => None,
                },
                Attempt::Failed(Failure::Stale(error)) if self.may_send_again(&error) => {
                    // The endpoint is as good as before: a fresh connection to it is no retry.
                    drop(under_way);
                    self.may_reuse = false;
                    self.body.restart();
                    last = Some(chosen);
                    continue;
                }
                Attempt::Failed(failure) => {
                    if !self.wants_retry(&failure) {
                        return self.fail(&failure).await;
                    }
                    Some(failure)
                }
            };
            drop(under_way);
            if let Err(broken) = self.pause().await {
                return match broken {
                    Broken::Timeout => self.request.reply(self.plan.timeouts.reason(), true).await,
                    broken => Err(broken),
                };
            }
            tracing::debug!(
                endpoint = ?chosen.endpoint.upstream.workload.as_ref().map(|workload| &workload.uid),
                retry = self.retries,
                why = failure.as_ref().map(Failure::text),
                "an attempt is followed by another"
            );
            if self.plan.retry.as_ref().is_none_or(|retry| retry.avoids_tried_endpoints) {
                self.tried.extend(chosen.endpoint.upstream.workload.as_ref().map(|workload| workload.uid.clone()));
            }
            self.body.restart();
        }
    }

    /// Sends the request to an endpoint, and waits for the head of its response.
    ///
    /// # Errors
    /// When the client leaves.
    async fn attempt(&mut self, endpoint: &KnownEndpoint) -> Result<Attempt, Broken> {
        self.request.config.proxy_headers().begin_attempt(self.retries + 1, self.request.head);
        self.begun = Some(Instant::now());
        let Request { connection, head, downstream, watcher, length, .. } = &mut *self.request;
        watcher.begin_attempt(self.plan.timeouts.per_try);
        let (pool, port, length) = (&self.plan.policy.pool, self.plan.port, *length);
        let KnownEndpoint { upstream, pool_key, .. } = endpoint;
        let sending = Sending { connection, upstream, pool_key, port, pool, head, length, may_reuse: self.may_reuse };
        self.place = None;
        let (breaker, place) = (self.breaker.as_ref(), &mut self.place);
        let begun = {
            let begin = pin!(async {
                // A connection of HTTP/2 carries many requests.
                if let Some(breaker) = breaker.filter(|_| sending.version() != HttpVersion::Http2) {
                    *place = Some(breaker.begin_connection(pool).await.ok_or(OpenError::Overflow)?);
                }
                pin!(sending.begin()).await
            });
            watcher.unless_stopped(begin, *downstream, self.body.is_received()).await
        };
        let Begun { mut exchange, idle_for } = match begun {
            Ok(Ok(begun)) => begun,
            Ok(Err(error)) => return Ok(Attempt::Failed(Failure::Open(error))),
            Err(stopped) => return stopped_attempt(stopped),
        };
        if let Some(peer) = exchange.peer() {
            watcher.record.peer_proved(peer);
        }
        loop {
            let Request { downstream, watcher, .. } = &mut *self.request;
            let head = &mut self.response;
            match http::until_response(*downstream, &mut exchange, &mut self.body, head, watcher).await {
                Ok(length) if self.response.is_interim() => {
                    self.request.connection.take_up(&mut self.response);
                    self.request.downstream.send_response(&self.response, length).map_err(Broken::Downstream)?;
                    self.request.flush().await?;
                }
                Ok(length) => return Ok(Attempt::Responded(exchange, length)),
                Err(Broken::Upstream(error)) => {
                    if let Some(idle_for) = idle_for.filter(|_| error.may_be_of_others()) {
                        exchange.note_lost(self.request.connection, pool_key, &error, idle_for);
                        return Ok(Attempt::Failed(Failure::Stale(error)));
                    }
                    let is_request_sent = self.body.is_sent();
                    return Ok(Attempt::Failed(Failure::Upstream { error, is_request_sent }));
                }
                Err(stopped) => return stopped_attempt(stopped),
            }
        }
    }

    /// What an attempt says of its endpoint.
    fn result_of(&self, attempt: &Attempt) -> Option<EndpointResult> {
        let status = |head: &ResponseHead| match grpc_status(&head.fields) {
            Some(status) if head.is_grpc() => EndpointResult::of_grpc(status),
            _ => EndpointResult::Status(head.status),
        };
        match attempt {
            Attempt::Responded(..) => Some(status(&self.response)),
            Attempt::Failed(Failure::Stale(_)) => None,
            Attempt::Failed(Failure::Open(error)) if error.is_before_endpoint() => None,
            // It answers, and policy is no fault of its own.
            Attempt::Failed(Failure::Open(error)) if error.is_denied_by_policy() => Some(EndpointResult::Status(403)),
            Attempt::Failed(Failure::Open(_)) => Some(EndpointResult::ConnectFailure),
            Attempt::Failed(Failure::PerTryTimeout) => Some(EndpointResult::Timeout),
            Attempt::Failed(Failure::Upstream { .. }) => Some(EndpointResult::Reset),
        }
    }

    /// Whether a request whose connection was closed under it may be sent once more: nothing is sent twice that may not be. A
    /// server may act on a request of which it has only the head; one that refused the stream has not looked at it.
    fn may_send_again(&self, error: &ExchangeError) -> bool {
        let is_harmless = matches!(error, ExchangeError::Refused) || self.request.head.is_idempotent();
        self.may_reuse && self.body.can_restart() && is_harmless
    }

    /// Whether the response is one that another attempt may better.
    fn wants_other_response(&mut self) -> bool {
        let is_wanted = self.may_retry().is_some_and(|retry| retry.wants_retry(Outcome::Response(&self.response)));
        is_wanted && self.take_retry_place()
    }

    fn wants_retry(&mut self, failure: &Failure) -> bool {
        // What is refused for a limit, by policy, or for what the request is, would only be refused again.
        let is_final = |error: &OpenError| error.is_before_endpoint() || error.is_denied_by_policy();
        let is_refused = matches!(failure, Failure::Open(error) if is_final(error));
        let outcome = failure.outcome();
        let is_wanted = !is_refused && self.may_retry().is_some_and(|retry| retry.wants_retry(outcome));
        is_wanted && self.take_retry_place()
    }

    /// Counts the next attempt as a retry; not where there are as many as the destination's limits allow.
    fn take_retry_place(&mut self) -> bool {
        self.retry_place = None;
        let Some(breaker) = &self.breaker else { return true };
        self.retry_place = breaker.begin_retry(&self.plan.policy.pool, self.plan.policy.retry_budget);
        if self.retry_place.is_none() {
            self.request.watcher.record.flag(HttpResponseFlag::UpstreamOverflow);
        }
        self.retry_place.is_some()
    }

    /// The policy, while it has attempts left and the request can be sent again.
    fn may_retry(&self) -> Option<&RetryPolicy> {
        self.plan.retry.as_ref().filter(|retry| self.retries < retry.attempts && self.body.can_restart())
    }

    /// Waits before another attempt.
    async fn pause(&mut self) -> Result<(), Broken> {
        self.retries += 1;
        let Some(retry) = &self.plan.retry else { return Ok(()) };
        let pause = retry.back_off.pause(self.retries, rand::random());
        let Request { downstream, watcher, .. } = &mut *self.request;
        watcher.begin_attempt(None);
        watcher.unless_stopped(tokio::time::sleep(pause), *downstream, self.body.is_received()).await
    }

    /// Answers in the place of an upstream that did not.
    async fn fail(&mut self, failure: &Failure) -> Result<(), Broken> {
        let retried = self.retries > 0;
        if retried {
            self.request.watcher.record.flag(HttpResponseFlag::UpstreamRetryLimitExceeded);
        }
        let reason = failure.reason();
        match LocalReply::new(reason, retried).flag {
            Some(flag) => self.request.watcher.record.fail(flag, &failure.text()),
            None => self.request.watcher.record.note(&failure.text()),
        }
        self.request.reply(reason, retried).await
    }

    /// Sends the response to the client, and the rest of the request to the endpoint.
    async fn respond(
        &mut self,
        chosen: &Chosen,
        mut exchange: Exchange,
        length: BodyLength,
        _under_way: Option<UnderWay<'_>>,
    ) -> Result<(), Broken> {
        if self.retries > 0 && self.retries == self.plan.retry.as_ref().map_or(0, |retry| retry.attempts) {
            // It is the last answer that there is to give.
            let is_bad =
                self.plan.retry.as_ref().is_some_and(|retry| retry.wants_retry(Outcome::Response(&self.response)));
            if is_bad {
                self.request.watcher.record.flag(HttpResponseFlag::UpstreamRetryLimitExceeded);
            }
        }
        self.request.watcher.begin_attempt(None);
        self.request.connection.take_up(&mut self.response);
        let took = self.begun.map_or(Duration::ZERO, |begun| begun.elapsed());
        self.request.config.proxy_headers().end_attempt(took, &mut self.response);
        self.request.change_response(&self.plan, &mut self.response, chosen);
        if self.request.downstream.send_response(&self.response, length).is_err() {
            // What the upstream said would break the message to the client.
            return self.request.reply(Reason::ProtocolError, self.retries > 0).await;
        }
        self.request.watcher.record.response(&self.response);
        if length == BodyLength::Tunnel {
            self.request.watcher.set_timeout(None);
            self.body.begin_tunnel();
        } else {
            self.body.keep_no_more();
        }
        let mut content = ResponseBody::new(length);
        let Request { downstream, watcher, .. } = &mut *self.request;
        let relayed = content.relay(*downstream, &mut exchange, &mut self.body, watcher).await;
        if let Err(broken) = relayed {
            self.request.watcher.broke(&broken);
            return Err(broken);
        }
        chosen.note_trailers(&self.response, self.request.watcher.record.grpc_status());
        let is_whole = self.body.is_sent() && length != BodyLength::Tunnel;
        let pool = &self.plan.policy.pool;
        exchange.finish(self.request.connection, &chosen.endpoint.pool_key, pool, is_whole);
        Ok(())
    }
}

/// What an attempt comes to that was stopped.
fn stopped_attempt(why: Broken) -> Result<Attempt, Broken> {
    match why {
        Broken::PerTryTimeout => Ok(Attempt::Failed(Failure::PerTryTimeout)),
        why => Err(why),
    }
}

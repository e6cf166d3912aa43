//! The external authorizers that a request needs the answers of: each is asked as the pod, over the mesh, when a CUSTOM policy that names
//! it matches the request, and what it changes about the request holds for all that is decided after.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;

use super::decide::Decided;
use super::request::{InboundRequest, until_refused};
use crate::ext_authz::{self, Answer as AuthorizerAnswer, Content, Peer, Question, Refusal, UnusableAnswer};
use crate::http::{BodyLength, Broken, Downstream, Watcher as _};
use crate::model::authorization::{Authorizer, AuthorizerProtocol, Denied, HttpRequest, ShownContent};
use crate::model::http::config::HttpConfig;
use crate::model::http::head::{HttpFields, ResponseHead};
use crate::model::http::local_reply::HttpResponseFlag;
use crate::proxy::http::Answer;
use crate::proxy::inbound::error::RefusedRequest;
use crate::proxy::outbound::{AgentRequest, AgentRequestError, GrpcCall, GrpcCallError};
use crate::proxy::pod::PodProxy;
use crate::proxy::revocation::PolicyChanges;
use crate::telemetry::metrics::AuthorizerResult;

/// Bytes that an authorizer's answer may have.
const MAX_ANSWER_BYTES: usize = 256 * 1024;
/// The status of a request with more content than its authorizer may be shown.
const CONTENT_TOO_LARGE: u16 = 413;

/// Why an authorizer has said nothing of use.
#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error(transparent)]
    Grpc(#[from] GrpcCallError),
    #[error(transparent)]
    Http(#[from] AgentRequestError),
    #[error(transparent)]
    Unusable(#[from] UnusableAnswer),
    #[error("it says so itself")]
    ItsOwn,
    /// It would be asked to open a tunnel to what the client names.
    #[error("over HTTP it cannot be shown a request to CONNECT")]
    Connect,
}

impl<D: Downstream> InboundRequest<'_, D> {
    /// Asks the external authorizers that policy wants to be asked about the request. `None`: they allow it, and it is now as they want
    /// it.
    ///
    /// # Errors
    /// When the client leaves meanwhile.
    pub(super) async fn ask_authorizers(
        &mut self,
        config: &HttpConfig,
        changes: &mut PolicyChanges,
    ) -> Result<Option<Decided>, Broken> {
        loop {
            changes.catch_up();
            let Some(denied) = self.connection.authorizer_needed(&self.as_judged()) else { return Ok(None) };
            let Denied::NotAllowedByProvider { provider, .. } = &denied.why else {
                return Ok(Some(Decided::Refused(RefusedRequest::Denied(denied))));
            };
            let authorizer = match config.telemetry().defaults.authorizer(provider) {
                Ok(authorizer) => authorizer,
                Err(reason) => return Ok(Some(Decided::Refused(RefusedRequest::NoAuthorizer { denied, reason }))),
            };
            // In a box: few requests need its state.
            if let Some(decided) = Box::pin(self.ask(authorizer, changes)).await? {
                return Ok(Some(decided));
            }
        }
    }

    /// Asks an authorizer. `None`: it allows the request, which is now as it wants it.
    async fn ask(&mut self, authorizer: &Authorizer, changes: &mut PolicyChanges) -> Result<Option<Decided>, Broken> {
        if let Some(shown) = authorizer.content
            && let Some(answer) = self.read_content(shown).await?
        {
            return Ok(Some(Decided::Answered(answer)));
        }
        let Self { connection, head, downstream, watcher, asked, length, .. } = self;
        let content = authorizer.content.filter(|_| asked.content.bytes() > 0);
        let bytes = content.map(|shown| asked.content.first(shown.max_bytes)).unwrap_or_default();
        let content = content.map(|ShownContent { is_raw, .. }| {
            let is_part = !asked.content.is_ended() || bytes.len() < asked.content.bytes();
            Content { bytes: &bytes, is_part, is_raw }
        });
        let (source, own) = (connection.source(), connection.pod_proxy.identity().to_string());
        let question = Question {
            head,
            source: Peer { address: connection.shown, principal: source.as_deref() },
            destination: Peer { address: connection.destination(), principal: Some(&own) },
            time: SystemTime::now(),
            content,
        };
        let is_received = *length == BodyLength::Empty || asked.content.is_ended();
        // What others have to say is not known yet.
        let judge = || connection.may_be_allowed(&HttpRequest::of(head));
        let answer = tokio::select! {
            biased;
            answer = answer_of(&connection.pod_proxy, authorizer, &question) => answer,
            refused = until_refused(changes, judge) => return Ok(Some(Decided::Refused(refused))),
            left = poll_fn(|cx| watcher.poll_stop(cx, *downstream, is_received)) => return Err(left),
        };
        Ok(self.take(authorizer, answer))
    }

    /// Reads what an authorizer is shown of the content. Returns what the client is answered where that cannot be.
    async fn read_content(&mut self, shown: ShownContent) -> Result<Option<Answer>, Broken> {
        if self.length == BodyLength::Empty || self.length == BodyLength::Tunnel || self.head.upgrade.is_some() {
            return Ok(None);
        }
        let limits = &self.connection.pod_proxy.pod.limits;
        if !self.asked.content.reserve(limits, self.length, shown.max_bytes) {
            return Ok(Some(own_answer(503, "", "request_overload")));
        }
        if self.head.fields.first("expect").is_some_and(|value| value.eq_ignore_ascii_case(b"100-continue")) {
            // The application would say so, but is not asked yet.
            self.head.fields.remove("expect");
            let go_on = ResponseHead { status: 100, ..ResponseHead::default() };
            self.downstream.send_response(&go_on, BodyLength::Empty).map_err(Broken::Downstream)?;
            poll_fn(|cx| self.downstream.poll_flush(cx)).await.map_err(Broken::Downstream)?;
        }
        let enough = if shown.allows_part { shown.max_bytes } else { shown.max_bytes + 1 };
        self.asked.content.read(self.downstream, enough).await.map_err(Broken::Downstream)?;
        let is_too_large = !shown.allows_part && self.asked.content.bytes() > shown.max_bytes;
        Ok(is_too_large.then(|| own_answer(CONTENT_TOO_LARGE, "Payload Too Large", "request_payload_too_large")))
    }

    /// Takes what an authorizer has said. `None`: the request goes on.
    fn take(&mut self, authorizer: &Authorizer, answer: Result<AuthorizerAnswer, AskError>) -> Option<Decided> {
        let metrics = &self.connection.pod_proxy.proxy.metrics;
        let name = &authorizer.name;
        let (refusal, error) = match answer {
            Ok(AuthorizerAnswer::Allowed(changes)) => {
                metrics.external_authorization(AuthorizerResult::Allowed);
                changes.apply(self.head);
                self.asked.response.extend(changes.response);
                self.asked.allowed_by.push(name.clone());
                return None;
            }
            Ok(AuthorizerAnswer::Denied(refusal)) => {
                metrics.external_authorization(AuthorizerResult::Denied);
                let why = format!("the external authorizer {name} denies it");
                return Some(self.answered(refusal, 403, "ext_authz_denied", &why));
            }
            Ok(AuthorizerAnswer::Failed(refusal)) => (refusal, AskError::ItsOwn),
            Err(error) => (None, error),
        };
        let why = format!("the external authorizer {name} says nothing of it: {error}");
        if authorizer.fails_open {
            metrics.external_authorization(AuthorizerResult::FailedOpen);
            self.watcher.record.note(&why);
            self.asked.allowed_by.push(name.clone());
            return None;
        }
        metrics.external_authorization(AuthorizerResult::Failed);
        let refusal = refusal.unwrap_or_default();
        Some(self.answered(refusal, authorizer.status_on_error, "ext_authz_error", &why))
    }

    fn answered(&mut self, refusal: Refusal, status: u16, details: &'static str, why: &str) -> Decided {
        let Refusal { status: own, fields, body } = refusal;
        self.watcher.record.flag(HttpResponseFlag::UnauthorizedExternalService);
        self.watcher.record.denied(&why);
        let mut head = ResponseHead::default();
        fields.iter().for_each(|field| field.apply(&mut head.fields));
        Decided::Answered(Answer { head, status: own.unwrap_or(status), body, details: details.into() })
    }
}

fn own_answer(status: u16, body: &'static str, details: &'static str) -> Answer {
    let body = Bytes::from_static(body.as_bytes());
    Answer { head: ResponseHead::default(), status, body, details: details.into() }
}

/// Sends the question, and reads the answer.
async fn answer_of(
    pod_proxy: &Arc<PodProxy>,
    authorizer: &Authorizer,
    question: &Question<'_>,
) -> Result<AuthorizerAnswer, AskError> {
    let Authorizer { service, port, timeout, .. } = authorizer;
    match &authorizer.protocol {
        AuthorizerProtocol::Grpc => {
            let call = GrpcCall {
                service,
                port: *port,
                method: ext_authz::CHECK_METHOD,
                metadata: HttpFields::default(),
                within: *timeout,
                longest_message: MAX_ANSWER_BYTES,
            };
            let answer = call.send(pod_proxy, &ext_authz::message(question)).await?;
            Ok(ext_authz::answer_of_message(&answer)?)
        }
        AuthorizerProtocol::Http(_) if question.head.method == b"CONNECT" => Err(AskError::Connect),
        AuthorizerProtocol::Http(check) => {
            let request = AgentRequest {
                service,
                port: *port,
                head: ext_authz::request(check, question),
                body: question.content.map(|content| Bytes::copy_from_slice(content.bytes)).unwrap_or_default(),
                within: *timeout,
                longest_response: MAX_ANSWER_BYTES,
            };
            let response = request.send(pod_proxy).await?;
            Ok(ext_authz::answer_of_response(check, &response.head, response.body)?)
        }
    }
}

//! One request to a pod, from its head to the end of its response: policy decides whether the application gets it.

use bytes::Bytes;

use super::authenticate::challenge;
use super::content::Replayed;
use super::decide::Decided;
use super::forward::Forwarding;
use super::limit::{self, WithinLimits};
use super::request::{AuthorizerAnswers, InboundRequest, until_refused};
use crate::http::{Broken, Downstream};
use crate::model::authorization::Permit;
use crate::model::http::config::HttpConfig;
use crate::model::http::head::ResponseHead;
use crate::model::http::reply::{LocalReply, Reason};
use crate::proxy::http::Answer;
use crate::proxy::inbound::error::RefusedRequest;
use crate::proxy::revocation::PolicyChanges;

/// Envoy's words for a request that policy refuses.
const ACCESS_DENIED: &[u8] = b"RBAC: access denied";

/// A response that the client did not get whole: its connection, or its stream, is of no more use.
pub(super) struct CutOff;

impl<D: Downstream> InboundRequest<'_, D> {
    /// Serves the request as policy is now, and for as long as policy does not change to its disadvantage.
    ///
    /// # Errors
    /// See [`CutOff`].
    pub(super) async fn serve(mut self, config: &HttpConfig, changes: &mut PolicyChanges) -> Result<(), CutOff> {
        let outcome = if config.path_normalization().apply(self.head).is_err() {
            self.reply(Reason::BadPath).await
        } else {
            self.decide_and_forward(config, changes).await
        };
        self.end(outcome)
    }

    /// Answers a request beyond what the peer or the pod may have under way.
    ///
    /// # Errors
    /// See [`CutOff`].
    pub(super) async fn turn_away(mut self) -> Result<(), CutOff> {
        let outcome = self.reply(Reason::Overflow).await;
        self.end(outcome)
    }

    fn end(mut self, outcome: Result<(), Broken>) -> Result<(), CutOff> {
        outcome.map_err(|_| CutOff)?;
        self.watcher.record.complete();
        Ok(())
    }

    async fn decide_and_forward(&mut self, config: &HttpConfig, changes: &mut PolicyChanges) -> Result<(), Broken> {
        match self.decide(config, changes).await? {
            Decided::Permitted(permit) => self.forward_within_limits(config, &permit, changes).await,
            Decided::Refused(refused) => self.refuse(&refused).await,
            Decided::Answered(answer) => answer.give(self.downstream, self.head, &mut self.watcher.record).await,
        }
    }

    async fn forward_within_limits(
        &mut self,
        config: &HttpConfig,
        permit: &Permit,
        changes: &mut PolicyChanges,
    ) -> Result<(), Broken> {
        match limit::check(self.connection, config, &self.as_judged()).await {
            Ok(within) => {
                within.change(self.head);
                self.forward(permit, &within, changes).await
            }
            Err(beyond) => {
                let record = &mut self.watcher.record;
                record.fail(beyond.flag, &beyond.why);
                beyond.answer.give(self.downstream, self.head, record).await
            }
        }
    }

    async fn forward(
        &mut self,
        permit: &Permit,
        within: &WithinLimits,
        changes: &mut PolicyChanges,
    ) -> Result<(), Broken> {
        let Self { connection, downstream, head, length, watcher, asked, authenticated } = self;
        let (connection, head, length) = (*connection, &**head, *length);
        let AuthorizerAnswers { allowed_by, response, content } = asked;
        let mut replayed = Replayed { kept: content, downstream: &mut **downstream };
        let forwarding = Forwarding { connection, downstream: &mut replayed, watcher, head, length, within, response };
        let request = authenticated.request(head, allowed_by);
        let refused = tokio::select! {
            biased;
            outcome = forwarding.run(permit) => return outcome,
            refused = until_refused(changes, || connection.judge(&request).outcome.map(drop)) => refused,
        };
        if self.watcher.is_answered {
            self.watcher.record.denied(&refused);
            self.watcher.record.end_here(&refused);
            return Err(Broken::Revoked);
        }
        self.refuse(&refused).await
    }

    async fn refuse(&mut self, refused: &RefusedRequest) -> Result<(), Broken> {
        self.watcher.record.denied(refused);
        let (mut head, mut status, mut body) = (ResponseHead::default(), 403, Bytes::from_static(ACCESS_DENIED));
        if let RefusedRequest::Token(error) = refused {
            head.fields.append(b"www-authenticate", &challenge(self.head));
            (status, body) = (error.status(), Bytes::from(error.to_string()));
        }
        self.answer(head, status, body, refused.details()).await
    }

    async fn reply(&mut self, reason: Reason) -> Result<(), Broken> {
        let LocalReply { status, body, details, flag } = LocalReply::new(reason, false);
        if let Some(flag) = flag {
            self.watcher.record.flag(flag);
        }
        let mut head = ResponseHead::default();
        if reason == Reason::Overflow {
            head.fields.append(b"x-envoy-overloaded", b"true");
        }
        self.answer(head, status, Bytes::from(body.into_owned()), details.to_owned()).await
    }

    async fn answer(&mut self, head: ResponseHead, status: u16, body: Bytes, details: String) -> Result<(), Broken> {
        let answer = Answer { head, status, body, details: details.into() };
        answer.give(self.downstream, self.head, &mut self.watcher.record).await
    }
}

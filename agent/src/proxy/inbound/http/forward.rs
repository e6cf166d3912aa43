//! Sending a permitted request to the application, and its response to the client.

use std::fmt::Display;
use std::future::poll_fn;
use std::time::SystemTime;

use bytes::Bytes;

use super::application::{self, Begun, Exchange, Sending};
use super::connection::HttpConnection;
use super::limit::WithinLimits;
use super::watcher::RequestWatcher;
use crate::ext_authz::FieldChange;
use crate::http::{self, BodyLength, Broken, Downstream, ExchangeError, RequestBody, ResponseBody};
use crate::model::authorization::Permit;
use crate::model::http::head::{RequestHead, ResponseHead};
use crate::model::http::hop;
use crate::model::http::proxy_headers;
use crate::model::http::reply::{LocalReply, Reason};
use crate::proxy::http::{Answer, flag_of};

/// Bytes of a request's content that are kept so that it can be sent again on a fresh connection, where a kept one was stale.
const MAX_REPLAYED_BYTES: usize = 64 * 1024;

/// A request of which policy has been asked.
pub(super) struct Forwarding<'r, 'a, D> {
    pub(super) connection: &'a HttpConnection,
    pub(super) downstream: &'r mut D,
    pub(super) watcher: &'r mut RequestWatcher<'a>,
    /// As it was judged, and as it is sent.
    pub(super) head: &'r RequestHead,
    pub(super) length: BodyLength,
    /// Of the limits of the pod.
    pub(super) within: &'r WithinLimits,
    /// What external authorizers change about the response.
    pub(super) response: &'r [FieldChange],
}

impl<D: Downstream> Forwarding<'_, '_, D> {
    /// Sends the request to the application, and the response to the client; or answers why there is none.
    ///
    /// # Errors
    /// When the client did not get the whole response.
    pub(super) async fn run(mut self, permit: &Permit) -> Result<(), Broken> {
        let mut body = RequestBody::new(self.length, MAX_REPLAYED_BYTES);
        let mut response = ResponseHead::default();
        response.fields.preserve_case(self.head.fields.preserves_case());
        self.watcher.record.attempt(&self.connection.ends);
        let mut may_reuse = true;
        loop {
            let Self { connection, head, length, .. } = self;
            let sending = Sending { connection, permit, head, length, may_reuse };
            let Begun { mut exchange, idle_for } = match sending.begin().await {
                Ok(begun) => begun,
                Err(error) => return self.fail(error.reason(), &error).await,
            };
            match self.until_response(&mut exchange, &mut body, &mut response).await {
                Ok(length) => return self.respond(exchange, body, response, length).await,
                Err(Broken::Upstream(error)) => {
                    if let Some(idle_for) = idle_for {
                        application::note_lost(connection, &error, idle_for);
                        if may_send_again(head, &body, &error) {
                            may_reuse = false;
                            body.restart();
                            continue;
                        }
                    }
                    return self.fail(reason_of(&error), &error).await;
                }
                Err(broken) => return Err(self.broke(broken)),
            }
        }
    }

    /// Sends the request and passes interim responses on, until the head of the final response is here.
    async fn until_response(
        &mut self,
        exchange: &mut Exchange,
        body: &mut RequestBody,
        response: &mut ResponseHead,
    ) -> Result<BodyLength, Broken> {
        loop {
            let length = http::until_response(self.downstream, exchange, body, response, self.watcher).await?;
            hop::remove(&mut response.fields);
            if !response.is_interim() {
                return Ok(length);
            }
            self.downstream.send_response(response, length).map_err(Broken::Downstream)?;
            poll_fn(|cx| self.downstream.poll_flush(cx)).await.map_err(Broken::Downstream)?;
        }
    }

    async fn respond(
        mut self,
        mut exchange: Exchange,
        mut body: RequestBody,
        mut response: ResponseHead,
        length: BodyLength,
    ) -> Result<(), Broken> {
        proxy_headers::date(&mut response, SystemTime::now);
        self.within.tell(&mut response);
        self.response.iter().for_each(|change| change.apply(&mut response.fields));
        if let Err(error) = self.downstream.send_response(&response, length) {
            // What the application said would break the message to the client.
            return self.fail(Reason::ProtocolError, &error).await;
        }
        self.watcher.is_answered = true;
        self.watcher.record.response(&response);
        if length == BodyLength::Tunnel {
            body.begin_tunnel();
        } else {
            body.keep_no_more();
        }
        let relayed = ResponseBody::new(length).relay(self.downstream, &mut exchange, &mut body, self.watcher).await;
        relayed.map_err(|broken| self.broke(broken))?;
        if body.is_sent() && length != BodyLength::Tunnel {
            application::keep(self.connection, exchange);
        }
        Ok(())
    }

    /// Answers in the place of an application that did not.
    async fn fail(&mut self, reason: Reason, error: &(dyn Display + Sync)) -> Result<(), Broken> {
        let LocalReply { status, body, details, flag } = LocalReply::new(reason, false);
        if let Some(flag) = flag {
            self.watcher.record.fail(flag, error);
        }
        self.watcher.is_answered = true;
        let answer = Answer {
            head: ResponseHead::default(),
            status,
            body: Bytes::from(body.into_owned()),
            details: details.into(),
        };
        answer.give(self.downstream, self.head, &mut self.watcher.record).await
    }

    fn broke(&mut self, broken: Broken) -> Broken {
        if let Some(flag) = flag_of(&broken) {
            self.watcher.record.fail(flag, &broken);
        }
        broken
    }
}

/// Whether a request whose connection was closed under it may be sent once more: nothing is sent twice that may not be. An application
/// may act on a request of which it has only the head; one that refused the stream has not looked at it.
fn may_send_again(head: &RequestHead, body: &RequestBody, error: &ExchangeError) -> bool {
    body.can_restart()
        && match error {
            ExchangeError::Refused => true,
            ExchangeError::NoResponse | ExchangeError::BrokenConnection(_) => head.is_idempotent(),
            _ => false,
        }
}

fn reason_of(error: &ExchangeError) -> Reason {
    match error {
        ExchangeError::Malformed(_) | ExchangeError::BrokenConnection(_) => Reason::ProtocolError,
        ExchangeError::Reset | ExchangeError::Refused => Reason::RemoteReset,
        _ => Reason::ConnectionTermination,
    }
}

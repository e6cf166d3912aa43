//! A request while it is served: everything that its phases share, and responses that are made in the place of an upstream.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;

use super::connection::HttpConnection;
use super::watcher::RequestWatcher;
use crate::http::{BodyLength, Broken, Downstream};
use crate::model::http::config::HttpConfig;
use crate::model::http::head::{RequestHead, ResponseHead};
use crate::model::http::reply::{LocalReply, Reason};
use crate::model::http::route::Route;
use crate::proxy::http::Answer;

/// The status of gRPC for a call that took longer than its client has given it.
const DEADLINE_EXCEEDED: &[u8] = b"4";

/// See the module.
pub(super) struct Request<'a, D> {
    pub(super) connection: &'a HttpConnection,
    /// The snapshot that decides about it, from its beginning to its end.
    pub(super) config: &'a HttpConfig,
    pub(super) downstream: &'a mut D,
    pub(super) watcher: RequestWatcher<'a>,
    pub(super) head: &'a mut RequestHead,
    pub(super) length: BodyLength,
    pub(super) started: SystemTime,
    /// The route that it has taken, and which of its destinations, if any: what these change of responses counts for all of them.
    pub(super) taken: Option<(Arc<Route>, Option<usize>)>,
    /// The origin that the client named, if the route allows it. What the rule changes of the request does not change this.
    pub(super) origin: Option<(Arc<Route>, Vec<u8>)>,
}

impl<D: Downstream> Request<'_, D> {
    /// Answers for a reason. `retried`: at the end of several attempts.
    pub(super) async fn reply(&mut self, reason: Reason, retried: bool) -> Result<(), Broken> {
        let LocalReply { status, body, details, flag } = LocalReply::new(reason, retried);
        if reason == Reason::Blocked {
            self.watcher.record.destination_is_blocked();
        }
        if let Some(flag) = flag {
            self.watcher.record.flag(flag);
        }
        let body = Bytes::from(body.into_owned());
        let mut head = ResponseHead::default();
        match reason {
            Reason::Overflow => head.fields.append(b"x-envoy-overloaded", b"true"),
            // By the status of HTTP it would be UNAVAILABLE, after which clients may ask again.
            Reason::Deadline => head.fields.append(b"grpc-status", DEADLINE_EXCEEDED),
            _ => {}
        }
        self.answer(head, status, body, details).await
    }

    /// Answers with a status and a body, and what the head has already.
    pub(super) async fn answer(
        &mut self,
        mut head: ResponseHead,
        status: u16,
        body: Bytes,
        details: &'static str,
    ) -> Result<(), Broken> {
        self.change_own_response(&mut head);
        self.config.proxy_headers().name_server(&mut head);
        self.permit_origin(&mut head);
        let answer = Answer { head, status, body, details: details.into() };
        answer.give(self.downstream, self.head, &mut self.watcher.record).await
    }

    /// Hands to the network what was queued for the client.
    pub(super) async fn flush(&mut self) -> Result<(), Broken> {
        poll_fn(|cx| self.downstream.poll_flush(cx)).await.map_err(Broken::Downstream)
    }
}

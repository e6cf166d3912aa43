//! A request while it moves: what is counted of it, and whether its client has left.

use std::task::{Context, Poll};

use super::connection::HttpConnection;
use crate::http::{Broken, Downstream, ExchangeError, Received, Watcher};
use crate::telemetry::request::RequestRecord;

/// See the module.
pub(super) struct RequestWatcher<'a> {
    pub(super) record: RequestRecord,
    connection: &'a HttpConnection,
    /// Whether the client was sent the head of the final response.
    pub(super) is_answered: bool,
    /// Whether the client has ended its side, as one may that still waits for the response. It shows nothing after that.
    is_half_closed: bool,
}

impl<'a> RequestWatcher<'a> {
    pub(super) fn new(record: RequestRecord, connection: &'a HttpConnection) -> Self {
        Self { record, connection, is_answered: false, is_half_closed: false }
    }
}

impl Drop for RequestWatcher<'_> {
    /// A request that breaks off since the agent closes its connection is not one that its client left.
    fn drop(&mut self) {
        // Whether the pod left, or the drain ended, takes locks that all connections share.
        if !self.record.is_unexplained() {
            return;
        }
        let proxy = &self.connection.pod_proxy;
        if self.connection.revoked.is_cancelled() {
            self.record.end_here(&"policy allows no request of the connection any more");
        } else if proxy.pod.dead.is_cancelled() {
            self.record.end_here(&"the pod left");
        } else if proxy.proxy.drain.is_closing() {
            self.record.end_here(&"the drain of the agent has ended");
        }
    }
}

impl Watcher for RequestWatcher<'_> {
    fn poll_stop(&mut self, cx: &mut Context<'_>, downstream: &mut impl Downstream, is_received: bool) -> Poll<Broken> {
        if !is_received || self.is_half_closed {
            return Poll::Pending;
        }
        match downstream.poll_left(cx) {
            Poll::Ready(ExchangeError::Truncated) => {
                self.is_half_closed = true;
                Poll::Pending
            }
            left => left.map(Broken::Downstream),
        }
    }

    fn request_part(&mut self, part: &Received) {
        if let Received::Data(data) = part {
            self.record.request_data(data);
        }
    }

    fn response_part(&mut self, part: &Received) {
        match part {
            Received::Data(data) => self.record.response_data(data),
            Received::Trailers(trailers) => self.record.response_trailers(trailers),
            Received::End => {}
        }
    }
}

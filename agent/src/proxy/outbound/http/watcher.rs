//! A request while it moves: what is counted of it, and what may stop it: its client leaves, the timeout of its route is over, or
//! that of one attempt.

use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Sleep;

use crate::enrollment::pod::EnrolledPod;
use crate::http::{Broken, Downstream, ExchangeError, Received, Watcher};
use crate::proxy::client::{self, FIRST_CLOSE_CHECK_PAUSE};
use crate::proxy::http::flag_of;
use crate::proxy::pod::PodProxy;
use crate::telemetry::request::RequestRecord;

/// See the module.
pub(super) struct RequestWatcher<'a> {
    pub(super) record: RequestRecord,
    client: Client<'a>,
    pod_proxy: &'a PodProxy,
    route: Timer,
    attempt: Timer,
}

/// What is known of the client's connection.
pub(super) enum Client<'a> {
    /// Over HTTP/1 the end of the client's side may mean that it has left, or that it only sends no more.
    Socket(ClientSocket<'a>),
    /// A stream of HTTP/2 says itself when it is of no more use.
    Stream,
}

/// The two ends of a client's connection, as the pod's namespace knows them: the kernel says whether the client's socket is
/// still there.
pub(super) struct ClientSocket<'a> {
    pub(super) pod: &'a EnrolledPod,
    pub(super) application: SocketAddr,
    pub(super) agent: SocketAddr,
    /// Since the client ended its side: when it is looked at again.
    next_check: Option<NextCheck>,
}

struct NextCheck {
    at: Pin<Box<Sleep>>,
    pause: Duration,
}

impl<'a> ClientSocket<'a> {
    pub(super) fn new(pod: &'a EnrolledPod, application: SocketAddr, agent: SocketAddr) -> Self {
        Self { pod, application, agent, next_check: None }
    }

    fn is_closed(&self) -> bool {
        client::is_closed(self.pod, self.application, self.agent)
    }

    fn poll_left(&mut self, cx: &mut Context<'_>, downstream: &mut impl Downstream) -> Poll<ExchangeError> {
        if self.next_check.is_none() {
            let shown = ready!(downstream.poll_left(cx));
            if !matches!(shown, ExchangeError::Truncated) || self.is_closed() {
                return Poll::Ready(shown);
            }
        }
        loop {
            let first = FIRST_CLOSE_CHECK_PAUSE;
            let first = || NextCheck { at: Box::pin(tokio::time::sleep(first)), pause: first };
            let next = self.next_check.get_or_insert_with(first);
            ready!(next.at.as_mut().poll(cx));
            next.pause *= 2;
            next.at = Box::pin(tokio::time::sleep(next.pause));
            if self.is_closed() {
                return Poll::Ready(ExchangeError::Truncated);
            }
        }
    }
}

impl Client<'_> {
    fn poll_left(&mut self, cx: &mut Context<'_>, downstream: &mut impl Downstream) -> Poll<ExchangeError> {
        match self {
            Self::Socket(socket) => socket.poll_left(cx, downstream),
            Self::Stream => downstream.poll_left(cx),
        }
    }
}

/// A timeout that begins once the request has come.
#[derive(Default)]
struct Timer {
    after: Option<Duration>,
    running: Option<Pin<Box<Sleep>>>,
}

impl Timer {
    fn new(after: Option<Duration>) -> Self {
        Self { after, running: None }
    }

    /// Ready once the time is over; never without a timeout.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(after) = self.after else { return Poll::Pending };
        self.running.get_or_insert_with(|| Box::pin(tokio::time::sleep(after))).as_mut().poll(cx)
    }
}

impl<'a> RequestWatcher<'a> {
    pub(super) fn new(record: RequestRecord, client: Client<'a>, pod_proxy: &'a PodProxy) -> Self {
        Self { record, client, pod_proxy, route: Timer::default(), attempt: Timer::default() }
    }

    /// Sets how long the request may take, from its end to the end of the response, over all attempts.
    pub(super) fn set_timeout(&mut self, timeout: Option<Duration>) {
        self.route = Timer::new(timeout);
    }

    /// Begins an attempt, with the time that it may take until its response begins.
    pub(super) fn begin_attempt(&mut self, per_try: Option<Duration>) {
        self.attempt = Timer::new(per_try);
    }

    /// Notes how a response broke that had begun.
    pub(super) fn broke(&mut self, broken: &Broken) {
        if let Some(flag) = flag_of(broken) {
            self.record.fail(flag, broken);
        }
    }

    /// Waits for something that the request needs, and no longer than the request may take. `is_received`: whether the whole
    /// request has come; until then its client shows nothing.
    ///
    /// # Errors
    /// When the request is to stop before that.
    pub(super) async fn unless_stopped<T>(
        &mut self,
        needed: impl Future<Output = T>,
        downstream: &mut impl Downstream,
        is_received: bool,
    ) -> Result<T, Broken> {
        let mut needed = std::pin::pin!(needed);
        std::future::poll_fn(|cx| match needed.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Ok(done)),
            Poll::Pending => self.poll_stop(cx, downstream, is_received).map(Err),
        })
        .await
    }
}

impl Drop for RequestWatcher<'_> {
    /// A request that breaks off since the agent closes its connection is not one that its client left.
    fn drop(&mut self) {
        // Whether the pod left, or the drain ended, takes locks that all connections share.
        if !self.record.is_unexplained() {
            return;
        }
        if self.pod_proxy.pod.dead.is_cancelled() {
            self.record.end_here(&"the pod left");
        } else if self.pod_proxy.proxy.drain.is_closing() {
            self.record.end_here(&"the drain of the agent has ended");
        }
    }
}

impl Watcher for RequestWatcher<'_> {
    fn poll_stop(&mut self, cx: &mut Context<'_>, downstream: &mut impl Downstream, is_received: bool) -> Poll<Broken> {
        if !is_received {
            return Poll::Pending;
        }
        if self.route.poll(cx).is_ready() {
            return Poll::Ready(Broken::Timeout);
        }
        if self.attempt.poll(cx).is_ready() {
            return Poll::Ready(Broken::PerTryTimeout);
        }
        self.client.poll_left(cx, downstream).map(Broken::Downstream)
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

//! Moving one exchange: the request from the downstream to the upstream, the response back. Each side is read while the other
//! has room, so that a reader that pauses holds its sender and nothing piles up in between.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use super::replay::RequestBody;
use super::stream::{BodyLength, Broken, Downstream, MessageStream, Received, Upstream, Watcher};
use crate::model::http::head::ResponseHead;

/// Parts of a message in a row before other connections get their turn.
const PARTS_PER_POLL: usize = 32;

/// Sends the request on until a response head is here, interim or final.
///
/// # Errors
/// When either side breaks first. A response that an upstream sent before it stopped reading counts.
pub(crate) async fn until_response(
    downstream: &mut impl Downstream,
    upstream: &mut impl Upstream,
    request: &mut RequestBody,
    head: &mut ResponseHead,
    watcher: &mut impl Watcher,
) -> Result<BodyLength, Broken> {
    poll_fn(|cx| {
        let sent = request.poll_send(cx, downstream, upstream, watcher);
        if let Poll::Ready(Err(Broken::Downstream(error))) = sent {
            return Poll::Ready(Err(Broken::Downstream(error)));
        }
        if let Poll::Ready(why) = watcher.poll_stop(cx, downstream, request.is_received()) {
            return Poll::Ready(Err(why));
        }
        match (upstream.poll_response(cx, head), sent) {
            (Poll::Ready(Ok(length)), _) => Poll::Ready(Ok(length)),
            // What the upstream does not read any more says less than how its response ended.
            (Poll::Ready(Err(error)), _) => Poll::Ready(Err(Broken::Upstream(error))),
            (Poll::Pending, Poll::Ready(Err(error))) => Poll::Ready(Err(error)),
            (Poll::Pending, _) => Poll::Pending,
        }
    })
    .await
}

/// The content of a response on its way to the downstream.
#[derive(Debug)]
pub(crate) struct ResponseBody {
    ended: bool,
    is_tunnel: bool,
}

impl ResponseBody {
    pub(crate) fn new(length: BodyLength) -> Self {
        let ended = length == BodyLength::Empty;
        Self { ended, is_tunnel: length == BodyLength::Tunnel }
    }

    /// Moves the content of the response, and what is left of the request, until the response has ended; in a tunnel, until both
    /// directions have.
    ///
    /// # Errors
    /// When either side breaks.
    pub(crate) async fn relay(
        &mut self,
        downstream: &mut impl Downstream,
        upstream: &mut impl Upstream,
        request: &mut RequestBody,
        watcher: &mut impl Watcher,
    ) -> Result<(), Broken> {
        poll_fn(|cx| {
            if !self.is_tunnel
                && let Poll::Ready(why) = watcher.poll_stop(cx, downstream, request.is_received())
            {
                return Poll::Ready(Err(why));
            }
            let sent = match request.poll_send(cx, downstream, upstream, watcher) {
                // An upstream may answer without reading the whole request, and the rest of its answer still counts.
                Poll::Ready(Err(Broken::Upstream(_))) if !self.is_tunnel => Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                sent => sent,
            };
            ready!(self.poll_respond(cx, downstream, upstream, watcher))?;
            if self.is_tunnel {
                ready!(sent)?;
                return upstream.poll_flush(cx).map_err(Broken::Upstream);
            }
            Poll::Ready(Ok(()))
        })
        .await
    }

    fn poll_respond(
        &mut self,
        cx: &mut Context<'_>,
        downstream: &mut impl Downstream,
        upstream: &mut impl Upstream,
        watcher: &mut impl Watcher,
    ) -> Poll<Result<(), Broken>> {
        let received = self.poll_receive(cx, downstream, upstream, watcher)?;
        let sent = if received.is_ready() { downstream.poll_flush(cx) } else { downstream.poll_push(cx) };
        ready!(sent).map_err(Broken::Downstream)?;
        received.map(Ok)
    }

    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        downstream: &mut impl Downstream,
        upstream: &mut impl MessageStream,
        watcher: &mut impl Watcher,
    ) -> Result<Poll<()>, Broken> {
        for _ in 0..PARTS_PER_POLL {
            if self.ended {
                return Ok(Poll::Ready(()));
            }
            let Poll::Ready(room) = downstream.poll_room(cx) else { return Ok(Poll::Pending) };
            room.map_err(Broken::Downstream)?;
            let Poll::Ready(part) = upstream.poll_receive(cx) else { return Ok(Poll::Pending) };
            let part = part.map_err(Broken::Upstream)?;
            watcher.response_part(&part);
            self.ended = !matches!(part, Received::Data(_));
            match part {
                Received::Data(data) => downstream.send_data(data),
                Received::Trailers(trailers) => downstream.send_trailers(&trailers),
                Received::End => downstream.send_end(),
            }
        }
        cx.waker().wake_by_ref();
        Ok(Poll::Pending)
    }
}

//! The content of a request on its way to an upstream, and what is kept of it in case the request has to be sent again.

use std::task::{Context, Poll, ready};

use bytes::Bytes;

use super::stream::{BodyLength, Broken, MessageStream, Received, Watcher};
use crate::model::http::head::HttpFields;

/// Parts of a message in a row before other connections get their turn.
const PARTS_PER_POLL: usize = 32;

/// What was received of a request and is kept.
#[derive(Debug)]
enum Kept {
    Data(Bytes),
    Trailers(HttpFields),
    End,
}

/// All of the content of one request.
#[derive(Debug, Clone, Default)]
pub(crate) struct KeptBody {
    pub(crate) data: Vec<Bytes>,
    pub(crate) trailers: Option<HttpFields>,
}

/// The content of one request. What came is kept, up to a limit, and sent again from the beginning by [`restart`](Self::restart).
#[derive(Debug)]
pub(crate) struct RequestBody {
    kept: Vec<Kept>,
    /// Bytes that may still be kept; `None` once something was not: the request cannot be sent again.
    may_keep: Option<usize>,
    /// The next of those that are kept that this attempt sends.
    next: usize,
    /// Whether everything was received, and whether this attempt has sent it.
    received: bool,
    sent: bool,
}

impl RequestBody {
    /// The content that follows a head. Of it, `keep` bytes may be kept; none where the request is never sent again.
    pub(crate) fn new(length: BodyLength, keep: usize) -> Self {
        let none = length == BodyLength::Empty;
        Self { kept: Vec::new(), may_keep: Some(keep), next: 0, received: none, sent: none }
    }

    /// Whether everything that came so far is kept.
    pub(crate) fn can_restart(&self) -> bool {
        self.may_keep.is_some()
    }

    /// Whether all of it was sent to the upstream.
    pub(crate) fn is_sent(&self) -> bool {
        self.sent
    }

    /// Whether the client has sent all of it.
    pub(crate) fn is_received(&self) -> bool {
        self.received
    }

    /// All of the content, once it is here and if all of it is kept.
    pub(crate) fn kept(&self) -> Option<KeptBody> {
        if !self.received || !self.can_restart() {
            return None;
        }
        let mut all = KeptBody::default();
        for part in &self.kept {
            match part {
                Kept::Data(data) => all.data.push(data.clone()),
                Kept::Trailers(trailers) => all.trailers = Some(trailers.clone()),
                Kept::End => {}
            }
        }
        Some(all)
    }

    /// Begins anew, for another upstream that has the head. Only while it [can](Self::can_restart).
    pub(crate) fn restart(&mut self) {
        self.next = 0;
        self.sent = self.received && self.kept.is_empty();
    }

    /// No other attempt follows: what was kept is forgotten, and nothing more is.
    pub(crate) fn keep_no_more(&mut self) {
        if self.next == self.kept.len() {
            (self.kept, self.next) = (Vec::new(), 0);
            self.may_keep = None;
        }
    }

    /// The connection has become a tunnel: bytes follow where the message had ended.
    pub(crate) fn begin_tunnel(&mut self) {
        *self = Self { may_keep: None, ..Self::new(BodyLength::Tunnel, 0) };
    }

    /// Sends on what the downstream sends; ready once all of it is sent.
    pub(crate) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        downstream: &mut impl MessageStream,
        upstream: &mut impl MessageStream,
        watcher: &mut impl Watcher,
    ) -> Poll<Result<(), Broken>> {
        let moved = self.poll_parts(cx, downstream, upstream, watcher);
        // What is queued is sent whatever the downstream does.
        let pushed = upstream.poll_push(cx).map_err(Broken::Upstream)?;
        ready!(moved)?;
        pushed.map(Ok)
    }

    fn poll_parts(
        &mut self,
        cx: &mut Context<'_>,
        downstream: &mut impl MessageStream,
        upstream: &mut impl MessageStream,
        watcher: &mut impl Watcher,
    ) -> Poll<Result<(), Broken>> {
        for _ in 0..PARTS_PER_POLL {
            if self.sent {
                return Poll::Ready(Ok(()));
            }
            ready!(upstream.poll_room(cx)).map_err(Broken::Upstream)?;
            if self.next == self.kept.len() {
                let part = ready!(downstream.poll_receive(cx)).map_err(Broken::Downstream)?;
                watcher.request_part(&part);
                if let Some(part) = self.keep(part) {
                    self.send(part, upstream);
                    continue;
                }
            }
            match &self.kept[self.next] {
                Kept::Data(data) => upstream.send_data(data.clone()),
                Kept::Trailers(trailers) => upstream.send_trailers(trailers),
                Kept::End => upstream.send_end(),
            }
            self.sent = !matches!(self.kept[self.next], Kept::Data(_));
            self.next += 1;
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Sends a part that is not kept.
    fn send(&mut self, part: Received, upstream: &mut impl MessageStream) {
        match part {
            Received::Data(data) => return upstream.send_data(data),
            Received::Trailers(trailers) => upstream.send_trailers(&trailers),
            Received::End => upstream.send_end(),
        }
        self.sent = true;
    }

    /// Keeps a part that came. Returns it where it is not kept.
    fn keep(&mut self, part: Received) -> Option<Received> {
        let size = match &part {
            Received::Data(data) => data.len(),
            Received::Trailers(_) | Received::End => 0,
        };
        self.received = !matches!(part, Received::Data(_));
        let Some(left) = self.may_keep.and_then(|left| left.checked_sub(size)) else {
            // Everything that was kept is sent: this attempt is the last.
            (self.kept, self.next, self.may_keep) = (Vec::new(), 0, None);
            return Some(part);
        };
        self.may_keep = Some(left);
        self.kept.push(match part {
            Received::Data(data) => Kept::Data(data),
            Received::Trailers(trailers) => Kept::Trailers(trailers),
            Received::End => Kept::End,
        });
        None
    }
}

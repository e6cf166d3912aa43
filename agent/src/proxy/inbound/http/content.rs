//! Content of a request that is read before the application gets the request: who is asked about it is shown it. What was read comes
//! first when the request is sent on.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};

use crate::http::{BodyLength, Downstream, ExchangeError, MessageStream, Received};
use crate::limits::{Limit, LimitKind, PodLimits};
use crate::model::http::head::{HttpFields, ResponseHead};

/// Content that was read, in order.
#[derive(Debug, Default)]
pub(super) struct KeptContent {
    parts: VecDeque<Received>,
    bytes: usize,
    is_ended: bool,
    /// What it takes of what the pod may make the agent hold, until it is sent on.
    held: Option<HeldKib>,
}

/// KiB that count as held, until dropped.
#[derive(Debug)]
struct HeldKib {
    limit: Limit,
    kib: u32,
}

impl Drop for HeldKib {
    fn drop(&mut self) {
        self.limit.give_back(self.kib);
    }
}

impl KeptContent {
    /// Counts what may be kept as held by the pod; false where that holds too much already.
    pub(super) fn reserve(&mut self, limits: &PodLimits, length: BodyLength, most: usize) -> bool {
        let bytes = match length {
            BodyLength::Known(length) => usize::try_from(length).unwrap_or(usize::MAX).min(most),
            _ => most,
        };
        let limit = limits.of(LimitKind::HeldKib);
        let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
        let is_taken = limit.try_take_many(kib);
        if is_taken {
            self.held = Some(HeldKib { limit: limit.clone(), kib });
        }
        is_taken
    }

    /// Reads until all of the content is here, or so many bytes of it.
    ///
    /// # Errors
    /// When the client does not send what it has promised.
    pub(super) async fn read(&mut self, downstream: &mut impl Downstream, enough: usize) -> Result<(), ExchangeError> {
        while !self.is_ended && self.bytes < enough {
            let part = poll_fn(|cx| downstream.poll_receive(cx)).await?;
            match &part {
                Received::Data(data) => self.bytes += data.len(),
                Received::Trailers(_) | Received::End => self.is_ended = true,
            }
            self.parts.push_back(part);
        }
        Ok(())
    }

    /// Bytes that were read.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether the end was read.
    pub(super) fn is_ended(&self) -> bool {
        self.is_ended
    }

    /// So many of the first bytes, at most.
    pub(super) fn first(&self, most: usize) -> Bytes {
        let pieces = || {
            self.parts.iter().filter_map(|part| match part {
                Received::Data(data) => Some(data),
                Received::Trailers(_) | Received::End => None,
            })
        };
        match (pieces().next(), pieces().nth(1)) {
            (Some(only), None) => only.slice(..most.min(only.len())),
            _ => {
                let mut first = BytesMut::new();
                for piece in pieces() {
                    first.extend_from_slice(&piece[..piece.len().min(most - first.len())]);
                }
                first.freeze()
            }
        }
    }
}

/// A request of which the beginning was read already.
pub(super) struct Replayed<'r, D> {
    pub(super) kept: &'r mut KeptContent,
    pub(super) downstream: &'r mut D,
}

impl<D: Downstream> MessageStream for Replayed<'_, D> {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Received, ExchangeError>> {
        let Some(part) = self.kept.parts.pop_front() else { return self.downstream.poll_receive(cx) };
        if self.kept.parts.is_empty() {
            self.kept.held = None;
        }
        Poll::Ready(Ok(part))
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ExchangeError>> {
        self.downstream.poll_room(cx)
    }

    fn send_data(&mut self, data: Bytes) {
        self.downstream.send_data(data);
    }

    fn send_trailers(&mut self, trailers: &HttpFields) {
        self.downstream.send_trailers(trailers);
    }

    fn send_end(&mut self) {
        self.downstream.send_end();
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ExchangeError>> {
        self.downstream.poll_flush(cx)
    }

    fn poll_push(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ExchangeError>> {
        self.downstream.poll_push(cx)
    }
}

impl<D: Downstream> Downstream for Replayed<'_, D> {
    fn send_response(&mut self, head: &ResponseHead, length: BodyLength) -> Result<(), ExchangeError> {
        self.downstream.send_response(head, length)
    }

    fn poll_left(&mut self, cx: &mut Context<'_>) -> Poll<ExchangeError> {
        self.downstream.poll_left(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::NodeLimits;

    fn kept(pieces: &[&'static str]) -> KeptContent {
        let parts: VecDeque<Received> =
            pieces.iter().map(|piece| Received::Data(Bytes::from_static(piece.as_bytes()))).collect();
        KeptContent { bytes: pieces.iter().map(|piece| piece.len()).sum(), parts, ..KeptContent::default() }
    }

    #[test]
    fn the_first_bytes_are_those_of_all_pieces() {
        for (pieces, most, expected) in [
            (&[][..], 10, ""),
            (&["abc"], 10, "abc"),
            (&["abc"], 2, "ab"),
            (&["abc", "def"], 10, "abcdef"),
            (&["abc", "def"], 4, "abcd"),
            (&["abc", "def"], 3, "abc"),
        ] {
            assert_eq!(kept(pieces).first(most), expected.as_bytes(), "{pieces:?}, {most}");
        }
    }

    #[test]
    fn what_is_kept_counts_as_held_until_it_is_sent_on() {
        let limits = NodeLimits::new(|_| 4).for_pod();
        let held = || limits.of(LimitKind::HeldKib).held();
        let mut one = KeptContent::default();
        assert!(one.reserve(&limits, BodyLength::Unknown, 2500));
        assert_eq!(held(), 3);
        let mut other = KeptContent::default();
        assert!(!other.reserve(&limits, BodyLength::Unknown, 2048), "too much");
        assert!(other.reserve(&limits, BodyLength::Known(1000), 2048), "so much is left");
        drop(one);
        assert_eq!(held(), 1);
    }
}

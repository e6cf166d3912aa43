//! What requests carry: nothing, some of the pattern, or what a worker hands over bit by bit.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;

use crate::pattern::Pattern;

/// Bytes that go out at once.
const BLOCK: u64 = 16 * 1024;

/// See the module.
#[derive(Debug)]
pub(super) enum Content {
    Empty,
    Pattern {
        pattern: Pattern,
        left: u64,
        /// The head says how long it is; it goes in chunks otherwise.
        has_length: bool,
    },
    /// An error breaks the request off.
    Fed(mpsc::Receiver<io::Result<Bytes>>),
}

impl Body for Content {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut *self {
            Self::Empty | Self::Pattern { left: 0, .. } => Poll::Ready(None),
            Self::Pattern { pattern, left, .. } => {
                let length = (*left).min(BLOCK);
                *left -= length;
                let mut block = vec![0; usize::try_from(length).expect("a block fits")];
                pattern.fill(&mut block);
                Poll::Ready(Some(Ok(Frame::data(block.into()))))
            }
            Self::Fed(fed) => fed.poll_recv(cx).map(|part| part.map(|part| part.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Empty | Self::Pattern { left: 0, .. })
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Pattern { left, has_length: true, .. } => SizeHint::with_exact(*left),
            _ => SizeHint::default(),
        }
    }
}

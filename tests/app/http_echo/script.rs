//! The body of a response as a script: data, pauses, trailers, and an end that is none.

use std::collections::VecDeque;
use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::HeaderMap;
use tokio::time::{Sleep, sleep};

use crate::pattern::Pattern;

/// Bytes of the pattern that go out at once.
const BLOCK: u64 = 64 * 1024;

/// What happens next.
#[derive(Debug)]
pub(super) enum Step {
    Data(Bytes),
    /// The next bytes of the pattern.
    Pattern(u64),
    /// The data of a request's body, as it comes.
    Live(Incoming),
    Pause(Duration),
    Trailers(HeaderMap),
    /// The body ends in an error: its connection or stream is reset.
    Break,
}

/// A body that follows its steps.
#[derive(Debug, Default)]
pub(super) struct Script {
    steps: VecDeque<Step>,
    pattern: Pattern,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Script {
    pub(super) fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        Self { steps: steps.into_iter().collect(), ..Self::default() }
    }

    /// The same, with the pattern from a position on.
    pub(super) fn with_pattern_at(mut self, position: u64) -> Self {
        self.pattern = Pattern::at(position);
        self
    }

    /// The next data of a body that is sent back; none once it has ended.
    fn poll_live(&mut self, mut live: Incoming, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        loop {
            let polled = Pin::new(&mut live).poll_frame(cx);
            if polled.is_pending() {
                self.steps.push_front(Step::Live(live));
                return Poll::Pending;
            }
            let Some(frame) = ready!(polled) else { return Poll::Ready(None) };
            if let Ok(data) = frame.map_err(io::Error::other)?.into_data() {
                self.steps.push_front(Step::Live(live));
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
        }
    }
}

impl Body for Script {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            return Poll::Ready(match self.steps.pop_front() {
                None => None,
                Some(Step::Data(data)) => Some(Ok(Frame::data(data))),
                Some(Step::Pattern(left)) => {
                    let length = left.min(BLOCK);
                    if left > length {
                        self.steps.push_front(Step::Pattern(left - length));
                    }
                    let mut block = vec![0; usize::try_from(length).expect("a block fits")];
                    self.pattern.fill(&mut block);
                    Some(Ok(Frame::data(block.into())))
                }
                Some(Step::Live(live)) => match ready!(self.poll_live(live, cx)) {
                    None => continue,
                    some => some,
                },
                Some(Step::Trailers(trailers)) => Some(Ok(Frame::trailers(trailers))),
                Some(Step::Break) => Some(Err(io::ErrorKind::ConnectionReset.into())),
                Some(Step::Pause(pause)) => {
                    self.pause = Some(Box::pin(sleep(pause)));
                    continue;
                }
            });
        }
    }

    fn is_end_stream(&self) -> bool {
        self.steps.is_empty() && self.pause.is_none()
    }

    /// Exact for what is only data: such a response has a length, every other one is chunked.
    fn size_hint(&self) -> SizeHint {
        let length = self.steps.iter().try_fold(0, |sum, step| match step {
            Step::Data(data) => Some(sum + data.len() as u64),
            Step::Pattern(left) => Some(sum + left),
            _ => None,
        });
        length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

//! Whether the peer is there: it is asked by PING (RFC 9113 §6.7), and one that is there acknowledges it.
//!
//! There is one question at a time: a peer that owes an answer is not asked again, so that no count of answers is needed.

use std::task::{Context, Poll, Waker};

/// What the PING carries that asks. Every other one is about something else.
pub(super) const QUESTION: [u8; 8] = *b"alive-?\n";

/// A question, and who waits for its answer.
#[derive(Debug, Default)]
pub(super) struct Liveness {
    is_asked: bool,
    waiting: Option<Waker>,
}

impl Liveness {
    /// Whether the question is to be sent: not while an answer is owed.
    pub(super) fn ask(&mut self) -> bool {
        !std::mem::replace(&mut self.is_asked, true)
    }

    /// Ready once no answer is owed.
    pub(super) fn poll_answered(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.is_asked {
            return Poll::Ready(());
        }
        self.waiting = Some(cx.waker().clone());
        Poll::Pending
    }

    /// A PING of ours was acknowledged.
    pub(super) fn acknowledged(&mut self, payload: &[u8]) {
        if payload == QUESTION {
            self.is_asked = false;
            if let Some(waiting) = self.waiting.take() {
                waiting.wake();
            }
        }
    }
}

//! A node's sockets passing from one supervisor to the next: both sides as a table of what was said so far. Sends nothing
//! by itself.
//!
//! The successor says hello, and prepares all that takes time. Then it says that it takes over: the old worker lets no
//! pod come or go any more, and the sockets are handed over. When the successor's worker accepts on them, too, it says
//! so, and the old worker finishes what is open. Whoever breaks off before that has changed nothing.

use std::time::{Duration, Instant};

use super::channel::Channel;

/// How long a worker may take to freeze, and a successor to serve once pods can neither come nor go.
pub(super) const TAKING_OVER: Duration = Duration::from_secs(10);

/// The supervisor before this one.
#[derive(Debug)]
pub(super) struct Predecessor {
    pub(super) channel: Channel,
    /// The worker asked for what it holds, and has not got it yet.
    pub(super) asked: bool,
    /// Told that this supervisor's worker serves.
    pub(super) relieved: bool,
}

impl Predecessor {
    pub(super) fn new(channel: Channel) -> Self {
        Self { channel, asked: false, relieved: false }
    }
}

/// How far the supervisor after this one has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Said nothing yet.
    Silent,
    /// Prepares.
    Greeted,
    /// The worker was told to freeze, and must have done so until then.
    Freezing {
        until: Instant,
    },
    /// It has got the sockets; it must serve until then.
    TakingOver {
        until: Instant,
    },
    Serving,
}

/// The supervisor after this one.
#[derive(Debug)]
pub(super) struct Successor {
    pub(super) channel: Channel,
    pub(super) stage: Stage,
    /// It runs in this supervisor's network namespace, where ports can be had only once.
    pub(super) same_network: bool,
    /// It ends in good order, or has a successor itself.
    pub(super) said_bye: bool,
}

impl Successor {
    pub(super) fn new(channel: Channel) -> Self {
        Self { channel, stage: Stage::Silent, same_network: false, said_bye: false }
    }

    /// Pods can neither come nor go because of it.
    pub(super) fn froze(&self) -> bool {
        self.deadline().is_some()
    }

    /// Until when it must have got further.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.stage {
            Stage::Freezing { until } | Stage::TakingOver { until } => Some(until),
            _ => None,
        }
    }
}

//! The handover of a node's sockets from one supervisor to the next: how far each side has come.
//!
//! 1. The successor says `Hello`, and its worker prepares what takes time.
//! 2. It says `TakeOver`. The old worker freezes: no pod is enrolled or unenrolled any more. Then the sockets are sent.
//! 3. When the successor's worker accepts on them, too, it says `Serving`. The old worker drains.
//!
//! Whichever side breaks off before the third step has changed nothing.

use std::time::{Duration, Instant};

use super::channel::Channel;

/// How long a worker may take to freeze, and how long a successor may take to serve once it has the sockets.
pub(super) const HANDOVER_STEP_TIMEOUT: Duration = Duration::from_secs(10);

/// The supervisor before this one.
#[derive(Debug)]
pub(super) struct Predecessor {
    pub(super) channel: Channel,
    pub(super) stage: PredecessorStage,
}

/// How far this supervisor has come in taking over from the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PredecessorStage {
    /// The predecessor serves the node; this worker prepares.
    Serving,
    /// It was asked for its sockets, and they have not all come.
    HandingOver,
    /// All its sockets are here.
    HandedOver,
    /// It has been sent `Serving`: the worker of this supervisor serves.
    Superseded,
}

impl Predecessor {
    pub(super) fn new(channel: Channel) -> Self {
        Self { channel, stage: PredecessorStage::Serving }
    }

    /// Whether this supervisor's worker has yet to take over from it.
    pub(super) fn is_in_charge(&self) -> bool {
        self.stage != PredecessorStage::Superseded
    }
}

/// The supervisor after this one.
#[derive(Debug)]
pub(super) struct Successor {
    pub(super) channel: Channel,
    pub(super) stage: SuccessorStage,
    /// It runs in this supervisor's network namespace, where a port can be bound only once.
    pub(super) same_network: bool,
}

/// How far the supervisor after this one has come in taking over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SuccessorStage {
    /// It has said nothing yet.
    Connected,
    /// It has said `Hello`; its worker prepares.
    Preparing,
    /// It has sent `TakeOver`. The worker here has to freeze its pods until then.
    Freezing { until: Instant },
    /// It has been sent the sockets, and must serve until then.
    TakingOver { until: Instant },
    /// It serves the node. With `said_bye` it ends in good order, or has a successor itself.
    Serving { said_bye: bool },
}

impl Successor {
    pub(super) fn new(channel: Channel) -> Self {
        Self { channel, stage: SuccessorStage::Connected, same_network: false }
    }

    /// The worker here is frozen, or about to be, and it is not decided which of the two agents goes on.
    pub(super) fn is_undecided(&self) -> bool {
        self.deadline().is_some()
    }

    /// Until when the handover must have got further.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.stage {
            SuccessorStage::Freezing { until } | SuccessorStage::TakingOver { until } => Some(until),
            SuccessorStage::Connected | SuccessorStage::Preparing | SuccessorStage::Serving { .. } => None,
        }
    }
}

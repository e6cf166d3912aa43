//! What keeper and worker, and an old keeper and its successor, say to each other. A message is one packet of JSON, with
//! descriptors beside it where it speaks of sockets. Knows no socket.

use serde::{Deserialize, Serialize};

/// The form of what keepers say to each other. A keeper of another form is not succeeded: it is as if it were not there.
pub(super) const VERSION: u32 = 1;

/// Sockets of one pod: their descriptors come with the message, in the order of the names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sockets {
    /// Cookie of the pod's network namespace, never used twice while the node is up.
    pub(super) cookie: u64,
    /// The pod's uid, for people.
    pub(super) pod: String,
    /// What the worker calls each socket; the keeper does not care.
    pub(super) names: Vec<String>,
}

/// Under which circumstances a worker is started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Circumstances {
    /// Process id of the keeper.
    pub keeper: i32,
    /// When the keeper was started, in seconds since the Unix epoch.
    pub keeper_since: u64,
    /// How many workers before this one ended without having been told to.
    pub restarts: u64,
    /// How the last of them ended.
    pub last_end: Option<String>,
    /// Another agent serves this node: its sockets are to be taken over once all else is prepared.
    pub succeeds: bool,
    /// Another agent may still have the ports of the admin endpoints.
    pub ports_may_be_taken: bool,
}

/// A keeper to its worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum ToWorker {
    /// The first word.
    Start(Circumstances),
    Held(Sockets),
    /// No more are held.
    AllHeld,
    /// A successor takes over: let no pod come or go until told how that ended.
    Freeze,
    /// The successor failed: all is as before.
    Thaw,
    /// The successor serves: finish what is open.
    Retire {
        same_network: bool,
    },
}

/// A worker to its keeper.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum FromWorker {
    Hold(Sockets),
    Release {
        cookie: u64,
    },
    /// All is prepared: get what the predecessor holds.
    TakeOver,
    Serving,
    /// It ends because it was told to.
    Stopping,
    Frozen,
}

/// A keeper to the one that it succeeds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum ToPredecessor {
    Hello {
        version: u32,
        /// Device and inode of its network namespace.
        network: (u64, u64),
    },
    TakeOver,
    Serving,
    /// It ends in good order, or has a successor of its own: nobody is to go on in its place.
    Bye,
}

/// A keeper to its successor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum ToSuccessor {
    Welcome {
        keeper: i32,
    },
    /// There is no taking over from this keeper.
    Refused {
        reason: String,
    },
    Held(Sockets),
    AllHeld,
    /// It took too long: the predecessor goes on.
    TooLate,
}

//! The messages between a supervisor and its worker, and between a supervisor and its successor. A message is one packet
//! of JSON, with descriptors beside it where it names sockets.
//!
//! Supervisor and worker are always the same program. A supervisor and its successor may be of different versions: what
//! [`ToPredecessor`] and [`ToSuccessor`] look like on the wire is fixed by [`VERSION`].

use serde::{Deserialize, Serialize};

/// Version of the protocol between a supervisor and its successor. Nothing is taken over from a supervisor of another
/// version: the agent starts as if no other one were there.
pub(super) const VERSION: u32 = 1;

/// The sockets of one pod. Their descriptors come with the message, in the order of the names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PodSockets {
    /// Cookie of the pod's network namespace, never used twice while the node is up.
    pub(super) cookie: u64,
    /// The pod's uid, for people.
    pub(super) pod: String,
    /// What the worker calls each socket. The supervisor gives them no meaning.
    pub(super) names: Vec<String>,
}

/// The first message to a worker: how its supervisor and it were started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartInfo {
    /// Process id of the supervisor.
    pub supervisor: i32,
    /// When the supervisor was started, in seconds since the Unix epoch.
    pub supervisor_since: u64,
    /// How many workers before this one ended without a request to stop.
    pub restarts: u64,
    /// How the last of them ended.
    pub last_end: Option<String>,
    /// Another agent serves this node: the worker takes its sockets over once all else is prepared.
    pub has_predecessor: bool,
    /// Another agent may still have the ports of the admin endpoints.
    pub ports_may_be_taken: bool,
}

/// What a supervisor says to its worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum ToWorker {
    /// The first message.
    Start(StartInfo),
    /// A pod's sockets that are held for the worker.
    Held(PodSockets),
    /// No more sockets are held.
    AllHeld,
    /// A successor takes over: enrol and unenrol no pod until `Resume` or `Drain`.
    Freeze,
    /// The successor failed: enrol and unenrol pods again.
    Resume,
    /// The successor serves: finish what is open.
    Drain { same_network: bool },
}

/// What a worker says to its supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum FromWorker {
    /// Hold these sockets of a pod.
    Hold(PodSockets),
    /// Close what is held of the pod with this network namespace.
    Release { cookie: u64 },
    /// All is prepared: get the predecessor's sockets.
    TakeOver,
    /// It accepts connections.
    Serving,
    /// It drains: it accepts no new connection, and serves the open ones until they end.
    Draining,
    /// It enrols and unenrols no pod any more.
    Frozen,
    /// All threads of its data plane go on. Said every second.
    Alive,
}

/// What a supervisor says to the one before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum ToPredecessor {
    /// The first message.
    Hello {
        version: u32,
        /// Device and inode of its network namespace.
        network: (u64, u64),
    },
    /// Its worker is prepared: freeze, and send the sockets.
    TakeOver,
    /// Its worker accepts connections: drain.
    Serving,
    /// It ends in good order, or has a successor of its own: nobody is to go on in its place.
    Bye,
}

/// What a supervisor says to the one after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum ToSuccessor {
    /// The answer to `Hello`.
    Welcome {
        /// Process id of the predecessor. The field has its name on the wire from the first version of the protocol.
        #[serde(rename = "keeper")]
        supervisor: i32,
    },
    /// The successor cannot take over from this supervisor.
    Refused { reason: String },
    /// A pod's sockets.
    Held(PodSockets),
    /// There are no more sockets.
    AllHeld,
    /// The successor took too long: the predecessor goes on.
    TooLate,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_supervisors_of_different_versions_say_to_each_other_has_a_fixed_form() {
        let sockets = || PodSockets { cookie: 7, pod: "uid".to_owned(), names: vec!["inbound".to_owned()] };
        let to_predecessor = [
            (ToPredecessor::Hello { version: VERSION, network: (4, 5) }, r#"{"Hello":{"version":1,"network":[4,5]}}"#),
            (ToPredecessor::TakeOver, r#""TakeOver""#),
            (ToPredecessor::Serving, r#""Serving""#),
            (ToPredecessor::Bye, r#""Bye""#),
        ];
        for (message, wire) in to_predecessor {
            assert_eq!(serde_json::to_string(&message).expect("JSON"), wire);
            assert_eq!(serde_json::from_str::<ToPredecessor>(wire).expect("the message"), message);
        }
        let to_successor = [
            (ToSuccessor::Welcome { supervisor: 42 }, r#"{"Welcome":{"keeper":42}}"#),
            (ToSuccessor::Refused { reason: "why".to_owned() }, r#"{"Refused":{"reason":"why"}}"#),
            (ToSuccessor::Held(sockets()), r#"{"Held":{"cookie":7,"pod":"uid","names":["inbound"]}}"#),
            (ToSuccessor::AllHeld, r#""AllHeld""#),
            (ToSuccessor::TooLate, r#""TooLate""#),
        ];
        for (message, wire) in to_successor {
            assert_eq!(serde_json::to_string(&message).expect("JSON"), wire);
            assert_eq!(serde_json::from_str::<ToSuccessor>(wire).expect("the message"), message);
        }
    }
}

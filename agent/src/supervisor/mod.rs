//! The supervisor: the small parent process that `weir agent` is first of all. It holds duplicates of the sockets that the
//! agent listens on inside the pods' network namespaces, so that new connections wait in their backlogs while no worker
//! runs; it starts the worker, which is all the rest of the agent, and starts another after a crash; and during an upgrade
//! it hands the sockets to the supervisor of the new version. It is one thread with a poll loop and without a runtime,
//! since it has to outlive what fails, and it reads nothing that a pod or a peer sends.
//!
//! - `run` is the poll loop, `state` what the supervisor knows, `phase` what it is doing.
//! - `worker_events`, `predecessor_events` and `successor_events` say what follows when another process speaks or ends.
//! - `liveness` notices a worker that hangs.
//! - `worker` is a child process; `link` is that process's end of the connection, which the agent uses.
//! - `handover` is how far a handover has come, `handover_socket` where a successor connects.
//! - `message` is what the processes say to each other, `channel` how it travels.

mod channel;
mod handover;
mod handover_socket;
mod link;
mod liveness;
mod message;
mod phase;
mod predecessor_events;
mod run;
mod state;
mod successor_events;
mod worker;
mod worker_events;

pub use self::handover_socket::SOCKET_NAME;
pub use self::link::{HeldSockets, SupervisorCommand, SupervisorLink};
pub use self::message::StartInfo;
pub use self::run::run;
pub use self::state::SupervisorOptions;
pub use self::worker::WorkerProgram;

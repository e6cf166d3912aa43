//! The enrolment API on a Unix socket: `server` is the gRPC service, `client` what the commands use, `check` what a description
//! of a pod must be, `incoming` what a client may cost.

mod check;
mod client;
mod incoming;
mod server;

pub use self::check::check_name;
pub use self::client::{EnrollmentClient, NewPod};
pub use self::server::{bind, serve};

/// Name of the API's socket, below the agent's run directory.
pub const SOCKET_NAME: &str = "agent.sock";

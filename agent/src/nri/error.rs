//! Why the agent is no plugin of the container runtime.

use std::io;
use std::time::Duration;

use super::ttrpc::WireError;

/// Why the agent is no plugin.
#[derive(Debug, thiserror::Error)]
pub enum NriError {
    #[error("{0}")]
    Socket(#[from] io::Error),
    #[error("the container runtime sends {0}")]
    Wire(#[from] WireError),
    #[error("the container runtime refuses the plugin: {0}")]
    Refused(String),
    #[error("the container runtime did not take the plugin in within {} s", .0.as_secs())]
    Silent(Duration),
    #[error("the container runtime closed the connection")]
    Closed,
}

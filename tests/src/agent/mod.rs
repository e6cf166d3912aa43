//! Weir's agent on a node of the world. It is two processes: the supervisor, which is the program that was started, and the
//! worker, its child.

mod binary;
mod node_agent;
mod processes;
mod questions;

pub use binary::binary;
pub use node_agent::{Agent, AgentOptions, Folders, Misconfigured};

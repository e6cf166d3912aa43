//! The xDS client: one delta ADS stream to the control plane, decoded into the mesh.
//!
//! `client` connects and reconnects, `session` carries one stream, `initial_sync` says when the agent may be ready.
//! `stream` is the protocol without I/O: it applies responses to the `subscription_state` and makes the ACK or NACK.
//! [`ConfigReceiver`] (`receiver`) puts the result into the mesh; the same path serves configuration that was made in this
//! process ([`ConfigReceiver::apply_snapshot`]). `last_good` keeps what was accepted on disk.

mod client;
mod decode;
mod initial_sync;
mod last_good;
mod node;
mod object_dump;
mod options;
mod received;
mod receiver;
mod session;
mod status;
mod stream;
mod subscription_state;
mod version;

pub use client::run;
pub use decode::address as decode_address;
pub use node::NodeDescription;
pub use options::XdsOptions;
pub use receiver::ConfigReceiver;
pub use status::{ConnectionState, XdsStatus};

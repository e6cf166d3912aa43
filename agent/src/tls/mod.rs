//! The only door to cryptography: workload certificates, who issues them, and the mTLS handshake between peers.

pub mod ca;
pub mod certificates;
pub mod control_channel;
pub mod control_listener;
pub mod handshake;
pub mod verify;

//! Connections to a pod: HBONE from peers, plaintext from everybody else. Each is admitted by policy, then joined with
//! the pod's application.

mod admission;
mod connection;
mod error;
mod hbone;
mod plaintext;
mod request;

pub(super) use self::hbone::serve as serve_hbone;
pub(super) use self::plaintext::serve as serve_plaintext;

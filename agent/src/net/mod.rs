//! TCP sockets as the data path uses them: how they connect, which options they carry, and how they are read.
//!
//! Sockets come in from outside, already opened in the network namespace that they belong to. Who may connect where is
//! decided elsewhere.

mod connect;
mod options;
mod read;

pub use self::connect::ConnectError;
pub(crate) use self::connect::connect;
pub(crate) use self::options::{detect_dead_peer, reset_on_close, tune};
pub(crate) use self::read::{read, read_vectored};

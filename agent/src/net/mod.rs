//! TCP sockets as the data path uses them: how they connect, which options they carry, and how they are read.
//!
//! Sockets come in from outside, already opened in the network namespace that they belong to. Who may connect where is
//! decided elsewhere.

mod read;
mod tcp;

pub(crate) use self::read::{read, read_vectored};
pub use self::tcp::ConnectError;
pub(crate) use self::tcp::{connect, detect_dead_peer, reset_on_close, tune};

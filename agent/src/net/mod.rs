//! TCP sockets as the data path uses them: how they connect, which options they carry, and how they are read.
//!
//! Sockets come in from outside, already opened in the network namespace that they belong to. Who may connect where is
//! decided elsewhere.

mod tcp;

pub use self::tcp::ConnectError;
pub(crate) use self::tcp::{connect, detect_dead_peer, read, read_vectored, reset_on_close, tune};

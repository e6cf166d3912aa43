//! A pod's own connections: from the address that the application dialled to an upstream, over HBONE or in plaintext.

mod candidate;
mod error;
mod tcp;
mod upstream;

pub(super) use self::tcp::serve;

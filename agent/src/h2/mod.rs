//! One side of an HTTP/2 connection (RFC 9113), without input or output of its own: bytes of the peer go in, events and
//! bytes for the peer come out.
//!
//! [`FrameReader`] cuts the peer's bytes into [`Piece`]s; [`Session`] answers for what they mean, gives an [`Event`] where
//! its owner has to act, and queues frames for the peer. Payload is never copied here: DATA that was received is handed on
//! as a slice of the owner's buffer, and DATA to be sent is written by the owner, which reports its length to the session.
//! No push, no priorities.
//!
//! It has two uses, which [`Usage`] tells apart: CONNECT streams between agents (`hbone`), and requests of applications
//! (`http`).

mod budget;
mod compose;
mod data;
mod error;
mod fields;
mod frame;
#[cfg(fuzzing)]
pub mod fuzzed;
mod headers;
mod hpack;
mod liveness;
mod pace;
mod reader;
mod receive;
mod requests;
mod section;
mod session;
mod settings;
mod stream;
#[cfg(test)]
mod tests;
mod usage;
mod window;

pub use self::budget::WindowBudget;
pub use self::error::{SessionError, StreamError};
pub use self::frame::Reason;
pub(crate) use self::frame::{HEADER_BYTES as FRAME_HEADER_BYTES, MAX_SENT_FRAME_BYTES, data_header, last_data_header};
pub(crate) use self::reader::{FrameReader, Piece};
pub(crate) use self::receive::Event;
pub(crate) use self::section::{Content, Request, Response};
pub(crate) use self::session::Session;
pub(crate) use self::settings::Role;
pub(crate) use self::stream::Stream;
pub(crate) use self::usage::{LARGEST_MESSAGE_WINDOW_BYTES, Usage};

//! HBONE: byte streams inside HTTP/2 CONNECT inside mTLS, wire-compatible with ztunnel and Envoy.
//!
//! The HTTP/2 is our own, as much of it as CONNECT needs, because it is the data path: application data is read straight
//! into the TLS records that carry it, and written to applications straight from the records that brought it.
//! The seam: everything outside this directory sees [`HboneStream`], [`pool::Pool::open`] and [`server::HboneServer`].

pub mod authority;
mod client;
mod connection;
mod error;
#[cfg(fuzzing)]
pub mod fuzzed;
pub mod headers;
mod input;
mod output;
pub mod pool;
pub mod server;
mod session;
mod stream;
mod tcp_end;
mod transport;

pub use self::error::StreamError;
pub use self::stream::{HboneStream, JoinError};
pub(crate) use self::tcp_end::TcpEnd;

/// Flow-control window of one stream: enough for 32 Gbit/s over a millisecond, and what a slow reader can make us hold.
const STREAM_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// Window of a connection, given back as soon as data is here and less than as much again waits for slow applications.
const CONNECTION_WINDOW_BYTES: u32 = 16 * 1024 * 1024;
/// Largest frame we accept.
const FRAME_BYTES: u32 = 64 * 1024;
/// Largest header list we accept.
const HEADER_LIST_BYTES: u32 = 16 * 1024;
/// Streams a peer may have open on one connection.
const MAX_CONCURRENT_STREAMS: u32 = 200;

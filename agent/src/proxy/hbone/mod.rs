//! HBONE: byte streams inside HTTP/2 CONNECT inside mTLS, wire-compatible with ztunnel and Envoy.
//!
//! The seam: everything outside this directory sees [`HboneStream`], [`pool::Pool::open`] and [`server::serve`]. Only
//! `client.rs`, `connection.rs`, `server.rs` and `stream.rs` know which HTTP/2 implementation carries the bytes.

pub mod authority;
mod client;
mod connection;
pub mod headers;
pub mod pool;
pub mod server;
mod stream;

pub use self::stream::{HboneReader, HboneStream, HboneWriter, StreamError};

/// Flow-control window of one stream. Large enough for a fast, distant peer; what a slow reader can make us hold.
const STREAM_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// Window of a connection: several streams may stall before others on the same connection do.
const CONNECTION_WINDOW_BYTES: u32 = 16 * 1024 * 1024;
/// Largest DATA frame we accept.
const FRAME_BYTES: u32 = 1024 * 1024;
/// Bytes of one stream that may wait to be sent.
const SEND_BUFFER_BYTES: usize = 512 * 1024;
/// Largest header list we accept.
const HEADER_LIST_BYTES: u32 = 16 * 1024;
/// Streams that may be reset at about the same time. Applications abort connections in bursts; on a connection that many
/// of them share, that is no attack by the (authenticated) peer, and must not end the others.
const RESET_STREAMS: usize = 1024;

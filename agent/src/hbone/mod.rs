//! HBONE: byte streams inside HTTP/2 CONNECT inside mTLS, wire-compatible with ztunnel and Envoy. Between two agents that both say so
//! (by a setting that others ignore), a request of HTTP is a stream of its own on the same connections (`request_stream`).
//!
//! As a client, a [`Pool`] opens an [`HboneStream`] to a [`Target`], on a connection that its [`Dialer`] makes from the
//! network namespace that an [`Origin`] stands for. As a server, an [`HboneServer`] gives one [`Incoming`] per stream.
//! Either way [`HboneStream::relay`] then moves the bytes: application data is read straight into the TLS records that carry
//! it, and written to applications straight from the records that brought it.

mod activity;
mod age;
mod application;
mod authority;
mod byte_stream;
mod connection;
mod dialer;
mod error;
#[cfg(fuzzing)]
pub mod fuzzed;
mod headers;
mod input;
mod optimistic;
mod output;
mod peers;
mod pool;
mod relay;
mod request_stream;
mod server;
mod session;
mod stream;
#[cfg(test)]
mod tests;
mod transport;
mod waiting;

pub(crate) use self::activity::{ActiveStream, Activity};
pub use self::age::AgeLimit;
pub(crate) use self::age::Lifetime;
pub(crate) use self::application::TcpEnd;
// The fuzzer's too.
pub use self::authority::{Authority, InvalidAuthority, parse_authority};
pub(crate) use self::dialer::{Dialer, Origin, Target};
pub(crate) use self::error::{HboneError, HboneErrorKind, handshake_failure_label};
pub use self::headers::{baggage, client_of, forwarded, service_of};
pub(crate) use self::optimistic::OptimisticData;
pub(crate) use self::peers::ConnectionLimits;
pub use self::peers::PoolOptions;
pub(crate) use self::pool::{OpenedStream, Pool, sweep};
pub(crate) use self::relay::RelayError;
pub(crate) use self::server::{ConnectRequest, HboneServer, Incoming, IncomingRequest};
pub(crate) use self::stream::HboneStream;
pub(crate) use crate::h2::{SessionError, StreamError, WindowBudget};

//! HTTP as the data path speaks it: HTTP/1 and HTTP/2 towards applications, both seen alike. Knows no pod, mesh or policy.
//!
//! `stream` is what the versions have in common: one exchange, whichever connection carries it.

mod stream;

pub(crate) use self::stream::{BodyLength, ExchangeError, MessageStream, Received};

//! HTTP as the data path speaks it: HTTP/1 and HTTP/2 towards applications, both seen alike. Knows no pod, mesh or policy.
//!
//! `stream` is what the versions have in common: one exchange, whichever connection carries it.

mod pump;
mod replay;
mod stream;

pub(crate) use self::pump::{ResponseBody, until_response};
pub(crate) use self::replay::RequestBody;
pub(crate) use self::stream::{
    BodyLength, Broken, Downstream, ExchangeError, MessageStream, Received, Upstream, Watcher,
};

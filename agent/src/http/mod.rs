//! HTTP as the data path speaks it: HTTP/1 and HTTP/2 towards applications, both seen alike. Knows no pod, mesh or policy.
//!
//! `stream` is what the versions have in common: one exchange, whichever connection carries it; `local` is one that none does. `detect`
//! tells the versions apart where nobody has declared which one a port speaks.

mod detect;
mod exchange;
mod local;
mod pool;
mod pump;
mod replay;
mod stream;
#[cfg(test)]
mod tests;

pub(crate) mod h1 {
    //! HTTP/1.0 and HTTP/1.1 (RFC 9112), strictly: what two readers could understand in two ways is refused.
    //!
    //! A head is read in one pass from the bytes as they came: `raw` finds its parts, `fields` sorts what concerns the connection
    //! from what is the message's own, `framing` says where the message ends, and `request` and `response` make the head.
    //! `body` and `chunked` cut content from what comes in, `encode` and `content` write what goes out. `server` and `client` are the
    //! two ends of a connection; `connection` is what they share, on top of `input` and `output`. `checked` holds heads to the same rules
    //! that pass within the process.

    mod body;
    mod checked;
    mod chunked;
    mod client;
    mod connection;
    mod content;
    mod encode;
    mod error;
    mod fields;
    mod framing;
    #[cfg(fuzzing)]
    pub mod fuzzed;
    mod input;
    mod output;
    mod raw;
    mod request;
    mod response;
    mod server;
    mod syntax;
    #[cfg(test)]
    mod tests;

    pub(crate) use self::checked::{CheckedRequest, CheckedResponse, Expected, checked_trailers};
    pub(crate) use self::client::ClientConnection;
    pub(crate) use self::error::{HeadError, RequestError};
    pub(crate) use self::server::ServerConnection;
}

pub(crate) mod h2 {
    //! HTTP/2 over any connection, by prior knowledge (RFC 9113 §3.3), as server and as client.
    //!
    //! `driver` reads and writes for one connection. What it reads goes through the session of [`crate::h2`] to `exchanges`, which
    //! hand content to streams and lay down what they send; `side` is what one stream holds, `output` what waits for the network.
    //! `server`, `client` and `stream` are what others see.

    mod client;
    mod driver;
    mod exchanges;
    mod output;
    mod server;
    mod side;
    mod stream;
    #[cfg(test)]
    mod tests;

    pub(crate) use self::client::ClientConnection;
    pub(crate) use self::exchanges::broken_exchange;
    pub(crate) use self::server::ServerConnection;
    pub(crate) use self::stream::{ClientStream, ServerStream, body_length};
}

pub(crate) use self::detect::{Detected, detect};
pub(crate) use self::exchange::{CarriedExchange, Exchange};
pub(crate) use self::local::{HandedRequest, hand_over};
pub(crate) use self::pool::{Reuse, TakenIdle, UpstreamPool};
pub(crate) use self::pump::{ResponseBody, until_response};
pub(crate) use self::replay::{KeptBody, RequestBody};
pub(crate) use self::stream::{
    BodyLength, Broken, Downstream, ExchangeError, MessageStream, Received, Upstream, Watcher,
};

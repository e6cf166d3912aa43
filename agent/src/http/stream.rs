//! One exchange of a request and its response, as its owner sees it, whichever version of HTTP carries it.
//!
//! All of it is polled by one task: what is received from one side is sent to the other while that one has room, so that a
//! reader that pauses holds its sender.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;

use crate::model::http::head::{HttpFields, ResponseHead};

/// What a head says of the content that follows it (RFC 9112 §6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyLength {
    /// The message ends with its head.
    Empty,
    /// So many bytes follow; also where they are none.
    Known(u64),
    /// The end is marked: by the last chunk, by END_STREAM, or by the end of the connection.
    Unknown,
    /// No content, but bytes of another protocol both ways until both sides have ended: after 101, or after 2xx to CONNECT.
    Tunnel,
}

/// What comes next of the message that is received.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// Part of the content, never empty.
    Data(Bytes),
    /// The trailer section: the message ends with it.
    Trailers(HttpFields),
    /// The message ends without trailers.
    End,
}

/// How an exchange broke.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum ExchangeError {
    /// The peer's bytes are not the message that its version of HTTP wants (RFC 9112 §6.3, RFC 9113 §8.1.1).
    #[error("malformed message: {0}")]
    Malformed(&'static str),
    /// The peer reset the stream or the connection.
    #[error("reset by the peer")]
    Reset,
    /// The connection ended before the message did.
    #[error("the connection ended before the message did")]
    Truncated,
    /// The connection ended before any byte of the response came: a connection that was kept for further requests may have been
    /// closed by the peer while this request was on its way to it.
    #[error("the connection ended before a response came")]
    NoResponse,
    /// The peer broke a rule of the connection (RFC 9113 §5.4.1) before anything of this response came. It may have done so with
    /// another exchange of the connection.
    #[error("the peer broke the connection's rules: {0}")]
    BrokenConnection(&'static str),
    /// The peer says that it has not looked at the request (RFC 9113 §8.7).
    #[error("the peer refused the stream")]
    Refused,
    #[error("{0}")]
    Io(Arc<io::Error>),
}

impl ExchangeError {
    /// Whether a connection that carries other exchanges, too, may have ended for a reason that this exchange has nothing to do
    /// with.
    pub(crate) fn may_be_of_others(&self) -> bool {
        matches!(self, Self::NoResponse | Self::BrokenConnection(_) | Self::Refused)
    }
}

/// One side of an exchange whose head was received: the rest of what the peer sends, and what is sent to it.
///
/// Heads are received and sent by methods of the types themselves, because a server and a client differ in them.
pub(crate) trait MessageStream {
    /// The next part of the message that the peer sends. Not called again after its end.
    ///
    /// # Errors
    /// When the message breaks off or is malformed.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Received, ExchangeError>>;

    /// Ready once a part of the content may be sent: what was sent before is on its way as far as the bound of what waits
    /// demands.
    ///
    /// # Errors
    /// When the peer takes no more.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ExchangeError>>;

    /// Queues a part of the content. Only while there [is room](Self::poll_room).
    fn send_data(&mut self, data: Bytes);

    /// Queues the trailer section, with which the message ends. A version or a peer that takes none gets the end alone.
    fn send_trailers(&mut self, trailers: &HttpFields);

    /// Queues the end of the message.
    fn send_end(&mut self);

    /// Hands to the network what is queued; ready once all of it was taken.
    ///
    /// # Errors
    /// When the peer takes no more.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ExchangeError>>;

    /// Has what is queued leave, and does not wait for that where somebody else sees to it, as the driver of a connection of
    /// HTTP/2 does: whoever waits is woken once for nothing.
    ///
    /// # Errors
    /// As of [`poll_flush`](Self::poll_flush).
    fn poll_push(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ExchangeError>> {
        self.poll_flush(cx)
    }
}

/// The side of an exchange that sent the request.
pub(crate) trait Downstream: MessageStream {
    /// Queues the head of a response, interim or final.
    ///
    /// # Errors
    /// `Malformed` where the head cannot be written: nothing is queued then, and another response may be sent.
    fn send_response(&mut self, head: &ResponseHead, length: BodyLength) -> Result<(), ExchangeError>;

    /// Ready once the client shows that it may be gone, after the whole request has come: `Reset` where it is, `Truncated` where
    /// it has ended its side, which a client may do that still waits for the response. Further requests that come meanwhile
    /// (pipelining) wait.
    fn poll_left(&mut self, cx: &mut Context<'_>) -> Poll<ExchangeError>;
}

/// The side of an exchange that answers.
pub(crate) trait Upstream: MessageStream {
    /// The head of the next response, interim ones one at a time, and what it says of its content.
    ///
    /// # Errors
    /// When there is none to come, or it is malformed.
    fn poll_response(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut ResponseHead,
    ) -> Poll<Result<BodyLength, ExchangeError>>;
}

/// Which side of an exchange broke, and how; or why it was stopped.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Broken {
    #[error("downstream: {0}")]
    Downstream(ExchangeError),
    #[error("upstream: {0}")]
    Upstream(ExchangeError),
    #[error("the route's timeout is over")]
    Timeout,
    #[error("the timeout of this attempt is over")]
    PerTryTimeout,
    #[error("policy allows the request no longer")]
    Revoked,
}

/// Who watches an exchange while it moves.
pub(crate) trait Watcher {
    /// Ready with the reason once the exchange is to stop: its client has left, or its time is over. `is_received`: whether the
    /// whole request has come.
    fn poll_stop(&mut self, cx: &mut Context<'_>, downstream: &mut impl Downstream, is_received: bool) -> Poll<Broken>;

    /// A part of the request came.
    fn request_part(&mut self, part: &Received);

    /// A part of the response came.
    fn response_part(&mut self, part: &Received);
}

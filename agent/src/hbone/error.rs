//! Why no HBONE stream could be opened, and whether another attempt may do better.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;

use http::StatusCode;

use crate::h2::{SessionError, StreamError};
use crate::net::ConnectError;
use crate::tls::certificates::NoCertificate;
use crate::tls::handshake::HandshakeError;

/// Why no stream could be opened, in the order in which things can go wrong.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum HboneErrorKind {
    #[error(transparent)]
    Certificate(NoCertificate),
    #[error(transparent)]
    Connect(Arc<ConnectError>),
    #[error("{peer}: {error}")]
    Handshake { peer: SocketAddr, error: Arc<HandshakeError> },
    #[error("{peer}: HTTP/2: {error}")]
    Session { peer: SocketAddr, error: Arc<SessionError> },
    #[error("{peer}: HTTP/2: {error}")]
    Stream { peer: SocketAddr, error: StreamError },
    #[error("{peer}: takes no streams on a new connection")]
    NoStreams { peer: SocketAddr },
    #[error("{peer}: the pod has {max} HBONE connections to it, which is as many as it may have")]
    TooManyConnectionsToPeer { peer: SocketAddr, max: u32 },
    #[error("the pod has {max} HBONE connections, which is as many as it may have, and none of them is idle")]
    TooManyConnections { max: u32 },
    #[error("{peer}: no answer to CONNECT in time")]
    RequestTimeout { peer: SocketAddr },
    #[error("{peer}: the proxy of the destination answered {status} ({})", meaning(*status))]
    Refused { peer: SocketAddr, status: StatusCode },
    #[error("authority {0:?} cannot be sent")]
    Authority(String),
}

/// Whose fault it is that no stream could be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FailedParty {
    /// This agent: it has no certificate, or was asked for something that cannot be sent.
    Local,
    /// The peer refused, or broke a rule of the protocol.
    Peer,
    /// The peer did not answer, or the connection to it broke.
    Network,
}

/// Whether another attempt may do better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retry {
    /// It would fail in the same way.
    No,
    /// The connection ended before the peer answered, without a reason: as it does when the peer's agent dies or drains.
    PeerGone,
    /// The pod is there, and no agent listens in it: one is being started.
    NobodyListens,
    /// This process or this node has no file descriptor left, or the pod has as many connections as it may, to the peer or to all:
    /// there is one when another connection ends.
    NoneFree,
}

/// What a failure means for whoever may try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) by: FailedParty,
    /// Whether the CONNECT request may have reached the peer.
    pub(crate) request_sent: bool,
    /// Whether the peer may have passed bytes of the application on: some were sent with the request, and no answer says that it did not
    /// grant it. Another attempt could send them twice.
    pub(crate) may_have_delivered: bool,
    pub(crate) retry: Retry,
}

/// See [`HboneErrorKind`] and [`Failure`].
#[derive(Debug, Clone, thiserror::Error)]
#[error("{kind}")]
pub(crate) struct HboneError {
    kind: HboneErrorKind,
    failure: Failure,
}

impl HboneError {
    pub(crate) fn kind(&self) -> &HboneErrorKind {
        &self.kind
    }

    pub(super) fn failure(&self) -> Failure {
        self.failure
    }

    /// Whether the peer may have passed bytes of the application on, so that nothing may be sent again.
    pub(crate) fn may_have_delivered(&self) -> bool {
        self.failure.may_have_delivered
    }

    /// Whether another endpoint of the same service may do better: this one was not reached, or its application was not, and no byte
    /// of the client can have got to it. What policy denied, and what was waited for long enough, is not tried elsewhere.
    pub(crate) fn may_succeed_elsewhere(&self) -> bool {
        !self.may_have_delivered()
            && match &self.kind {
                HboneErrorKind::Refused { status, .. } => *status == StatusCode::SERVICE_UNAVAILABLE,
                HboneErrorKind::RequestTimeout { .. } => false,
                _ => self.failure.by != FailedParty::Local,
            }
    }

    /// The failure of a request with which so many bytes of the application were sent. A peer that answers, be it by a reset of the
    /// stream, has not granted it; where its connection broke, or it is silent, it may have, and its answer be lost.
    pub(super) fn after_data(mut self, sent: usize) -> Self {
        let is_unanswered = matches!(
            self.kind,
            HboneErrorKind::RequestTimeout { .. } | HboneErrorKind::Stream { error: StreamError::Connection(_), .. }
        );
        if sent > 0 && is_unanswered {
            (self.failure.may_have_delivered, self.failure.retry) = (true, Retry::No);
        }
        self
    }

    pub(super) fn certificate(error: NoCertificate) -> Self {
        Self::new(HboneErrorKind::Certificate(error), FailedParty::Local, false, Retry::No)
    }

    pub(super) fn authority(authority: &str) -> Self {
        Self::new(HboneErrorKind::Authority(authority.to_owned()), FailedParty::Local, false, Retry::No)
    }

    pub(super) fn connect(error: ConnectError) -> Self {
        let (by, retry) = match &error {
            ConnectError::Socket(_, error) if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => {
                (FailedParty::Local, Retry::NoneFree)
            }
            ConnectError::Socket(..) => (FailedParty::Local, Retry::No),
            ConnectError::Connect(_, error) if error.kind() == ErrorKind::ConnectionRefused => {
                (FailedParty::Peer, Retry::NobodyListens)
            }
            ConnectError::Connect(_, error) => (FailedParty::Network, if_broken(error)),
            ConnectError::Timeout(..) => (FailedParty::Network, Retry::No),
        };
        Self::new(HboneErrorKind::Connect(Arc::new(error)), by, false, retry)
    }

    pub(super) fn handshake(peer: SocketAddr, error: HandshakeError) -> Self {
        let (by, retry) = match &error {
            HandshakeError::Tls(error) => match if_broken(error) {
                Retry::No => (FailedParty::Peer, Retry::No),
                retry => (FailedParty::Network, retry),
            },
            HandshakeError::Timeout => (FailedParty::Network, Retry::No),
            HandshakeError::PeerRefused(_) => (FailedParty::Peer, Retry::No),
        };
        Self::new(HboneErrorKind::Handshake { peer, error: Arc::new(error) }, by, false, retry)
    }

    pub(super) fn session(peer: SocketAddr, error: Arc<SessionError>) -> Self {
        let (by, retry) = of_session(&error);
        Self::new(HboneErrorKind::Session { peer, error }, by, false, retry)
    }

    /// A new connection on which the peer allows no stream, or none any more.
    pub(super) fn no_streams(peer: SocketAddr) -> Self {
        Self::new(HboneErrorKind::NoStreams { peer }, FailedParty::Peer, false, Retry::PeerGone)
    }

    pub(super) fn too_many_connections_to_peer(peer: SocketAddr, max: u32) -> Self {
        Self::new(HboneErrorKind::TooManyConnectionsToPeer { peer, max }, FailedParty::Local, false, Retry::NoneFree)
    }

    pub(super) fn too_many_connections(max: u32) -> Self {
        Self::new(HboneErrorKind::TooManyConnections { max }, FailedParty::Local, false, Retry::NoneFree)
    }

    pub(super) fn stream(peer: SocketAddr, error: StreamError) -> Self {
        let (by, retry) = match &error {
            StreamError::Connection(error) => of_session(error),
            StreamError::Reset(_) | StreamError::NotSeen | StreamError::Malformed(_) => (FailedParty::Peer, Retry::No),
        };
        Self::new(HboneErrorKind::Stream { peer, error }, by, true, retry)
    }

    pub(crate) fn request_timeout(peer: SocketAddr) -> Self {
        Self::new(HboneErrorKind::RequestTimeout { peer }, FailedParty::Network, true, Retry::No)
    }

    pub(crate) fn refused(peer: SocketAddr, status: StatusCode) -> Self {
        Self::new(HboneErrorKind::Refused { peer, status }, FailedParty::Peer, true, Retry::No)
    }

    fn new(kind: HboneErrorKind, by: FailedParty, request_sent: bool, retry: Retry) -> Self {
        Self { kind, failure: Failure { by, request_sent, may_have_delivered: false, retry } }
    }
}

fn of_session(error: &SessionError) -> (FailedParty, Retry) {
    match error {
        SessionError::Io(error) => (FailedParty::Network, if_broken(error)),
        // A connection is done with no stream left and a peer that has said GOAWAY. Where that is the answer to a connection
        // that we have just opened, the peer's agent was about to drain, and its successor accepts the next one.
        SessionError::Closed | SessionError::Done => (FailedParty::Peer, Retry::PeerGone),
        SessionError::HeaderBlock(_) | SessionError::Protocol { .. } | SessionError::GoAway(_) => {
            (FailedParty::Peer, Retry::No)
        }
        SessionError::Aborted => (FailedParty::Local, Retry::No),
    }
}

/// [`Retry::PeerGone`] for the errors of a connection that was there and is no more.
fn if_broken(error: &io::Error) -> Retry {
    match error.kind() {
        ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::BrokenPipe
        | ErrorKind::UnexpectedEof => Retry::PeerGone,
        _ => Retry::No,
    }
}

/// What the statuses that ztunnel and we answer with mean.
fn meaning(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => "denied by policy",
        StatusCode::BAD_REQUEST => "request not understood",
        StatusCode::SERVICE_UNAVAILABLE => "application not reachable",
        _ => "no further explanation",
    }
}

/// The `reason` label of a failed handshake.
pub(crate) fn handshake_failure_label(error: &HandshakeError) -> &'static str {
    match error {
        HandshakeError::PeerRefused(refused) => refused.label(),
        HandshakeError::Tls(_) => "tls",
        HandshakeError::Timeout => "timeout",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::h2::Reason;

    #[test]
    fn a_failure_says_whether_another_attempt_may_do_better() {
        let peer: SocketAddr = "10.0.0.1:15008".parse().expect("an address");
        let io = |kind: ErrorKind| io::Error::from(kind);
        let session = |error: SessionError| HboneError::session(peer, Arc::new(error));
        let stream = |error: SessionError| HboneError::stream(peer, StreamError::Connection(Arc::new(error)));
        let connect = |kind: ErrorKind| HboneError::connect(ConnectError::Connect(peer, io(kind)));
        let socket = |code: i32| HboneError::connect(ConnectError::Socket(peer, io::Error::from_raw_os_error(code)));
        for (error, by, request_sent, retry) in [
            (connect(ErrorKind::ConnectionRefused), FailedParty::Peer, false, Retry::NobodyListens),
            (socket(libc::EMFILE), FailedParty::Local, false, Retry::NoneFree),
            (socket(libc::EACCES), FailedParty::Local, false, Retry::No),
            (connect(ErrorKind::ConnectionReset), FailedParty::Network, false, Retry::PeerGone),
            (connect(ErrorKind::HostUnreachable), FailedParty::Network, false, Retry::No),
            (
                HboneError::handshake(peer, HandshakeError::Tls(io(ErrorKind::UnexpectedEof))),
                FailedParty::Network,
                false,
                Retry::PeerGone,
            ),
            (
                HboneError::handshake(peer, HandshakeError::Tls(io(ErrorKind::InvalidData))),
                FailedParty::Peer,
                false,
                Retry::No,
            ),
            (HboneError::handshake(peer, HandshakeError::Timeout), FailedParty::Network, false, Retry::No),
            (session(SessionError::Closed), FailedParty::Peer, false, Retry::PeerGone),
            (session(SessionError::Done), FailedParty::Peer, false, Retry::PeerGone),
            (session(SessionError::Io(io(ErrorKind::BrokenPipe))), FailedParty::Network, false, Retry::PeerGone),
            (session(SessionError::GoAway(Reason::PROTOCOL_ERROR)), FailedParty::Peer, false, Retry::No),
            (stream(SessionError::Closed), FailedParty::Peer, true, Retry::PeerGone),
            (stream(SessionError::Aborted), FailedParty::Local, true, Retry::No),
            (HboneError::stream(peer, StreamError::Reset(Reason::CANCEL)), FailedParty::Peer, true, Retry::No),
            (HboneError::no_streams(peer), FailedParty::Peer, false, Retry::PeerGone),
            (HboneError::too_many_connections_to_peer(peer, 1), FailedParty::Local, false, Retry::NoneFree),
            (HboneError::too_many_connections(1), FailedParty::Local, false, Retry::NoneFree),
            (HboneError::request_timeout(peer), FailedParty::Network, true, Retry::No),
            (HboneError::refused(peer, StatusCode::FORBIDDEN), FailedParty::Peer, true, Retry::No),
            (HboneError::authority("nowhere"), FailedParty::Local, false, Retry::No),
        ] {
            let may_have_delivered = false;
            assert_eq!(error.failure(), Failure { by, request_sent, may_have_delivered, retry }, "{error}");
        }
    }

    #[test]
    fn what_was_sent_with_a_request_is_not_sent_again_where_no_answer_says_that_it_went_nowhere() {
        let peer: SocketAddr = "10.0.0.1:15008".parse().expect("an address");
        let broken = || StreamError::Connection(Arc::new(SessionError::Closed));
        let reset = || StreamError::Reset(Reason::CANCEL);
        for (error, sent, may_have_delivered, retry, elsewhere) in [
            (HboneError::stream(peer, broken()), 0, false, Retry::PeerGone, true),
            (HboneError::stream(peer, broken()), 1, true, Retry::No, false),
            (HboneError::request_timeout(peer), 0, false, Retry::No, false),
            (HboneError::request_timeout(peer), 1, true, Retry::No, false),
            (HboneError::stream(peer, reset()), 1, false, Retry::No, true),
            (HboneError::refused(peer, StatusCode::SERVICE_UNAVAILABLE), 1, false, Retry::No, true),
        ] {
            let error = error.after_data(sent);
            let seen = (error.may_have_delivered(), error.failure().retry, error.may_succeed_elsewhere());
            assert_eq!(seen, (may_have_delivered, retry, elsewhere), "{error} after {sent}");
        }
    }

    #[test]
    fn another_endpoint_is_tried_unless_policy_or_this_agent_is_the_reason() {
        let peer: SocketAddr = "10.0.0.1:15008".parse().expect("an address");
        let connect = ConnectError::Connect(peer, ErrorKind::ConnectionRefused.into());
        for (error, elsewhere) in [
            (HboneError::connect(connect), true),
            (HboneError::handshake(peer, HandshakeError::Timeout), true),
            (HboneError::no_streams(peer), true),
            (HboneError::stream(peer, StreamError::Reset(Reason::CANCEL)), true),
            (HboneError::refused(peer, StatusCode::SERVICE_UNAVAILABLE), true),
            (HboneError::refused(peer, StatusCode::UNAUTHORIZED), false),
            (HboneError::refused(peer, StatusCode::FORBIDDEN), false),
            (HboneError::refused(peer, StatusCode::BAD_REQUEST), false),
            (HboneError::request_timeout(peer), false),
            (HboneError::too_many_connections_to_peer(peer, 1), false),
            (HboneError::too_many_connections(1), false),
            (HboneError::authority("nowhere"), false),
        ] {
            assert_eq!(error.may_succeed_elsewhere(), elsewhere, "{error}");
        }
    }
}

//! How a connection to a pod of the same node begins: its source asks for it as it would by CONNECT, and gets the answer that CONNECT
//! would get. Who asks is not part of what is asked: whoever passes it on knows.

use std::net::SocketAddr;
use std::time::Duration;

use http::{HeaderValue, StatusCode};
use tokio::sync::oneshot;

use super::pipe::{PipeEnd, pipe};
use crate::hbone::HboneError;
use crate::model::identity::Identity;

/// What is asked for. Dropped without an answer, it is refused.
#[derive(Debug)]
pub(in crate::proxy) struct PipeRequest {
    authority: String,
    forwarded: Option<HeaderValue>,
    pipe: PipeEnd,
    answer: oneshot::Sender<Answer>,
}

/// Whether the destination's side reads the requests that come; or why there is no connection.
type Answer = Result<bool, StatusCode>;

/// A connection that was granted.
#[derive(Debug)]
pub(super) struct Granted {
    pub(super) pipe: PipeEnd,
    /// Whether the destination's side reads the requests that come on it.
    pub(super) reads_requests: bool,
}

/// What was asked for, by whoever waits for the answer. Dropped before that, the request is given up.
#[derive(Debug)]
pub(super) struct AwaitedAnswer {
    pipe: PipeEnd,
    answer: oneshot::Receiver<Answer>,
}

/// The same, to a pod that is known.
#[derive(Debug)]
pub(in crate::proxy) struct OpenedBeside {
    pub(in crate::proxy) pipe: PipeEnd,
    /// Who the destination is.
    pub(in crate::proxy) identity: Identity,
    pub(in crate::proxy) reads_requests: bool,
}

impl PipeRequest {
    /// Asks for a connection to `authority`. `forwarded`: the source's own address and port, and the service that it asked for, in the
    /// words of CONNECT.
    pub(super) fn new(authority: &str, forwarded: Option<HeaderValue>) -> (Self, AwaitedAnswer) {
        let ((near, far), (answer, answered)) = (pipe(), oneshot::channel());
        let request = Self { authority: authority.to_owned(), forwarded, pipe: far, answer };
        (request, AwaitedAnswer { pipe: near, answer: answered })
    }

    pub(in crate::proxy) fn authority(&self) -> &str {
        &self.authority
    }

    pub(in crate::proxy) fn forwarded(&self) -> Option<&[u8]> {
        self.forwarded.as_ref().map(HeaderValue::as_bytes)
    }

    /// Resolves once nobody waits for the answer any more.
    pub(in crate::proxy) fn given_up(&self) -> impl Future<Output = ()> + use<> {
        self.pipe.given_up()
    }

    /// Grants it; `None` where nobody waits for the answer any more. `reads_requests`: whether what comes is read as requests.
    pub(in crate::proxy) fn accept(self, reads_requests: bool) -> Option<PipeEnd> {
        self.answer.send(Ok(reads_requests)).ok()?;
        Some(self.pipe)
    }

    pub(in crate::proxy) fn refuse(self, status: StatusCode) {
        // Somebody who has left needs no answer.
        let _ = self.answer.send(Err(status));
    }
}

impl AwaitedAnswer {
    /// The connection, once it is granted. `peer`: what the destination is called in errors.
    ///
    /// # Errors
    /// As of a CONNECT request to `peer`.
    pub(super) async fn answered(self, peer: SocketAddr, within: Duration) -> Result<Granted, HboneError> {
        match tokio::time::timeout(within, self.answer).await {
            Ok(Ok(Ok(reads_requests))) => Ok(Granted { pipe: self.pipe, reads_requests }),
            Ok(Ok(Err(status))) => Err(HboneError::refused(peer, status)),
            Ok(Err(_)) => Err(HboneError::refused(peer, StatusCode::SERVICE_UNAVAILABLE)),
            Err(_) => Err(HboneError::request_timeout(peer)),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::hbone::HboneErrorKind;

    const PEER: &str = "10.0.0.2:15008";
    const WITHIN: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn the_source_gets_the_answer_that_connect_would_get() {
        let peer: SocketAddr = PEER.parse().expect("an address");
        let refused = |status| format!("{:?}", HboneErrorKind::Refused { peer, status });
        let timeout = format!("{:?}", HboneErrorKind::RequestTimeout { peer });
        type Answering = fn(PipeRequest) -> Option<PipeRequest>;
        let answers: [(&str, Answering, String); 3] = [
            (
                "refused",
                |request| {
                    request.refuse(StatusCode::UNAUTHORIZED);
                    None
                },
                refused(StatusCode::UNAUTHORIZED),
            ),
            ("dropped", |_| None, refused(StatusCode::SERVICE_UNAVAILABLE)),
            ("left waiting", Some, timeout),
        ];
        for (name, answer, expected) in answers {
            let (request, asked) = PipeRequest::new("10.0.0.2:80", None);
            let _waiting = answer(request);
            let error = asked.answered(peer, WITHIN).await.expect_err("there is no connection");
            assert_eq!(format!("{:?}", error.kind()), expected, "{name}");
        }
    }

    #[tokio::test]
    async fn a_granted_connection_carries_bytes_and_one_that_nobody_waits_for_is_not_granted() {
        let peer = PEER.parse().expect("an address");
        let (request, asked) = PipeRequest::new("10.0.0.2:80", None);
        let mut far = request.accept(true).expect("somebody waits");
        let Granted { pipe: mut near, reads_requests } = asked.answered(peer, WITHIN).await.expect("it was granted");
        assert!(reads_requests);
        far.write_all(b"hello").await.expect("it is open");
        let mut read = [0; 5];
        near.read_exact(&mut read).await.expect("it was written");
        assert_eq!(&read, b"hello");

        let (request, asked) = PipeRequest::new("10.0.0.2:80", None);
        assert!(request.given_up().now_or_never().is_none());
        drop(asked);
        assert!(request.given_up().now_or_never().is_some());
        assert!(request.accept(false).is_none());
    }
}

//! A session on its TCP connection: the task that drives it reads and writes, and sleeps while there is nothing to read or
//! write.

use std::future::poll_fn;
use std::io;
use std::net::Shutdown;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use parking_lot::{Mutex, MutexGuard};
use socket2::SockRef;
use tokio::net::TcpStream;

use super::age::{AgeLimit, Lifetime};
use super::session::{Received, SecuredSession};
use crate::h2::{Role, SessionError, WindowBudget};
use crate::net;
use crate::tls::handshake::Secured;

/// Reads in a row before streams get their turn.
const READS_PER_POLL: usize = 4;
/// Pieces of HTTP/2 in a row, after which streams and other connections get their turn, too.
const PIECES_PER_POLL: usize = 1024;

/// Reads of what is left of a connection to which nothing can be written any more: more than the kernel's buffer holds.
const READS_AT_END: usize = 64;

/// See the module. Shared by the driving task and the streams.
#[derive(Debug)]
pub(super) struct Transport {
    tcp: TcpStream,
    role: Role,
    session: Mutex<SecuredSession>,
}

impl Transport {
    /// A connection whose handshake is over, and its lifetime. `budget`: what slow readers of its streams may make us hold.
    /// `has_request_streams`: whether requests may be streams of their own, where the peer says the same.
    pub(super) fn new(
        secured: Secured<TcpStream>,
        role: Role,
        budget: WindowBudget,
        age: AgeLimit,
        has_request_streams: bool,
    ) -> (Arc<Self>, Lifetime) {
        let Secured { stream, records, received, peer_expires, live, .. } = secured;
        let session = Mutex::new(SecuredSession::new(role, records, received, budget, has_request_streams));
        (Arc::new(Self { tcp: stream, role, session }), age.begin(live, peer_expires))
    }

    pub(super) fn session(&self) -> MutexGuard<'_, SecuredSession> {
        self.session.lock()
    }

    /// Whether the network has brought nothing that was not read.
    pub(super) fn is_silent(&self) -> bool {
        net::is_silent(&self.tcp)
    }

    /// Drives the session until the peer has said what it allows.
    ///
    /// # Errors
    /// Why the connection ended before that.
    pub(super) async fn ready(&self) -> Result<(), Arc<SessionError>> {
        poll_fn(|cx| match self.poll_drive(cx) {
            Poll::Ready(error) => Poll::Ready(Err(error)),
            Poll::Pending if self.session().http2.is_ready() => Poll::Ready(Ok(())),
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    /// Reads and writes what there is. Ready once the session is over, and whatever the network takes at once is sent.
    pub(super) fn poll_drive(&self, cx: &mut Context<'_>) -> Poll<Arc<SessionError>> {
        let mut session = self.session();
        session.http2.set_driver(cx.waker());
        session.receive_early();
        if session.http2.ended().is_none() {
            self.poll_receive(&mut session, cx);
        }
        let _ = self.poll_send(&mut session, cx);
        session.end_if_done();
        let Some(ended) = session.http2.ended().cloned() else { return Poll::Pending };
        // What is still to be sent, a GOAWAY last, leaves now or never: the peer may be long gone.
        let _ = self.poll_send(&mut session, cx);
        if session.is_all_sent() {
            let close_notify = session.close_notify();
            let _ = self.tcp.try_write(close_notify.as_ref());
        }
        if self.role == Role::Client {
            self.close();
        }
        Poll::Ready(ended)
    }

    /// Nobody drives the connection any more: its streams must not wait for it.
    pub(super) fn abandon(&self) {
        self.session().http2.end(SessionError::Aborted);
        self.close();
    }

    /// Closes the connection: streams may keep the socket for as long as their applications take to read what came. The server
    /// first gives its peer the time to close it ([`HboneServer::peer_closed`](super::HboneServer::peer_closed)).
    pub(super) fn close(&self) {
        // Fails where the peer has reset it already.
        let _ = SockRef::from(&self.tcp).shutdown(Shutdown::Both);
    }

    fn poll_receive(&self, session: &mut SecuredSession, cx: &mut Context<'_>) {
        let mut pieces = 0;
        for _ in 0..READS_PER_POLL {
            match self.tcp.poll_read_ready(cx) {
                Poll::Pending => return,
                Poll::Ready(Err(error)) => return session.http2.end(error.into()),
                Poll::Ready(Ok(())) => {}
            }
            match session.receive(|place| net::read(&self.tcp, place)) {
                Ok(Received::End) => return,
                // Where nothing is left the runtime knows it by now: the next turn of the loop asks it to say when there is.
                Ok(Received::More) | Err(_) => {}
            }
            pieces += session.pieces_read();
            if pieces > PIECES_PER_POLL {
                // The runtime looks at the sockets of other connections before it comes back. A task that wakes itself is
                // polled dozens of times before it does.
                let _ = pin!(tokio::task::yield_now()).poll(cx);
                return;
            }
        }
        cx.waker().wake_by_ref();
    }

    fn poll_send(&self, session: &mut SecuredSession, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let bytes = session.sealed_output();
            if bytes.is_empty() {
                return Poll::Ready(());
            }
            match self.tcp.try_write(bytes) {
                Ok(count) => session.sent(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if let Err(error) = ready!(self.tcp.poll_write_ready(cx)) {
                        self.end_after_rest(session, error);
                        return Poll::Ready(());
                    }
                }
                Err(error) => {
                    self.end_after_rest(session, error);
                    return Poll::Ready(());
                }
            }
        }
    }

    /// Ends a session to which nothing can be written any more. What the peer sent before is still in the kernel.
    fn end_after_rest(&self, session: &mut SecuredSession, error: io::Error) {
        for _ in 0..READS_AT_END {
            if session.http2.ended().is_some() || session.receive(|place| net::read(&self.tcp, place)).is_err() {
                break;
            }
        }
        session.http2.end(error.into());
    }

    /// Reads what the peer still sends on a connection that is over, until it closes.
    pub(super) async fn read_to_end(&self) {
        let mut ignored = [0; 256];
        while self.tcp.readable().await.is_ok() {
            match net::read(&self.tcp, &mut ignored) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }

    /// Ends the session at once, with a GOAWAY where the network takes it.
    pub(super) async fn abort(&self) -> Arc<SessionError> {
        self.session().http2.end(SessionError::Aborted);
        poll_fn(|cx| self.poll_drive(cx)).await
    }
}

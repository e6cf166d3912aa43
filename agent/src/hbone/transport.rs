//! A session on its TCP connection: the task that drives it reads and writes, and sleeps while there is neither to do.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use parking_lot::{Mutex, MutexGuard};
use tokio::net::TcpStream;

use super::error::SessionError;
use super::input::Received;
use super::session::{Session, Side};
use crate::net;
use crate::tls::records::RecordLayer;

/// Reads in a row before streams get their turn.
const READS: usize = 4;

/// See the module. Shared by the driving task and the streams.
#[derive(Debug)]
pub(super) struct Transport {
    tcp: TcpStream,
    session: Mutex<Session>,
}

impl Transport {
    pub(super) fn new(tcp: TcpStream, side: Side, records: RecordLayer, received: Vec<u8>) -> Arc<Self> {
        Arc::new(Self { tcp, session: Mutex::new(Session::new(side, records, received)) })
    }

    pub(super) fn session(&self) -> MutexGuard<'_, Session> {
        self.session.lock()
    }

    /// Reads and writes what there is. Ready once the session is over and the peer told of it as far as it listens.
    pub(super) fn poll_drive(&self, cx: &mut Context<'_>) -> Poll<Arc<SessionError>> {
        let mut session = self.session();
        session.set_driver(cx.waker());
        session.receive_early();
        if session.ended().is_none() {
            self.poll_receive(&mut session, cx);
        }
        let sent = self.poll_send(&mut session, cx);
        session.end_if_done();
        let Some(ended) = session.ended().cloned() else { return Poll::Pending };
        // What still has to be said leaves at once or not at all: the peer may be long gone.
        if sent.is_pending() && matches!(*ended, SessionError::Done) {
            return Poll::Pending;
        }
        let farewell = session.close_notify();
        let _ = self.tcp.try_write(farewell.as_ref());
        Poll::Ready(ended)
    }

    fn poll_receive(&self, session: &mut Session, cx: &mut Context<'_>) {
        for _ in 0..READS {
            match self.tcp.poll_read_ready(cx) {
                Poll::Pending => return,
                Poll::Ready(Err(error)) => return session.end(error.into()),
                Poll::Ready(Ok(())) => {}
            }
            match session.receive(|place| net::read(&self.tcp, place)) {
                Ok(Received::End) => return,
                // Where nothing is left the runtime knows it by now: the next turn of the loop asks it to say when there is.
                Ok(Received::More) | Err(_) => {}
            }
        }
        cx.waker().wake_by_ref();
    }

    fn poll_send(&self, session: &mut Session, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let bytes = session.sealed_output();
            if bytes.is_empty() {
                return Poll::Ready(());
            }
            match self.tcp.try_write(bytes) {
                Ok(count) => session.sent(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if let Err(error) = ready!(self.tcp.poll_write_ready(cx)) {
                        session.end(error.into());
                        return Poll::Ready(());
                    }
                }
                Err(error) => {
                    session.end(error.into());
                    return Poll::Ready(());
                }
            }
        }
    }

    /// Ends the session at once, and tells the peer as far as it listens.
    pub(super) async fn abort(&self) -> Arc<SessionError> {
        self.session().end(SessionError::Aborted);
        poll_fn(|cx| self.poll_drive(cx)).await
    }
}

//! Optimistic data: what an application sends before its tunnel is granted travels right behind the CONNECT request, and saves the round
//! trip that waiting for the answer costs. The peer is authenticated by then; it passes nothing on before it has granted the
//! tunnel, and discards what came if it refuses.
//!
//! A copy is kept until the answer is here: a peer that refuses, or has not seen the request, has passed nothing on, so the same bytes may
//! go to another one. If the connection breaks without an answer, nobody can tell, and nothing is sent again
//! ([`HboneError::may_have_delivered`](super::HboneError::may_have_delivered)).

use std::io::{self, IoSlice};
use std::task::{Context, Poll};

use bytes::BytesMut;
use parking_lot::Mutex;
use tokio::net::TcpStream;

use super::session::SecuredSession;
use crate::net;

/// What is read of an application before its tunnel is granted, at most. The rest waits in its socket.
const MOST_BYTES: usize = 8 * 1024;

/// What one application has sent before its tunnel is granted.
#[derive(Debug)]
pub(crate) struct OptimisticData<'a> {
    application: &'a TcpStream,
    /// All that was read of it, whether it was sent or not. Two futures of one task look at it: one opens the upstream, the other asks
    /// whether the application has sent anything before it left. The lock is never waited for; with a `RefCell` in its place the
    /// task could not move between threads.
    read: Mutex<BytesMut>,
}

impl<'a> OptimisticData<'a> {
    /// Of an application of which this was read already.
    pub(crate) fn new(application: &'a TcpStream, read: BytesMut) -> Self {
        Self { application, read: Mutex::new(read) }
    }

    /// Reads what the application has sent already.
    pub(crate) fn read_what_is_here(&self) {
        let mut read = self.read.lock();
        let room = room(&read);
        if room == 0 {
            return;
        }
        let held = read.len();
        read.resize(held + room, 0);
        // The end of its data, or its failure, is seen again once the tunnel is granted.
        let count = net::read_what_is_here(self.application, &mut read[held..]).unwrap_or(0);
        read.truncate(held + count);
        if read.is_empty() {
            *read = BytesMut::new();
        }
    }

    /// Whether nothing was read of the application.
    pub(crate) fn is_empty(&self) -> bool {
        self.read.lock().is_empty()
    }

    /// All that was read of the application.
    pub(crate) fn into_read(self) -> BytesMut {
        self.read.into_inner()
    }

    /// Sends what the application has sent and is not sent on this stream yet, of which `sent` bytes are. Why nothing more can be sent,
    /// whoever waits for the answer learns.
    pub(super) fn poll_send(&self, session: &mut SecuredSession, id: u32, sent: &mut usize, cx: &mut Context<'_>) {
        let mut read = self.read.lock();
        loop {
            while *sent < read.len() {
                match session.poll_lay(id, cx, &[IoSlice::new(&read[*sent..])]) {
                    Poll::Ready(Ok(count)) => *sent += count,
                    Poll::Ready(Err(_)) | Poll::Pending => return,
                }
            }
            if !self.read_more(&mut read, cx) {
                return;
            }
        }
    }

    /// Reads once. False where there is nothing to send for now.
    fn read_more(&self, read: &mut BytesMut, cx: &mut Context<'_>) -> bool {
        let room = room(read);
        if room == 0 || !matches!(self.application.poll_read_ready(cx), Poll::Ready(Ok(()))) {
            return false;
        }
        read.reserve(room);
        match self.application.try_read_buf(&mut bytes::BufMut::limit(&mut *read, room)) {
            // The end of its data, or its failure, is seen again once the tunnel is granted.
            Ok(count) => count > 0,
            // The next turn asks to be told when there is more.
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
    }
}

/// How many bytes more may be read of an application of which this was read.
fn room(read: &BytesMut) -> usize {
    MOST_BYTES.saturating_sub(read.len())
}

//! An HBONE stream as a sequence of bytes both ways, for protocols that the agent itself speaks with a peer's workload. A
//! stream that only passes an application's bytes on is [relayed](HboneStream::relay) instead, with fewer copies.

use std::io::{self, IoSlice, IoSliceMut};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::session::SecuredSession;
use super::stream::HboneStream;
use crate::h2::StreamError;

/// Records' worth that one write lays down at most.
const MAX_SLOTS: usize = 4;

impl AsyncRead for HboneStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.session().poll_take(self.id(), cx, buf)
    }
}

impl AsyncWrite for HboneStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.session().poll_lay(self.id(), cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.session().poll_lay(self.id(), cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The task that drives the connection sends what was laid down.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut session = self.session();
        if session.http2.stream(self.id()).is_some_and(|stream| !stream.local_ended()) {
            session.http2.end_stream(self.id());
        }
        Poll::Ready(Ok(()))
    }
}

impl SecuredSession {
    /// Hands over bytes that came for a stream, and gives their part of its window back. Nothing more means the end.
    fn poll_take(&mut self, id: u32, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Some(stream) = self.http2.stream_mut(id) else { return Poll::Ready(Err(broken(&StreamError::NotSeen))) };
        if let Some(failure) = stream.reset_midway() {
            return Poll::Ready(Err(broken(failure)));
        }
        let count = stream.attached.pending.take(buf);
        if count > 0 {
            self.http2.consumed(id, count);
            return Poll::Ready(Ok(()));
        }
        if stream.remote_ended() {
            return Poll::Ready(Ok(()));
        }
        if let Some(failure) = stream.failure() {
            return Poll::Ready(Err(broken(failure)));
        }
        stream.set_waker(cx.waker());
        Poll::Pending
    }

    /// Lays bytes down for a stream, as far as its window, that of the connection and the output go.
    pub(super) fn poll_lay(
        &mut self,
        id: u32,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_lay_part(id, cx, slices, false)
    }

    /// The same. `ends`: the stream ends with the last of these bytes, once that is laid down.
    pub(super) fn poll_lay_part(
        &mut self,
        id: u32,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
        ends: bool,
    ) -> Poll<io::Result<usize>> {
        let offered = slices.iter().map(|slice| slice.len()).sum();
        if offered == 0 {
            return Poll::Ready(Ok(0));
        }
        let limit = ready!(self.poll_send_room(id, cx))?.min(offered);
        let ends_after = ends.then_some(offered);
        let copy = |places: &mut [IoSliceMut<'_>]| Ok(copied(slices, places));
        match self.output.fill(&mut self.records, id, limit, MAX_SLOTS, ends_after, copy) {
            Ok(count) if ends_after == Some(count) => {
                self.http2.last_data_sent(id, count);
                Poll::Ready(Ok(count))
            }
            Ok(count) => {
                self.http2.data_sent(id, count);
                Poll::Ready(Ok(count))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.http2.wait_for_room(id);
                Poll::Pending
            }
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    /// How many bytes may be laid down for a stream now.
    fn poll_send_room(&mut self, id: u32, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Some(stream) = self.http2.stream_mut(id) else { return Poll::Ready(Err(broken(&StreamError::NotSeen))) };
        if let Some(failure) = stream.failure() {
            return Poll::Ready(Err(broken(failure)));
        }
        if stream.local_ended() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        stream.set_waker(cx.waker());
        let window = stream.send_window();
        if window <= 0 {
            return Poll::Pending;
        }
        let connection = self.http2.connection_send_window();
        if connection <= 0 || !self.has_room() {
            self.http2.wait_for_room(id);
            return Poll::Pending;
        }
        Poll::Ready(Ok(usize::try_from(window.min(connection)).unwrap_or(0)))
    }
}

/// Copies bytes from one list of places to another, as far as both go. Returns how many.
fn copied(from: &[IoSlice<'_>], to: &mut [IoSliceMut<'_>]) -> usize {
    let mut places = to.iter_mut().map(|place| &mut place[..]);
    let (mut room, mut total): (&mut [u8], _) = (&mut [], 0);
    for slice in from {
        let mut rest = &slice[..];
        while !rest.is_empty() {
            if room.is_empty() {
                let Some(next) = places.next() else { return total };
                room = next;
            }
            let count = room.len().min(rest.len());
            let (now, later) = rest.split_at(count);
            let (filled, free) = std::mem::take(&mut room).split_at_mut(count);
            filled.copy_from_slice(now);
            (rest, room, total) = (later, free, total + count);
        }
    }
    total
}

fn broken(failure: &StreamError) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, failure.clone())
}

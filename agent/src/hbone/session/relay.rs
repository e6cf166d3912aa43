//! A stream joined to an application's connection: what the application says is read straight into the output, and what
//! came for it is delivered as its socket takes it.

use std::io::{self, IoSliceMut};
use std::task::{Context, Poll, ready};

use super::stream::Attached;
use super::{Session, StreamError, frame, kind};
use crate::h2::frame::flag;
use crate::net;

/// Reads of one application, and writes to it, before others get their turn.
const TURNS: usize = 4;
/// Records' worth that an application is read at once, at most.
const MOST_SLOTS: usize = 16;

/// How a joined stream broke.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    #[error("application: {0}")]
    Application(#[source] io::Error),
    #[error("HBONE stream: {0}")]
    Stream(#[source] StreamError),
}

impl Session {
    /// Joins a stream to an application's connection; what came already is delivered at the next poll.
    pub(in crate::hbone) fn attach(&mut self, id: u32, app: Attached) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.app = Some(app);
        }
    }

    /// Moves what can be moved, until both directions are done or one breaks.
    pub(in crate::hbone) fn poll_join(&mut self, id: u32, cx: &mut Context<'_>) -> Poll<Result<(), JoinError>> {
        let Some(stream) = self.streams.get_mut(&id) else {
            return Poll::Ready(Err(JoinError::Stream(StreamError::NotSeen)));
        };
        if !stream.waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            stream.waker = Some(cx.waker().clone());
        }
        let receiving = self.poll_deliver(id, cx)?;
        let sending = self.poll_take(id, cx)?;
        if receiving.is_ready() && sending.is_ready() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    /// Delivers what waits; ready once the application has all of it and knows that it is all.
    fn poll_deliver(&mut self, id: u32, cx: &mut Context<'_>) -> Poll<Result<(), JoinError>> {
        loop {
            let Some(stream) = self.streams.get_mut(&id) else { return Poll::Ready(Ok(())) };
            if let Some(error) = stream.app_error.take() {
                return Poll::Ready(Err(JoinError::Application(error)));
            }
            if stream.app_ended {
                return Poll::Ready(Ok(()));
            }
            // A reset overtakes what was not delivered, as it does in TCP.
            if let Some(failure) = stream.failure.as_ref().filter(|_| !stream.is_only_unheard()) {
                return Poll::Ready(Err(JoinError::Stream(failure.clone())));
            }
            if stream.pending.is_empty() {
                stream.end_app();
                if stream.app_ended || stream.app_error.is_some() {
                    continue;
                }
                return Poll::Pending;
            }
            let Some(app) = stream.app.clone() else { return Poll::Pending };
            ready!(app.tcp.poll_write_ready(cx)).map_err(JoinError::Application)?;
            match stream.deliver_pending() {
                Ok(taken) => self.delivered(id, taken),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(JoinError::Application(error))),
            }
        }
    }

    /// Takes what the application says; ready once it has said its last.
    fn poll_take(&mut self, id: u32, cx: &mut Context<'_>) -> Poll<Result<(), JoinError>> {
        for _ in 0..TURNS {
            let Some(stream) = self.streams.get_mut(&id) else { return Poll::Ready(Ok(())) };
            if stream.local_ended {
                return Poll::Ready(Ok(()));
            }
            let Some(app) = stream.app.clone() else { return Poll::Pending };
            if stream.is_only_unheard() && !stream.app_ended {
                // Whatever the application still says breaks the connection: not before it has all that came for it.
                return Poll::Pending;
            }
            if stream.failure.is_none() && stream.send_window <= 0 {
                return Poll::Pending;
            }
            if self.send_window <= 0 || !self.output.has_room() {
                self.wait_for_room(id);
                return Poll::Pending;
            }
            ready!(app.tcp.poll_read_ready(cx)).map_err(JoinError::Application)?;
            match self.take(id, &app) {
                Ok(0) => {
                    self.end_stream(id);
                    return Poll::Ready(Ok(()));
                }
                Ok(_) if let Some(failure) = self.streams.get(&id).and_then(|stream| stream.failure.clone()) => {
                    // The peer is gone that this was for.
                    return Poll::Ready(Err(JoinError::Stream(failure)));
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(JoinError::Application(error))),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Reads the application once, straight into the output.
    fn take(&mut self, id: u32, app: &Attached) -> io::Result<usize> {
        let Some(stream) = self.streams.get_mut(&id) else { return Ok(0) };
        let window = stream.send_window.min(self.send_window);
        let limit = if stream.failure.is_some() { 1 } else { usize::try_from(window).unwrap_or(0) };
        let (slots, mut offered) = (stream.slots, 0);
        let count = self.output.fill(&mut self.records, id, limit, slots, |places: &mut [IoSliceMut<'_>]| {
            offered = places.iter().map(|place| place.len()).sum();
            net::read_vectored(&app.tcp, places)
        })?;
        // A full read shows that there is more; a short one that little is said at a time.
        stream.slots = if count == offered { (slots * 4).min(MOST_SLOTS) } else { (slots / 2).max(1) };
        let taken = i64::try_from(count).expect("no more than a chunk");
        stream.send_window -= taken;
        self.send_window -= taken;
        app.end.count_read(&app.bytes, count);
        self.wake_driver();
        Ok(count)
    }

    fn end_stream(&mut self, id: u32) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        stream.local_ended = true;
        if stream.failure.is_none() {
            self.put(&frame::frame(kind::DATA, flag::END_STREAM, id, &[]));
        }
    }

    fn wait_for_room(&mut self, id: u32) {
        if let Some(stream) = self.streams.get_mut(&id).filter(|stream| !stream.waits) {
            stream.waits = true;
            self.waiting.push_back(id);
        }
    }
}

//! Relaying a stream to an application's connection: what the application sends is read straight into the output, and what
//! came for it is delivered as its socket accepts it.

use std::io::{self, IoSliceMut};
use std::task::{Context, Poll, ready};

use super::application::Application;
use super::session::SecuredSession;
use crate::h2::StreamError;
use crate::net;

/// Reads of one application in a row before other streams get their turn.
const READS_PER_POLL: usize = 4;
/// Records' worth that an application is read at once, at most.
const MAX_SLOTS: usize = 16;

/// How a relayed stream broke.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RelayError {
    #[error("application: {0}")]
    Application(#[source] io::Error),
    #[error("HBONE stream: {0}")]
    Stream(#[source] StreamError),
}

impl SecuredSession {
    /// Gives a stream its application; what came already is delivered at the next poll.
    pub(super) fn attach(&mut self, id: u32, application: Application) {
        if let Some(stream) = self.http2.stream_mut(id) {
            stream.attached.application = Some(application);
        }
    }

    /// Moves what can be moved, until both directions are done or one breaks.
    pub(super) fn poll_relay(&mut self, id: u32, cx: &mut Context<'_>) -> Poll<Result<(), RelayError>> {
        let Some(stream) = self.http2.stream_mut(id) else {
            return Poll::Ready(Err(RelayError::Stream(StreamError::NotSeen)));
        };
        stream.set_waker(cx.waker());
        let receiving = self.poll_deliver(id, cx)?;
        let sending = self.poll_send(id, cx)?;
        if receiving.is_ready() && sending.is_ready() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    /// Delivers what waits; ready once the application has all of it and knows that it is all.
    fn poll_deliver(&mut self, id: u32, cx: &mut Context<'_>) -> Poll<Result<(), RelayError>> {
        loop {
            let Some(stream) = self.http2.stream_mut(id) else { return Poll::Ready(Ok(())) };
            if let Some(error) = stream.attached.error.take() {
                return Poll::Ready(Err(RelayError::Application(error)));
            }
            if stream.attached.is_shut_down {
                return Poll::Ready(Ok(()));
            }
            // A reset overtakes what was not delivered, as it does in TCP.
            if let Some(failure) = stream.failure().filter(|_| !stream.peer_stopped_reading()) {
                return Poll::Ready(Err(RelayError::Stream(failure.clone())));
            }
            if stream.attached.pending.is_empty() {
                if stream.remote_ended() && stream.attached.shut_down() {
                    stream.wake();
                    continue;
                }
                return Poll::Pending;
            }
            let Some(app) = stream.attached.application.clone() else { return Poll::Pending };
            ready!(app.tcp.poll_write_ready(cx)).map_err(RelayError::Application)?;
            match stream.attached.deliver_pending() {
                Ok(accepted) => self.http2.consumed(id, accepted),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(RelayError::Application(error))),
            }
        }
    }

    /// Sends what the application sends; ready once that was all.
    fn poll_send(&mut self, id: u32, cx: &mut Context<'_>) -> Poll<Result<(), RelayError>> {
        for _ in 0..READS_PER_POLL {
            let Some(stream) = self.http2.stream(id) else { return Poll::Ready(Ok(())) };
            if stream.local_ended() {
                return Poll::Ready(Ok(()));
            }
            let Some(app) = stream.attached.application.clone() else { return Poll::Pending };
            if stream.peer_stopped_reading() && !stream.attached.is_shut_down {
                // Whatever the application still sends breaks the connection: not before it has all that came for it.
                return Poll::Pending;
            }
            if stream.failure().is_none() && stream.send_window() <= 0 {
                return Poll::Pending;
            }
            if self.http2.connection_send_window() <= 0 || !self.has_room() {
                self.http2.wait_for_room(id);
                return Poll::Pending;
            }
            ready!(app.tcp.poll_read_ready(cx)).map_err(RelayError::Application)?;
            match self.read_application(id, &app) {
                Ok(0) => {
                    self.http2.end_stream(id);
                    return Poll::Ready(Ok(()));
                }
                Ok(_) if let Some(failure) = self.http2.stream(id).and_then(|stream| stream.failure()) => {
                    // The peer is gone that this was for.
                    return Poll::Ready(Err(RelayError::Stream(failure.clone())));
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(RelayError::Application(error))),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Reads the application once, straight into the output. Returns how many bytes came; zero is its end.
    fn read_application(&mut self, id: u32, app: &Application) -> io::Result<usize> {
        let connection_window = self.http2.connection_send_window();
        let Some(stream) = self.http2.stream(id) else { return Ok(0) };
        let window = stream.send_window().min(connection_window);
        let limit = if stream.failure().is_some() { 1 } else { usize::try_from(window).unwrap_or(0) };
        let (slots, mut offered) = (stream.attached.slots, 0);
        let read = |places: &mut [IoSliceMut<'_>]| {
            offered = places.iter().map(|place| place.len()).sum();
            net::read_vectored(&app.tcp, places)
        };
        let count = self.output.fill(&mut self.records, id, limit, slots, read)?;
        if let Some(stream) = self.http2.stream_mut(id) {
            // A full read shows that there is more; a short one that little is sent at a time.
            stream.attached.slots = if count == offered { (slots * 4).min(MAX_SLOTS) } else { (slots / 2).max(1) };
        }
        self.http2.data_sent(id, count);
        app.end.count_read(&app.bytes, count);
        Ok(count)
    }
}

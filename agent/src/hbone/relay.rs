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
            if let Some(failure) = stream.reset_midway() {
                return Poll::Ready(Err(RelayError::Stream(failure.clone())));
            }
            if stream.attached.pending.is_empty() {
                if stream.remote_ended() && stream.attached.shut_down() {
                    stream.wake();
                    continue;
                }
                // Cut off by the end of its connection: the application has all that came before.
                return match stream.failure() {
                    Some(failure) if !stream.remote_ended() => Poll::Ready(Err(RelayError::Stream(failure.clone()))),
                    _ => Poll::Pending,
                };
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
            if let Some(failure) = stream.failure().cloned() {
                // Not before the application has all that came for it.
                return if stream.attached.is_shut_down { poll_nothing_sent(&app, failure, cx) } else { Poll::Pending };
            }
            if stream.send_window() <= 0 {
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
        let limit = usize::try_from(stream.send_window().min(connection_window)).unwrap_or(0);
        let (slots, mut offered) = (stream.attached.slots, 0);
        let read = |places: &mut [IoSliceMut<'_>]| {
            offered = places.iter().map(|place| place.len()).sum();
            net::read_vectored(&app.tcp, places)
        };
        let count = self.output.fill(&mut self.records, id, limit, slots, None, read)?;
        if let Some(stream) = self.http2.stream_mut(id) {
            // A full read shows that there is more; a short one that little is sent at a time.
            stream.attached.slots = if count == offered { (slots * 4).min(MAX_SLOTS) } else { (slots / 2).max(1) };
        }
        self.http2.data_sent(id, count);
        app.end.count_read(&app.bytes, count);
        Ok(count)
    }
}

/// Waits for the end of an application whose stream is broken, and that has all that came for it. Whatever it still sends is
/// for nobody, and breaks its connection, too.
fn poll_nothing_sent(app: &Application, failure: StreamError, cx: &mut Context<'_>) -> Poll<Result<(), RelayError>> {
    loop {
        ready!(app.tcp.poll_read_ready(cx)).map_err(RelayError::Application)?;
        match app.tcp.try_read(&mut [0]) {
            Ok(0) => return Poll::Ready(Ok(())),
            Ok(_) => return Poll::Ready(Err(RelayError::Stream(failure))),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Poll::Ready(Err(RelayError::Application(error))),
        }
    }
}

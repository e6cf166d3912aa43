//! The application's side of a stream: its socket, and what came for it that the socket did not accept yet.

use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use socket2::SockRef;
use tokio::net::TcpStream;

use super::waiting::Waiting;
use crate::telemetry::connection::ByteCounts;

/// Blocks of what waits that one system call offers to a socket.
const SLICES_PER_WRITE: usize = 16;

/// Which of a connection's two ends a plain TCP socket of ours leads to: it decides which way its bytes count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TcpEnd {
    /// The socket is the source's.
    Source,
    /// The socket is the destination's.
    Destination,
}

impl TcpEnd {
    /// Counts bytes that were read from the socket.
    pub(super) fn count_read(self, bytes: &ByteCounts, count: usize) {
        add(if self == Self::Source { &bytes.to_destination } else { &bytes.to_source }, count);
    }

    /// Counts bytes that were written to the socket.
    fn count_written(self, bytes: &ByteCounts, count: usize) {
        add(if self == Self::Source { &bytes.to_source } else { &bytes.to_destination }, count);
    }
}

fn add(counter: &AtomicU64, count: usize) {
    counter.fetch_add(count as u64, Ordering::Relaxed);
}

/// An application's connection, as a stream is relayed to it.
#[derive(Debug, Clone)]
pub(super) struct Application {
    pub(super) tcp: Arc<TcpStream>,
    pub(super) end: TcpEnd,
    pub(super) bytes: Arc<ByteCounts>,
}

/// What an HTTP/2 stream knows of its application.
#[derive(Debug)]
pub(super) struct ApplicationSide {
    pub(super) application: Option<Application>,
    /// What the application's socket did not accept yet.
    pub(super) pending: Waiting,
    /// Whether the end of the peer's side was passed on to the application (FIN).
    pub(super) is_shut_down: bool,
    pub(super) error: Option<io::Error>,
    /// How many records' worth the application is read at once.
    pub(super) slots: usize,
    /// Whether it is known if the stream carries requests.
    pub(super) is_content_known: bool,
}

impl Default for ApplicationSide {
    fn default() -> Self {
        Self {
            application: None,
            pending: Waiting::default(),
            is_shut_down: false,
            error: None,
            slots: 1,
            is_content_known: false,
        }
    }
}

impl ApplicationSide {
    /// Whether the stream's own task has something to do: to deliver the rest, or to report the error.
    pub(super) fn needs_task(&self) -> bool {
        !self.pending.is_empty() || self.error.is_some()
    }

    /// Hands bytes to the application as far as its socket accepts them, and keeps the rest for when it does. Returns how
    /// many the socket accepted.
    pub(super) fn deliver(&mut self, slices: &[IoSlice<'_>]) -> usize {
        let mut accepted = 0;
        if self.pending.is_empty()
            && let Some(app) = &self.application
            && self.error.is_none()
        {
            match app.tcp.try_write_vectored(slices) {
                Ok(count) => accepted = count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => self.error = Some(error),
            }
            app.end.count_written(&app.bytes, accepted);
        }
        let mut skip = accepted;
        for slice in slices {
            let left = slice.get(skip..).unwrap_or_default();
            skip = skip.saturating_sub(slice.len());
            self.pending.push(left);
        }
        accepted
    }

    /// Delivers again what waits. Returns how many bytes the socket accepted.
    ///
    /// # Errors
    /// `WouldBlock` while it accepts none; those of write(2).
    pub(super) fn deliver_pending(&mut self) -> io::Result<usize> {
        let Some(app) = &self.application else { return Ok(0) };
        let mut slices = [IoSlice::new(&[]); SLICES_PER_WRITE];
        let used = self.pending.slices(&mut slices);
        let count = app.tcp.try_write_vectored(&slices[..used])?;
        app.end.count_written(&app.bytes, count);
        self.pending.advance(count);
        Ok(count)
    }

    /// Tells the application that the peer has ended its side, once it has all that the peer sent. Returns whether that
    /// changed anything.
    pub(super) fn shut_down(&mut self) -> bool {
        let Some(app) = self.application.as_ref().filter(|_| self.pending.is_empty() && !self.is_shut_down) else {
            return false;
        };
        self.is_shut_down = true;
        match SockRef::from(&*app.tcp).shutdown(Shutdown::Write) {
            // An application that has closed both directions needs no FIN.
            Err(error) if error.kind() != io::ErrorKind::NotConnected => self.error = Some(error),
            _ => {}
        }
        true
    }
}

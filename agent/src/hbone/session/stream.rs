//! One stream's state, and what came for it on its way to the application.

use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::sync::Arc;
use std::task::Waker;

use bytes::{Buf as _, BytesMut};
use http::HeaderMap;
use socket2::SockRef;
use tokio::net::TcpStream;

use crate::h2::frame::Reason;
use crate::hbone::error::StreamError;
use crate::hbone::tcp_end::TcpEnd;
use crate::telemetry::connection::ByteCounts;

/// The head of a request or of an answer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::hbone) struct Head {
    pub(in crate::hbone) method: Option<String>,
    pub(in crate::hbone) authority: Option<String>,
    pub(in crate::hbone) status: Option<u16>,
    /// Whether it names a path, a scheme or a protocol.
    pub(super) has_target: bool,
    pub(in crate::hbone) fields: HeaderMap,
}

/// The application's side of a stream.
#[derive(Debug, Clone)]
pub(in crate::hbone) struct Attached {
    pub(in crate::hbone) tcp: Arc<TcpStream>,
    pub(in crate::hbone) end: TcpEnd,
    pub(in crate::hbone) bytes: Arc<ByteCounts>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Stream {
    /// What we may still send.
    pub(super) send_window: i64,
    /// What the peer may still send, and what it does not know yet that it may send again.
    pub(super) receive_window: i64,
    pub(super) receive_credit: u32,
    /// Whether our side, and the peer's, said its last.
    pub(super) local_ended: bool,
    pub(super) remote_ended: bool,
    pub(super) failure: Option<StreamError>,
    /// Whether the answer to our request came, and the answer until it is taken.
    pub(super) answered: bool,
    pub(super) answer: Option<Head>,
    pub(super) app: Option<Attached>,
    /// What the application's socket did not take yet.
    pub(super) pending: BytesMut,
    /// Whether the application was told that the peer is done.
    pub(super) app_ended: bool,
    pub(super) app_error: Option<io::Error>,
    /// How many records' worth the application is read at once.
    pub(super) slots: usize,
    /// Whether it is in line for room in the output.
    pub(super) waits: bool,
    pub(super) waker: Option<Waker>,
}

impl Stream {
    pub(super) fn new(send_window: i64, receive_window: u32) -> Self {
        Self {
            send_window,
            receive_window: receive_window.into(),
            receive_credit: 0,
            local_ended: false,
            remote_ended: false,
            failure: None,
            answered: false,
            answer: None,
            app: None,
            pending: BytesMut::new(),
            app_ended: false,
            app_error: None,
            slots: 1,
            waits: false,
            waker: None,
        }
    }

    pub(super) fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    /// Whether the peer has said all that it had to say and wants to hear no more. What it said stands, and is delivered
    /// (RFC 9113 §8.1): Envoy does so whenever the server behind it ends first.
    pub(super) fn is_only_unheard(&self) -> bool {
        self.remote_ended && matches!(&self.failure, Some(StreamError::Reset(reason)) if *reason == Reason::NO_ERROR)
    }

    /// Breaks the stream; the first reason stays.
    pub(super) fn fail(&mut self, error: StreamError) {
        self.failure.get_or_insert(error);
        self.wake();
    }

    /// Hands bytes to the application as far as its socket takes them, and keeps the rest for when it does. Returns how
    /// many the socket took.
    pub(super) fn deliver(&mut self, slices: &[IoSlice<'_>]) -> usize {
        let mut taken = 0;
        if self.pending.is_empty()
            && let Some(app) = &self.app
            && self.app_error.is_none()
        {
            match app.tcp.try_write_vectored(slices) {
                Ok(count) => taken = count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => self.app_error = Some(error),
            }
            app.end.count_written(&app.bytes, taken);
        }
        let mut skip = taken;
        for slice in slices {
            let left = slice.get(skip..).unwrap_or_default();
            skip = skip.saturating_sub(slice.len());
            self.pending.extend_from_slice(left);
        }
        if !self.pending.is_empty() {
            self.wake();
        }
        taken
    }

    /// Delivers again what waits. Returns how many bytes the socket took.
    pub(super) fn deliver_pending(&mut self) -> io::Result<usize> {
        let Some(app) = &self.app else { return Ok(0) };
        let count = app.tcp.try_write(&self.pending)?;
        app.end.count_written(&app.bytes, count);
        self.pending.advance(count);
        if self.pending.is_empty() {
            self.pending = BytesMut::new();
        }
        Ok(count)
    }

    /// Tells the application that the peer is done, once it has all that the peer sent.
    pub(super) fn end_app(&mut self) {
        let Some(app) = self.app.as_ref().filter(|_| self.remote_ended && self.pending.is_empty() && !self.app_ended)
        else {
            return;
        };
        self.app_ended = true;
        match SockRef::from(&*app.tcp).shutdown(Shutdown::Write) {
            // An application that is done in both directions has nothing left to be told.
            Err(error) if error.kind() != io::ErrorKind::NotConnected => self.app_error = Some(error),
            _ => {}
        }
        self.wake();
    }
}

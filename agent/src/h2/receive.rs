//! What the peer's frames mean. DATA is in `data`, HEADERS and CONTINUATION in `headers`.

use super::error::{SessionError, StreamError};
use super::frame::{self, FrameHeader, Reason, flag, kind, setting};
use super::headers::{PRIORITY_BYTES, check_priority};
use super::reader::Piece;
use super::session::{GOAWAY_PING, Goaway, Session};
use super::settings::Role;
use super::window::LARGEST_WINDOW;

/// What the owner has to do about something that the peer sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event<'a> {
    /// Nothing; requests and responses are asked for by themselves.
    None,
    /// Data for a stream, which counts as unconsumed until the owner says otherwise. `end`: its last.
    Data { stream: u32, bytes: &'a [u8], end: bool },
    /// A stream's last data came before: the peer has ended its side.
    Ended { stream: u32 },
}

impl<A: Default> Session<A> {
    /// What the peer has to have done by now.
    ///
    /// # Errors
    /// When it has not acknowledged our settings in time (RFC 9113 §6.5.3).
    pub(crate) fn check_in_time(&self) -> Result<(), SessionError> {
        self.pace.check_settings_ack()
    }

    /// Answers for what the peer sent. After an error the owner [ends](Self::end) the session with it.
    ///
    /// # Errors
    /// When the peer broke a rule of the connection, or ended it.
    pub(crate) fn receive<'a>(&mut self, piece: Piece<'a>) -> Result<Event<'a>, SessionError> {
        match piece {
            Piece::Data { stream, bytes, counted, end } => self.data(stream, bytes, counted, end),
            Piece::Frame(header, payload) => {
                self.pace.count(1)?;
                let ended = self.frame(header, &payload)?;
                Ok(ended.map_or(Event::None, |stream| Event::Ended { stream }))
            }
        }
    }

    /// Handles a frame that is no DATA. Returns the stream that it ended, if it did.
    fn frame(&mut self, header: FrameHeader, payload: &[u8]) -> Result<Option<u32>, SessionError> {
        if self.blocks.is_open() && header.kind != kind::CONTINUATION {
            return Err(SessionError::protocol("a header block is interrupted"));
        }
        if !self.peer.received && header.kind != kind::SETTINGS {
            return Err(SessionError::protocol("the first frame is not SETTINGS"));
        }
        match header.kind {
            kind::HEADERS => return self.headers(header, payload),
            kind::CONTINUATION => return self.continuation(header, payload),
            kind::RST_STREAM => self.reset(header.stream, payload)?,
            kind::SETTINGS => self.settings(header, payload)?,
            kind::PING => self.ping(header, payload)?,
            kind::GOAWAY => self.goaway(header.stream, payload)?,
            kind::WINDOW_UPDATE => self.window_update(header.stream, payload)?,
            kind::PRIORITY if payload.len() == PRIORITY_BYTES && header.stream != 0 => {
                check_priority(header.stream, payload)?;
            }
            kind::PRIORITY if header.stream != 0 => return Err(SessionError::frame_size()),
            kind::PRIORITY | kind::PUSH_PROMISE => {
                return Err(SessionError::protocol("a frame that has no place here"));
            }
            // RFC 9113 §4.1: types that we do not know are ignored.
            _ => {}
        }
        Ok(None)
    }

    fn reset(&mut self, id: u32, payload: &[u8]) -> Result<(), SessionError> {
        let reason = Reason(u32::from_be_bytes(payload.try_into().map_err(|_| SessionError::frame_size())?));
        if id == 0 || self.is_idle(id) {
            return Err(SessionError::protocol("a reset of no stream"));
        }
        self.sendable_changed = true;
        if let Some(stream) = self.streams.table.get_mut(&id) {
            stream.remote_reset = true;
            stream.fail(match reason {
                Reason::REFUSED_STREAM => StreamError::NotSeen,
                reason => StreamError::Reset(reason),
            });
        }
        Ok(())
    }

    fn settings(&mut self, header: FrameHeader, payload: &[u8]) -> Result<(), SessionError> {
        if header.stream != 0 {
            return Err(SessionError::protocol("settings of a stream"));
        }
        if header.has(flag::ACK) {
            self.peer.acknowledged_ours = true;
            self.pace.settings_sent = None;
            return if payload.is_empty() { Ok(()) } else { Err(SessionError::frame_size()) };
        }
        let (settings, []) = payload.as_chunks::<6>() else { return Err(SessionError::frame_size()) };
        self.peer.received = true;
        let mut initial_window = None;
        for [high, low, value @ ..] in settings {
            let value = u32::from_be_bytes(*value);
            match u16::from_be_bytes([*high, *low]) {
                setting::HEADER_TABLE_SIZE => self.blocks.encoder.limit_table(value),
                setting::MAX_CONCURRENT_STREAMS => self.peer.max_streams = value,
                setting::INITIAL_WINDOW_SIZE if i64::from(value) > LARGEST_WINDOW => {
                    return Err(SessionError::window_overrun());
                }
                setting::INITIAL_WINDOW_SIZE => initial_window = Some(value.into()),
                setting::MAX_HEADER_LIST_SIZE => self.peer.max_header_list = value,
                setting::REQUEST_STREAMS => self.peer.has_request_streams = value == 1,
                setting::MAX_FRAME_SIZE if !(1 << 14..1 << 24).contains(&value) => {
                    return Err(SessionError::protocol("a maximal frame size that is not allowed"));
                }
                setting::ENABLE_PUSH if value > 1 => {
                    return Err(SessionError::protocol("ENABLE_PUSH is neither 0 nor 1"));
                }
                // Our frames are never longer than the smallest maximum.
                _ => {}
            }
        }
        // Once for each frame, however often it names it: every stream is touched.
        if let Some(window) = initial_window {
            self.set_initial_window(window)?;
        }
        self.send(|out| frame::append(out, kind::SETTINGS, flag::ACK, 0, &[]));
        Ok(())
    }

    /// RFC 9113 §6.9.2: a new initial window changes the windows of all streams.
    fn set_initial_window(&mut self, window: i64) -> Result<(), SessionError> {
        self.pace.count(self.streams.table.len())?;
        let change = window - self.peer.initial_window;
        self.peer.initial_window = window;
        self.sendable_changed = true;
        for stream in self.streams.table.values_mut() {
            stream.windows.grow_send(change)?;
            if self.usage.wakes_for_window {
                stream.wake();
            }
        }
        Ok(())
    }

    fn ping(&mut self, header: FrameHeader, payload: &[u8]) -> Result<(), SessionError> {
        if payload.len() != 8 {
            return Err(SessionError::frame_size());
        }
        if header.stream != 0 {
            return Err(SessionError::protocol("a ping of a stream"));
        }
        if !header.has(flag::ACK) {
            self.send(|out| frame::append(out, kind::PING, flag::ACK, 0, payload));
        } else if payload != GOAWAY_PING {
            self.liveness.acknowledged(payload);
        } else if self.shutdown.goaway == Goaway::Announced {
            // Whatever the peer opened before it read our GOAWAY has arrived by now.
            self.shutdown.goaway = Goaway::Final;
            let last = self.streams.last_remote;
            self.send(|out| frame::append_goaway(out, last, Reason::NO_ERROR));
        }
        Ok(())
    }

    fn goaway(&mut self, id: u32, payload: &[u8]) -> Result<(), SessionError> {
        let Some((last, code)) = payload.split_first_chunk::<4>() else { return Err(SessionError::frame_size()) };
        let Some(code) = code.first_chunk::<4>() else { return Err(SessionError::frame_size()) };
        if id != 0 {
            return Err(SessionError::protocol("a GOAWAY of a stream"));
        }
        let (last, reason) = (u32::from_be_bytes(*last) & 0x7fff_ffff, Reason(u32::from_be_bytes(*code)));
        self.shutdown.peer_last_stream = Some(last);
        self.sendable_changed = true;
        if self.role == Role::Client {
            for (_, stream) in self.streams.table.iter_mut().filter(|(id, _)| **id > last) {
                stream.fail(StreamError::NotSeen);
            }
        }
        if reason == Reason::NO_ERROR { Ok(()) } else { Err(SessionError::GoAway(reason)) }
    }

    fn window_update(&mut self, id: u32, payload: &[u8]) -> Result<(), SessionError> {
        let increment = u32::from_be_bytes(payload.try_into().map_err(|_| SessionError::frame_size())?) & 0x7fff_ffff;
        if increment == 0 && id == 0 {
            return Err(SessionError::protocol("a window grows by nothing"));
        }
        self.sendable_changed = true;
        if id == 0 {
            self.windows.grow_send(increment.into())?;
            self.stalled_since = None;
            self.pace.count(self.streams.waiting.len())?;
            self.wake_waiting();
            return Ok(());
        }
        if self.is_idle(id) {
            return Err(SessionError::protocol("a window of an idle stream"));
        }
        let Some(stream) = self.streams.table.get_mut(&id) else { return Ok(()) };
        let is_overrun = stream.windows.grow_send(increment.into()).is_err();
        if increment == 0 || is_overrun {
            let reason = if increment == 0 { Reason::PROTOCOL_ERROR } else { Reason::FLOW_CONTROL_ERROR };
            stream.fail(StreamError::Reset(reason));
            self.send(|out| frame::append_reset(out, id, reason));
            return Ok(());
        }
        if self.usage.wakes_for_window {
            stream.wake();
        }
        Ok(())
    }
}

//! What the peer's frames mean, but for those that make up a head: `heads`.

use std::io::IoSlice;

use super::{
    CONNECTION_WINDOW_BYTES, LEAVING_PING, Leaving, Reason, STREAM_WINDOW_BYTES, Session, SessionError, Side,
    StreamError, frame, kind, setting,
};
use crate::h2::frame::{FrameHeader, flag};
use crate::hbone::input::{Piece, Pieces};

/// A window never grows beyond this (RFC 9113 §6.9.1).
const LARGEST_WINDOW: i64 = (1 << 31) - 1;

/// Data of one stream, gathered over several frames for one write.
#[derive(Default)]
struct Delivery<'a> {
    stream: u32,
    slices: Vec<IoSlice<'a>>,
}

impl Session {
    /// Handles all that one read brought.
    pub(super) fn handle(&mut self, mut pieces: Pieces<'_, '_>) -> Result<(), SessionError> {
        let mut delivery = Delivery::default();
        while let Some(piece) = pieces.next()? {
            match piece {
                _ if self.ended.is_some() => return Ok(()),
                Piece::Data { stream, bytes, counted, end } => {
                    let wanted = self.count_data(stream, bytes, counted)?;
                    if delivery.stream != stream {
                        self.deliver(&mut delivery);
                        delivery.stream = stream;
                    }
                    if wanted && !bytes.is_empty() {
                        delivery.slices.push(IoSlice::new(bytes));
                    }
                    if wanted && end {
                        self.deliver(&mut delivery);
                        self.remote_ended(stream);
                    }
                }
                Piece::Frame(header, payload) => {
                    self.deliver(&mut delivery);
                    self.frame(header, &payload)?;
                }
            }
        }
        self.deliver(&mut delivery);
        Ok(())
    }

    /// Counts data against the windows. Returns whether anybody is there to take it.
    fn count_data(&mut self, id: u32, bytes: &[u8], counted: u32) -> Result<bool, SessionError> {
        if self.open_head.is_some() {
            return Err(SessionError::protocol("data inside a header block"));
        }
        self.receive_window -= i64::from(counted);
        self.receive_credit += counted;
        if self.receive_window < 0 {
            return Err(overflow());
        }
        self.credit_connection();
        let Some(stream) = self.streams.get_mut(&id) else {
            return if self.is_idle(id) { Err(SessionError::protocol("data on an idle stream")) } else { Ok(false) };
        };
        if stream.remote_ended {
            return Err(SessionError::Protocol {
                reason: Reason::STREAM_CLOSED,
                what: "data after the end of a stream",
            });
        }
        if self.side == Side::Client && !stream.answered {
            return Err(SessionError::protocol("data before the answer"));
        }
        stream.receive_window -= i64::from(counted);
        if stream.receive_window < 0 {
            return Err(overflow());
        }
        let padding = counted as usize - bytes.len();
        self.credit(id, padding);
        Ok(true)
    }

    /// Gives the connection's window back: at once, because a stream whose application does not read must not stop others,
    /// unless many of them hold as much as it.
    fn credit_connection(&mut self) {
        if self.receive_credit >= CONNECTION_WINDOW_BYTES / 2 && self.held < CONNECTION_WINDOW_BYTES as usize {
            let credit = std::mem::take(&mut self.receive_credit);
            self.receive_window += i64::from(credit);
            self.put(&frame::window_update(0, credit));
        }
    }

    fn deliver(&mut self, delivery: &mut Delivery<'_>) {
        if !delivery.slices.is_empty()
            && let Some(stream) = self.streams.get_mut(&delivery.stream)
        {
            let came: usize = delivery.slices.iter().map(|slice| slice.len()).sum();
            let taken = stream.deliver(&delivery.slices);
            self.held += came - taken;
            if stream.app_error.is_some() {
                stream.wake();
            }
            self.credit(delivery.stream, taken);
        }
        delivery.slices.clear();
    }

    /// Bytes that waited for an application that is gone.
    pub(super) fn forget_held(&mut self, count: usize) {
        self.held -= count;
        self.credit_connection();
    }

    /// Bytes that waited are where they belong.
    pub(super) fn delivered(&mut self, id: u32, count: usize) {
        self.held -= count;
        self.credit_connection();
        self.credit(id, count);
    }

    /// Lets the peer send as many bytes again: they are where they belong.
    pub(super) fn credit(&mut self, id: u32, count: usize) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        stream.receive_credit += u32::try_from(count).expect("no more than a window");
        if stream.receive_credit < STREAM_WINDOW_BYTES / 4 || stream.remote_ended {
            return;
        }
        let credit = std::mem::take(&mut stream.receive_credit);
        stream.receive_window += i64::from(credit);
        self.put(&frame::window_update(id, credit));
    }

    pub(super) fn remote_ended(&mut self, id: u32) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.remote_ended = true;
            stream.end_app();
        }
    }

    fn frame(&mut self, header: FrameHeader, payload: &[u8]) -> Result<(), SessionError> {
        if self.open_head.is_some() && header.kind != kind::CONTINUATION {
            return Err(SessionError::protocol("a header block is interrupted"));
        }
        if !self.limits.known && header.kind != kind::SETTINGS {
            return Err(SessionError::protocol("the first frame is not SETTINGS"));
        }
        match header.kind {
            kind::HEADERS => self.headers(header, payload),
            kind::CONTINUATION => self.continuation(header, payload),
            kind::RST_STREAM => self.reset(header.stream, payload),
            kind::SETTINGS => self.settings(header, payload),
            kind::PING => self.ping(header, payload),
            kind::GOAWAY => self.goaway(header.stream, payload),
            kind::WINDOW_UPDATE => self.window_update(header.stream, payload),
            kind::PRIORITY if payload.len() == 5 && header.stream != 0 => Ok(()),
            kind::PRIORITY if header.stream != 0 => Err(frame_size()),
            kind::PRIORITY | kind::PUSH_PROMISE => Err(SessionError::protocol("a frame that has no place here")),
            // RFC 9113 §4.1: types that we do not know are ignored.
            _ => Ok(()),
        }
    }

    fn reset(&mut self, id: u32, payload: &[u8]) -> Result<(), SessionError> {
        let reason = Reason(u32::from_be_bytes(payload.try_into().map_err(|_| frame_size())?));
        if id == 0 || self.is_idle(id) {
            return Err(SessionError::protocol("a reset of no stream"));
        }
        if let Some(stream) = self.streams.get_mut(&id) {
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
            self.settings_acknowledged = true;
            return if payload.is_empty() { Ok(()) } else { Err(frame_size()) };
        }
        let (settings, []) = payload.as_chunks::<6>() else { return Err(frame_size()) };
        self.limits.known = true;
        for [high, low, value @ ..] in settings {
            let value = u32::from_be_bytes(*value);
            match u16::from_be_bytes([*high, *low]) {
                setting::MAX_CONCURRENT_STREAMS => self.limits.max_streams = value,
                setting::INITIAL_WINDOW_SIZE => self.set_initial_window(value.into())?,
                setting::MAX_FRAME_SIZE if !(1 << 14..1 << 24).contains(&value) => {
                    return Err(SessionError::protocol("a maximal frame size that is not allowed"));
                }
                setting::ENABLE_PUSH if value > 1 => {
                    return Err(SessionError::protocol("ENABLE_PUSH is neither 0 nor 1"));
                }
                // Our frames are never longer than the smallest maximum; our header blocks use no table.
                _ => {}
            }
        }
        self.put(&frame::frame(kind::SETTINGS, flag::ACK, 0, &[]));
        Ok(())
    }

    fn set_initial_window(&mut self, window: i64) -> Result<(), SessionError> {
        if window > LARGEST_WINDOW {
            return Err(overflow());
        }
        let change = window - self.limits.initial_window;
        self.limits.initial_window = window;
        for stream in self.streams.values_mut() {
            stream.send_window += change;
            if stream.send_window > LARGEST_WINDOW {
                return Err(overflow());
            }
            stream.wake();
        }
        Ok(())
    }

    fn ping(&mut self, header: FrameHeader, payload: &[u8]) -> Result<(), SessionError> {
        if payload.len() != 8 {
            return Err(frame_size());
        }
        if header.stream != 0 {
            return Err(SessionError::protocol("a ping of a stream"));
        }
        if !header.has(flag::ACK) {
            self.put(&frame::frame(kind::PING, flag::ACK, 0, payload));
        } else if payload == LEAVING_PING && self.leaving == Leaving::Announced {
            // Whatever the peer opened before it read our GOAWAY has arrived by now.
            self.leaving = Leaving::Final;
            self.put(&frame::goaway(self.last_peer_stream, Reason::NO_ERROR));
        }
        Ok(())
    }

    fn goaway(&mut self, id: u32, payload: &[u8]) -> Result<(), SessionError> {
        let Some((last, code)) = payload.split_first_chunk::<4>() else { return Err(frame_size()) };
        let Some(code) = code.first_chunk::<4>() else { return Err(frame_size()) };
        if id != 0 {
            return Err(SessionError::protocol("a GOAWAY of a stream"));
        }
        let (last, reason) = (u32::from_be_bytes(*last) & 0x7fff_ffff, Reason(u32::from_be_bytes(*code)));
        self.peer_leaves_after = Some(last);
        if self.side == Side::Client {
            for (_, stream) in self.streams.iter_mut().filter(|(id, _)| **id > last) {
                stream.fail(StreamError::NotSeen);
            }
        }
        if reason == Reason::NO_ERROR { Ok(()) } else { Err(SessionError::GoAway(reason)) }
    }

    fn window_update(&mut self, id: u32, payload: &[u8]) -> Result<(), SessionError> {
        let increment = i64::from(u32::from_be_bytes(payload.try_into().map_err(|_| frame_size())?) & 0x7fff_ffff);
        if increment == 0 && id == 0 {
            return Err(SessionError::protocol("a window grows by nothing"));
        }
        if id == 0 {
            self.send_window += increment;
            if self.send_window > LARGEST_WINDOW {
                return Err(overflow());
            }
            self.wake_waiting();
            return Ok(());
        }
        if self.is_idle(id) {
            return Err(SessionError::protocol("a window of an idle stream"));
        }
        let Some(stream) = self.streams.get_mut(&id) else { return Ok(()) };
        stream.send_window += increment;
        if increment == 0 || stream.send_window > LARGEST_WINDOW {
            let reason = if increment == 0 { Reason::PROTOCOL_ERROR } else { Reason::FLOW_CONTROL_ERROR };
            stream.fail(StreamError::Reset(reason));
            self.put(&frame::reset(id, reason));
            return Ok(());
        }
        stream.wake();
        Ok(())
    }

    /// Whether a stream was never opened.
    pub(super) fn is_idle(&self, id: u32) -> bool {
        match self.side {
            Side::Client => id.is_multiple_of(2) || id >= self.next_stream,
            Side::Server => id.is_multiple_of(2) || id > self.last_peer_stream,
        }
    }
}

fn overflow() -> SessionError {
    SessionError::Protocol { reason: Reason::FLOW_CONTROL_ERROR, what: "a window is overrun" }
}

fn frame_size() -> SessionError {
    SessionError::Protocol { reason: Reason::FRAME_SIZE_ERROR, what: "a frame of a wrong length" }
}

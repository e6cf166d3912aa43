//! What the peer's frames mean.

use std::io::IoSlice;

use http::header::{CONNECTION, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderName, HeaderValue, StatusCode};

use super::super::frame::{FrameHeader, flag};
use super::super::input::{Piece, Pieces};
use super::stream::{Head, Stream};
use super::{
    CONNECTION_WINDOW_BYTES, LEAVING_PING, Leaving, MAX_CONCURRENT_STREAMS, Reason, STREAM_WINDOW_BYTES, Session,
    SessionError, Side, StreamError, frame, kind, setting,
};

/// The longest header block, over all its frames: a list of the size that we accept never needs more.
const LONGEST_BLOCK: usize = 64 * 1024;
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
        // The connection's window is given back at once: a stream whose application does not read must not stop others.
        if self.receive_credit >= CONNECTION_WINDOW_BYTES / 2 {
            let credit = std::mem::take(&mut self.receive_credit);
            self.receive_window += i64::from(credit);
            self.put(&frame::window_update(0, credit));
        }
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

    fn deliver(&mut self, delivery: &mut Delivery<'_>) {
        if !delivery.slices.is_empty()
            && let Some(stream) = self.streams.get_mut(&delivery.stream)
        {
            let taken = stream.deliver(&delivery.slices);
            if stream.app_error.is_some() {
                stream.wake();
            }
            self.credit(delivery.stream, taken);
        }
        delivery.slices.clear();
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

    fn remote_ended(&mut self, id: u32) {
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

    fn headers(&mut self, header: FrameHeader, payload: &[u8]) -> Result<(), SessionError> {
        let id = header.stream;
        let wrong = || SessionError::protocol("padding or priority longer than its frame");
        let mut block = payload;
        if header.has(flag::PADDED) {
            let (length, rest) = block.split_first().ok_or_else(wrong)?;
            block = rest
                .split_at_checked(rest.len().checked_sub((*length).into()).ok_or_else(wrong)?)
                .map_or(rest, |(block, _)| block);
        }
        if header.has(flag::PRIORITY) {
            block = block.get(5..).ok_or_else(wrong)?;
        }
        if id == 0 {
            return Err(SessionError::protocol("a head without a stream"));
        }
        let end = header.has(flag::END_STREAM);
        if header.has(flag::END_HEADERS) {
            return self.head(id, end, block);
        }
        self.open_head = Some((id, end, block.to_vec()));
        Ok(())
    }

    fn continuation(&mut self, header: FrameHeader, payload: &[u8]) -> Result<(), SessionError> {
        let Some((id, end, mut block)) = self.open_head.take().filter(|(id, ..)| *id == header.stream) else {
            return Err(SessionError::protocol("a header block goes on that did not begin"));
        };
        // Frames without content would never make the block longer, nor end.
        if block.len() + payload.len() > LONGEST_BLOCK || (payload.is_empty() && !header.has(flag::END_HEADERS)) {
            return Err(SessionError::calm("a header block without end"));
        }
        block.extend_from_slice(payload);
        if header.has(flag::END_HEADERS) {
            return self.head(id, end, &block);
        }
        self.open_head = Some((id, end, block));
        Ok(())
    }

    fn head(&mut self, id: u32, end: bool, block: &[u8]) -> Result<(), SessionError> {
        // Read in any case: later blocks refer to it.
        let (mut head, mut malformed) = (Head::default(), false);
        let fits = self.decoder.decode(block, |name, value| malformed |= head.add(name, value).is_none())?;
        if !fits {
            return self.long_head(id);
        }
        if self.streams.contains_key(&id) {
            self.later_head(id, end, head, malformed);
            return Ok(());
        }
        match self.side {
            Side::Client if self.is_idle(id) => Err(SessionError::protocol("an answer without a request")),
            Side::Server if id % 2 == 0 => Err(SessionError::protocol("a stream with an even number")),
            Side::Server if id > self.last_peer_stream => {
                self.last_peer_stream = id;
                self.request(id, end, head, malformed);
                Ok(())
            }
            // Trailers of a stream that we are done with.
            _ if end => Ok(()),
            _ => Err(SessionError::Protocol { reason: Reason::STREAM_CLOSED, what: "a head on a stream that is over" }),
        }
    }

    /// A head longer than we accept: its stream is refused, the connection lives.
    fn long_head(&mut self, id: u32) -> Result<(), SessionError> {
        match self.streams.get_mut(&id) {
            Some(stream) => {
                stream.fail(StreamError::Reset(Reason::PROTOCOL_ERROR));
                self.put(&frame::reset(id, Reason::PROTOCOL_ERROR));
            }
            None if self.side == Side::Server && id % 2 == 1 && id > self.last_peer_stream => {
                self.last_peer_stream = id;
                self.put_status(id, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, true);
                self.put(&frame::reset(id, Reason::NO_ERROR));
            }
            None => return Err(SessionError::protocol("a head that is too long")),
        }
        Ok(())
    }

    fn request(&mut self, id: u32, end: bool, head: Head, malformed: bool) {
        let refused = match () {
            () if self.leaving == Leaving::Final || self.served >= MAX_CONCURRENT_STREAMS => {
                Some(Reason::REFUSED_STREAM)
            }
            () if malformed || !head.is_request() => Some(Reason::PROTOCOL_ERROR),
            () => None,
        };
        if let Some(reason) = refused {
            return self.put(&frame::reset(id, reason));
        }
        let mut stream = Stream::new(self.limits.initial_window, STREAM_WINDOW_BYTES);
        stream.remote_ended = end;
        self.streams.insert(id, stream);
        self.served += 1;
        self.arrived.push_back((id, head));
    }

    /// A head on a stream that is open: the answer to our request, or trailers, which mean nothing to us.
    fn later_head(&mut self, id: u32, end: bool, head: Head, malformed: bool) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let is_answer = self.side == Side::Client && !stream.answered;
        let informational = is_answer && head.status.is_some_and(|status| (100..200).contains(&status));
        if malformed || (is_answer && !head.is_answer()) || (!is_answer && !end) || (informational && end) {
            stream.fail(StreamError::Reset(Reason::PROTOCOL_ERROR));
            return self.put(&frame::reset(id, Reason::PROTOCOL_ERROR));
        }
        if is_answer && !informational {
            stream.answered = true;
            stream.answer = Some(head);
            stream.wake();
        }
        if end {
            self.remote_ended(id);
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
            return if payload.is_empty() { Ok(()) } else { Err(frame_size()) };
        }
        let (settings, []) = payload.as_chunks::<6>() else { return Err(frame_size()) };
        if !self.limits.known {
            // RFC 9113 §6.5.2: until told otherwise there is no limit; that is one that we have no use for.
            self.limits.known = true;
        }
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
    fn is_idle(&self, id: u32) -> bool {
        match self.side {
            Side::Client => id % 2 == 0 || id >= self.next_stream,
            Side::Server => id % 2 == 0 || id > self.last_peer_stream,
        }
    }
}

fn overflow() -> SessionError {
    SessionError::Protocol { reason: Reason::FLOW_CONTROL_ERROR, what: "a window is overrun" }
}

fn frame_size() -> SessionError {
    SessionError::Protocol { reason: Reason::FRAME_SIZE_ERROR, what: "a frame of a wrong length" }
}

impl Head {
    /// RFC 9113 §8.3.1 and §8.5: a CONNECT request has a method and an authority, and names no path.
    fn is_request(&self) -> bool {
        self.status.is_none() && self.method.as_ref().is_some_and(|method| method != "CONNECT" || !self.has_target)
    }

    fn is_answer(&self) -> bool {
        self.status.is_some() && self.method.is_none() && self.authority.is_none() && !self.has_target
    }

    /// Adds a field; `None` if it makes the head malformed (RFC 9113 §8.2 and §8.3).
    fn add(&mut self, name: &[u8], value: &[u8]) -> Option<()> {
        let Some((b':', pseudo)) = name.split_first().map(|(first, rest)| (*first, rest)) else {
            // Names are in lower case; `from_bytes` would accept either.
            if name.iter().any(u8::is_ascii_uppercase) {
                return None;
            }
            let (name, value) = (HeaderName::from_bytes(name).ok()?, HeaderValue::from_bytes(value).ok()?);
            // RFC 9113 §8.2.2: what is about a connection of HTTP/1.
            if [CONNECTION, TRANSFER_ENCODING, UPGRADE].contains(&name)
                || ["keep-alive", "proxy-connection"].contains(&name.as_str())
                || (name == TE && value != "trailers")
            {
                return None;
            }
            let _ = self.fields.try_append(name, value).ok()?;
            return Some(());
        };
        if !self.fields.is_empty() {
            return None;
        }
        let text = || std::str::from_utf8(value).ok().map(str::to_owned);
        let known = match pseudo {
            b"method" => self.method.replace(text()?).is_some(),
            b"authority" => self.authority.replace(text()?).is_some(),
            b"status" => self.status.replace(text().filter(|text| text.len() == 3)?.parse().ok()?).is_some(),
            b"path" | b"scheme" | b"protocol" => {
                self.has_target = true;
                false
            }
            _ => return None,
        };
        // Twice is malformed too.
        (!known).then_some(())
    }
}

//! Heads of requests and of answers, from the frames they come in (RFC 9113 §6.2, §6.10) to what they ask for (§8).

use http::header::{CONNECTION, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderName, HeaderValue, StatusCode};

use super::stream::{Head, Stream};
use super::{
    Leaving, MAX_CONCURRENT_STREAMS, Reason, STREAM_WINDOW_BYTES, Session, SessionError, Side, StreamError, frame,
};
use crate::h2::frame::{FrameHeader, flag};

/// The longest header block, over all its frames: a list of the size that we accept never needs more.
const LONGEST_BLOCK: usize = 64 * 1024;

/// Streams of a peer that does not know our limit yet: what it may have had waiting for a connection.
const MAX_FIRST_STREAMS: u32 = 5 * MAX_CONCURRENT_STREAMS;

impl Session {
    pub(super) fn headers(&mut self, header: FrameHeader, payload: &[u8]) -> Result<(), SessionError> {
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

    pub(super) fn continuation(&mut self, header: FrameHeader, payload: &[u8]) -> Result<(), SessionError> {
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
            Side::Server if id.is_multiple_of(2) => Err(SessionError::protocol("a stream with an even number")),
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

    /// Whether the peer has as many streams open as it may. A stream that is over for the peer may be followed by another
    /// before whoever serves it has noticed; one that the peer reset counts until then, or resets would be free.
    fn is_full(&self) -> bool {
        // RFC 9113 §6.5.3: our settings bind the peer once it has acknowledged them, and its first requests may come before.
        let limit = if self.settings_acknowledged { MAX_CONCURRENT_STREAMS } else { MAX_FIRST_STREAMS };
        if self.served < limit {
            return false;
        }
        let over = self.streams.values().filter(|stream| stream.local_ended && stream.remote_ended).count();
        self.streams.len() - over >= limit as usize || self.served >= 2 * limit
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
            () if self.leaving == Leaving::Final || self.is_full() => Some(Reason::REFUSED_STREAM),
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

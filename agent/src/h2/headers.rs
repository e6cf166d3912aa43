//! HEADERS and CONTINUATION (RFC 9113 §6.2 and §6.10): requests, responses and trailers.

use http::StatusCode;

use super::error::{SessionError, StreamError};
use super::fields::{HeaderSection, OpenBlock};
use super::frame::{self, FrameHeader, Reason, flag};
use super::session::{Goaway, Session};
use super::settings::Role;
use super::stream::{Response, Stream};

/// The longest field block, over all its frames: a list of the size that we accept never needs more.
const MAX_FIELD_BLOCK_BYTES: usize = 64 * 1024;
/// Bytes of a field list (RFC 9113 §6.5.2) that count as one unit of work: so many are copied in about its time.
const FIELD_BYTES_PER_UNIT: usize = 256;
/// Bytes of a HEADERS frame's priority, which mean nothing to us.
const PRIORITY_BYTES: usize = 5;

impl<A: Default> Session<A> {
    /// Returns the stream that the frame ended, if it did.
    pub(super) fn headers(&mut self, header: FrameHeader, payload: &[u8]) -> Result<Option<u32>, SessionError> {
        let stream = header.stream;
        let block = without_padding_and_priority(header, payload)
            .ok_or(SessionError::protocol("padding or priority longer than its frame"))?;
        if stream == 0 {
            return Err(SessionError::protocol("a head without a stream"));
        }
        let end_stream = header.has(flag::END_STREAM);
        if header.has(flag::END_HEADERS) {
            return self.field_block(stream, end_stream, block);
        }
        self.blocks.open = Some(OpenBlock { stream, end_stream, block: block.to_vec() });
        Ok(None)
    }

    /// Returns the stream that the frame ended, if it did.
    pub(super) fn continuation(&mut self, header: FrameHeader, payload: &[u8]) -> Result<Option<u32>, SessionError> {
        let Some(mut open) = self.blocks.open.take().filter(|open| open.stream == header.stream) else {
            return Err(SessionError::protocol("a header block goes on that did not begin"));
        };
        let is_last = header.has(flag::END_HEADERS);
        // Frames without content would never make the block longer, nor end.
        if open.block.len() + payload.len() > MAX_FIELD_BLOCK_BYTES || (payload.is_empty() && !is_last) {
            return Err(SessionError::enhance_your_calm("a header block without end"));
        }
        open.block.extend_from_slice(payload);
        if is_last {
            return self.field_block(open.stream, open.end_stream, &open.block);
        }
        self.blocks.open = Some(open);
        Ok(None)
    }

    /// A whole field block. Returns its stream if it was there before and is ended now.
    fn field_block(&mut self, id: u32, end: bool, block: &[u8]) -> Result<Option<u32>, SessionError> {
        // Read in any case: later blocks refer to it.
        let (mut section, mut malformed) = (HeaderSection::default(), false);
        let decoded =
            self.blocks.decoder.decode(block, |name, value| malformed |= section.add(name, value).is_none())?;
        self.pace.count(decoded.bytes / FIELD_BYTES_PER_UNIT)?;
        if !decoded.is_whole {
            return self.too_large_section(id).map(|()| None);
        }
        if self.streams.table.contains_key(&id) {
            return Ok(self.response_or_trailers(id, end, section, malformed));
        }
        match self.role {
            Role::Client if self.is_idle(id) => Err(SessionError::protocol("an answer without a request")),
            Role::Server if id.is_multiple_of(2) => Err(SessionError::protocol("a stream with an even number")),
            Role::Server if id > self.streams.last_remote => {
                self.streams.last_remote = id;
                self.request(id, end, section, malformed);
                Ok(None)
            }
            // The answer to a request that we have cancelled: the peer had sent it before it knew (RFC 9113 §5.1).
            Role::Client => Ok(None),
            // Trailers of a stream that we are done with.
            Role::Server if end => Ok(None),
            Role::Server => Err(SessionError::stream_closed("a head on a stream that is over")),
        }
    }

    /// Whether the peer has as many streams open as it may. A stream that is over for the peer may be followed by another
    /// before its owner has noticed; one that the peer reset counts until then, or resets would be free.
    fn is_full(&self) -> bool {
        let (limit, table) = (self.peer.max_peer_streams(), &self.streams.table);
        if table.len() < limit {
            return false;
        }
        let over = table.values().filter(|stream| stream.local_ended && stream.remote_ended).count();
        table.len() - over >= limit || table.len() >= 2 * limit
    }

    /// A header section larger than we accept: its stream is refused, the connection lives.
    fn too_large_section(&mut self, id: u32) -> Result<(), SessionError> {
        let is_cancelled = self.role == Role::Client && !self.is_idle(id);
        match self.streams.table.get_mut(&id) {
            Some(stream) => {
                stream.fail(StreamError::Reset(Reason::PROTOCOL_ERROR));
                self.send(|out| frame::append_reset(out, id, Reason::PROTOCOL_ERROR));
            }
            None if self.role == Role::Server && id % 2 == 1 && id > self.streams.last_remote => {
                self.streams.last_remote = id;
                self.send_status(id, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, true);
                self.send(|out| frame::append_reset(out, id, Reason::NO_ERROR));
            }
            None if is_cancelled => {}
            None => return Err(SessionError::protocol("a head that is too long")),
        }
        Ok(())
    }

    fn request(&mut self, id: u32, end: bool, section: HeaderSection, malformed: bool) {
        if self.shutdown.goaway == Goaway::Final || self.is_full() {
            return self.send(|out| frame::append_reset(out, id, Reason::REFUSED_STREAM));
        }
        if malformed || !section.is_request() {
            return self.send(|out| frame::append_reset(out, id, Reason::PROTOCOL_ERROR));
        }
        let mut stream = Stream::new(self.peer.initial_window, self.first_stream_window.bytes());
        stream.remote_ended = end;
        self.streams.table.insert(id, stream);
        self.streams.requests.push_back((id, section));
    }

    /// A header section on a stream that is there: the response to our request, or trailers, which mean nothing to us.
    /// Returns the stream if it is ended now.
    fn response_or_trailers(&mut self, id: u32, end: bool, section: HeaderSection, malformed: bool) -> Option<u32> {
        let stream = self.streams.table.get_mut(&id)?;
        let is_response = self.role == Role::Client && matches!(stream.response, Response::Awaited);
        let is_informational = is_response && section.is_informational();
        if malformed || (is_response && !section.is_response()) || (!is_response && !end) || (is_informational && end) {
            stream.fail(StreamError::Reset(Reason::PROTOCOL_ERROR));
            self.send(|out| frame::append_reset(out, id, Reason::PROTOCOL_ERROR));
            return None;
        }
        if is_response && !is_informational {
            stream.response = Response::Arrived(section);
            stream.wake();
        }
        if end {
            stream.remote_ended = true;
        }
        end.then_some(id)
    }
}

/// The field block of a HEADERS frame; `None` where the rest of the frame is longer than the frame.
fn without_padding_and_priority(header: FrameHeader, payload: &[u8]) -> Option<&[u8]> {
    let mut block = payload;
    if header.has(flag::PADDED) {
        let (padding, rest) = block.split_first()?;
        block = rest.get(..rest.len().checked_sub((*padding).into())?)?;
    }
    if header.has(flag::PRIORITY) {
        block = block.get(PRIORITY_BYTES..)?;
    }
    Some(block)
}

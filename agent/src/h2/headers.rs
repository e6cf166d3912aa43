//! HEADERS and CONTINUATION (RFC 9113 §6.2 and §6.10): requests, responses and trailers.

use http::StatusCode;

use super::error::SessionError;
use super::fields::{Malformed, OpenBlock, SectionFields};
use super::frame::{self, FrameHeader, Reason, flag};
use super::section::{self, Request, RequestKind, RequestSection, Response, ResponseSection, Section};
use super::session::{Goaway, MAX_STREAM_ID, Session};
use super::settings::Role;
use super::stream::Stream;
use crate::model::http::head::HttpFields;
use crate::parsed_heads::{self, HeadKind};

/// Interim responses of one stream that may wait for its owner.
const MAX_WAITING_INTERIM: usize = 8;
/// Bytes of a field list (RFC 9113 §6.5.2) that count as one unit of work: so many are copied in about its time.
const FIELD_BYTES_PER_UNIT: usize = 256;
/// Bytes of a priority, in a frame of its own or in HEADERS.
pub(super) const PRIORITY_BYTES: usize = 5;

impl<A: Default> Session<A> {
    /// Returns the stream that the frame ended, if it did.
    pub(super) fn headers(&mut self, header: FrameHeader, payload: &[u8]) -> Result<Option<u32>, SessionError> {
        let stream = header.stream;
        let too_long = SessionError::protocol("padding or priority longer than its frame");
        let Some((block, priority)) = without_padding_and_priority(header, payload) else { return Err(too_long) };
        if stream == 0 {
            return Err(SessionError::protocol("a head without a stream"));
        }
        check_priority(stream, priority)?;
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
        if open.block.len() + payload.len() > self.usage.max_field_block_bytes || (payload.is_empty() && !is_last) {
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
        let mut section = self.section_of(id, end, block)?;
        let mut read = Ok(());
        let decoded = self.blocks.decoder.decode(block, |name, value| {
            if read.is_ok() {
                read = section.add(name, value);
            }
        })?;
        self.pace.count(decoded.bytes / FIELD_BYTES_PER_UNIT)?;
        let suits_tunnel = decoded.bytes <= self.usage.max_tunnel_list_bytes as usize;
        match section {
            Section::Unwanted => Ok(None),
            _ if !decoded.is_whole => {
                self.too_large_section(id);
                Ok(None)
            }
            Section::Request(section) => {
                let request = read.and_then(|()| section.finish(end));
                let is_tunnel = request.as_ref().is_ok_and(|request| request.head.method == b"CONNECT");
                parsed_heads::count(self.usage.counted_as(is_tunnel), HeadKind::Request);
                if is_tunnel && !suits_tunnel {
                    self.too_large_section(id);
                } else {
                    self.request_came(id, end, request);
                }
                Ok(None)
            }
            Section::Response(section) => {
                let asked = self.streams.table.get(&id).map_or(RequestKind::Content, |stream| stream.responses.asked);
                parsed_heads::count(self.usage.counted_as(asked == RequestKind::Tunnel), HeadKind::Response);
                if asked == RequestKind::Tunnel && !suits_tunnel {
                    self.too_large_section(id);
                    return Ok(None);
                }
                Ok(self.response_came(id, end, read.and_then(|()| section.finish(end, asked))))
            }
            Section::Trailers(fields) => Ok(self.trailers_came(id, end, read.map(|()| section::trailers(fields)))),
        }
    }

    /// What a field block on a stream is going to be.
    fn section_of(&self, id: u32, end: bool, block: &[u8]) -> Result<Section, SessionError> {
        if let Some(stream) = self.streams.table.get(&id) {
            return match () {
                () if stream.remote_ended || stream.remote_reset => Err(after_the_end()),
                // Sent before the peer knew that the stream is broken.
                () if stream.failure.is_some() => Ok(Section::Unwanted),
                () if self.role == Role::Client && stream.responses.is_awaited => {
                    Ok(Section::Response(ResponseSection::of_block(block)))
                }
                () => Ok(Section::Trailers(SectionFields::default())),
            };
        }
        match self.role {
            _ if self.streams.is_finished(id) => Err(after_the_end()),
            Role::Client if self.is_idle(id) => Err(SessionError::protocol("an answer without a request")),
            // The answer to a request that we have cancelled: the peer had sent it before it knew (RFC 9113 §5.1).
            Role::Client => Ok(Section::Unwanted),
            Role::Server if id.is_multiple_of(2) => Err(SessionError::protocol("a stream with an even number")),
            Role::Server if id > self.streams.last_remote => Ok(Section::Request(RequestSection::of_block(block))),
            Role::Server if self.is_idle(id) => Err(SessionError::protocol("a stream that was passed over")),
            // Trailers of a stream that we are done with.
            Role::Server if end => Ok(Section::Unwanted),
            Role::Server => Err(SessionError::stream_closed("a head on a stream that is over")),
        }
    }

    /// Whether the peer has as many streams open as it may. A stream that is over for the peer may be followed by another
    /// before its owner has noticed; one that the peer reset counts until then, or resets would be free.
    fn is_full(&self) -> bool {
        let (limit, table) = (self.peer.max_peer_streams(&self.usage), &self.streams.table);
        if table.len() < limit {
            return false;
        }
        let over = table.values().filter(|stream| stream.local_ended && stream.remote_ended).count();
        table.len() - over >= limit || table.len() >= 2 * limit
    }

    /// A header section larger than we accept: its stream is refused, the connection lives.
    fn too_large_section(&mut self, id: u32) {
        if self.streams.table.contains_key(&id) {
            return self.break_stream(id, "a header section that is too long");
        }
        self.streams.open_remote(id);
        self.send_status(id, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, true);
        self.send(|out| frame::append_reset(out, id, Reason::NO_ERROR));
    }

    fn request_came(&mut self, id: u32, end: bool, request: Result<Request, Malformed>) {
        self.streams.open_remote(id);
        if self.shutdown.goaway == Goaway::Final || self.is_full() {
            return self.send(|out| frame::append_reset(out, id, Reason::REFUSED_STREAM));
        }
        let Ok(request) = request else {
            return self.send(|out| frame::append_reset(out, id, Reason::PROTOCOL_ERROR));
        };
        let window = self.first_stream_window;
        let mut stream = Stream::new(self.peer.initial_window, window, RequestKind::Content);
        stream.counted = (!self.usage.has_ample_windows && self.budget.begin_stream(window)).then_some(window);
        stream.remote_ended = end;
        stream.is_message = request.head.method != b"CONNECT";
        stream.content_left = if stream.is_message { request.content.left() } else { None };
        self.streams.table.insert(id, stream);
        self.streams.requests.push_back((id, request));
    }

    /// Returns the stream if it is ended now.
    fn response_came(&mut self, id: u32, end: bool, response: Result<Response, Malformed>) -> Option<u32> {
        let stream = self.streams.table.get_mut(&id)?;
        let keeps_interim = self.usage.keeps_interim || stream.is_message;
        let response = match response {
            Ok(response) if response.is_interim() && !keeps_interim => return None,
            Ok(response) if response.is_interim() && stream.responses.interim.len() < MAX_WAITING_INTERIM => {
                stream.responses.interim.push_back(response);
                stream.wake();
                return None;
            }
            Ok(response) if response.is_interim() => Err("more interim responses than are taken"),
            response => response,
        };
        match response {
            Ok(response) => {
                stream.responses.is_awaited = false;
                stream.content_left = response.content.left();
                stream.responses.last = Some(response);
                stream.remote_ended = end;
                stream.wake();
                end.then_some(id)
            }
            Err(what) => {
                self.break_stream(id, what);
                None
            }
        }
    }

    /// Returns the stream, which is ended now.
    fn trailers_came(&mut self, id: u32, end: bool, trailers: Result<HttpFields, Malformed>) -> Option<u32> {
        let stream = self.streams.table.get_mut(&id)?;
        let trailers = match trailers {
            Ok(_) if !end => Err("trailers that are not the end"),
            Ok(_) if !stream.count_content(0, true) => Err("less content than its length says"),
            trailers => trailers,
        };
        match trailers {
            Ok(trailers) => {
                stream.trailers = Some(trailers).filter(|trailers| !trailers.is_empty());
                stream.remote_ended = true;
                Some(id)
            }
            Err(what) => {
                self.break_stream(id, what);
                None
            }
        }
    }
}

fn after_the_end() -> SessionError {
    SessionError::stream_closed("a head after the end of a stream")
}

/// Priorities mean nothing to us (RFC 9113 §5.3.2), but a stream never depends on itself (RFC 7540 §5.3.1).
pub(super) fn check_priority(stream: u32, priority: &[u8]) -> Result<(), SessionError> {
    match priority.first_chunk::<4>() {
        // The highest bit says whether the dependency is exclusive.
        Some(dependency) if u32::from_be_bytes(*dependency) & MAX_STREAM_ID == stream => {
            Err(SessionError::protocol("a stream that depends on itself"))
        }
        _ => Ok(()),
    }
}

/// The field block of a HEADERS frame, and the priority before it; `None` where the rest of the frame is longer than the frame.
fn without_padding_and_priority(header: FrameHeader, payload: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut block = payload;
    if header.has(flag::PADDED) {
        let (padding, rest) = block.split_first()?;
        block = rest.get(..rest.len().checked_sub((*padding).into())?)?;
    }
    let priority_bytes = if header.has(flag::PRIORITY) { PRIORITY_BYTES } else { 0 };
    let (priority, block) = block.split_at_checked(priority_bytes)?;
    Some((block, priority))
}

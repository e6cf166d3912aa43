//! Bytes from the peer: records are opened where they were read, and data is handed on from there. Between reads a
//! connection holds no more than the beginning of a record and of a frame.

use std::borrow::Cow;
use std::cell::RefCell;
use std::io;
use std::ops::Range;

use super::FRAME_BYTES;
use super::error::SessionError;
use crate::h2::frame::{self, FrameHeader, Reason, flag, kind};
use crate::tls::records::{self, Opened, RecordLayer};

/// What is read from the network at once.
const READ_BYTES: usize = 256 * 1024;
/// Where a thread reads: the beginning of a record that was left over, then what comes.
const SCRATCH_BYTES: usize = READ_BYTES + records::LONGEST_RECORD;

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch {
        bytes: vec![0; SCRATCH_BYTES].into_boxed_slice(),
        contents: Vec::new(),
    });
}

/// A thread's place for reading.
struct Scratch {
    bytes: Box<[u8]>,
    /// Where the opened records' contents lie.
    contents: Vec<Range<usize>>,
}

/// What the peer sent, piece by piece.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// Part of a frame of data. `counted`: what it takes of the windows, padding included. `end`: the stream's last.
    Data { stream: u32, bytes: &'a [u8], counted: u32, end: bool },
    /// A whole frame of another type.
    Frame(FrameHeader, Cow<'a, [u8]>),
}

/// What one read brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Received {
    /// There may be more; whether the kernel has it now, the runtime knows.
    More,
    /// The peer closed its side.
    End,
}

/// The receiving side of one connection.
#[derive(Debug, Default)]
pub(super) struct Input {
    /// What came with the end of the handshake, until the first read takes it.
    early: Option<Vec<u8>>,
    /// The beginning of a record.
    partial: Vec<u8>,
    frames: Frames,
}

impl Input {
    /// Starts with what came with the end of the handshake.
    pub(super) fn new(received: Vec<u8>, expects_preface: bool) -> Self {
        let preface_left = if expects_preface { frame::PREFACE.len() } else { 0 };
        let early = (!received.is_empty()).then_some(received);
        Self { early, partial: Vec::new(), frames: Frames { preface_left, ..Frames::default() } }
    }

    /// Whether something is here already, whatever the network has.
    pub(super) fn has_early(&self) -> bool {
        self.early.is_some()
    }

    /// Whether the client's preface was seen.
    pub(super) fn is_greeted(&self) -> bool {
        self.frames.preface_left == 0
    }

    /// Reads once. `handle` gets what came, and `context` with it; `keys` finds the connection's keys in that context.
    ///
    /// # Errors
    /// Those of `read` (`WouldBlock` included), of the records, of the frames, and of `handle`.
    pub(super) fn receive<C>(
        &mut self,
        context: &mut C,
        keys: impl FnOnce(&mut C) -> &mut RecordLayer,
        read: impl FnOnce(&mut [u8]) -> io::Result<usize>,
        handle: impl FnOnce(&mut C, Pieces<'_, '_>) -> Result<(), SessionError>,
    ) -> Result<Received, SessionError> {
        SCRATCH.with_borrow_mut(|Scratch { bytes, contents }| {
            let (filled, received) = self.fill(bytes, read)?;
            contents.clear();
            let (opened, ended) = open_records(&mut bytes[..filled], keys(context), contents)?;
            keep(&mut self.partial, &bytes[opened..filled]);
            handle(context, Pieces { frames: &mut self.frames, bytes, contents: contents.iter(), rest: &[] })?;
            Ok(if ended { Received::End } else { received })
        })
    }

    /// Puts what was left over, and what comes now, at the beginning of `bytes`. Returns how much that is.
    fn fill(
        &mut self,
        bytes: &mut [u8],
        read: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    ) -> Result<(usize, Received), SessionError> {
        let held = self.partial.len();
        if let Some(early) = self.early.take() {
            bytes[..early.len()].copy_from_slice(&early);
            return Ok((early.len(), Received::More));
        }
        let count = read(&mut bytes[held..held + READ_BYTES])?;
        bytes[..held].copy_from_slice(&self.partial);
        let received = if count == 0 { Received::End } else { Received::More };
        Ok((held + count, received))
    }
}

/// What one read brought, in order.
pub(super) struct Pieces<'s, 'f> {
    frames: &'f mut Frames,
    bytes: &'s [u8],
    contents: std::slice::Iter<'s, Range<usize>>,
    rest: &'s [u8],
}

impl<'s> Pieces<'s, '_> {
    /// The next piece.
    ///
    /// # Errors
    /// When it is no HTTP/2.
    pub(super) fn next(&mut self) -> Result<Option<Piece<'s>>, SessionError> {
        loop {
            if let Some(piece) = self.frames.next(&mut self.rest)? {
                return Ok(Some(piece));
            }
            match self.contents.next() {
                Some(content) => self.rest = &self.bytes[content.clone()],
                None => return Ok(None),
            }
        }
    }
}

/// Opens the whole records; returns where the first that is not whole begins, and whether the peer said it is done.
fn open_records(
    bytes: &mut [u8],
    records: &mut RecordLayer,
    contents: &mut Vec<Range<usize>>,
) -> Result<(usize, bool), SessionError> {
    let mut at = 0;
    while let Some(header) = bytes[at..].first_chunk() {
        let end = at + records::HEADER_BYTES + records::body_length(*header)?;
        if end > bytes.len() {
            break;
        }
        match records.open(&mut bytes[at..end])? {
            Opened::Data(content) => contents.push(at + content.start..at + content.end),
            Opened::Internal => {}
            Opened::CloseNotify => return Ok((end, true)),
        }
        at = end;
    }
    Ok((at, false))
}

/// Keeps the rest for the next read; no memory for nothing.
fn keep(partial: &mut Vec<u8>, rest: &[u8]) {
    if rest.is_empty() {
        *partial = Vec::new();
    } else {
        partial.clear();
        partial.extend_from_slice(rest);
    }
}

/// Cuts contents of records into frames, wherever the one ends and the other begins.
#[derive(Debug, Default)]
struct Frames {
    /// Bytes of the client's preface that are still to come.
    preface_left: usize,
    /// The beginning of a frame's header, or a header and the beginning of its payload where that is no data.
    partial: Vec<u8>,
    data: Option<DataFrame>,
}

/// A frame of data of which more is to come.
#[derive(Debug, Clone, Copy)]
struct DataFrame {
    stream: u32,
    end: bool,
    /// Whether the byte that tells the padding's length is still to come.
    pad_length_due: bool,
    /// Bytes of data still to come.
    left: u32,
    /// Bytes of padding after them.
    padding: u32,
    /// What the windows still have to count besides.
    overhead: u32,
}

impl Frames {
    /// The next piece of what is in `rest`; `None` when the rest is used up.
    fn next<'a>(&mut self, rest: &mut &'a [u8]) -> Result<Option<Piece<'a>>, SessionError> {
        if self.preface_left > 0 {
            self.preface(rest)?;
        }
        loop {
            if let Some(data) = self.data {
                if data.pad_length_due && !self.pad_length(data, rest)? {
                    return Ok(None);
                }
                return Ok(self.next_data(rest));
            }
            let Some(header) = self.header(rest)? else { return Ok(None) };
            if header.kind != kind::DATA {
                return Ok(self.whole(header, rest));
            }
            self.partial.clear();
            let (stream, end) = (header.stream, header.has(flag::END_STREAM));
            let pad_length_due = header.has(flag::PADDED);
            self.data = Some(DataFrame { stream, end, pad_length_due, left: header.length, padding: 0, overhead: 0 });
        }
    }

    fn preface(&mut self, rest: &mut &[u8]) -> Result<(), SessionError> {
        let (came, after) = rest.split_at(self.preface_left.min(rest.len()));
        let expected = &frame::PREFACE[frame::PREFACE.len() - self.preface_left..];
        if !expected.starts_with(came) {
            return Err(SessionError::protocol("no HTTP/2 preface"));
        }
        self.preface_left -= came.len();
        *rest = after;
        Ok(())
    }

    /// The header of the next frame, once all of it is here. It stays in `partial` until the frame's payload is taken.
    fn header(&mut self, rest: &mut &[u8]) -> Result<Option<FrameHeader>, SessionError> {
        if self.partial.len() < frame::HEADER_BYTES {
            let (came, after) = rest.split_at((frame::HEADER_BYTES - self.partial.len()).min(rest.len()));
            self.partial.extend_from_slice(came);
            *rest = after;
        }
        let Some(header) = self.partial.first_chunk() else { return Ok(None) };
        let header = FrameHeader::parse(*header);
        if header.length > FRAME_BYTES {
            return Err(SessionError::Protocol { reason: Reason::FRAME_SIZE_ERROR, what: "a frame is too long" });
        }
        Ok(Some(header))
    }

    /// A frame that is no data, once all of it is here.
    fn whole<'a>(&mut self, header: FrameHeader, rest: &mut &'a [u8]) -> Option<Piece<'a>> {
        let held = self.partial.len() - frame::HEADER_BYTES;
        let (came, after) = rest.split_at((header.length as usize - held).min(rest.len()));
        *rest = after;
        let payload = if held == 0 && came.len() == header.length as usize {
            self.partial.clear();
            Cow::Borrowed(came)
        } else {
            self.partial.extend_from_slice(came);
            if self.partial.len() < frame::HEADER_BYTES + header.length as usize {
                return None;
            }
            Cow::Owned(std::mem::take(&mut self.partial).split_off(frame::HEADER_BYTES))
        };
        Some(Piece::Frame(header, payload))
    }

    /// Takes the byte that tells how long the padding is, if it is here.
    fn pad_length(&mut self, data: DataFrame, rest: &mut &[u8]) -> Result<bool, SessionError> {
        let Some((length, after)) = rest.split_first() else { return Ok(false) };
        *rest = after;
        let padding = u32::from(*length);
        let left = data.left.checked_sub(1 + padding).ok_or(SessionError::protocol("padding longer than its frame"))?;
        self.data = Some(DataFrame { pad_length_due: false, left, padding, overhead: 1, ..data });
        Ok(true)
    }

    fn next_data<'a>(&mut self, rest: &mut &'a [u8]) -> Option<Piece<'a>> {
        let mut data = self.data?;
        if rest.is_empty() && data.left + data.padding > 0 {
            return None;
        }
        let (bytes, after) = rest.split_at((data.left as usize).min(rest.len()));
        let (pad, after) = after.split_at((data.padding as usize).min(after.len()));
        *rest = after;
        let (length, pad) = (shorter(bytes), shorter(pad));
        let counted = length + pad + data.overhead;
        (data.left, data.padding, data.overhead) = (data.left - length, data.padding - pad, 0);
        let over = data.left == 0 && data.padding == 0;
        self.data = (!over).then_some(data);
        Some(Piece::Data { stream: data.stream, bytes, counted, end: over && data.end })
    }
}

fn shorter(part: &[u8]) -> u32 {
    u32::try_from(part.len()).expect("part of a frame, whose length is a number of 24 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a peer's bytes mean, however they are cut: data joined, frames as they are.
    fn pieces(frames: &mut Frames, bytes: &[u8], cut: usize) -> Result<Vec<String>, SessionError> {
        let mut said: Vec<String> = Vec::new();
        for mut part in bytes.chunks(cut) {
            while let Some(piece) = frames.next(&mut part)? {
                match piece {
                    Piece::Data { stream, bytes, counted, end } => {
                        let text = String::from_utf8_lossy(bytes);
                        said.push(format!(
                            "data of {stream}: {text:?}, {counted} counted{}",
                            if end { ", end" } else { "" }
                        ));
                    }
                    Piece::Frame(header, payload) => {
                        said.push(format!("frame {} of {}: {payload:?}", header.kind, header.stream));
                    }
                }
            }
        }
        Ok(said)
    }

    #[test]
    fn frames_are_found_wherever_records_are_cut() {
        let bytes = [
            frame::PREFACE.to_vec(),
            frame::settings(&[(3, 7)]),
            frame::frame(kind::DATA, flag::PADDED | flag::END_STREAM, 5, &[2, b'h', b'i', 0, 0]),
            frame::window_update(0, 9),
            frame::frame(kind::DATA, flag::END_STREAM, 7, &[]),
        ]
        .concat();
        let whole = [
            "frame 4 of 0: [0, 3, 0, 0, 0, 7]",
            "data of 5: \"hi\", 5 counted, end",
            "frame 8 of 0: [0, 0, 0, 9]",
            "data of 7: \"\", 0 counted, end",
        ];
        for cut in 1..=bytes.len() {
            let mut frames = Frames { preface_left: frame::PREFACE.len(), ..Frames::default() };
            let said = pieces(&mut frames, &bytes, cut).expect("it is HTTP/2");
            let control: Vec<_> = said.iter().filter(|piece| piece.starts_with("frame")).collect();
            assert_eq!(control, [whole[0], whole[2]], "cut every {cut} bytes");
            let ends: Vec<_> = said.iter().filter(|piece| piece.ends_with("end")).collect();
            assert_eq!(ends.len(), 2, "cut every {cut} bytes: {said:?}");
        }
        let mut frames = Frames { preface_left: frame::PREFACE.len(), ..Frames::default() };
        assert_eq!(pieces(&mut frames, &bytes, bytes.len()).expect("it is HTTP/2"), whole);
    }

    #[test]
    fn what_is_no_http2_is_refused() {
        let too_long = FrameHeader { length: FRAME_BYTES + 1, kind: kind::PING, flags: 0, stream: 0 }.encode();
        for (what, preface_left, bytes) in [
            ("another protocol", frame::PREFACE.len(), b"GET / HTTP/1.1\r\n\r\n".to_vec()),
            ("padding longer than its frame", 0, frame::frame(kind::DATA, flag::PADDED, 1, &[3, 0, 0])),
            ("padding without its length", 0, frame::frame(kind::DATA, flag::PADDED, 1, &[])),
            ("a frame that is too long", 0, too_long.to_vec()),
        ] {
            let mut frames = Frames { preface_left, ..Frames::default() };
            let then = [bytes, vec![0; 16]].concat();
            assert!(pieces(&mut frames, &then, then.len()).is_err(), "{what}");
        }
    }
}

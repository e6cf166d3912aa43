//! Cuts the peer's bytes into frames, wherever one buffer ends and the next begins. DATA is handed on as it comes.

use std::borrow::Cow;

use super::error::SessionError;
use super::frame::{self, FrameHeader, Reason, flag, kind};
use super::settings::{MAX_FRAME_BYTES, Role};

/// What the peer sent, piece by piece.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// Part of a frame of data. `counted`: what it takes of the windows, padding included. `end`: the stream's last.
    Data { stream: u32, bytes: &'a [u8], counted: u32, end: bool },
    /// A whole frame of another type.
    Frame(FrameHeader, Cow<'a, [u8]>),
}

/// Holds no more than the beginning of a frame's header, or of a frame that is no DATA.
#[derive(Debug, Default)]
pub(crate) struct FrameReader {
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
    /// Whether the Pad Length octet (RFC 9113 §6.1) is still to come.
    pad_length_due: bool,
    /// Bytes of data still to come.
    left: u32,
    /// Bytes of padding after them.
    padding: u32,
    /// What the windows still have to count besides.
    overhead: u32,
}

impl FrameReader {
    /// The reader of a connection that begins. A server expects the client's preface first.
    pub(crate) fn new(role: Role) -> Self {
        let preface_left = if role == Role::Server { frame::PREFACE.len() } else { 0 };
        Self { preface_left, ..Self::default() }
    }

    /// The next piece of what is in `rest`; `None` when the rest is used up.
    ///
    /// # Errors
    /// When it is no HTTP/2, or a frame is longer than we accept.
    pub(crate) fn next<'a>(&mut self, rest: &mut &'a [u8]) -> Result<Option<Piece<'a>>, SessionError> {
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
        if header.length > MAX_FRAME_BYTES {
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

    /// Takes the Pad Length octet (RFC 9113 §6.1), if it is here.
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
        let (length, pad) = (frame_part_length(bytes), frame_part_length(pad));
        let counted = length + pad + data.overhead;
        (data.left, data.padding, data.overhead) = (data.left - length, data.padding - pad, 0);
        let over = data.left == 0 && data.padding == 0;
        self.data = (!over).then_some(data);
        Some(Piece::Data { stream: data.stream, bytes, counted, end: over && data.end })
    }
}

fn frame_part_length(part: &[u8]) -> u32 {
    u32::try_from(part.len()).expect("part of a frame, whose length is a number of 24 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a peer's bytes mean, however they are cut: data joined, frames as they are.
    fn pieces(frames: &mut FrameReader, bytes: &[u8], cut: usize) -> Result<Vec<String>, SessionError> {
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
        let mut bytes = frame::PREFACE.to_vec();
        frame::append_settings(&mut bytes, &[(3, 7)]);
        frame::append(&mut bytes, kind::DATA, flag::PADDED | flag::END_STREAM, 5, &[2, b'h', b'i', 0, 0]);
        frame::append_window_update(&mut bytes, 0, 9);
        frame::append(&mut bytes, kind::DATA, flag::END_STREAM, 7, &[]);
        let whole = [
            "frame 4 of 0: [0, 3, 0, 0, 0, 7]",
            "data of 5: \"hi\", 5 counted, end",
            "frame 8 of 0: [0, 0, 0, 9]",
            "data of 7: \"\", 0 counted, end",
        ];
        for cut in 1..=bytes.len() {
            let mut frames = FrameReader::new(Role::Server);
            let said = pieces(&mut frames, &bytes, cut).expect("it is HTTP/2");
            let control: Vec<_> = said.iter().filter(|piece| piece.starts_with("frame")).collect();
            assert_eq!(control, [whole[0], whole[2]], "cut every {cut} bytes");
            let ends: Vec<_> = said.iter().filter(|piece| piece.ends_with("end")).collect();
            assert_eq!(ends.len(), 2, "cut every {cut} bytes: {said:?}");
        }
        let mut frames = FrameReader::new(Role::Server);
        assert_eq!(pieces(&mut frames, &bytes, bytes.len()).expect("it is HTTP/2"), whole);
    }

    #[test]
    fn what_is_no_http2_is_refused() {
        let data = |payload: &[u8]| {
            let mut bytes = Vec::new();
            frame::append(&mut bytes, kind::DATA, flag::PADDED, 1, payload);
            bytes
        };
        let too_long = FrameHeader { length: MAX_FRAME_BYTES + 1, kind: kind::PING, flags: 0, stream: 0 }.encode();
        for (what, preface_left, bytes) in [
            ("another protocol", frame::PREFACE.len(), b"GET / HTTP/1.1\r\n\r\n".to_vec()),
            ("padding longer than its frame", 0, data(&[3, 0, 0])),
            ("padding without its length", 0, data(&[])),
            ("a frame that is too long", 0, too_long.to_vec()),
        ] {
            let mut frames = FrameReader { preface_left, ..FrameReader::default() };
            let then = [bytes, vec![0; 16]].concat();
            assert!(pieces(&mut frames, &then, then.len()).is_err(), "{what}");
        }
    }
}

//! Frames of HTTP/2 (RFC 9113 §4, §6 and §7): their constants, their header, and those that we write.

/// Bytes of a frame's header.
pub(crate) const HEADER_BYTES: usize = 9;

/// The longest frame that every peer accepts (RFC 9113 §4.2), and that we send.
pub(crate) const MAX_SENT_FRAME_BYTES: usize = 1 << 14;

/// What every client sends first (RFC 9113 §3.4).
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Frame types.
pub(super) mod kind {
    pub(in crate::h2) const DATA: u8 = 0;
    pub(in crate::h2) const HEADERS: u8 = 1;
    pub(in crate::h2) const PRIORITY: u8 = 2;
    pub(in crate::h2) const RST_STREAM: u8 = 3;
    pub(in crate::h2) const SETTINGS: u8 = 4;
    pub(in crate::h2) const PUSH_PROMISE: u8 = 5;
    pub(in crate::h2) const PING: u8 = 6;
    pub(in crate::h2) const GOAWAY: u8 = 7;
    pub(in crate::h2) const WINDOW_UPDATE: u8 = 8;
    pub(in crate::h2) const CONTINUATION: u8 = 9;
}

/// Frame flags.
pub(super) mod flag {
    pub(in crate::h2) const END_STREAM: u8 = 0x1;
    pub(in crate::h2) const ACK: u8 = 0x1;
    pub(in crate::h2) const END_HEADERS: u8 = 0x4;
    pub(in crate::h2) const PADDED: u8 = 0x8;
    pub(in crate::h2) const PRIORITY: u8 = 0x20;
}

/// Identifiers of settings (RFC 9113 §6.5.2).
pub(super) mod setting {
    pub(in crate::h2) const HEADER_TABLE_SIZE: u16 = 1;
    pub(in crate::h2) const ENABLE_PUSH: u16 = 2;
    pub(in crate::h2) const MAX_CONCURRENT_STREAMS: u16 = 3;
    pub(in crate::h2) const INITIAL_WINDOW_SIZE: u16 = 4;
    pub(in crate::h2) const MAX_FRAME_SIZE: u16 = 5;
    pub(in crate::h2) const MAX_HEADER_LIST_SIZE: u16 = 6;
    /// One of those for experiments (RFC 9113 §11.3): 1 where requests may be sent as streams of their own, beside CONNECT.
    pub(in crate::h2) const REQUEST_STREAMS: u16 = 0xf77e;
}

/// Error codes (RFC 9113 §7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reason(pub u32);

impl Reason {
    pub(crate) const NO_ERROR: Self = Self(0);
    pub(crate) const PROTOCOL_ERROR: Self = Self(1);
    pub(crate) const INTERNAL_ERROR: Self = Self(2);
    pub(crate) const FLOW_CONTROL_ERROR: Self = Self(3);
    pub(crate) const SETTINGS_TIMEOUT: Self = Self(4);
    pub(crate) const STREAM_CLOSED: Self = Self(5);
    pub(crate) const FRAME_SIZE_ERROR: Self = Self(6);
    pub(crate) const REFUSED_STREAM: Self = Self(7);
    pub(crate) const CANCEL: Self = Self(8);
    pub(crate) const COMPRESSION_ERROR: Self = Self(9);
    pub(crate) const ENHANCE_YOUR_CALM: Self = Self(11);
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const NAMES: [&str; 14] = [
            "NO_ERROR",
            "PROTOCOL_ERROR",
            "INTERNAL_ERROR",
            "FLOW_CONTROL_ERROR",
            "SETTINGS_TIMEOUT",
            "STREAM_CLOSED",
            "FRAME_SIZE_ERROR",
            "REFUSED_STREAM",
            "CANCEL",
            "COMPRESSION_ERROR",
            "CONNECT_ERROR",
            "ENHANCE_YOUR_CALM",
            "INADEQUATE_SECURITY",
            "HTTP_1_1_REQUIRED",
        ];
        match NAMES.get(self.0 as usize) {
            Some(name) => f.write_str(name),
            None => write!(f, "error {}", self.0),
        }
    }
}

/// A frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    /// Of the payload.
    pub(super) length: u32,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

impl FrameHeader {
    pub(super) fn parse(bytes: [u8; HEADER_BYTES]) -> Self {
        let [a, b, c, kind, flags, stream @ ..] = bytes;
        // The highest bit of the stream is reserved, and ignored.
        let stream = u32::from_be_bytes(stream) & 0x7fff_ffff;
        Self { length: u32::from_be_bytes([0, a, b, c]), kind, flags, stream }
    }

    pub(super) fn encode(self) -> [u8; HEADER_BYTES] {
        let [_, a, b, c] = self.length.to_be_bytes();
        let [s, t, u, v] = self.stream.to_be_bytes();
        [a, b, c, self.kind, self.flags, s, t, u, v]
    }

    pub(super) fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// The header of a DATA frame of so many bytes that does not end its stream.
///
/// # Panics
/// When the length is no frame length at all: 4 GiB or more.
pub(crate) fn data_header(stream: u32, length: usize) -> [u8; HEADER_BYTES] {
    let length = u32::try_from(length).expect("a frame is shorter than a record of 16 KiB");
    FrameHeader { length, kind: kind::DATA, flags: 0, stream }.encode()
}

/// The header of the DATA frame that ends its stream.
pub(crate) fn last_data_header(stream: u32, length: usize) -> [u8; HEADER_BYTES] {
    let mut header = data_header(stream, length);
    header[4] |= flag::END_STREAM;
    header
}

/// Begins a field block at the end of `out`. The block is appended, and then [finished](finish_block) with what this returns.
pub(super) fn begin_block(out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    start
}

/// Makes frames of the field block that began at `start`: HEADERS, and CONTINUATION as often as it takes (RFC 9113 §4.3).
pub(super) fn finish_block(out: &mut Vec<u8>, start: usize, stream: u32, end_stream: bool) {
    let block = start + HEADER_BYTES;
    let rest = (out.len() - block > MAX_SENT_FRAME_BYTES).then(|| out.split_off(block + MAX_SENT_FRAME_BYTES));
    let length = u32::try_from(out.len() - block).expect("at most what a frame may have");
    let end_stream = if end_stream { flag::END_STREAM } else { 0 };
    let end_headers = if rest.is_none() { flag::END_HEADERS } else { 0 };
    let header = FrameHeader { length, kind: kind::HEADERS, flags: end_stream | end_headers, stream };
    out[start..block].copy_from_slice(&header.encode());
    let mut parts = rest.iter().flat_map(|rest| rest.chunks(MAX_SENT_FRAME_BYTES)).peekable();
    while let Some(part) = parts.next() {
        let flags = if parts.peek().is_none() { flag::END_HEADERS } else { 0 };
        append(out, kind::CONTINUATION, flags, stream, part);
    }
}

/// Appends a whole frame to `out`. Our own payloads are short: below the smallest limit that a peer may set, 16 KiB.
pub(super) fn append(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).expect("frames that we make are short");
    out.reserve(HEADER_BYTES + payload.len());
    out.extend_from_slice(&FrameHeader { length, kind, flags, stream }.encode());
    out.extend_from_slice(payload);
}

pub(super) fn append_settings(out: &mut Vec<u8>, settings: &[(u16, u32)]) {
    let mut payload = Vec::with_capacity(settings.len() * 6);
    for (name, value) in settings {
        payload.extend_from_slice(&name.to_be_bytes());
        payload.extend_from_slice(&value.to_be_bytes());
    }
    append(out, kind::SETTINGS, 0, 0, &payload);
}

pub(super) fn append_window_update(out: &mut Vec<u8>, stream: u32, increment: u32) {
    append(out, kind::WINDOW_UPDATE, 0, stream, &increment.to_be_bytes());
}

pub(super) fn append_reset(out: &mut Vec<u8>, stream: u32, reason: Reason) {
    append(out, kind::RST_STREAM, 0, stream, &reason.0.to_be_bytes());
}

pub(super) fn append_goaway(out: &mut Vec<u8>, last_stream: u32, reason: Reason) {
    let mut payload = [0; 8];
    payload[..4].copy_from_slice(&last_stream.to_be_bytes());
    payload[4..].copy_from_slice(&reason.0.to_be_bytes());
    append(out, kind::GOAWAY, 0, 0, &payload);
}

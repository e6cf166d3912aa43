//! Heads as `httparse` reads them, within the bounds of a head, and with what it lets pass and RFC 9112 does not: lines that end
//! in LF alone (§2.2).

use std::mem::MaybeUninit;

use httparse::{Header, Status};

use super::error::HeadError;

/// The longest head, from its first line to the empty one. Envoy's default.
pub(super) const MAX_HEAD_BYTES: usize = 60 * 1024;
/// The most fields that a head or a trailer section has. Envoy's default.
pub(super) const MAX_FIELDS: usize = 100;

/// Place for the fields of one head. It is on the stack, and nobody clears it.
pub(super) struct FieldPlace<'b>([MaybeUninit<Header<'b>>; MAX_FIELDS]);

impl FieldPlace<'_> {
    pub(super) fn new() -> Self {
        Self([const { MaybeUninit::uninit() }; MAX_FIELDS])
    }
}

/// The first line and the fields of a request.
pub(super) struct RawRequest<'p, 'b> {
    pub(super) method: &'b [u8],
    pub(super) target: &'b [u8],
    pub(super) is_http10: bool,
    pub(super) fields: &'p [Header<'b>],
    /// Of the whole head, with the empty line.
    pub(super) bytes: usize,
}

/// Reads the head of a request; `None` while it is incomplete.
pub(super) fn request<'p, 'b>(
    bytes: &'b [u8],
    place: &'p mut FieldPlace<'b>,
) -> Result<Option<RawRequest<'p, 'b>>, HeadError> {
    check_first_byte(bytes)?;
    let mut request = httparse::Request::new(&mut []);
    let status = request.parse_with_uninit_headers(bytes, &mut place.0);
    let Some(length) = complete(bytes, status)? else { return Ok(None) };
    let (Some(method), Some(target), Some(version)) = (request.method, request.path, request.version) else {
        return Err(HeadError::Syntax("incomplete request line"));
    };
    let fields: &[Header<'b>] = request.headers;
    check_line_ends(&bytes[..length], fields)?;
    let (method, target) = (method.as_bytes(), target.as_bytes());
    Ok(Some(RawRequest { method, target, is_http10: version == 0, fields, bytes: length }))
}

/// The first line and the fields of a response. The reason phrase is left out: it says nothing (RFC 9112 §4).
pub(super) struct RawResponse<'p, 'b> {
    pub(super) status: u16,
    pub(super) is_http10: bool,
    pub(super) fields: &'p [Header<'b>],
    pub(super) bytes: usize,
}

/// Reads the head of a response; `None` while it is incomplete.
pub(super) fn response<'p, 'b>(
    bytes: &'b [u8],
    place: &'p mut FieldPlace<'b>,
) -> Result<Option<RawResponse<'p, 'b>>, HeadError> {
    check_first_byte(bytes)?;
    let mut response = httparse::Response::new(&mut []);
    let parser = httparse::ParserConfig::default();
    let status = parser.parse_response_with_uninit_headers(&mut response, bytes, &mut place.0);
    let Some(length) = complete(bytes, status)? else { return Ok(None) };
    let (Some(status), Some(version)) = (response.code, response.version) else {
        return Err(HeadError::Syntax("incomplete status line"));
    };
    let fields: &[Header<'b>] = response.headers;
    check_line_ends(&bytes[..length], fields)?;
    Ok(Some(RawResponse { status, is_http10: version == 0, fields, bytes: length }))
}

/// Reads fields alone, to the empty line behind them.
pub(super) fn trailers<'p, 'b>(
    bytes: &'b [u8],
    place: &'p mut [Header<'b>; MAX_FIELDS],
) -> Result<Option<(&'p [Header<'b>], usize)>, HeadError> {
    let mut fields: &[Header<'b>] = &[];
    let status = httparse::parse_headers(bytes, place).map(|status| match status {
        Status::Complete((length, read)) => {
            fields = read;
            Status::Complete(length)
        }
        Status::Partial => Status::Partial,
    });
    let Some(length) = complete(bytes, status)? else { return Ok(None) };
    check_line_ends(&bytes[..length], fields)?;
    Ok(Some((fields, length)))
}

/// `httparse` skips any number of empty lines.
fn check_first_byte(bytes: &[u8]) -> Result<(), HeadError> {
    match bytes.first() {
        Some(b'\r' | b'\n') => Err(HeadError::Syntax("empty line in the place of the first one")),
        _ => Ok(()),
    }
}

/// How long a complete head is.
fn complete(bytes: &[u8], status: httparse::Result<usize>) -> Result<Option<usize>, HeadError> {
    match status {
        Ok(Status::Complete(length)) if length <= MAX_HEAD_BYTES => Ok(Some(length)),
        Ok(Status::Partial) if bytes.len() <= MAX_HEAD_BYTES => Ok(None),
        Ok(_) if bytes[..MAX_HEAD_BYTES].contains(&b'\n') => Err(HeadError::TooLarge),
        Ok(_) => Err(HeadError::TargetTooLong),
        Err(error) => Err(refusal(error, bytes)),
    }
}

fn refusal(error: httparse::Error, bytes: &[u8]) -> HeadError {
    match error {
        httparse::Error::HeaderName => HeadError::Syntax("invalid name of a field, or a folded line"),
        httparse::Error::HeaderValue => HeadError::Syntax("invalid value of a field"),
        httparse::Error::NewLine => HeadError::Syntax("a line does not end in CRLF"),
        httparse::Error::Status => HeadError::Syntax("invalid status line"),
        httparse::Error::Token => HeadError::Syntax("invalid request line"),
        httparse::Error::TooManyHeaders => HeadError::TooManyFields,
        httparse::Error::Version if is_other_version(bytes) => HeadError::Version,
        httparse::Error::Version => HeadError::Syntax("no version of HTTP where one belongs"),
    }
}

/// Whether a line whose version was refused names another version of HTTP: behind two spaces in a request, first in a response.
fn is_other_version(bytes: &[u8]) -> bool {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or(bytes);
    let version = if line.starts_with(b"HTTP/") { Some(line) } else { line.splitn(3, |byte| *byte == b' ').nth(2) };
    version
        .and_then(|text| text.strip_prefix(b"HTTP/"))
        .is_some_and(|rest| rest.first().is_some_and(u8::is_ascii_digit))
}

/// In a head that `httparse` takes, each LF ends a line and each CR stands before one. So CRLF before each name and twice at the
/// end is CRLF everywhere.
fn check_line_ends(head: &[u8], fields: &[Header<'_>]) -> Result<(), HeadError> {
    let start = head.as_ptr().addr();
    let follows_crlf = |field: &Header<'_>| {
        let at = field.name.as_ptr().addr() - start;
        at == 0 || head[..at].ends_with(b"\r\n")
    };
    // A trailer section without fields is an empty line alone.
    let is_end = head == b"\r\n" || head.ends_with(b"\r\n\r\n");
    if is_end && fields.iter().all(follows_crlf) {
        return Ok(());
    }
    Err(HeadError::Syntax("a line does not end in CRLF"))
}

/// How much of an incomplete head was looked at. A head that comes byte by byte must not be parsed anew with every byte.
#[derive(Debug, Default)]
pub(super) struct HeadProgress {
    /// How many bytes there were when parsing was tried last.
    parsed: usize,
    /// How many bytes were searched for the end.
    searched: usize,
}

impl HeadProgress {
    /// Whether parsing these bytes can have another result than the last time: the first time, when an empty line has come, when
    /// there is twice as much as before, for what is wrong already, and when there is too much.
    pub(super) fn is_worth_parsing(&mut self, bytes: &[u8]) -> bool {
        let new = &bytes[self.searched.saturating_sub(2)..];
        self.searched = bytes.len();
        let is_worth = bytes.len() >= self.parsed * 2 || bytes.len() > MAX_HEAD_BYTES || has_empty_line(new);
        if is_worth {
            self.parsed = bytes.len();
        }
        is_worth
    }
}

/// Whether an LF is followed by CRLF or by LF.
fn has_empty_line(bytes: &[u8]) -> bool {
    bytes.windows(2).any(|pair| pair == b"\n\n") || bytes.windows(3).any(|three| three == b"\n\r\n")
}

//! Where a message ends (RFC 9112 §6.3).

use super::body::BodyReader;
use super::error::HeadError;
use super::fields::Control;
use super::syntax::members;

/// What of a request its response depends on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct RequestForm {
    pub(super) is_head: bool,
    pub(super) is_connect: bool,
    /// Whether it wants to upgrade.
    pub(super) upgrade: bool,
}

impl RequestForm {
    pub(super) fn by(method: &[u8], upgrade: bool) -> Self {
        Self { is_head: method == b"HEAD", is_connect: method == b"CONNECT", upgrade }
    }

    /// Whether a response of this status changes the connection into a tunnel.
    pub(super) fn becomes_tunnel(self, status: u16) -> bool {
        status == 101 || self.is_connect && (200..300).contains(&status)
    }

    /// Whether a response of this status ends with its head, whatever its fields say.
    pub(super) fn has_no_content(self, status: u16) -> bool {
        self.is_head || (100..200).contains(&status) || matches!(status, 204 | 304)
    }
}

/// The body of a request.
pub(super) fn request_body(
    control: &Control<'_>,
    asked: RequestForm,
    is_http10: bool,
) -> Result<BodyReader, HeadError> {
    let is_chunked = is_chunked(control, is_http10)?;
    if asked.is_connect && (is_chunked || control.content_length.is_some_and(|length| length > 0)) {
        return Err(HeadError::Framing("CONNECT has no content"));
    }
    Ok(match control.content_length {
        _ if is_chunked => BodyReader::chunked(),
        Some(length) if !asked.is_connect => BodyReader::Known(length),
        _ => BodyReader::Ended,
    })
}

/// The body of a response.
pub(super) fn response_body(
    control: &Control<'_>,
    asked: RequestForm,
    status: u16,
    is_http10: bool,
) -> Result<BodyReader, HeadError> {
    if status == 101 && !(asked.upgrade && control.upgrade.is_some()) {
        return Err(HeadError::Framing("the connection changes to a protocol that was not asked for"));
    }
    if asked.becomes_tunnel(status) {
        return Ok(BodyReader::Tunnel);
    }
    let is_chunked = is_chunked(control, is_http10)?;
    Ok(match control.content_length {
        _ if asked.has_no_content(status) => BodyReader::Ended,
        _ if is_chunked => BodyReader::chunked(),
        Some(length) => BodyReader::Known(length),
        None => BodyReader::UntilClose,
    })
}

/// Whether the body is chunked. Refuses what two readers might understand differently: two ways of framing at once, and
/// transfer codings in HTTP/1.0, which has none (RFC 9112 §6.1).
fn is_chunked(control: &Control<'_>, is_http10: bool) -> Result<bool, HeadError> {
    let Some(coding) = control.transfer_encoding else { return Ok(false) };
    if control.content_length.is_some() {
        return Err(HeadError::Framing("Transfer-Encoding and Content-Length"));
    }
    if is_http10 {
        return Err(HeadError::Framing("Transfer-Encoding in HTTP/1.0"));
    }
    if coding.eq_ignore_ascii_case(b"chunked") {
        return Ok(true);
    }
    // It is certain where the message ends, but not what it is: 501 (RFC 9112 §6.1). Anything else is 400 (§6.3).
    let is_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
    let is_last = members(coding).last().is_some_and(is_chunked);
    if is_last && members(coding).count() > 1 && members(coding).filter(|coding| is_chunked(coding)).count() == 1 {
        return Err(HeadError::TransferCoding);
    }
    Err(HeadError::Framing("Transfer-Encoding does not end with chunked, once"))
}

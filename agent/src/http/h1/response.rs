//! The head of a response, from its bytes (RFC 9112 §4).

use super::body::BodyReader;
use super::error::HeadError;
use super::fields::sort;
use super::framing::{RequestForm, response_body};
use super::raw::{self, FieldPlace};
use crate::model::http::head::{HttpVersion, ResponseHead};

/// What else the head of a response says.
#[derive(Debug)]
pub(super) struct ParsedResponse {
    /// How long it is.
    pub(super) bytes: usize,
    pub(super) body: BodyReader,
    /// Whether the server takes another request behind this response (RFC 9112 §9.3).
    pub(super) persists: bool,
}

/// Reads the head of a response into `head`; `None` while it is incomplete.
pub(super) fn read_response(
    bytes: &[u8],
    head: &mut ResponseHead,
    asked: RequestForm,
) -> Result<Option<ParsedResponse>, HeadError> {
    let mut place = FieldPlace::new();
    let Some(raw) = raw::response(bytes, &mut place)? else { return Ok(None) };
    if !(100..600).contains(&raw.status) {
        return Err(HeadError::Syntax("status outside of 100 to 599"));
    }
    head.clear();
    head.version = if raw.is_http10 { HttpVersion::Http10 } else { HttpVersion::Http11 };
    head.status = raw.status;
    let mut control = sort(raw.fields, &mut head.fields)?;
    let body = response_body(&control, asked, raw.status, raw.is_http10)?;
    // 426 says what the client should upgrade to (RFC 9110 §15.5.22).
    if matches!(raw.status, 101 | 426) {
        head.upgrade = control.upgrade.take();
    }
    let wants_more = !control.close && (!raw.is_http10 || control.keep_alive);
    let persists = wants_more && !matches!(body, BodyReader::UntilClose | BodyReader::Tunnel);
    Ok(Some(ParsedResponse { bytes: raw.bytes, body, persists }))
}

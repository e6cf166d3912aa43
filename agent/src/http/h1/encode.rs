//! Heads as they are written (RFC 9112 §3 and §4).
//!
//! Nothing is written that a receiver could read in another way: names, values, methods and targets are checked again, wherever
//! they come from. HTTP/2 and configuration could otherwise end a line where HTTP/1 does not expect it (RFC 9113 §8.2.1). What
//! concerns the connection and the framing is written by this file alone; fields that claim to are left out.

use bytes::BytesMut;
use http::StatusCode;

use super::content::BodyWriter;
use super::fields::{Special, special};
use super::framing::RequestForm;
use super::syntax::{decimal, decimal_text, is_authority, is_authority_with_port, is_target, is_token, write_field};
use crate::http::stream::BodyLength;
use crate::model::http::head::{HttpFields, RequestHead, ResponseHead};

/// What a head says of the length of its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Nothing,
    Length(u64),
    Chunked,
    /// What the fields say: of content that is not sent, in a response to HEAD and in 304.
    AsFieldsSay,
}

/// The options of `Connection` besides `te`, which belongs to the field of this name.
#[derive(Debug, Clone, Copy, Default)]
struct Options<'h> {
    persistence: Option<&'static [u8]>,
    upgrade: Option<&'h [u8]>,
}

/// Writes the head of a request, in HTTP/1.1; in HTTP/1.0 where there is no authority and with it no `Host`.
///
/// # Errors
/// With the name of the part that cannot be written. What was added to `text` is then no head.
pub(super) fn write_request(
    head: &RequestHead,
    length: BodyLength,
    text: &mut BytesMut,
) -> Result<BodyWriter, &'static str> {
    let is_connect = head.method == b"CONNECT";
    let target = if is_connect { &head.authority } else { &head.target };
    let is_http10 = head.authority.is_empty();
    if !is_token(&head.method) {
        return Err("the method is not a token");
    }
    let has_form = is_connect || target.starts_with(b"/") || target == b"*" && head.method == b"OPTIONS";
    if !has_form || !is_target(target) {
        return Err("the target is no path, or has bytes that no target has");
    }
    let has_authority = if is_connect { is_authority_with_port } else { is_authority };
    if !is_http10 && !has_authority(&head.authority) {
        return Err("the authority is not a host with or without a port, or has none where CONNECT needs it");
    }
    text.reserve(512);
    text.extend_from_slice(&head.method);
    text.extend_from_slice(b" ");
    text.extend_from_slice(target);
    if is_http10 {
        text.extend_from_slice(b" HTTP/1.0\r\n");
    } else {
        text.extend_from_slice(b" HTTP/1.1\r\n");
        text.extend_from_slice(Names::of(&head.fields).host);
        text.extend_from_slice(b": ");
        text.extend_from_slice(&head.authority);
        text.extend_from_slice(b"\r\n");
    }
    let (framing, writer) = match length {
        _ if is_connect => (Framing::Nothing, BodyWriter::Ended),
        BodyLength::Known(length) => (Framing::Length(length), BodyWriter::Known(length)),
        BodyLength::Unknown if is_http10 => return Err("a body without a length in HTTP/1.0"),
        BodyLength::Unknown => (Framing::Chunked, BodyWriter::Chunked),
        // Methods that usually have content say that there is none (RFC 9110 §8.6).
        BodyLength::Empty if matches!(&head.method[..], b"POST" | b"PUT" | b"PATCH") => {
            (Framing::Length(0), BodyWriter::Ended)
        }
        BodyLength::Empty => (Framing::Nothing, BodyWriter::Ended),
        BodyLength::Tunnel => return Err("only CONNECT asks for a tunnel"),
    };
    let upgrade = head.upgrade.as_deref().filter(|_| !is_http10);
    write_fields(&head.fields, framing, Options { persistence: None, upgrade }, text)?;
    Ok(writer)
}

/// Who gets a response.
#[derive(Debug, Clone, Copy)]
pub(super) struct Recipient {
    pub(super) asked: RequestForm,
    pub(super) is_http10: bool,
    /// Whether the connection stays for another request.
    pub(super) persists: bool,
}

/// Writes the head of a response. One of unknown length ends with the connection where the recipient knows no chunks.
///
/// # Errors
/// As [`write_request`].
pub(super) fn write_response(
    head: &ResponseHead,
    length: BodyLength,
    to: Recipient,
    text: &mut BytesMut,
) -> Result<BodyWriter, &'static str> {
    let status = StatusCode::from_u16(head.status).ok().filter(|status| status.as_u16() < 600);
    let Some(status) = status else { return Err("status outside of 100 to 599") };
    let (framing, writer) = response_framing(head.status, length, to)?;
    text.reserve(512);
    text.extend_from_slice(b"HTTP/1.1 ");
    text.extend_from_slice(status.as_str().as_bytes());
    text.extend_from_slice(b" ");
    text.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    text.extend_from_slice(b"\r\n");
    let persistence: Option<&[u8]> = match (to.persists, writer) {
        _ if head.is_interim() => None,
        (_, BodyWriter::Tunnel) => None,
        (false, _) | (_, BodyWriter::UntilClose) => Some(b"close"),
        (true, _) => to.is_http10.then_some(b"keep-alive"),
    };
    write_fields(&head.fields, framing, Options { persistence, upgrade: head.upgrade.as_deref() }, text)?;
    Ok(writer)
}

/// RFC 9110 §8.6 and RFC 9112 §6.3: which responses have a length, and which have content.
fn response_framing(status: u16, length: BodyLength, to: Recipient) -> Result<(Framing, BodyWriter), &'static str> {
    if to.asked.becomes_tunnel(status) {
        return Ok((Framing::Nothing, BodyWriter::Tunnel));
    }
    if to.asked.has_no_content(status) {
        let may_say_length = status >= 200 && status != 204;
        let framing = match length {
            BodyLength::Known(length) if may_say_length => Framing::Length(length),
            BodyLength::Empty if may_say_length => Framing::AsFieldsSay,
            _ => Framing::Nothing,
        };
        return Ok((framing, BodyWriter::Discarded));
    }
    match length {
        BodyLength::Empty => Ok((Framing::Length(0), BodyWriter::Known(0))),
        BodyLength::Known(length) => Ok((Framing::Length(length), BodyWriter::Known(length))),
        BodyLength::Unknown if to.is_http10 => Ok((Framing::Nothing, BodyWriter::UntilClose)),
        BodyLength::Unknown => Ok((Framing::Chunked, BodyWriter::Chunked)),
        BodyLength::Tunnel => Err("this response makes no tunnel"),
    }
}

/// The names of the fields that are written here, in lower case, or as applications write them that take names to be
/// case-sensitive.
struct Names {
    host: &'static [u8],
    content_length: &'static [u8],
    transfer_encoding: &'static [u8],
    upgrade: &'static [u8],
    connection: &'static [u8],
}

impl Names {
    const LOWER_CASE: Self = Self {
        host: b"host",
        content_length: b"content-length",
        transfer_encoding: b"transfer-encoding",
        upgrade: b"upgrade",
        connection: b"connection",
    };
    const CAPITALIZED: Self = Self {
        host: b"Host",
        content_length: b"Content-Length",
        transfer_encoding: b"Transfer-Encoding",
        upgrade: b"Upgrade",
        connection: b"Connection",
    };

    /// Those that go with the fields of a message.
    fn of(fields: &HttpFields) -> &'static Self {
        if fields.preserves_case() { &Self::CAPITALIZED } else { &Self::LOWER_CASE }
    }
}

/// Writes the fields, and the empty line.
fn write_fields(
    fields: &HttpFields,
    framing: Framing,
    options: Options<'_>,
    text: &mut BytesMut,
) -> Result<(), &'static str> {
    let mut says_length = framing != Framing::AsFieldsSay;
    let mut has_te = false;
    let names = Names::of(fields);
    for (name, value) in fields.iter_original() {
        match special(name) {
            None | Some(Special::Expect) => {}
            Some(Special::Te) if value.eq_ignore_ascii_case(b"trailers") && !has_te => has_te = true,
            Some(Special::ContentLength) if !says_length && decimal(value).is_some() => says_length = true,
            Some(_) => continue,
        }
        write_field(name, value, text)?;
    }
    match framing {
        Framing::Length(length) => write_field(names.content_length, decimal_text(length, &mut [0; 20]), text)?,
        Framing::Chunked => write_field(names.transfer_encoding, b"chunked", text)?,
        Framing::Nothing | Framing::AsFieldsSay => {}
    }
    if let Some(protocols) = options.upgrade {
        write_field(names.upgrade, protocols, text)?;
    }
    let upgrade: Option<&[u8]> = options.upgrade.map(|_| &b"upgrade"[..]);
    let te: Option<&[u8]> = has_te.then_some(b"te");
    let mut is_first = true;
    for option in [options.persistence, upgrade, te].into_iter().flatten() {
        if is_first {
            text.extend_from_slice(names.connection);
        }
        text.extend_from_slice(if is_first { b": " } else { b", " });
        text.extend_from_slice(option);
        is_first = false;
    }
    text.extend_from_slice(if is_first { b"\r\n" } else { b"\r\n\r\n" });
    Ok(())
}

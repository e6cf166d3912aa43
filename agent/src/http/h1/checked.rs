//! Heads that pass from one side of the agent to another as values, without being written and read again. What the writers and the
//! readers of HTTP/1 and HTTP/2 would find wrong in them is wrong here, too; what concerns a connection or the framing stays behind, and
//! the length alone says where the message ends. Whoever gets such a head may rely on it as on one that it has read itself.
//!
//! It is stricter than either version where they differ: what is refused here may still be written.

use super::fields::{Special, special};
use super::framing::RequestForm;
use super::raw::{MAX_FIELDS, MAX_HEAD_BYTES};
use super::syntax::{decimal, decimal_text, is_authority, is_target, is_token, is_value};
use crate::http::stream::BodyLength;
use crate::model::http::head::{HttpFields, HttpVersion, RequestHead, ResponseHead, Scheme};

/// What a written head has besides the fields of the message: `Host`, `Connection`, and one for the framing.
const OTHER_FIELDS: usize = 3;
/// What those, the version and the ends of lines take.
const OTHER_BYTES: usize = 128;
/// What ends a name and a line.
const BYTES_PER_FIELD: usize = 4;
/// All that `TE` may say of a message: no transfer coding goes further than a connection (RFC 9110 §10.1.4).
const TRAILERS: &[u8] = b"trailers";
const BAD_VALUE: &str = "the value of a field has control characters, or blanks around it";

/// The head of a request that may pass, and what it says of the content that follows.
#[derive(Debug)]
pub(crate) struct CheckedRequest {
    head: RequestHead,
    length: BodyLength,
}

/// The head of a response that may pass.
#[derive(Debug)]
pub(crate) struct CheckedResponse {
    pub(crate) head: ResponseHead,
    pub(crate) length: BodyLength,
    /// It has no content, whatever its sender sends: because of its status, or of the request.
    pub(crate) has_no_content: bool,
}

/// Which response is expected.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expected {
    pub(crate) is_head: bool,
    pub(crate) is_http2: bool,
}

/// What `Content-Length` says of the content.
#[derive(Debug, Clone, Copy)]
enum Says {
    Nothing,
    Length(u64),
    /// As its sender says: of content that is not sent.
    AsItCame,
}

impl CheckedRequest {
    /// Checks a request, which goes on in HTTP/2 or HTTP/1.
    ///
    /// # Errors
    /// Why it may not pass.
    pub(crate) fn of(head: &RequestHead, length: BodyLength, is_http2: bool) -> Result<Self, &'static str> {
        if head.method == b"CONNECT" || head.upgrade.is_some() || length == BodyLength::Tunnel {
            return Err("it changes what its connection carries");
        }
        if !is_token(&head.method) {
            return Err("the method is not a token");
        }
        let has_form = head.target.starts_with(b"/") || head.target == b"*" && head.method == b"OPTIONS";
        if !has_form || !is_target(&head.target) || !head.target.is_ascii() {
            return Err("the target is no path, or has bytes that no target has");
        }
        if !is_authority(&head.authority) {
            return Err("the authority is not a host with or without a port");
        }
        let line_bytes = head.method.len() + head.target.len() + head.authority.len();
        let mut fields = checked_fields(&head.fields, line_bytes)?;
        let says_length = fields.contains("content-length");
        let (says, length) = match length {
            BodyLength::Known(bytes) => (Says::Length(bytes), length),
            // Methods that usually have content say in HTTP/1 that there is none (RFC 9110 §8.6).
            BodyLength::Empty if !is_http2 && matches!(&*head.method, b"POST" | b"PUT" | b"PATCH") => {
                (Says::Length(0), BodyLength::Known(0))
            }
            BodyLength::Empty if is_http2 && says_length => (Says::Length(0), length),
            _ => (Says::Nothing, length),
        };
        says.put(&mut fields);
        // HTTP/1 says no scheme.
        let (version, scheme) =
            if is_http2 { (HttpVersion::Http2, head.scheme) } else { (HttpVersion::Http11, Scheme::Http) };
        let (method, target, authority) = (head.method.clone(), head.target.clone(), head.authority.clone());
        let head = RequestHead { version, method, target, authority, scheme, fields, upgrade: None };
        Ok(Self { head, length })
    }

    /// The head, and what follows it.
    pub(crate) fn into_parts(self) -> (RequestHead, BodyLength) {
        (self.head, self.length)
    }
}

impl CheckedResponse {
    /// Checks a response, interim or final, to such a request.
    ///
    /// # Errors
    /// Why it may not pass.
    pub(crate) fn of(head: &ResponseHead, length: BodyLength, expected: Expected) -> Result<Self, &'static str> {
        let Expected { is_head, is_http2 } = expected;
        let statuses = if is_http2 { 100..1000 } else { 100..600 };
        if !statuses.contains(&head.status) {
            return Err("a status that its version of HTTP has not");
        }
        if head.status == 101 || length == BodyLength::Tunnel {
            return Err("it changes what its connection carries");
        }
        let mut fields = checked_fields(&head.fields, 0)?;
        let says_length = fields.contains("content-length");
        let has_no_content = RequestForm { is_head, ..RequestForm::default() }.has_no_content(head.status);
        let (says, length) = match length {
            _ if head.status < 200 || head.status == 204 => (Says::Nothing, BodyLength::Empty),
            BodyLength::Known(bytes) if has_no_content => (Says::Length(bytes), BodyLength::Empty),
            BodyLength::Empty if has_no_content => (Says::AsItCame, BodyLength::Empty),
            _ if has_no_content => (Says::Nothing, BodyLength::Empty),
            BodyLength::Known(bytes) => (Says::Length(bytes), length),
            BodyLength::Empty if !is_http2 => (Says::Length(0), BodyLength::Known(0)),
            BodyLength::Empty if says_length => (Says::Length(0), length),
            _ => (Says::Nothing, length),
        };
        says.put(&mut fields);
        // 426 says what the client should upgrade to (RFC 9110 §15.5.22).
        let upgrade = head.upgrade.clone().filter(|_| head.status == 426 && !is_http2);
        if upgrade.as_ref().is_some_and(|protocols| !is_value(protocols)) {
            return Err(BAD_VALUE);
        }
        let version = if is_http2 { HttpVersion::Http2 } else { HttpVersion::Http11 };
        let head = ResponseHead { version, status: head.status, fields, upgrade };
        Ok(Self { head, length, has_no_content })
    }
}

/// The fields of a trailer section that may pass.
///
/// # Errors
/// Why none may.
pub(crate) fn checked_trailers(fields: &HttpFields) -> Result<HttpFields, &'static str> {
    let mut passing = checked_fields(fields, 0)?;
    if passing.iter().any(|(name, _)| is_no_trailer(name)) {
        passing.remove_if(|name, _| is_no_trailer(name));
    }
    Ok(passing)
}

/// Fields of the connection and of the framing are no trailers (RFC 9110 §6.5.1).
fn is_no_trailer(name: &[u8]) -> bool {
    special(name).is_some() || name == b"trailer"
}

/// The fields of the message itself. `others`: bytes that the head has besides.
fn checked_fields(fields: &HttpFields, others: usize) -> Result<HttpFields, &'static str> {
    let (mut bytes, mut count, mut takes_trailers) = (others + OTHER_BYTES, OTHER_FIELDS, false);
    let mut are_all_of_message = true;
    for (name, value) in fields.iter() {
        if !is_token(name) {
            return Err("the name of a field is not a token");
        }
        if !is_value(value) || has_blanks_around(value) {
            return Err(BAD_VALUE);
        }
        bytes += name.len() + value.len() + BYTES_PER_FIELD;
        count += 1;
        if special(name) == Some(Special::Te) {
            are_all_of_message &= value == TRAILERS && !takes_trailers;
            takes_trailers |= value.eq_ignore_ascii_case(TRAILERS);
        } else {
            are_all_of_message &= is_of_message(name);
        }
    }
    if bytes > MAX_HEAD_BYTES || count > MAX_FIELDS {
        return Err("more than a head may have");
    }
    let mut passing = fields.clone();
    if !are_all_of_message {
        passing.remove_if(|name, _| !is_of_message(name));
        if takes_trailers {
            passing.append(b"te", TRAILERS);
        }
    }
    Ok(passing)
}

/// Whether a field belongs to the message, and not to a connection.
fn is_of_message(name: &[u8]) -> bool {
    matches!(special(name), None | Some(Special::Expect | Special::ContentLength))
}

fn has_blanks_around(value: &[u8]) -> bool {
    matches!(value, [b' ' | b'\t', ..] | [.., b' ' | b'\t'])
}

impl Says {
    /// Has the fields say it, once.
    fn put(self, fields: &mut HttpFields) {
        const NAME: &str = "content-length";
        let said: Option<u64> = fields.first(NAME).and_then(decimal);
        let times = fields.values(NAME).count();
        let is_said = match self {
            Self::Nothing => times == 0,
            Self::Length(length) => said == Some(length) && times == 1,
            Self::AsItCame => times == 0 || (said.is_some() && times == 1),
        };
        match self {
            _ if is_said => {}
            Self::Length(length) => fields.set(NAME, decimal_text(length, &mut [0; 20])),
            Self::Nothing | Self::AsItCame => fields.remove(NAME),
        }
    }
}

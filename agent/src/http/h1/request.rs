//! The head of a request, from its bytes (RFC 9112 §3).

use super::body::BodyReader;
use super::error::HeadError;
use super::fields::sort;
use super::framing::{RequestForm, request_body};
use super::raw::{self, FieldPlace};
use super::syntax::{is_authority, is_authority_with_port};
use crate::model::http::head::{HttpVersion, RequestHead, Scheme};

/// What else the head of a request says.
#[derive(Debug)]
pub(super) struct ParsedRequest {
    /// How long it is.
    pub(super) bytes: usize,
    pub(super) body: BodyReader,
    pub(super) asked: RequestForm,
    /// Whether the client wants to send another request (RFC 9112 §9.3).
    pub(super) persists: bool,
    /// Whether the client waits for 100 before it sends its content (RFC 9110 §10.1.1).
    pub(super) expects_continue: bool,
}

/// Reads the head of a request into `head`; `None` while it is incomplete.
pub(super) fn read_request(bytes: &[u8], head: &mut RequestHead) -> Result<Option<ParsedRequest>, HeadError> {
    let mut place = FieldPlace::new();
    let Some(raw) = raw::request(bytes, &mut place)? else { return Ok(None) };
    head.clear();
    let control = sort(raw.fields, &mut head.fields)?;
    head.method.extend_from_slice(raw.method);
    read_target(raw.target, head)?;
    check_host(control.host, control.has_several_hosts, raw.is_http10)?;
    if head.authority.is_empty() {
        head.authority.extend_from_slice(control.host.unwrap_or_default());
    }
    let asked = RequestForm::by(raw.method, control.upgrade.is_some() && !raw.is_http10);
    let body = request_body(&control, asked, raw.is_http10)?;
    let mut expects_continue = control.expects_continue;
    if raw.is_http10 {
        head.version = HttpVersion::Http10;
        // HTTP/1.0 has neither (RFC 9110 §7.8 and §10.1.1).
        head.fields.remove("expect");
        expects_continue = false;
    } else {
        head.version = HttpVersion::Http11;
        head.upgrade = control.upgrade;
    }
    let persists = !control.close && (!raw.is_http10 || control.keep_alive);
    Ok(Some(ParsedRequest { bytes: raw.bytes, body, asked, persists, expects_continue }))
}

/// The field is checked also where the target says the authority (RFC 9112 §3.2.2).
fn check_host(host: Option<&[u8]>, has_several: bool, is_http10: bool) -> Result<(), HeadError> {
    match host {
        _ if has_several => Err(HeadError::Host("more than one Host")),
        None if is_http10 => Ok(()),
        None => Err(HeadError::Host("no Host")),
        Some(host) if is_authority(host) => Ok(()),
        Some(_) => Err(HeadError::Host("Host is not a host with or without a port")),
    }
}

/// The four forms of a target (RFC 9112 §3.2).
fn read_target(target: &[u8], head: &mut RequestHead) -> Result<(), HeadError> {
    // RFC 3986 §2: a URI is ASCII. To encode the rest here would make a valid target of one that is none.
    if !target.is_ascii() {
        return Err(HeadError::Target("the target has bytes beyond ASCII that are not percent-encoded"));
    }
    if head.method == b"CONNECT" {
        if !is_authority_with_port(target) {
            return Err(HeadError::Target("the target of CONNECT is not a host with a port"));
        }
        head.authority.extend_from_slice(target);
        return Ok(());
    }
    match target {
        [b'/', ..] => head.target.extend_from_slice(target),
        b"*" if head.method == b"OPTIONS" => head.target.push(b'*'),
        b"*" => return Err(HeadError::Target("only OPTIONS has * as its target")),
        _ => read_absolute(target, head)?,
    }
    Ok(())
}

/// `http://authority/path`, as clients of a proxy send it (RFC 9112 §3.2.2). Its authority takes the place of `Host`.
fn read_absolute(target: &[u8], head: &mut RequestHead) -> Result<(), HeadError> {
    let has_scheme = |text: &[u8]| target.get(..text.len()).is_some_and(|start| start.eq_ignore_ascii_case(text));
    let rest = if has_scheme(b"http://") {
        &target[b"http://".len()..]
    } else if has_scheme(b"https://") {
        head.scheme = Scheme::Https;
        &target[b"https://".len()..]
    } else {
        return Err(HeadError::Target("the target is neither a path nor a URI of http or https"));
    };
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if !is_authority(authority) {
        return Err(HeadError::Target("the authority of the target is not a host with or without a port"));
    }
    head.authority.extend_from_slice(authority);
    if path.is_empty() && head.method == b"OPTIONS" {
        // The last proxy makes it the asterisk (RFC 9112 §3.2.4).
        head.target.push(b'*');
    } else if path.starts_with(b"/") {
        head.target.extend_from_slice(path);
    } else {
        head.target.push(b'/');
        head.target.extend_from_slice(path);
    }
    Ok(())
}

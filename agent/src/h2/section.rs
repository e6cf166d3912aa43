//! Header sections (RFC 9113 §8.3): the heads of requests and responses, as their blocks are read field by field.

use super::fields::{Malformed, SectionFields, is_of_token};
use crate::model::http::head::{HttpFields, HttpVersion, RequestHead, ResponseHead, Scheme};

/// What a head says of the content that follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// The message ends with its head.
    None,
    /// So many bytes.
    Bytes(u64),
    /// As much as comes before the end of the stream.
    Unknown,
}

/// What the method of a request means for its response (RFC 9110 §9.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RequestKind {
    /// HEAD: no content follows, whatever the head says.
    Head,
    /// CONNECT: bytes of another protocol follow after 2xx.
    Tunnel,
    Content,
}

impl RequestKind {
    pub(super) fn by_method(method: &[u8]) -> Self {
        match method {
            b"HEAD" => Self::Head,
            b"CONNECT" => Self::Tunnel,
            _ => Self::Content,
        }
    }
}

/// A request as it came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) head: RequestHead,
    pub(crate) content: Content,
}

/// A response as it came, interim or final.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) head: ResponseHead,
    /// [`Content::None`] also where the response has none because of its status or of the request.
    pub(crate) content: Content,
}

impl Response {
    /// Whether another response follows (RFC 9110 §15.2).
    pub(super) fn is_interim(&self) -> bool {
        self.head.is_interim()
    }
}

impl Content {
    /// By the length that the head names. `ends`: nothing follows the head.
    fn of(length: Option<u64>, ends: bool) -> Result<Self, Malformed> {
        match length {
            Some(bytes) if ends && bytes > 0 => Err("less content than its length says"),
            _ if ends => Ok(Self::None),
            Some(bytes) => Ok(Self::Bytes(bytes)),
            None => Ok(Self::Unknown),
        }
    }

    /// How many bytes of it are still to come, where that is known.
    pub(super) fn left(self) -> Option<u64> {
        match self {
            Self::None => Some(0),
            Self::Bytes(bytes) => Some(bytes),
            Self::Unknown => None,
        }
    }
}

/// What a field block is going to be.
#[derive(Debug)]
pub(super) enum Section {
    Request(RequestSection),
    Response(ResponseSection),
    Trailers(SectionFields),
    /// The stream is gone. The block is read only because later ones refer to it.
    Unwanted,
}

impl Section {
    /// Adds the next field of the block.
    ///
    /// # Errors
    /// When it makes the section malformed.
    pub(super) fn add(&mut self, name: &[u8], value: &[u8]) -> Result<(), Malformed> {
        let is_pseudo = name.first() == Some(&b':');
        match self {
            Self::Request(section) if is_pseudo => section.add_pseudo(name, value),
            Self::Request(section) => section.fields.add(name, value).map(|()| section.has_fields = true),
            Self::Response(section) if is_pseudo => section.add_pseudo(name, value),
            Self::Response(section) => section.fields.add(name, value).map(|()| section.has_fields = true),
            Self::Trailers(_) if is_pseudo => Err("a pseudo-header field in trailers"),
            // They say nothing of a message that has passed (RFC 9110 §6.5.1).
            Self::Trailers(_) if matches!(name, b"content-length" | b"host") => Ok(()),
            Self::Trailers(fields) => fields.add(name, value),
            Self::Unwanted => Ok(()),
        }
    }
}

/// The head of a request that is being read.
#[derive(Debug, Default)]
pub(super) struct RequestSection {
    head: RequestHead,
    scheme: Option<Scheme>,
    authority: Option<Vec<u8>>,
    has_fields: bool,
    fields: SectionFields,
}

impl RequestSection {
    pub(super) fn of_block(block: &[u8]) -> Self {
        Self { fields: SectionFields::of_block(block), ..Self::default() }
    }

    fn add_pseudo(&mut self, name: &[u8], value: &[u8]) -> Result<(), Malformed> {
        if self.has_fields {
            return Err("a pseudo-header field behind others");
        }
        match name {
            b":method" => put(&mut self.head.method, value, is_of_token),
            b":path" => put(&mut self.head.target, value, is_of_target),
            b":authority" if self.authority.is_some() => Err("a pseudo-header field twice"),
            b":authority" => {
                self.authority = Some(authority(value)?);
                Ok(())
            }
            b":scheme" if self.scheme.is_some() => Err("a pseudo-header field twice"),
            b":scheme" => {
                self.scheme = Some(scheme(value)?);
                Ok(())
            }
            _ => Err("an unknown pseudo-header field"),
        }
    }

    /// The request. `ends`: no content follows.
    ///
    /// # Errors
    /// When it lacks what a request has (RFC 9113 §8.3.1 and §8.5), or contradicts itself.
    pub(super) fn finish(mut self, ends: bool) -> Result<Request, Malformed> {
        self.fields.finish();
        let mut head = self.head;
        match &head.method[..] {
            b"" => return Err("no method"),
            b"CONNECT" if self.scheme.is_some() || !head.target.is_empty() => {
                return Err("a CONNECT request with a scheme or a path");
            }
            b"CONNECT" if self.authority.as_ref().is_none_or(Vec::is_empty) => {
                return Err("a CONNECT request without an authority");
            }
            b"CONNECT" => {}
            _ if self.scheme.is_none() => return Err("no scheme"),
            _ if head.target.is_empty() => return Err("no path"),
            b"OPTIONS" if head.target == b"*" => {}
            _ if head.target[0] != b'/' => return Err("a path that is none"),
            _ => {}
        }
        let host = self.fields.host.take().map(|host| authority(&host)).transpose()?;
        head.authority = match (self.authority, host) {
            (Some(authority), Some(host)) if !authority.eq_ignore_ascii_case(&host) => {
                return Err("a host that is not the authority");
            }
            (Some(authority), _) => authority,
            (None, host) => host.unwrap_or_default(),
        };
        head.version = HttpVersion::Http2;
        head.scheme = self.scheme.unwrap_or_default();
        head.fields = self.fields.fields;
        Ok(Request { head, content: Content::of(self.fields.content_length, ends)? })
    }
}

/// The head of a response that is being read.
#[derive(Debug, Default)]
pub(super) struct ResponseSection {
    status: Option<u16>,
    has_fields: bool,
    fields: SectionFields,
}

impl ResponseSection {
    pub(super) fn of_block(block: &[u8]) -> Self {
        Self { fields: SectionFields::of_block(block), ..Self::default() }
    }

    fn add_pseudo(&mut self, name: &[u8], value: &[u8]) -> Result<(), Malformed> {
        if self.has_fields {
            return Err("a pseudo-header field behind others");
        }
        if name != b":status" {
            return Err("an unknown pseudo-header field");
        }
        let [hundreds @ b'1'..=b'9', tens @ b'0'..=b'9', ones @ b'0'..=b'9'] = value else {
            return Err("a status that is none");
        };
        let digit = |byte: &u8| u16::from(byte - b'0');
        let status = digit(hundreds) * 100 + digit(tens) * 10 + digit(ones);
        if self.status.replace(status).is_some() { Err("a pseudo-header field twice") } else { Ok(()) }
    }

    /// The response to such a request. `ends`: nothing follows.
    ///
    /// # Errors
    /// When it has no status, or one that is not for HTTP/2 or not for the end of a stream.
    pub(super) fn finish(mut self, ends: bool, asked: RequestKind) -> Result<Response, Malformed> {
        self.fields.finish();
        let status = self.status.ok_or("no status")?;
        let mut fields = self.fields.fields;
        if let Some(host) = self.fields.host {
            // It means nothing in a response, and is passed on like any other field.
            fields.append(b"host", &host);
        }
        let head = ResponseHead { version: HttpVersion::Http2, status, fields, upgrade: None };
        // RFC 9113 §8.6: nothing is upgraded.
        if status == 101 {
            return Err("a change of protocols");
        }
        if ends && head.is_interim() {
            return Err("an interim response that is the end");
        }
        let content = match (asked, status) {
            (RequestKind::Head, _) | (_, 100..=199 | 204 | 304) => Content::None,
            (RequestKind::Tunnel, 200..=299) => Content::Unknown,
            _ => Content::of(self.fields.content_length, ends)?,
        };
        Ok(Response { head, content })
    }
}

/// The fields of a trailer section.
pub(super) fn trailers(mut section: SectionFields) -> HttpFields {
    section.finish();
    section.fields
}

/// Sets a part of the head that is empty before and must not be after.
fn put(place: &mut Vec<u8>, value: &[u8], is_allowed: fn(u8) -> bool) -> Result<(), Malformed> {
    if !place.is_empty() {
        return Err("a pseudo-header field twice");
    }
    if value.is_empty() {
        return Err("an empty pseudo-header field");
    }
    if !value.iter().all(|byte| is_allowed(*byte)) {
        return Err("a pseudo-header field with characters that it must not have");
    }
    place.extend_from_slice(value);
    Ok(())
}

/// Whether a byte may be in `:path`. Other than in a URI (RFC 3986 §3.3), those of ASCII that many applications take are let through;
/// none of them ends a line or a word of HTTP/1.
fn is_of_target(byte: u8) -> bool {
    byte.is_ascii_graphic()
}

fn scheme(value: &[u8]) -> Result<Scheme, Malformed> {
    // RFC 3986 §3.1: in any case.
    if value.eq_ignore_ascii_case(b"http") {
        Ok(Scheme::Http)
    } else if value.eq_ignore_ascii_case(b"https") {
        Ok(Scheme::Https)
    } else {
        Err("a scheme that is neither http nor https")
    }
}

/// A host with or without a port (RFC 3986 §3.2.2 and §3.2.3). There is no user information (RFC 9113 §8.3.1).
fn authority(value: &[u8]) -> Result<Vec<u8>, Malformed> {
    const MARKS: &[u8] = b"-._~%!$&'()*+,;=:[]";
    let is_authority = value.iter().all(|byte| byte.is_ascii_alphanumeric() || MARKS.contains(byte));
    if is_authority { Ok(value.to_vec()) } else { Err("an authority that is none") }
}

//! Header sections (RFC 9113 §8.2 and §8.3): the fields of a request, of a response, or of trailers.

use http::header::{CONNECTION, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::hpack::Decoder;
use super::settings::MAX_HEADER_LIST_BYTES;

/// A field block of which CONTINUATION frames are still to come.
#[derive(Debug)]
pub(super) struct OpenBlock {
    pub(super) stream: u32,
    pub(super) end_stream: bool,
    pub(super) block: Vec<u8>,
}

/// The reading of a connection's field blocks, one after the other.
#[derive(Debug)]
pub(super) struct FieldBlocks {
    pub(super) decoder: Decoder,
    pub(super) open: Option<OpenBlock>,
}

impl Default for FieldBlocks {
    fn default() -> Self {
        Self { decoder: Decoder::new(MAX_HEADER_LIST_BYTES as usize), open: None }
    }
}

impl FieldBlocks {
    /// Whether nothing but a CONTINUATION frame may come now (RFC 9113 §6.10).
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }
}

/// The pseudo-header fields and the fields of a request or a response.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct HeaderSection {
    pub(crate) method: Option<String>,
    pub(crate) authority: Option<String>,
    pub(super) status: Option<u16>,
    /// Whether it has a `:path`, a `:scheme` or a `:protocol`.
    has_target: bool,
    pub(crate) fields: HeaderMap,
}

impl HeaderSection {
    /// RFC 9113 §8.3.1 and §8.5: a CONNECT request has a method and an authority, and names no path.
    pub(super) fn is_request(&self) -> bool {
        self.status.is_none() && self.method.as_ref().is_some_and(|method| method != "CONNECT" || !self.has_target)
    }

    /// RFC 9113 §8.3.2: a response has a status and no other pseudo-header field.
    pub(super) fn is_response(&self) -> bool {
        self.status.is_some() && self.method.is_none() && self.authority.is_none() && !self.has_target
    }

    /// Whether it is an interim response (RFC 9110 §15.2), which another follows.
    pub(super) fn is_informational(&self) -> bool {
        self.status.is_some_and(|status| (100..200).contains(&status))
    }

    /// Adds a field; `None` if it makes the section malformed (RFC 9113 §8.2 and §8.3).
    pub(super) fn add(&mut self, name: &[u8], value: &[u8]) -> Option<()> {
        match name.split_first() {
            Some((b':', pseudo)) => self.add_pseudo(pseudo, value),
            _ => self.add_field(name, value),
        }
    }

    fn add_field(&mut self, name: &[u8], value: &[u8]) -> Option<()> {
        // Names are in lower case; `from_bytes` would accept either.
        if name.iter().any(u8::is_ascii_uppercase) {
            return None;
        }
        let (name, value) = (HeaderName::from_bytes(name).ok()?, HeaderValue::from_bytes(value).ok()?);
        // RFC 9113 §8.2.2: fields of a connection of HTTP/1.
        if [CONNECTION, TRANSFER_ENCODING, UPGRADE].contains(&name)
            || ["keep-alive", "proxy-connection"].contains(&name.as_str())
            || (name == TE && value != "trailers")
        {
            return None;
        }
        let _ = self.fields.try_append(name, value).ok()?;
        Some(())
    }

    fn add_pseudo(&mut self, name: &[u8], value: &[u8]) -> Option<()> {
        // They come before all other fields.
        if !self.fields.is_empty() {
            return None;
        }
        let text = || std::str::from_utf8(value).ok().map(str::to_owned);
        let is_repeated = match name {
            b"method" => self.method.replace(text()?).is_some(),
            b"authority" => self.authority.replace(text()?).is_some(),
            b"status" => self.status.replace(text().filter(|text| text.len() == 3)?.parse().ok()?).is_some(),
            b"path" | b"scheme" | b"protocol" => {
                self.has_target = true;
                false
            }
            _ => return None,
        };
        (!is_repeated).then_some(())
    }
}

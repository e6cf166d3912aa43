//! Fields of a header section or a trailer section (RFC 9113 §8.2): which of them a section must not have.

use super::hpack::{Decoder, Encoder};
use super::usage::Usage;
use crate::model::http::head::HttpFields;

/// A field block of which CONTINUATION frames are still to come.
#[derive(Debug)]
pub(super) struct OpenBlock {
    pub(super) stream: u32,
    pub(super) end_stream: bool,
    pub(super) block: Vec<u8>,
}

/// The reading and writing of a connection's field blocks, one after the other.
#[derive(Debug)]
pub(super) struct FieldBlocks {
    pub(super) decoder: Decoder,
    pub(super) encoder: Encoder,
    pub(super) open: Option<OpenBlock>,
}

impl FieldBlocks {
    pub(super) fn new(usage: &Usage) -> Self {
        let decoder = Decoder::new(usage.max_header_list_bytes as usize);
        Self { decoder, encoder: Encoder::default(), open: None }
    }

    /// Whether nothing but a CONTINUATION frame may come now (RFC 9113 §6.10).
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }
}

/// What a section must not have, in the words of the log. The section is malformed then (RFC 9113 §8.1.1).
pub(super) type Malformed = &'static str;

/// The fields of a section that are not pseudo-header fields.
#[derive(Debug, Default)]
pub(super) struct SectionFields {
    pub(super) fields: HttpFields,
    /// The `host` field, which is not among them.
    pub(super) host: Option<Vec<u8>>,
    pub(super) content_length: Option<u64>,
    cookies: usize,
}

impl SectionFields {
    /// Expects fields of a block that long.
    pub(super) fn of_block(block: &[u8]) -> Self {
        let mut expected = Self::default();
        // Text of fields that are in a table is longer than what stands for it.
        expected.fields.reserve(block.len().min(512) / 8, block.len().min(1024) * 2);
        expected
    }

    /// Adds a field.
    ///
    /// # Errors
    /// When no section may have it.
    pub(super) fn add(&mut self, name: &[u8], value: &[u8]) -> Result<(), Malformed> {
        if name.is_empty() || !name.iter().all(|byte| is_of_name(*byte)) {
            return Err("a field's name has characters that none has");
        }
        // Senders must not put blanks around a value (RFC 9113 §8.2.1). They mean nothing, so that they are no reason to fail.
        let value = without_blanks(value);
        if !value.iter().all(|byte| is_of_value(*byte)) {
            return Err("a field's value has control characters");
        }
        match name {
            // RFC 9113 §8.2.2: fields of a connection of HTTP/1.
            b"connection" | b"transfer-encoding" | b"upgrade" | b"keep-alive" | b"proxy-connection" => {
                return Err("a field that is about a connection of HTTP/1");
            }
            b"te" if value != b"trailers" => return Err("the te field has more than trailers"),
            b"host" if self.host.replace(value.to_vec()).is_some() => return Err("several hosts"),
            b"host" => return Ok(()),
            b"content-length" if self.content_length.replace(number(value)?).is_some() => {
                return Err("several content lengths");
            }
            b"cookie" => self.cookies += 1,
            _ => {}
        }
        self.fields.append(name, value);
        Ok(())
    }

    /// Ends the section.
    pub(super) fn finish(&mut self) {
        // RFC 9113 §8.2.3: a cookie may come in parts, which only HTTP/2 knows.
        if self.cookies > 1 {
            // One that is empty would leave a blank at an end.
            let parts: Vec<_> = self.fields.values("cookie").filter(|part| !part.is_empty()).collect();
            let whole = parts.join(&b"; "[..]);
            self.fields.set("cookie", &whole);
        }
    }
}

/// A value without spaces and tabs at its ends. Line breaks there are not blanks: they make it malformed, as anywhere else.
fn without_blanks(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// The value of a content length (RFC 9110 §8.6).
fn number(value: &[u8]) -> Result<u64, Malformed> {
    let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(value).ok().filter(|_| is_number);
    text.and_then(|text| text.parse().ok()).ok_or("a content length that is no number")
}

/// The bytes that may be in a token (RFC 9110 §5.6.2).
const TOKEN: [bool; 256] = {
    let mut allowed = [false; 256];
    let mut at = 0;
    while at < 256 {
        allowed[at] = (at as u8).is_ascii_alphanumeric();
        at += 1;
    }
    let mut marks: &[u8] = b"!#$%&'*+-.^_`|~";
    while let [mark, rest @ ..] = marks {
        allowed[*mark as usize] = true;
        marks = rest;
    }
    allowed
};

/// Whether a byte may be in a name: a token in lower case.
fn is_of_name(byte: u8) -> bool {
    TOKEN[usize::from(byte)] && !byte.is_ascii_uppercase()
}

/// Whether a byte may be in a token (RFC 9110 §5.6.2).
pub(super) fn is_of_token(byte: u8) -> bool {
    TOKEN[usize::from(byte)]
}

/// Whether a byte may be in a value (RFC 9110 §5.5): no control character but a tab.
fn is_of_value(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(fields: &[(&str, &str)]) -> Result<String, Malformed> {
        let mut section = SectionFields::default();
        for (name, value) in fields {
            section.add(name.as_bytes(), value.as_bytes())?;
        }
        section.finish();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let fields = section.fields.iter().map(|(name, value)| format!("{}={}", text(name), text(value)));
        Ok(fields.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn fields_are_kept_or_make_the_section_malformed() {
        let (name, value) = ("a field's name has characters that none has", "a field's value has control characters");
        let of_connection = "a field that is about a connection of HTTP/1";
        for (fields, expected) in [
            (&[("a", "1"), ("b", ""), ("a", "2")][..], Ok("a=1 b= a=2")),
            (&[("a", " 1\t")], Ok("a=1")),
            (&[("a", "\u{e4}\t\"")], Ok("a=\u{e4}\t\"")),
            (&[("", "1")], Err(name)),
            (&[("A", "1")], Err(name)),
            (&[("a b", "1")], Err(name)),
            (&[("a:", "1")], Err(name)),
            (&[("a\r\nb", "1")], Err(name)),
            (&[("\u{e4}", "1")], Err(name)),
            (&[("a", "1\r\nb: 2")], Err(value)),
            (&[("a", "1\n2")], Err(value)),
            (&[("a", "1\n")], Err(value)),
            (&[("a", " \r1")], Err(value)),
            (&[("a", "\u{c}1")], Err(value)),
            (&[("a", "1\0")], Err(value)),
            (&[("connection", "close")], Err(of_connection)),
            (&[("transfer-encoding", "chunked")], Err(of_connection)),
            (&[("upgrade", "h2c")], Err(of_connection)),
            (&[("keep-alive", "1")], Err(of_connection)),
            (&[("proxy-connection", "close")], Err(of_connection)),
            (&[("te", "trailers")], Ok("te=trailers")),
            (&[("te", "gzip")], Err("the te field has more than trailers")),
            (&[("content-length", "10")], Ok("content-length=10")),
            (&[("content-length", "+1")], Err("a content length that is no number")),
            (&[("content-length", "")], Err("a content length that is no number")),
            (&[("content-length", "18446744073709551616")], Err("a content length that is no number")),
            (&[("content-length", "1"), ("content-length", "1")], Err("several content lengths")),
            (&[("host", "a"), ("host", "a")], Err("several hosts")),
            (&[("host", "a"), ("x", "1")], Ok("x=1")),
            (&[("cookie", "a=1"), ("x", "1"), ("cookie", "b=2")], Ok("x=1 cookie=a=1; b=2")),
            (&[("cookie", ""), ("cookie", "a=1"), ("cookie", "")], Ok("cookie=a=1")),
            (&[("cookie", ""), ("cookie", "")], Ok("cookie=")),
        ] {
            assert_eq!(section(fields), expected.map(str::to_owned), "{fields:?}");
        }
    }
}

//! The path that everything else matches, and that the upstream gets (`MeshConfig.pathNormalization`).
//!
//! As in Envoy, BASE resolves `.` and `..`, also where they are percent-encoded, turns `\` into `/`, decodes percent-encoded
//! unreserved characters (RFC 3986 §2.3), and encodes characters that no path has. Other escapes stay as they are. What
//! follows a `#` is no part of a request and falls off, whatever the setting.

use super::head::RequestHead;
use super::objects::PathNormalization;

/// The path has a zero byte, which servers do not agree about: the request is bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the path has a zero byte")]
pub struct PathRejected;

impl PathNormalization {
    /// Normalises the path of a request. A path that is normal already, as most are, is only looked at.
    ///
    /// # Errors
    /// For a path that cannot be normalised: the answer is 400.
    pub fn apply(self, request: &mut RequestHead) -> Result<(), PathRejected> {
        if let Some(fragment) = request.target.iter().position(|byte| *byte == b'#') {
            request.target.truncate(fragment);
        }
        if self == Self::None || request.target.first() != Some(&b'/') {
            return Ok(());
        }
        let path = request.path();
        if is_normal(path) && !(self.merges_slashes() && path.windows(2).any(|pair| pair == b"//")) {
            return Ok(());
        }
        let mut normal = match self {
            Self::DecodeAndMergeSlashes => resolved(&with_decoded_slashes(path))?,
            _ => resolved(path)?,
        };
        if self.merges_slashes() {
            normal.dedup_by(|next, previous| *next == b'/' && *previous == b'/');
        }
        normal.extend_from_slice(&request.target[path.len()..]);
        request.target = normal;
        Ok(())
    }

    fn merges_slashes(self) -> bool {
        matches!(self, Self::MergeSlashes | Self::DecodeAndMergeSlashes)
    }
}

/// Whether there is nothing to resolve, decode or encode.
fn is_normal(path: &[u8]) -> bool {
    let mut previous = 0;
    path.iter().all(|byte| {
        let is_dot_segment = previous == b'/' && *byte == b'.';
        previous = *byte;
        !is_dot_segment && *byte != b'%' && *byte != b'\\' && !must_be_encoded(*byte)
    })
}

/// Characters that stand in a path only percent-encoded: those of no URI (RFC 3986 §2), without brackets and the backslash, which is a
/// slash here.
fn must_be_encoded(byte: u8) -> bool {
    !(0x21..0x7f).contains(&byte) || matches!(byte, b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'|' | b'}')
}

/// A target with what is beyond ASCII percent-encoded: no request may have that otherwise (RFC 3986 §2).
pub(super) fn in_ascii(target: Vec<u8>) -> Vec<u8> {
    if target.is_ascii() {
        return target;
    }
    let mut encoded = Vec::with_capacity(target.len() * 2);
    for byte in target {
        if byte.is_ascii() { encoded.push(byte) } else { push_encoded(byte, &mut encoded) }
    }
    encoded
}

fn push_encoded(byte: u8, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("%{byte:02X}").as_bytes());
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// The byte that `%XX` at the beginning of a text stands for.
fn escaped(text: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = text else { return None };
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

/// `%2F` and `%5C` as the slashes they stand for.
fn with_decoded_slashes(path: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some(byte) = rest.first() {
        let slash = escaped(rest).filter(|byte| matches!(byte, b'/' | b'\\'));
        decoded.push(slash.unwrap_or(*byte));
        rest = &rest[if slash.is_some() { 3 } else { 1 }..];
    }
    decoded
}

/// The path with its segments decoded as far as they may be, and without `.` and `..`.
fn resolved(path: &[u8]) -> Result<Vec<u8>, PathRejected> {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    // The first byte is a slash; each turn takes a slash and the segment behind it.
    while let Some((_, behind)) = rest.split_first() {
        let end = behind.iter().position(|byte| matches!(byte, b'/' | b'\\')).unwrap_or(behind.len());
        let (segment, next) = behind.split_at(end);
        let start = out.len();
        out.push(b'/');
        decode(segment, &mut out)?;
        let is_last = next.is_empty();
        match &out[start + 1..] {
            b"." => out.truncate(start),
            b".." => {
                out.truncate(start);
                let parent = out.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
                out.truncate(parent);
            }
            _ => {
                rest = next;
                continue;
            }
        }
        if is_last {
            out.push(b'/');
        }
        rest = next;
    }
    Ok(out)
}

fn decode(segment: &[u8], out: &mut Vec<u8>) -> Result<(), PathRejected> {
    let mut rest = segment;
    while let Some(byte) = rest.first() {
        let taken = match escaped(rest) {
            Some(0) => return Err(PathRejected),
            Some(byte) if is_unreserved(byte) && !(byte.is_ascii_hexdigit() && ends_within_escape(out)) => {
                out.push(byte);
                3
            }
            Some(_) => {
                out.extend_from_slice(&rest[..3]);
                3
            }
            None if *byte == 0 => return Err(PathRejected),
            None if must_be_encoded(*byte) => {
                push_encoded(*byte, out);
                1
            }
            None => {
                out.push(*byte);
                1
            }
        };
        rest = &rest[taken..];
    }
    Ok(())
}

/// Whether one more digit may make an escape of the end of a text: it has a percent sign there that is none. What is decoded behind it
/// stays as it came, or the path would have another form each time it is made normal.
fn ends_within_escape(text: &[u8]) -> bool {
    matches!(text, [.., b'%'] | [.., b'%', b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::http::sample::get;

    #[test]
    fn a_path_is_normalised_as_the_mesh_says() {
        /// A target, and what it is with each setting.
        type Row = (&'static str, [Option<&'static str>; 4]);
        fn all(text: &'static str) -> [Option<&'static str>; 4] {
            [Some(text); 4]
        }
        fn but_none(target: &'static str, text: &'static str) -> Row {
            (target, [Some(target), Some(text), Some(text), Some(text)])
        }
        fn merging(target: &'static str, base: &'static str, merged: &'static str) -> Row {
            (target, [Some(target), Some(base), Some(merged), Some(merged)])
        }
        let rows: Vec<Row> = vec![
            ("/", all("/")),
            ("/a/b?c=/../%2e", all("/a/b?c=/../%2e")),
            ("/a#f", all("/a")),
            ("/a?b#f", all("/a?b")),
            ("*", all("*")),
            but_none("/a/./b", "/a/b"),
            but_none("/a/../b", "/b"),
            but_none("/a/..", "/"),
            but_none("/a/b/.", "/a/b/"),
            but_none("/a/b/..?q", "/a/?q"),
            but_none("/../../a", "/a"),
            but_none("/..", "/"),
            but_none("/a/%2e%2E/b", "/b"),
            but_none("/a/.%2e/b", "/b"),
            but_none("/a\\b\\..\\c", "/a/c"),
            but_none("/%61%7e%2D%5f", "/a~-_"),
            but_none("/a%20b%3f%c3%A9", "/a%20b%3f%c3%A9"),
            but_none("/a%2", "/a%2"),
            but_none("/a%zz%", "/a%zz%"),
            ("/a%2%65/%%32e", all("/a%2%65/%%32e")),
            but_none("/a%2%2e/%%7a", "/a%2./%z"),
            but_none("/{a}\"<>`", "/%7Ba%7D%22%3C%3E%60"),
            but_none("/a^b|c?^|", "/a%5Eb%7Cc?^|"),
            but_none("/[a]", "/[a]"),
            but_none("/é", "/%C3%A9"),
            but_none("/.hidden/..a/a..", "/.hidden/..a/a.."),
            but_none("/...", "/..."),
            but_none("/%252e%252e/a", "/%252e%252e/a"),
            merging("//a///b", "//a///b", "/a/b"),
            merging("/a//../b", "/a/b", "/a/b"),
            merging("/a//b?c//d", "/a//b?c//d", "/a/b?c//d"),
            merging("//..//a", "//a", "/a"),
            ("/a%2Fb", [Some("/a%2Fb"), Some("/a%2Fb"), Some("/a%2Fb"), Some("/a/b")]),
            ("/a%2f..%5cb", [Some("/a%2f..%5cb"), Some("/a%2f..%5cb"), Some("/a%2f..%5cb"), Some("/b")]),
            ("/a%00", [Some("/a%00"), None, None, None]),
        ];
        let settings = [
            PathNormalization::None,
            PathNormalization::Base,
            PathNormalization::MergeSlashes,
            PathNormalization::DecodeAndMergeSlashes,
        ];
        for (target, expected) in rows {
            for (setting, expected) in settings.into_iter().zip(expected) {
                let mut request = get(target);
                let result = setting.apply(&mut request);
                let seen = result.map(|()| String::from_utf8_lossy(&request.target).into_owned());
                assert_eq!(seen.as_deref().ok(), expected, "{target} {setting:?}");
                // Once more changes nothing.
                if result.is_ok() {
                    let before = request.target.clone();
                    assert_eq!((setting.apply(&mut request), request.target), (Ok(()), before), "{target} {setting:?}");
                }
            }
        }
    }
}

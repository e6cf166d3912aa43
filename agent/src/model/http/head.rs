//! The head of a message, as every version of HTTP has it: the control data and the fields (RFC 9110 §6.2 and §6.3). A codec
//! fills one in, routes are matched on it and change it, another codec writes it.
//!
//! The text of all fields lies in one buffer, in order. A connection uses its heads again for one message after the other, so
//! that a message allocates nothing once the buffers have grown to the usual size.

use std::ops::Range;

/// The fields of a head or of a trailer section, in the order in which they came. Names are in lower case; where they are asked
/// to, the fields also keep names as they came, for an HTTP/1 peer that takes names to be case-sensitive.
#[derive(Debug, Clone, Default)]
pub struct HttpFields {
    text: Vec<u8>,
    entries: Vec<Entry>,
    preserves_case: bool,
}

/// Where a field lies in the text: its name, its value right behind it, and, if it is kept, the name as it came behind that.
#[derive(Debug, Clone, Copy)]
struct Entry {
    start: u32,
    name: u32,
    value: u32,
    has_original: bool,
}

impl Entry {
    #[inline]
    fn name(self) -> Range<usize> {
        let start = self.start as usize;
        start..start + self.name as usize
    }

    #[inline]
    fn value(self) -> Range<usize> {
        let start = self.start as usize + self.name as usize;
        start..start + self.value as usize
    }

    #[inline]
    fn original_name(self) -> Range<usize> {
        if !self.has_original {
            return self.name();
        }
        let start = self.value().end;
        start..start + self.name as usize
    }
}

#[inline]
fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("codecs bound what a head may hold")
}

impl HttpFields {
    /// Makes room for so many fields more, whose names and values have so many bytes together.
    #[inline]
    pub fn reserve(&mut self, fields: usize, bytes: usize) {
        self.text.reserve(bytes);
        self.entries.reserve(fields);
    }

    /// Whether fields that are added from now on keep their names as they came.
    pub fn preserve_case(&mut self, preserves: bool) {
        self.preserves_case = preserves;
    }

    /// Whether names are kept as they came.
    #[must_use]
    pub fn preserves_case(&self) -> bool {
        self.preserves_case
    }

    /// Forgets all fields, and keeps the memory for those to come.
    pub fn clear(&mut self) {
        self.text.clear();
        self.entries.clear();
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What they have in the measure in which HTTP/2 bounds a section (RFC 9113 §6.5.2).
    #[must_use]
    pub fn list_bytes(&self) -> usize {
        const PER_FIELD: usize = 32;
        self.text.len() + self.entries.len() * PER_FIELD
    }

    /// Names and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.entries.iter().map(|entry| (&self.text[entry.name()], &self.text[entry.value()]))
    }

    /// Names as they came, where they are kept, and values, in order.
    pub fn iter_original(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.entries.iter().map(|entry| (&self.text[entry.original_name()], &self.text[entry.value()]))
    }

    /// Adds a field behind all others. The name becomes lower case.
    #[inline]
    pub fn append(&mut self, name: &[u8], value: &[u8]) {
        let start = length(&self.text);
        self.text.reserve(name.len() + value.len());
        self.text.extend_from_slice(name);
        self.text[start as usize..].make_ascii_lowercase();
        self.text.extend_from_slice(value);
        let has_original = self.preserves_case && name.iter().any(u8::is_ascii_uppercase);
        if has_original {
            self.text.extend_from_slice(name);
        }
        self.entries.push(Entry { start, name: length(name), value: length(value), has_original });
    }

    /// Puts one field in the place of all that have this name, which is in lower case.
    pub fn set(&mut self, name: &str, value: &[u8]) {
        self.remove(name);
        self.append(name.as_bytes(), value);
    }

    /// Removes all fields of a name, which is in lower case.
    pub fn remove(&mut self, name: &str) {
        let text = &self.text;
        self.entries.retain(|entry| text[entry.name()] != *name.as_bytes());
    }

    /// Removes the fields for which `is_unwanted`, called with name and value, says so.
    pub fn remove_if(&mut self, mut is_unwanted: impl FnMut(&[u8], &[u8]) -> bool) {
        let text = &self.text;
        self.entries.retain(|entry| !is_unwanted(&text[entry.name()], &text[entry.value()]));
    }

    /// The value of the first field of a name, which is in lower case.
    #[must_use]
    pub fn first(&self, name: &str) -> Option<&[u8]> {
        self.values(name).next()
    }

    /// The values of all fields of a name, which is in lower case.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        let has_name = move |entry: &&Entry| self.text[entry.name()] == *name.as_bytes();
        self.entries.iter().filter(has_name).map(|entry| &self.text[entry.value()])
    }

    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.first(name).is_some()
    }
}

impl PartialEq for HttpFields {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for HttpFields {}

impl<'a> FromIterator<(&'a str, &'a str)> for HttpFields {
    fn from_iter<T: IntoIterator<Item = (&'a str, &'a str)>>(fields: T) -> Self {
        let mut all = Self::default();
        for (name, value) in fields {
            all.append(name.as_bytes(), value.as_bytes());
        }
        all
    }
}

/// The version that a message came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum HttpVersion {
    Http10,
    #[default]
    Http11,
    Http2,
}

/// The head of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestHead {
    pub version: HttpVersion,
    /// A token (RFC 9110 §9.1), case-sensitive.
    pub method: Vec<u8>,
    /// Path and query as they were sent (`:path`); `*` of an OPTIONS request as a whole. Empty for CONNECT, which has none.
    pub target: Vec<u8>,
    /// Host and port: `:authority`, the authority of an absolute target, or the `Host` field, which is not among the fields.
    /// Empty where a request of HTTP/1.0 has none.
    pub authority: Vec<u8>,
    /// `http` or `https`, as the target or `:scheme` says; `http` where neither does.
    pub scheme: Scheme,
    /// All fields that are neither about the connection nor about the framing of the body: without `Host`, `Connection` and what
    /// it lists, `Transfer-Encoding`, `Keep-Alive`, `Proxy-Connection`, `Upgrade`. `Content-Length` is among them where
    /// the sender said it.
    pub fields: HttpFields,
    /// The protocols that an HTTP/1.1 request wants to upgrade to, as its `Upgrade` field says (RFC 9110 §7.8).
    pub upgrade: Option<Vec<u8>>,
}

/// The scheme of a request's target URI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Scheme {
    #[default]
    Http,
    Https,
}

impl Scheme {
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

impl RequestHead {
    /// Forgets everything, and keeps the memory.
    pub fn clear(&mut self) {
        self.version = HttpVersion::default();
        self.method.clear();
        self.target.clear();
        self.authority.clear();
        self.scheme = Scheme::Http;
        self.fields.clear();
        self.upgrade = None;
    }

    /// The path without query and fragment, which routes match.
    #[must_use]
    pub fn path(&self) -> &[u8] {
        let end = self.target.iter().position(|byte| matches!(byte, b'?' | b'#')).unwrap_or(self.target.len());
        &self.target[..end]
    }

    /// What follows the `?`, without a fragment; `None` without one.
    #[must_use]
    pub fn query(&self) -> Option<&[u8]> {
        let at = self.target.iter().position(|byte| matches!(byte, b'?' | b'#'))?;
        if self.target[at] == b'#' {
            return None;
        }
        let query = &self.target[at + 1..];
        Some(query.split(|byte| *byte == b'#').next().unwrap_or(query))
    }

    /// The authority's host, without a port; brackets of an IPv6 address stay.
    #[must_use]
    pub fn host(&self) -> &[u8] {
        match self.authority.iter().rposition(|byte| *byte == b':') {
            Some(colon) if self.authority[colon + 1..].iter().all(u8::is_ascii_digit) => &self.authority[..colon],
            _ => &self.authority,
        }
    }

    /// Whether it is gRPC by its content type: `application/grpc`, alone or with `+` or `;` behind it.
    #[must_use]
    pub fn is_grpc(&self) -> bool {
        is_grpc(&self.fields)
    }

    /// Whether the method is one that may be repeated, the effect being the same (RFC 9110 §9.2.2).
    #[must_use]
    pub fn is_idempotent(&self) -> bool {
        matches!(&*self.method, b"GET" | b"HEAD" | b"OPTIONS" | b"TRACE" | b"PUT" | b"DELETE")
    }
}

/// The head of a response, final or interim.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResponseHead {
    pub version: HttpVersion,
    /// 100 to 599 (RFC 9110 §15).
    pub status: u16,
    /// As those of a request.
    pub fields: HttpFields,
    /// What the connection changes to after a 101 response.
    pub upgrade: Option<Vec<u8>>,
}

impl ResponseHead {
    /// Forgets everything, and keeps the memory.
    pub fn clear(&mut self) {
        self.version = HttpVersion::default();
        self.status = 0;
        self.fields.clear();
        self.upgrade = None;
    }

    /// Whether another response to the same request follows (RFC 9110 §15.2). After 101 none does.
    #[must_use]
    pub fn is_interim(&self) -> bool {
        (100..200).contains(&self.status) && self.status != 101
    }

    #[must_use]
    pub fn is_grpc(&self) -> bool {
        is_grpc(&self.fields)
    }
}

fn is_grpc(fields: &HttpFields) -> bool {
    let mut types = fields.values("content-type");
    // Of two, nobody can tell which counts (RFC 9110 §8.3).
    let only = types.next().filter(|_| types.next().is_none());
    let rest = only.and_then(|value| value.strip_prefix(b"application/grpc"));
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_keep_their_order_and_names_are_in_lower_case() {
        let mut fields: HttpFields = [("Accept", "a"), ("X-A", "1"), ("accept", "b")].into_iter().collect();
        let text = |fields: &HttpFields| {
            let line = |(name, value): (&[u8], &[u8])| {
                format!("{}={}", String::from_utf8_lossy(name), String::from_utf8_lossy(value))
            };
            fields.iter().map(line).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(text(&fields), "accept=a x-a=1 accept=b");
        assert_eq!(fields.values("accept").collect::<Vec<_>>(), [b"a", b"b"]);
        fields.set("accept", b"c");
        assert_eq!(text(&fields), "x-a=1 accept=c");
        fields.remove("x-a");
        assert_eq!((text(&fields), fields.contains("x-a")), ("accept=c".into(), false));
        fields.clear();
        assert!(fields.is_empty());
    }

    #[test]
    fn names_are_kept_as_they_came_where_that_is_asked_for() {
        for preserves in [false, true] {
            let mut fields = HttpFields::default();
            fields.preserve_case(preserves);
            fields.append(b"X-Old-API", b"1");
            fields.append(b"accept", b"a");
            fields.append(b"SOAPAction", b"");
            fields.remove("accept");
            fields.clear();
            fields.append(b"X-Old-API", b"2");
            let expected: &[u8] = if preserves { b"X-Old-API" } else { b"x-old-api" };
            assert_eq!(fields.iter_original().collect::<Vec<_>>(), [(expected, &b"2"[..])]);
            assert_eq!(fields.first("x-old-api"), Some(&b"2"[..]), "{preserves}");
        }
    }

    #[test]
    fn path_query_and_host_are_parts_of_target_and_authority() {
        for (target, path, query) in [
            ("/a/b", "/a/b", None),
            ("/a?x=1", "/a", Some("x=1")),
            ("/a?x=1#f?", "/a", Some("x=1")),
            ("/a#f?x", "/a", None),
            ("/?", "/", Some("")),
            ("*", "*", None),
        ] {
            let head = RequestHead { target: target.into(), ..RequestHead::default() };
            assert_eq!((head.path(), head.query()), (path.as_bytes(), query.map(str::as_bytes)), "{target}");
        }
        for (authority, host) in
            [("a.b", "a.b"), ("a.b:80", "a.b"), ("[::1]", "[::1]"), ("[::1]:8080", "[::1]"), ("a:", "a"), ("", "")]
        {
            let head = RequestHead { authority: authority.into(), ..RequestHead::default() };
            assert_eq!(head.host(), host.as_bytes(), "{authority}");
        }
    }

    #[test]
    fn grpc_is_known_by_its_content_type() {
        for (value, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc; a=b", true),
            ("application/grpc-web", false),
            ("text/plain", false),
        ] {
            let fields = [("content-type", value)].into_iter().collect();
            assert_eq!(RequestHead { fields, ..RequestHead::default() }.is_grpc(), expected, "{value}");
        }
        let two = [("content-type", "application/grpc"), ("content-type", "text/plain")].into_iter().collect();
        assert!(!RequestHead { fields: two, ..RequestHead::default() }.is_grpc());
    }
}

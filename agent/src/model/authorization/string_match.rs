//! Text with Istio's stars.

use std::fmt;
use std::sync::Arc;

/// How a text is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StringMatch {
    Exact(Arc<str>),
    Prefix(Arc<str>),
    Suffix(Arc<str>),
    /// Any value that is not empty.
    Presence,
}

impl StringMatch {
    /// What a string with Istio's stars asks for. A star at the beginning is looked for first: `*x*` is the suffix `x*`.
    #[must_use]
    pub fn written(text: &str) -> Self {
        match (text, text.strip_prefix('*'), text.strip_suffix('*')) {
            ("*", _, _) => Self::Presence,
            (_, Some(suffix), _) => Self::Suffix(suffix.into()),
            (_, None, Some(prefix)) => Self::Prefix(prefix.into()),
            (exact, None, None) => Self::Exact(exact.into()),
        }
    }

    /// The text without its star.
    fn text(&self) -> &str {
        match self {
            Self::Exact(text) | Self::Prefix(text) | Self::Suffix(text) => text,
            Self::Presence => "",
        }
    }

    /// Whether there is any method that this pattern matches: one is a token (RFC 9110 §9.1). `GET,POST` matches none.
    #[must_use]
    pub fn can_match_a_method(&self) -> bool {
        self.text().bytes().all(is_token_byte)
    }

    /// Whether there is any authority that this pattern matches. `https://a.b` and `a.b/c` match none.
    #[must_use]
    pub fn can_match_a_host(&self) -> bool {
        !self.text().contains(|c: char| matches!(c, '/' | '?' | '#' | '@' | '*') || c.is_whitespace())
    }

    /// Whether it matches, byte by byte.
    pub(super) fn matches(&self, text: &[u8]) -> bool {
        match self {
            Self::Exact(exact) => text == exact.as_bytes(),
            Self::Prefix(prefix) => text.starts_with(prefix.as_bytes()),
            Self::Suffix(suffix) => text.ends_with(suffix.as_bytes()),
            Self::Presence => !text.is_empty(),
        }
    }

    /// Whether it matches, whatever the case of ASCII letters on either side.
    pub(super) fn matches_in_any_case(&self, text: &[u8]) -> bool {
        let is = |part: Option<&[u8]>, wanted: &Arc<str>| {
            part.is_some_and(|part| part.eq_ignore_ascii_case(wanted.as_bytes()))
        };
        match self {
            Self::Exact(exact) => is(Some(text), exact),
            Self::Prefix(prefix) => is(text.get(..prefix.len()), prefix),
            Self::Suffix(suffix) => {
                is(text.len().checked_sub(suffix.len()).and_then(|start| text.get(start..)), suffix)
            }
            Self::Presence => !text.is_empty(),
        }
    }
}

/// As it was written.
impl fmt::Display for StringMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(text) => f.write_str(text),
            Self::Prefix(text) => write!(f, "{text}*"),
            Self::Suffix(text) => write!(f, "*{text}"),
            Self::Presence => f.write_str("*"),
        }
    }
}

/// Whether a byte can stand in a token (RFC 9110 §5.6.2).
#[must_use]
pub fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_case_count_as_istio_has_them() {
        /// A pattern, a text, whether they match, and whether they do in any case.
        type Row = (&'static str, &'static str, bool, bool);
        let rows: [Row; 14] = [
            ("a.b", "a.b", true, true),
            ("a.b", "A.b", false, true),
            ("a.b", "a.b:80", false, false),
            ("a.b:*", "a.b:80", true, true),
            ("a.b:*", "A.B:80", false, true),
            ("*.b", "a.b", true, true),
            ("*.b", "a.B", false, true),
            ("*.b", "b", false, false),
            ("a*", "", false, false),
            ("*", "", false, false),
            ("*", "x", true, true),
            ("*x*", "ax*", true, true),
            ("*x*", "axb", false, false),
            ("a*b", "a*b", true, true),
        ];
        for (written, text, exactly, in_any_case) in rows {
            let pattern = StringMatch::written(written);
            let found = (pattern.matches(text.as_bytes()), pattern.matches_in_any_case(text.as_bytes()));
            assert_eq!(found, (exactly, in_any_case), "{written} and {text}");
            assert_eq!(pattern.to_string(), written);
        }
    }

    #[test]
    fn methods_and_hosts_that_no_request_has_are_known() {
        for (text, is_method, is_host) in [
            ("GET", true, true),
            ("M-*", true, true),
            ("*", true, true),
            ("GET,POST", false, true),
            ("GET ", false, false),
            ("/a", false, false),
            ("a.b:*", false, true),
            ("*.b", true, true),
            ("https://a.b", false, false),
            ("a.b/c", false, false),
            ("a*.b", true, false),
            ("[::1]:80", false, true),
        ] {
            let pattern = StringMatch::written(text);
            assert_eq!((pattern.can_match_a_method(), pattern.can_match_a_host()), (is_method, is_host), "{text}");
        }
    }
}

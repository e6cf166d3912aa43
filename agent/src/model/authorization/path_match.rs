//! How a policy names paths: text with one star, or a template with `{*}` and `{**}` (Istio's `operation.paths`).

use std::fmt;
use std::sync::Arc;

use super::path_readings::is_ambiguous;
use super::string_match::StringMatch;

/// One value of `paths`. It is compared with the normalised path, without the query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathMatch {
    Text(StringMatch),
    Template(PathTemplate),
}

/// A path in which `{*}` stands for one segment, not empty, and `{**}` for any rest, empty or with slashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathTemplate {
    /// Text, each followed by a `{*}`.
    before_segments: Vec<Arc<str>>,
    end: TemplateEnd,
}

/// What follows the last `{*}`.
#[derive(Debug, Clone, PartialEq, Eq)]
enum TemplateEnd {
    Exact(Arc<str>),
    /// `{**}` between two texts.
    Any {
        front: Arc<str>,
        back: Arc<str>,
    },
}

/// The query and the fragment are no part of what is compared.
const NOT_IN_PATHS: [char; 2] = ['?', '#'];

const ONE_SEGMENT: &str = "{*}";
const ANY_REST: &str = "{**}";

/// Why a value of `paths` cannot be enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathMatchError {
    #[error(
        "braces stand only around the whole segments {{*}} and {{**}}: remove them, or make them a segment of their own"
    )]
    Braces,
    #[error("{{**}} must be the last of the operators: remove what follows it")]
    OperatorBehindRest,
    #[error("a template has letters, digits and -._~%!$&'()+,;:@= besides its operators: a star is written {{*}}")]
    NoLiteral,
    #[error("a template begins with /")]
    NoSlash,
}

impl PathMatch {
    /// Reads a value of `paths`.
    ///
    /// # Errors
    /// For a template that is not one of Istio's.
    pub fn written(text: &str) -> Result<Self, PathMatchError> {
        if !text.contains(['{', '}']) {
            return Ok(Self::Text(StringMatch::written(text)));
        }
        PathTemplate::parse(text).map(Self::Template)
    }

    /// Whether there is any path that this matches. `admin`, `https://a.b/c` and `/a?b` match none.
    #[must_use]
    pub fn can_match_a_path(&self) -> bool {
        match self {
            Self::Text(StringMatch::Exact(text) | StringMatch::Prefix(text)) => {
                text.starts_with('/') && !text.contains(NOT_IN_PATHS)
            }
            Self::Text(StringMatch::Suffix(text)) => !text.contains(NOT_IN_PATHS),
            Self::Text(StringMatch::Presence) | Self::Template(_) => true,
        }
    }

    /// Whether servers may read what it names in more than one way: its author has this spelling in mind.
    pub(super) fn is_ambiguous(&self) -> bool {
        is_ambiguous(self.to_string().as_bytes())
    }

    pub(super) fn matches(&self, path: &[u8]) -> bool {
        match self {
            Self::Text(text) => text.matches(path),
            Self::Template(template) => template.matches(path),
        }
    }
}

impl PathTemplate {
    fn parse(text: &str) -> Result<Self, PathMatchError> {
        if !text.starts_with('/') {
            return Err(PathMatchError::NoSlash);
        }
        let mut has_rest = false;
        for segment in text.trim_matches('/').split('/') {
            match segment {
                ONE_SEGMENT | ANY_REST if has_rest => return Err(PathMatchError::OperatorBehindRest),
                ONE_SEGMENT => {}
                ANY_REST => has_rest = true,
                _ if segment.contains(['{', '}']) => return Err(PathMatchError::Braces),
                _ if !segment.bytes().all(is_literal) => return Err(PathMatchError::NoLiteral),
                _ => {}
            }
        }
        let mut texts: Vec<&str> = text.split(ONE_SEGMENT).collect();
        let last = texts.pop().unwrap_or_default();
        let end = match last.split_once(ANY_REST) {
            Some((front, back)) => TemplateEnd::Any { front: front.into(), back: back.into() },
            None => TemplateEnd::Exact(last.into()),
        };
        Ok(Self { before_segments: texts.into_iter().map(Arc::from).collect(), end })
    }

    /// The text that every path begins with that it matches.
    pub(super) fn front(&self) -> &str {
        match (self.before_segments.first(), &self.end) {
            (Some(text), _) | (None, TemplateEnd::Exact(text) | TemplateEnd::Any { front: text, .. }) => text,
        }
    }

    fn matches(&self, path: &[u8]) -> bool {
        let mut rest = path;
        for text in &self.before_segments {
            let Some(behind) = rest.strip_prefix(text.as_bytes()) else { return false };
            let end = behind.iter().position(|byte| *byte == b'/').unwrap_or(behind.len());
            if end == 0 {
                return false;
            }
            rest = &behind[end..];
        }
        match &self.end {
            TemplateEnd::Exact(text) => rest == text.as_bytes(),
            TemplateEnd::Any { front, back } => {
                rest.strip_prefix(front.as_bytes()).is_some_and(|rest| rest.ends_with(back.as_bytes()))
            }
        }
    }
}

/// What a segment of a template may have: `pchar` of RFC 3986 without the star.
fn is_literal(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()+,;:@=".contains(&byte)
}

/// As it was written.
impl fmt::Display for PathMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => text.fmt(f),
            Self::Template(template) => template.fmt(f),
        }
    }
}

/// As it was written.
impl fmt::Display for PathTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for text in &self.before_segments {
            write!(f, "{text}{ONE_SEGMENT}")?;
        }
        match &self.end {
            TemplateEnd::Exact(text) => f.write_str(text),
            TemplateEnd::Any { front, back } => write!(f, "{front}{ANY_REST}{back}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_match_as_istio_documents_them() {
        /// A value of `paths`, paths that it matches, and paths that it does not.
        type Row = (&'static str, &'static [&'static str], &'static [&'static str]);
        let rows: &[Row] = &[
            ("/a", &["/a"], &["/a/", "/A", "/ab", "/"]),
            ("/a*", &["/a", "/a/", "/ab", "/a/b"], &["/b/a", "/"]),
            ("*/a", &["/a", "/b/a"], &["/a/", "/ba"]),
            ("*", &["/", "/a", "*"], &[""]),
            ("/a/{*}", &["/a/b", "/a/*", "/a/%2F"], &["/a/", "/a", "/a/b/", "/a/b/c"]),
            ("/{*}/b", &["/a/b"], &["//b", "/a/b/", "/a/c/b"]),
            ("/a/{*}/{*}/d", &["/a/b/c/d"], &["/a/b/d", "/a/b/c/c/d"]),
            ("/a/{**}", &["/a/", "/a/b", "/a/b/c/"], &["/a", "/b/"]),
            ("/{**}", &["/", "/a", "/a/b"], &["*", ""]),
            ("/a/{**}/z", &["/a//z", "/a/b/z", "/a/b/c/z"], &["/a/z", "/a/b/z/", "/a/bz"]),
            ("/{*}/x/{**}", &["/a/x/", "/a/x/b/c"], &["/a/x", "/x/b", "/a/b/x/"]),
            ("/a/{*}/", &["/a/b/"], &["/a/b", "/a//"]),
        ];
        for (written, matching, others) in rows {
            let path = PathMatch::written(written).unwrap();
            for (texts, expected) in [(matching, true), (others, false)] {
                for text in *texts {
                    assert_eq!(path.matches(text.as_bytes()), expected, "{written} and {text}");
                }
            }
            assert_eq!((path.to_string().as_str(), path.can_match_a_path()), (*written, true));
        }
    }

    #[test]
    fn templates_that_are_none_of_istios_are_refused() {
        for (written, expected) in [
            ("/a/{x}", PathMatchError::Braces),
            ("/a{*}", PathMatchError::Braces),
            ("/{*}.txt", PathMatchError::Braces),
            ("/{**}/{*}", PathMatchError::OperatorBehindRest),
            ("/{**}/a/{**}", PathMatchError::OperatorBehindRest),
            ("/{*}/b*", PathMatchError::NoLiteral),
            ("/{*}/*", PathMatchError::NoLiteral),
            ("/{*}/a b", PathMatchError::NoLiteral),
            ("{*}/a", PathMatchError::NoSlash),
            ("*/{*}", PathMatchError::NoSlash),
            ("/a}", PathMatchError::Braces),
        ] {
            assert_eq!(PathMatch::written(written), Err(expected), "{written}");
        }
    }

    #[test]
    fn paths_that_no_request_has_are_known() {
        for text in ["admin", "admin*", "https://a.b/c", "/a?b", "/a?*", "*?b=c", "/a#f", "*#f"] {
            assert!(!PathMatch::written(text).unwrap().can_match_a_path(), "{text}");
        }
    }
}

//! Patterns for text of requests: exact text, prefixes, and regular expressions of RE2 as Istio's objects carry them.

use regex::bytes::Regex;

/// The greatest size of a compiled expression, in bytes. Envoy bounds the program of RE2 to 32,768 instructions (Istio's
/// setting); this is about the same.
const COMPILED_SIZE_MAX: usize = 1 << 20;

/// A regular expression that a text must match as a whole.
#[derive(Debug, Clone)]
pub struct Pattern {
    whole: Regex,
    source: Box<str>,
}

/// Why a regular expression cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    #[error("{pattern:?} is no regular expression of RE2: {why}")]
    Invalid { pattern: String, why: String },
}

impl Pattern {
    /// Compiles an expression in the syntax of RE2.
    ///
    /// # Errors
    /// When it is none, or would take too much memory.
    pub fn new(source: &str) -> Result<Self, PatternError> {
        let invalid = |error: regex::Error| PatternError::Invalid { pattern: source.into(), why: error.to_string() };
        let whole = regex::bytes::RegexBuilder::new(&format!(r"\A(?:{source})\z"))
            .size_limit(COMPILED_SIZE_MAX)
            .build()
            .map_err(invalid)?;
        Ok(Self { whole, source: source.into() })
    }

    /// The expression as it was written.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether the whole of a text matches.
    #[must_use]
    pub fn is_match(&self, text: &[u8]) -> bool {
        self.whole.is_match(text)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Eq for Pattern {}

/// How a value of a request is compared. Case counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TextMatch {
    Exact(Box<str>),
    Prefix(Box<str>),
    Suffix(Box<str>),
    Regex(Pattern),
    /// Any value; only its absence does not match.
    Present,
}

impl TextMatch {
    #[must_use]
    pub fn is_match(&self, text: &[u8]) -> bool {
        match self {
            Self::Exact(exact) => text == exact.as_bytes(),
            Self::Prefix(prefix) => text.starts_with(prefix.as_bytes()),
            Self::Suffix(suffix) => text.ends_with(suffix.as_bytes()),
            Self::Regex(pattern) => pattern.is_match(text),
            Self::Present => true,
        }
    }
}

//! How text of requests is compared and replaced: exact text, prefixes, and regular expressions of RE2.

use std::fmt;

use regex::bytes::{Regex, RegexBuilder};

use super::re2;

/// Bounds the memory of one compiled expression. Envoy bounds the program of RE2 to 32,768 instructions as Istio sets it,
/// which is in the same order.
const COMPILED_BYTES_MAX: usize = 1 << 20;

/// Bounds what a search keeps of states that it has seen. With less it is slower, and as correct.
const STATES_BYTES_MAX: usize = 1 << 18;

/// A regular expression of RE2 that a text must match as a whole.
#[derive(Debug, Clone)]
pub struct Pattern {
    whole: Regex,
    source: Box<str>,
}

/// Why a regular expression, or what is to replace its matches, cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    #[error("{pattern:?} is no regular expression of RE2: {why}")]
    Invalid { pattern: String, why: String },
    #[error("{substitution:?} names the group \\{group}, but the expression has only {groups}")]
    NoSuchGroup { substitution: String, group: usize, groups: usize },
    #[error("{0:?}: a backslash stands before a digit or another backslash")]
    Substitution(String),
}

impl Pattern {
    /// Compiles an expression in the syntax of RE2.
    ///
    /// # Errors
    /// When it is none, or would take too much memory.
    pub fn new(source: &str) -> Result<Self, PatternError> {
        // Alone first: a parenthesis too many must not close the group around it.
        compile(source, |translated| translated)?;
        let whole = compile(source, |translated| format!(r"\A(?:{translated})\z"))?;
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

fn compile(source: &str, around: impl Fn(String) -> String) -> Result<Regex, PatternError> {
    let invalid = |why: String| PatternError::Invalid { pattern: source.into(), why };
    let translated = re2::translate(source).map_err(|refused| invalid(refused.to_string()))?;
    RegexBuilder::new(&around(translated))
        .size_limit(COMPILED_BYTES_MAX)
        .dfa_size_limit(STATES_BYTES_MAX)
        .build()
        .map_err(|error| invalid(error.to_string()))
}

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

/// In words: `begins with v1`.
impl fmt::Display for TextMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(text) => write!(f, "is {text}"),
            Self::Prefix(text) => write!(f, "begins with {text}"),
            Self::Suffix(text) => write!(f, "ends with {text}"),
            Self::Regex(pattern) => write!(f, "matches {}", pattern.source()),
            Self::Present => f.write_str("is there"),
        }
    }
}

/// Replaces everything that a regular expression of RE2 matches, as RE2's `GlobalReplace` does.
#[derive(Debug, Clone)]
pub struct Substitution {
    anywhere: Regex,
    source: Box<str>,
    with: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(Box<[u8]>),
    /// 0 is the whole match.
    Group(usize),
}

impl Substitution {
    /// `with` has `\1` to `\9` for groups, `\0` for the whole match and `\\` for a backslash.
    ///
    /// # Errors
    /// When the expression is none, or `with` names a group that it does not have.
    pub fn new(source: &str, with: &str) -> Result<Self, PatternError> {
        let anywhere = compile(source, |translated| translated)?;
        let with = pieces(with, anywhere.captures_len() - 1)?;
        Ok(Self { anywhere, source: source.into(), with })
    }

    /// Appends `text` with its matches replaced.
    pub fn replace(&self, text: &[u8], out: &mut Vec<u8>) {
        let mut copied = 0;
        for captures in self.anywhere.captures_iter(text) {
            let found = captures.get_match();
            out.extend_from_slice(&text[copied..found.start()]);
            for piece in &self.with {
                match piece {
                    Piece::Text(text) => out.extend_from_slice(text),
                    Piece::Group(group) => {
                        out.extend_from_slice(captures.get(*group).map_or(&[], |group| group.as_bytes()));
                    }
                }
            }
            copied = found.end();
        }
        out.extend_from_slice(&text[copied..]);
    }
}

impl PartialEq for Substitution {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source && self.with == other.with
    }
}

impl Eq for Substitution {}

fn pieces(with: &str, groups: usize) -> Result<Vec<Piece>, PatternError> {
    let mut pieces = Vec::new();
    let mut text = Vec::new();
    let mut bytes = with.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            text.push(byte);
            continue;
        }
        match bytes.next() {
            Some(b'\\') => text.push(b'\\'),
            Some(digit @ b'0'..=b'9') => {
                let group = usize::from(digit - b'0');
                if group > groups {
                    return Err(PatternError::NoSuchGroup { substitution: with.into(), group, groups });
                }
                if !text.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut text).into()));
                }
                pieces.push(Piece::Group(group));
            }
            _ => return Err(PatternError::Substitution(with.into())),
        }
    }
    if !text.is_empty() {
        pieces.push(Piece::Text(text.into()));
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_mean_what_re2_means_and_match_the_whole_text() {
        /// Expression, texts that match, texts that do not.
        type Row = (&'static str, &'static [&'static str], &'static [&'static str]);
        let rows: [Row; 31] = [
            ("/a", &["/a"], &["/ab", "x/a", ""]),
            ("a|bc", &["a", "bc"], &["ac", "abc"]),
            ("/v[0-9]+/.*", &["/v1/", "/v22/x/y"], &["/v/x", "/v1"]),
            (r"\d+", &["19"], &["\u{0661}", ""]),
            (r"\D", &["\u{0661}", "a"], &["1"]),
            (r"\w\W", &["a-", "_é"], &["é-", "ab"]),
            (r"a\sb", &["a b", "a\tb"], &["a\u{b}b", "a\u{a0}b"]),
            (r"[\d\s]x", &["1x", " x"], &["ax"]),
            (r"[^\d]", &["a", "é"], &["1"]),
            (r"[\W]", &["-"], &["a"]),
            (r"é\b.*", &[], &["é x"]),
            (r"a\b.*", &["a", "aé", "a b"], &["ab"]),
            ("/{id}/x{2}", &["/{id}/xx"], &["/id/xx"]),
            ("a{,2}", &["a{,2}"], &["aa"]),
            ("[[a&&b~~]", &["[", "&", "~", "a", "b"], &["x"]),
            ("[a--]", &[], &[]),
            (r"[\w-.][\pL-~]", &["a-", "-~", ".b"], &[",a", "a."]),
            ("[]a]", &["]", "a"], &["b"]),
            ("[[:alpha:]-]", &["x", "-"], &["1", ":"]),
            ("[+--]", &["+", ",", "-"], &["."]),
            (r"\Q.*\E.", &[".*x"], &["abc", "x.*"]),
            (r"\<a\>", &["<a>"], &["a"]),
            (r"\141\0\x41\x{42}", &["a\0AB"], &["a"]),
            ("(?i)Ab", &["ab", "AB"], &["a"]),
            (r"\pL\p{^Greek}", &["ab", "αb"], &["bα", "1b"]),
            (r"\PC", &["a", "\u{378}"], &["\u{7}", "\u{ad}"]),
            (r"[\p{Old_Italic}\P{Any}-]", &["\u{10300}", "-"], &["a"]),
            (r"\x{000041}\x42", &["AB"], &["ab"]),
            ("(?P<n_1>a)(?<m>b)", &["ab"], &["a"]),
            ("a.b", &["axb", "aéb"], &["a\nb", "ab"]),
            (r"(?s)a.b$", &["a\nb"], &["a\nb\n"]),
        ];
        for (expression, matching, others) in rows {
            if expression == "[a--]" {
                assert!(Pattern::new(expression).is_err(), "a range that ends before it begins");
                continue;
            }
            let pattern = Pattern::new(expression).expect(expression);
            for text in matching {
                assert!(pattern.is_match(text.as_bytes()), "{expression} matches {text:?}");
            }
            for text in others {
                assert!(!pattern.is_match(text.as_bytes()), "{expression} does not match {text:?}");
            }
        }
        let dot = Pattern::new("a.b").expect("valid");
        assert!(!dot.is_match(b"a\xffb"), "a byte that is no text");
    }

    #[test]
    fn what_re2_refuses_is_refused() {
        let refused = [
            "(",
            ")",
            "a)(b",
            "[a",
            "*",
            r"\",
            r"\C",
            r"\y",
            r"\1",
            r"\Z",
            r"\é",
            r"[\é]",
            r"\x4",
            r"\x\Qaa",
            r"\x{}",
            r"\x{110000}",
            r"\x{41",
            r"\p",
            r"\p{}",
            r"\p{Greek",
            r"\p{greek}",
            r"\p{Grek}",
            r"\p{Letter}",
            r"\p{sc=Greek}",
            r"\pG",
            "(?P<a.b>c)",
            "(?<é>c)",
            "a{1001}",
            "a{1,2000}",
            "(?x)a b",
            "(?R)a",
            "(?=a)",
            "(?<!a)",
            r"(a)\1",
            "((((a{100}){100}){100}){100})",
        ];
        for expression in refused {
            assert!(Pattern::new(expression).is_err(), "{expression}");
        }
    }

    #[test]
    fn every_match_is_replaced() {
        for (expression, with, text, expected) in [
            ("/a/(.*)", r"/b/\1", "/a/x", "/b/x"),
            ("a", "bb", "banana", "bbbnbbnbb"),
            (r"^/([^/]+)/(.*)$", r"/\2/\1/\0\\", "/x/y", r"/y/x//x/y\"),
            ("q", "z", "/none", "/none"),
            ("x*", "-", "axb", "-a-b-"),
            ("(a)|b", r"<\1>", "ab", "<a><>"),
        ] {
            let mut out = b"=".to_vec();
            Substitution::new(expression, with).expect(expression).replace(text.as_bytes(), &mut out);
            assert_eq!(String::from_utf8_lossy(&out), format!("={expected}"), "{expression} -> {with}");
        }
        for (expression, with) in [("a", r"\1"), ("(a)", r"\2"), ("a", r"\x"), ("a", r"\"), ("(", "")] {
            assert!(Substitution::new(expression, with).is_err(), "{expression} -> {with}");
        }
    }
}

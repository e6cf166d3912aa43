//! Where requests carry tokens: fields, parameters of the query, cookies (RFC 6750 §2, RFC 6265 §4.2).

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use crate::model::http::head::RequestHead;

/// Tokens of one rule that a request may have, at most: each is verified.
pub const TOKENS_MAX: usize = 8;

/// Where tokens are looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenPlaces {
    pub headers: Vec<TokenHeader>,
    pub params: Vec<Arc<str>>,
    pub cookies: Vec<Arc<str>>,
}

/// A field with a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenHeader {
    /// In lower case.
    pub name: Arc<str>,
    /// What stands before the token. A field without it has none.
    pub prefix: Arc<str>,
}

impl Default for TokenPlaces {
    /// Where a rule names no place: `Authorization: Bearer`, and `access_token` of the query.
    fn default() -> Self {
        let header = TokenHeader { name: "authorization".into(), prefix: "Bearer ".into() };
        Self { headers: vec![header], params: vec!["access_token".into()], cookies: Vec::new() }
    }
}

impl TokenPlaces {
    /// The tokens of a request, [`TOKENS_MAX`] and one more at most. Each place may have several, and an application may read any of
    /// them.
    #[must_use]
    pub fn tokens(&self, head: &RequestHead) -> Vec<String> {
        let mut tokens = Vec::new();
        for header in &self.headers {
            tokens.extend(head.fields.values(&header.name).filter_map(|value| header.token(value)));
        }
        for name in &self.params {
            let values = parameters(head.query()).filter(|(found, _)| **found == *name.as_bytes());
            tokens.extend(values.map(|(_, value)| text(&percent_decoded(value))));
        }
        for name in &self.cookies {
            let cookies = head.fields.values("cookie").flat_map(cookies);
            let values = cookies.filter_map(|cookie| value_of(cookie, name));
            tokens.extend(values.map(text));
        }
        tokens.truncate(TOKENS_MAX + 1);
        tokens
    }

    /// Takes the tokens out of a request.
    pub fn remove(&self, head: &mut RequestHead) {
        for header in &self.headers {
            head.fields.remove_if(|name, value| name == header.name.as_bytes() && header.token(value).is_some());
        }
        let is_token = |name: &[u8]| self.params.iter().any(|param| param.as_bytes() == name);
        if parameters(head.query()).any(|(name, _)| is_token(&name)) {
            remove_parameters(&mut head.target, is_token);
        }
        if !self.cookies.is_empty() && head.fields.contains("cookie") {
            self.remove_cookies(head);
        }
    }

    fn remove_cookies(&self, head: &mut RequestHead) {
        let is_token = |cookie: &[u8]| self.cookies.iter().any(|name| value_of(cookie, name).is_some());
        let without_tokens = |value: &[u8]| {
            let kept: Vec<&[u8]> = cookies(value).filter(|cookie| !is_token(cookie)).collect();
            (!kept.is_empty()).then(|| kept.join(&b"; "[..]))
        };
        let kept: Vec<Vec<u8>> = head.fields.values("cookie").filter_map(without_tokens).collect();
        head.fields.remove("cookie");
        kept.iter().for_each(|value| head.fields.append(b"cookie", value));
    }
}

/// In words: `field authorization behind "Bearer ", parameter access_token`.
impl fmt::Display for TokenPlaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers = self.headers.iter().map(|TokenHeader { name, prefix }| match &**prefix {
            "" => format!("field {name}"),
            prefix => format!("field {name} behind {prefix:?}"),
        });
        let params = self.params.iter().map(|name| format!("parameter {name}"));
        let cookies = self.cookies.iter().map(|name| format!("cookie {name}"));
        f.write_str(&headers.chain(params).chain(cookies).collect::<Vec<_>>().join(", "))
    }
}

impl TokenHeader {
    fn token(&self, value: &[u8]) -> Option<String> {
        let prefix = self.prefix.as_bytes();
        let at = if prefix.is_empty() { 0 } else { value.windows(prefix.len()).position(|found| found == prefix)? };
        Some(text(value[at + prefix.len()..].trim_ascii()))
    }
}

/// What is no UTF-8 is no token either, and is found to be none.
fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).into_owned()
}

/// Names, decoded, and values of a query, as they are.
fn parameters(query: Option<&[u8]>) -> impl Iterator<Item = (Cow<'_, [u8]>, &[u8])> {
    query.unwrap_or_default().split(|byte| *byte == b'&').map(|pair| {
        let (name, value) = split_at(pair, b'=').unwrap_or((pair, b""));
        (percent_decoded(name), value)
    })
}

fn remove_parameters(target: &mut Vec<u8>, is_unwanted: impl Fn(&[u8]) -> bool) {
    let Some((path, query)) = split_at(target, b'?') else { return };
    let (query, fragment) = split_at(query, b'#').map_or((query, None), |(query, rest)| (query, Some(rest)));
    let name = |pair: &[u8]| percent_decoded(split_at(pair, b'=').map_or(pair, |(name, _)| name)).into_owned();
    let kept: Vec<&[u8]> = query.split(|byte| *byte == b'&').filter(|pair| !is_unwanted(&name(pair))).collect();
    let mut rest = path.to_vec();
    if !kept.is_empty() {
        rest.push(b'?');
        rest.extend(kept.join(&b'&'));
    }
    if let Some(fragment) = fragment {
        rest.push(b'#');
        rest.extend_from_slice(fragment);
    }
    *target = rest;
}

fn split_at(bytes: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|byte| *byte == separator)?;
    Some((&bytes[..at], &bytes[at + 1..]))
}

fn percent_decoded(value: &[u8]) -> Cow<'_, [u8]> {
    if !value.contains(&b'%') {
        return Cow::Borrowed(value);
    }
    let digit =
        |at: usize| value.get(at).and_then(|byte| char::from(*byte).to_digit(16)).and_then(|n| u8::try_from(n).ok());
    let (mut bytes, mut at) = (Vec::with_capacity(value.len()), 0);
    while at < value.len() {
        match (value[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push(high << 4 | low);
                at += 3;
            }
            (byte, ..) => {
                bytes.push(byte);
                at += 1;
            }
        }
    }
    Cow::Owned(bytes)
}

fn cookies(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b';').map(<[u8]>::trim_ascii).filter(|cookie| !cookie.is_empty())
}

fn value_of<'c>(cookie: &'c [u8], name: &str) -> Option<&'c [u8]> {
    let (found, value) = split_at(cookie, b'=')?;
    (found.trim_ascii() == name.as_bytes()).then(|| {
        let value = value.trim_ascii();
        value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    type Fields<'f> = &'f [(&'f str, &'f str)];

    fn head(target: &str, fields: Fields<'_>) -> RequestHead {
        RequestHead { target: target.into(), fields: fields.iter().copied().collect(), ..RequestHead::default() }
    }

    #[test]
    fn tokens_are_found_where_the_rule_says_and_taken_out_again() {
        let own = TokenPlaces {
            headers: vec![
                TokenHeader { name: "x-token".into(), prefix: "".into() },
                TokenHeader { name: "x-other".into(), prefix: "tok:".into() },
            ],
            params: vec!["t".into()],
            cookies: vec!["c".into()],
        };
        let usual = TokenPlaces::default();
        let none: &[(&str, &str)] = &[];
        /// A case, where tokens are looked for, path and fields, the tokens that are found, and path and fields without them.
        type Row<'a> = (&'a str, &'a TokenPlaces, &'a str, Fields<'a>, &'a [&'a str], &'a str, Fields<'a>);
        let rows: [Row<'_>; 13] = [
            ("nothing", &usual, "/", none, &[], "/", none),
            ("a bearer", &usual, "/", &[("authorization", "Bearer a.b.c")], &["a.b.c"], "/", none),
            (
                "another scheme",
                &usual,
                "/",
                &[("authorization", "Basic eA==")],
                &[],
                "/",
                &[("authorization", "Basic eA==")],
            ),
            ("a parameter", &usual, "/p?x=1&access_token=a&y", none, &["a"], "/p?x=1&y", none),
            ("the only parameter", &usual, "/p?access_token=a", none, &["a"], "/p", none),
            ("a name that is encoded", &usual, "/p?acces%73_token=a%2Eb", none, &["a.b"], "/p", none),
            (
                "all of them",
                &usual,
                "/?access_token=c&access_token=d",
                &[("authorization", "Bearer a"), ("authorization", "Bearer b")],
                &["a", "b", "c", "d"],
                "/",
                none,
            ),
            (
                "not where the rule does not say",
                &own,
                "/?access_token=a",
                &[("authorization", "Bearer a")],
                &[],
                "/?access_token=a",
                &[("authorization", "Bearer a")],
            ),
            ("fields of its own", &own, "/", &[("x-token", " a "), ("x-other", "tok:b")], &["a", "b"], "/", none),
            ("without its prefix", &own, "/", &[("x-other", "b")], &[], "/", &[("x-other", "b")]),
            ("a parameter of its own", &own, "/?t=a&tt=b", none, &["a"], "/?tt=b", none),
            ("a cookie", &own, "/", &[("cookie", "a=1; c=x; b=2")], &["x"], "/", &[("cookie", "a=1; b=2")]),
            ("the only cookie", &own, "/", &[("cookie", "c=\"x\"")], &["x"], "/", none),
        ];
        for (name, places, target, fields, tokens, target_after, fields_after) in rows {
            let mut request = head(target, fields);
            assert_eq!(places.tokens(&request), tokens, "{name}");
            places.remove(&mut request);
            assert_eq!(request, head(target_after, fields_after), "{name}");
        }
    }

    #[test]
    fn places_are_told_in_words() {
        assert_eq!(
            TokenPlaces::default().to_string(),
            "field authorization behind \"Bearer \", parameter access_token"
        );
        let header = TokenHeader { name: "x-token".into(), prefix: "".into() };
        let own = TokenPlaces { headers: vec![header], params: vec!["t".into()], cookies: vec!["c".into()] };
        assert_eq!(own.to_string(), "field x-token, parameter t, cookie c");
    }

    #[test]
    fn more_tokens_than_are_verified_are_told_by_one_more() {
        let fields = [("authorization", "Bearer a"); 30];
        assert_eq!(TokenPlaces::default().tokens(&head("/", &fields)).len(), TOKENS_MAX + 1);
    }
}

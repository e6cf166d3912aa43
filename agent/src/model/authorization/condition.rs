//! What a policy asks of a request: the conditions that only an HTTP proxy can see.

use std::fmt;
use std::sync::Arc;

use ipnet::IpNet;

use super::path_match::PathMatch;
use super::string_match::StringMatch;

/// Any of `values` must hold, if there are any, and none of `not_values`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Values<T> {
    pub values: Vec<T>,
    pub not_values: Vec<T>,
}

impl<T> Default for Values<T> {
    fn default() -> Self {
        Self { values: Vec::new(), not_values: Vec::new() }
    }
}

impl<T> Values<T> {
    /// True if there is no condition.
    #[must_use]
    pub fn is_both_empty(&self) -> bool {
        self.values.is_empty() && self.not_values.is_empty()
    }

    /// The same condition with each value in another form.
    #[must_use]
    pub fn map<U>(&self, form: impl Fn(&T) -> U) -> Values<U> {
        Values {
            values: self.values.iter().map(&form).collect(),
            not_values: self.not_values.iter().map(&form).collect(),
        }
    }

    /// Whether the condition holds, given which single values do. Of something absent no value holds: then `values` fail and
    /// `not_values` are met, as in Envoy.
    pub(super) fn hold(&self, is: impl Fn(&T) -> bool) -> bool {
        (self.values.is_empty() || self.values.iter().any(&is)) && !self.not_values.iter().any(is)
    }
}

/// A condition about a request. Something absent meets no value, and so meets `not_values`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestCondition {
    /// The method, whose case counts (RFC 9110 §9.1).
    Method(Values<StringMatch>),
    /// The path as it was normalised, without the query.
    Path(Values<PathMatch>),
    /// The authority with its port, if it has one, in any case.
    Host(Values<StringMatch>),
    /// Each value of a field by itself, as Envoy compares them since 1.38; `*` asks that it is there.
    Header { name: HeaderName, values: Values<StringMatch> },
    /// Issuer and subject of the request's token.
    RequestPrincipal(Values<RequestPrincipalMatch>),
    /// A claim of the request's token, by the names that lead to it. `aud` and `azp` are claims too.
    Claim { path: Vec<Arc<str>>, values: Values<StringMatch> },
    /// The last address of `x-forwarded-for`, else the direct peer's: what Envoy derives in a sidecar. A client can write
    /// what it likes there.
    RemoteIp(Values<IpNet>),
    /// An attribute of Envoy's that no request has here. It allows nothing; a policy that closes does so without asking.
    Unseen,
}

impl RequestCondition {
    /// Whether it also has a meaning for a connection that does not carry HTTP.
    #[must_use]
    pub fn is_about_tcp(&self) -> bool {
        matches!(self, Self::RemoteIp(_))
    }
}

/// The name of a field in lower case, or of a pseudo-header of HTTP/2, which a request has in every version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderName {
    Field(Box<str>),
    /// `:authority`, which `host` is another name of.
    Authority,
    Method,
    /// Path and query.
    Path,
    Scheme,
    /// The protocols of an `Upgrade` field, which is none of a head's fields.
    Upgrade,
}

impl HeaderName {
    /// Reads a name in any case.
    #[must_use]
    pub fn written(name: &str) -> Self {
        let name = name.to_ascii_lowercase();
        match name.as_str() {
            ":authority" | "host" => Self::Authority,
            ":method" => Self::Method,
            ":path" => Self::Path,
            ":scheme" => Self::Scheme,
            "upgrade" => Self::Upgrade,
            _ => Self::Field(name.into()),
        }
    }
}

/// One value of `requestPrincipals`: what is asked of `iss`, and what of `sub`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestPrincipalMatch {
    pub issuer: StringMatch,
    pub subject: StringMatch,
}

impl RequestPrincipalMatch {
    /// Whether there is any token that this matches: a subject must be asked for.
    #[must_use]
    pub fn can_match_a_token(&self) -> bool {
        self.subject != StringMatch::Exact("".into())
    }

    /// Reads `issuer/subject`. The last slash is the one between them, since issuers are URLs; without one, a star at the
    /// front makes the text a suffix of the subject, and one at the end a prefix of the issuer, as in Istio.
    #[must_use]
    pub fn written(text: &str) -> Self {
        let exact = |text: &str| StringMatch::Exact(text.into());
        let (issuer, subject) = match (text.rsplit_once('/'), text.strip_prefix('*'), text.strip_suffix('*')) {
            (_, Some(""), _) => (StringMatch::Presence, StringMatch::Presence),
            (Some((issuer, subject)), Some(_), _) => (StringMatch::written(issuer), exact(subject)),
            (Some((issuer, "*")), None, _) => (exact(issuer), StringMatch::Presence),
            (Some((issuer, subject)), None, Some(_)) => {
                (exact(issuer), StringMatch::Prefix(subject.trim_end_matches('*').into()))
            }
            (Some((issuer, subject)), None, None) => (exact(issuer), exact(subject)),
            (None, Some(suffix), _) => (StringMatch::Presence, StringMatch::Suffix(suffix.into())),
            (None, None, Some(prefix)) => (StringMatch::Prefix(prefix.into()), StringMatch::Presence),
            (None, None, None) => (exact(text), exact("")),
        };
        Self { issuer, subject }
    }
}

/// In words: `path is /a* and not /a/b`.
impl fmt::Display for RequestCondition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn values<T: fmt::Display>(
            f: &mut fmt::Formatter<'_>,
            Values { values, not_values }: &Values<T>,
        ) -> fmt::Result {
            let list = |values: &[T]| values.iter().map(T::to_string).collect::<Vec<_>>().join(" or ");
            match (values.is_empty(), not_values.is_empty()) {
                (_, true) => write!(f, " is {}", list(values)),
                (true, false) => write!(f, " is not {}", list(not_values)),
                (false, false) => write!(f, " is {} and not {}", list(values), list(not_values)),
            }
        }
        match self {
            Self::Method(methods) => f.write_str("method").and_then(|()| values(f, methods)),
            Self::Path(paths) => f.write_str("path").and_then(|()| values(f, paths)),
            Self::Host(hosts) => f.write_str("host").and_then(|()| values(f, hosts)),
            Self::Header { name, values: texts } => write!(f, "header {name}").and_then(|()| values(f, texts)),
            Self::RequestPrincipal(principals) => f.write_str("request principal").and_then(|()| values(f, principals)),
            Self::Claim { path, values: texts } => {
                write!(f, "claim {}", path.join(".")).and_then(|()| values(f, texts))
            }
            Self::RemoteIp(blocks) => f.write_str("remote address").and_then(|()| values(f, blocks)),
            Self::Unseen => f.write_str("what is never seen"),
        }
    }
}

impl fmt::Display for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Field(name) => name,
            Self::Authority => ":authority",
            Self::Method => ":method",
            Self::Path => ":path",
            Self::Scheme => ":scheme",
            Self::Upgrade => "upgrade",
        })
    }
}

/// As it was written, or would be.
impl fmt::Display for RequestPrincipalMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.issuer, &self.subject) {
            (StringMatch::Presence, StringMatch::Presence) => f.write_str("*"),
            (issuer, StringMatch::Exact(none)) if none.is_empty() => issuer.fmt(f),
            (StringMatch::Presence, StringMatch::Suffix(_)) => self.subject.fmt(f),
            (StringMatch::Prefix(_), StringMatch::Presence) => self.issuer.fmt(f),
            (issuer, subject) => write!(f, "{issuer}/{subject}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use StringMatch::{Exact, Prefix, Presence, Suffix};

    #[test]
    fn request_principals_are_split_as_istio_splits_them() {
        let rows = [
            ("*", Presence, Presence),
            ("https://a.b/c", Exact("https://a.b".into()), Exact("c".into())),
            ("a@b/*", Exact("a@b".into()), Presence),
            ("a@b/c*", Exact("a@b".into()), Prefix("c".into())),
            ("*/c", Presence, Exact("c".into())),
            ("*b/c", Suffix("b".into()), Exact("c".into())),
            ("*c", Presence, Suffix("c".into())),
            ("a*", Prefix("a".into()), Presence),
            ("a", Exact("a".into()), Exact("".into())),
        ];
        for (written, issuer, subject) in rows {
            let found = RequestPrincipalMatch::written(written);
            assert_eq!(found, RequestPrincipalMatch { issuer, subject }, "{written}");
            assert_eq!(RequestPrincipalMatch::written(&found.to_string()), found, "{written}");
        }
    }

    #[test]
    fn conditions_are_told_in_words() {
        let texts = |texts: &[&str]| texts.iter().map(|text| StringMatch::written(text)).collect::<Vec<_>>();
        let header = |values: &[&str], not_values: &[&str]| RequestCondition::Header {
            name: HeaderName::written("X-Id"),
            values: Values { values: texts(values), not_values: texts(not_values) },
        };
        for (condition, expected) in [
            (header(&["a", "b*"], &[]), "header x-id is a or b*"),
            (header(&[], &["*"]), "header x-id is not *"),
            (header(&["a"], &["*b"]), "header x-id is a and not *b"),
        ] {
            assert_eq!(condition.to_string(), expected);
        }
    }
}

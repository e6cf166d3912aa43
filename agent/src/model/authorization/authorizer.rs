//! External authorizers: who is asked about the requests that a CUSTOM policy matches, and how (`extensionProviders` of MeshConfig of
//! the kinds `envoyExtAuthzGrpc` and `envoyExtAuthzHttp`).

use std::sync::Arc;
use std::time::Duration;

use super::string_match::StringMatch;

/// How long an authorizer may take that has no timeout: istiod's default.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(600);
/// The status of the answer to a request of which an authorizer says nothing: Envoy's default.
pub const DEFAULT_STATUS_ON_ERROR: u16 = 403;

/// One external authorizer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorizer {
    /// As policies name it.
    pub name: Arc<str>,
    /// The full name of its service: `host`, or `namespace/host`.
    pub service: Arc<str>,
    pub port: u16,
    pub timeout: Duration,
    /// Whether a request passes of which it says nothing: it is away, slow, or answers with an error.
    pub fails_open: bool,
    /// The status of the answer to such a request, where it does not pass.
    pub status_on_error: u16,
    /// What it is shown of the content of requests; `None`: nothing.
    pub content: Option<ShownContent>,
    pub protocol: AuthorizerProtocol,
}

/// `includeRequestBodyInCheck`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShownContent {
    /// Bytes that are shown at most.
    pub max_bytes: usize,
    /// Whether the beginning is shown of content that has more bytes. Otherwise such a request is answered 413.
    pub allows_part: bool,
    /// Whether it is shown byte by byte, and not as text.
    pub is_raw: bool,
}

/// What an authorizer speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthorizerProtocol {
    /// `envoy.service.auth.v3.Authorization`.
    Grpc,
    /// It is sent the head of the request, and its status decides.
    Http(Box<HttpCheck>),
}

/// What is sent to an authorizer that speaks HTTP, and what is taken from its answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HttpCheck {
    /// Stands before the path of the request; empty, or with a `/` at its beginning.
    pub path_prefix: Arc<str>,
    /// Fields of the request that it is shown, besides those that it always is.
    pub shown: FieldNames,
    /// Fields that its request has besides, by name in lower case; they take the place of others of the name.
    pub added: Vec<(Arc<str>, Arc<str>)>,
    /// Fields of its answer that the application gets, if it allows the request.
    pub to_upstream: FieldNames,
    /// Fields of its answer that the client gets, if it allows the request.
    pub to_client_on_allow: FieldNames,
    /// Fields of its answer that the client gets, if it denies the request; empty: all.
    pub to_client_on_deny: FieldNames,
}

/// Names of fields in lower case, or beginnings or ends of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FieldNames(Vec<StringMatch>);

impl FieldNames {
    /// Names as objects of Istio have them: with a star at the beginning or at the end, or without.
    #[must_use]
    pub fn written<'t>(names: impl IntoIterator<Item = &'t str>) -> Self {
        Self(names.into_iter().map(|name| StringMatch::written(&name.to_ascii_lowercase())).collect())
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a name, which is in lower case, is among them.
    #[must_use]
    pub fn has(&self, name: &[u8]) -> bool {
        self.0.iter().any(|pattern| pattern.matches(name))
    }

    /// As they were written.
    pub fn texts(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(ToString::to_string)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_fields_match_whole_or_by_beginning_or_end() {
        let names = FieldNames::written(["Authorization", "X-Ext-*", "*-Id"]);
        for (name, expected) in [
            ("authorization", true),
            ("authorization2", false),
            ("x-ext-", true),
            ("x-ext-a", true),
            ("x-ex", false),
            ("x-user-id", true),
            ("x-user-ids", false),
        ] {
            assert_eq!(names.has(name.as_bytes()), expected, "{name}");
        }
        assert!(!FieldNames::default().has(b"any"));
        assert_eq!(names.texts().collect::<Vec<_>>(), ["authorization", "x-ext-*", "*-id"]);
    }
}

//! What a rate limit service is told of a request: descriptors, as Envoy's `RateLimit.Action`s make them.

use std::borrow::Cow;
use std::sync::Arc;

use crate::model::authorization::{AccessRequest, HttpRequest};

/// A list of entries, sent if the request has all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    pub entries: Vec<Entry>,
}

/// A key, and where its value is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub key: Arc<str>,
    pub value: EntryValue,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryValue {
    /// Envoy's `generic_key`.
    Fixed(Arc<str>),
    /// The first value of a field, by its name in lower case (`request_headers`); `None` of `default`: a request without it has no such
    /// descriptor.
    Header {
        name: Box<str>,
        default: Option<Arc<str>>,
    },
    Attribute(RequestAttribute),
}

/// What is known of a request besides its fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestAttribute {
    Method,
    /// As it was normalised, without the query.
    Path,
    Host,
    /// `spiffe://…` of the client, where it has proven one.
    SourcePrincipal,
    SourceNamespace,
    SourceServiceAccount,
    /// The direct peer's (`remote_address`).
    SourceAddress,
}

/// A descriptor as it is sent: its keys and values.
pub type SentDescriptor = Vec<(Arc<str>, String)>;

impl Descriptor {
    /// The descriptor of a request, if it has all entries.
    #[must_use]
    pub fn of(&self, connection: &AccessRequest, request: &HttpRequest<'_>) -> Option<SentDescriptor> {
        let entry = |entry: &Entry| Some((entry.key.clone(), entry.value.of(connection, request)?.into_owned()));
        self.entries.iter().map(entry).collect()
    }
}

impl EntryValue {
    fn of<'a>(&'a self, connection: &'a AccessRequest, request: &HttpRequest<'a>) -> Option<Cow<'a, str>> {
        let head = request.head;
        match self {
            Self::Fixed(value) => Some(Cow::Borrowed(value)),
            Self::Header { name, default } => match head.fields.first(name) {
                Some(value) => Some(String::from_utf8_lossy(value)),
                None => default.as_deref().map(Cow::Borrowed),
            },
            Self::Attribute(attribute) => attribute.of(connection, request),
        }
    }
}

impl RequestAttribute {
    /// Every attribute, with what objects call it.
    pub const NAMES: [(&'static str, Self); 7] = [
        ("method", Self::Method),
        ("path", Self::Path),
        ("host", Self::Host),
        ("source.principal", Self::SourcePrincipal),
        ("source.namespace", Self::SourceNamespace),
        ("source.serviceAccount", Self::SourceServiceAccount),
        ("source.address", Self::SourceAddress),
    ];

    fn of<'a>(self, connection: &'a AccessRequest, request: &HttpRequest<'a>) -> Option<Cow<'a, str>> {
        let (head, source) = (request.head, connection.source.as_ref());
        match self {
            Self::Method => Some(String::from_utf8_lossy(&head.method)),
            Self::Path => Some(String::from_utf8_lossy(head.path())),
            Self::Host => Some(String::from_utf8_lossy(&head.authority)),
            Self::SourcePrincipal => source.map(|source| Cow::Owned(source.to_string())),
            Self::SourceNamespace => source.map(|source| Cow::Borrowed(&*source.namespace)),
            Self::SourceServiceAccount => source.map(|source| Cow::Borrowed(&*source.service_account)),
            Self::SourceAddress => Some(Cow::Owned(connection.source_ip.to_canonical().to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::http::head::RequestHead;
    use crate::model::identity::{Identity, TrustDomain};

    #[test]
    fn a_descriptor_is_made_of_a_request_that_has_all_of_it() {
        let source = Some(Identity::new(TrustDomain::new("cluster.local"), "shop", "web"));
        let known = AccessRequest {
            source,
            source_ip: "10.0.0.1".parse().unwrap(),
            destination: "10.0.0.2:8080".parse().unwrap(),
        };
        let anonymous = AccessRequest { source: None, ..known.clone() };
        let head = RequestHead {
            method: "GET".into(),
            target: "/items?x=1".into(),
            authority: "shop.example".into(),
            fields: [("x-tenant", "blue")].into_iter().collect(),
            ..RequestHead::default()
        };
        let attribute = |name: &str| {
            let found = RequestAttribute::NAMES.iter().find(|(known, _)| *known == name);
            EntryValue::Attribute(found.expect("it is one").1)
        };
        let header = |name: &str, default: Option<&str>| EntryValue::Header {
            name: name.into(),
            default: default.map(Arc::from),
        };
        for (value, of_known, of_anonymous) in [
            (EntryValue::Fixed("all".into()), Some("all"), Some("all")),
            (header("x-tenant", None), Some("blue"), Some("blue")),
            (header("x-other", None), None, None),
            (header("x-other", Some("none")), Some("none"), Some("none")),
            (attribute("method"), Some("GET"), Some("GET")),
            (attribute("path"), Some("/items"), Some("/items")),
            (attribute("host"), Some("shop.example"), Some("shop.example")),
            (attribute("source.principal"), Some("spiffe://cluster.local/ns/shop/sa/web"), None),
            (attribute("source.namespace"), Some("shop"), None),
            (attribute("source.serviceAccount"), Some("web"), None),
            (attribute("source.address"), Some("10.0.0.1"), Some("10.0.0.1")),
        ] {
            let descriptor = Descriptor { entries: vec![Entry { key: "key".into(), value }] };
            for (connection, expected) in [(&known, of_known), (&anonymous, of_anonymous)] {
                let found = descriptor.of(connection, &HttpRequest::of(&head));
                let expected = expected.map(|value| vec![("key".into(), value.to_owned())]);
                assert_eq!(found, expected, "{descriptor:?}");
            }
        }
    }
}

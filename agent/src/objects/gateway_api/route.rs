//! What routes of the Gateway API have in common: HTTPRoute and GRPCRoute come to the same struct. Its parts are those of a
//! VirtualService, with the meaning that the Gateway API gives them.

use std::time::Duration;

use crate::model::http::pattern::TextMatch;
use crate::model::http::policies::{Cors, Share};
use crate::model::http::route::Redirect;
use crate::objects::networking::{HeaderChanges, HttpMatch, Retries, Rewrite, values};
use crate::objects::reading::{Fields, names};

/// `spec` of an HTTPRoute or a GRPCRoute.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct GatewayRoute {
    /// Services and hosts it is attached to. Gateways among its parents do not count: they are no business of the mesh.
    pub parents: Vec<Parent>,
    pub rules: Vec<GatewayRule>,
}

/// An item of `parentRefs` that is about the mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parent {
    pub target: ServiceRef,
    /// Of the service; `None`: all of its ports.
    pub port: Option<u16>,
}

/// A reference to a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServiceRef {
    /// A Kubernetes Service.
    Service { namespace: String, name: String },
    /// A ServiceEntry: each of its hosts.
    ServiceEntry { namespace: String, name: String },
    /// Kind `Hostname` of `networking.istio.io`.
    Hostname(String),
    /// What cannot be sent to, a kind that is not known for one: its share of the requests fails.
    Unknown,
}

/// An item of `rules`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct GatewayRule {
    /// Never empty: without one of its own, a rule matches every request.
    pub matches: Vec<HttpMatch>,
    pub backends: Vec<Backend>,
    pub filters: Filters,
    /// `timeouts.request`.
    pub timeout: Option<Duration>,
    /// `timeouts.backendRequest`.
    pub backend_timeout: Option<Duration>,
    pub retries: Option<Retries>,
}

/// An item of `backendRefs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    pub target: ServiceRef,
    /// `None` is an error of the reference: its share of the requests fails.
    pub port: Option<u16>,
    pub weight: u32,
    pub headers: HeaderChanges,
}

/// `filters` of a rule.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Filters {
    pub headers: HeaderChanges,
    pub redirect: Option<Redirect>,
    pub rewrite: Option<Rewrite>,
    pub mirrors: Vec<BackendMirror>,
    pub cors: Option<Cors>,
    /// One is not known here: no request may go on without it.
    pub has_unknown: bool,
}

/// A filter `RequestMirror`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendMirror {
    pub target: ServiceRef,
    pub port: Option<u16>,
    pub share: Share,
}

/// Reads `parentRefs`; `own` is the route's namespace.
pub(super) fn parents(fields: &mut Fields<'_>, own: &str) -> Vec<Parent> {
    let report = fields.report();
    let mut found = Vec::new();
    for item in fields.items("parentRefs") {
        let Some(mut parent) = item.fields(report) else { continue };
        let group = parent.text("group").unwrap_or_else(|| "gateway.networking.k8s.io".to_owned());
        let kind = parent.text("kind").unwrap_or_else(|| "Gateway".to_owned());
        let namespace = parent.text("namespace").unwrap_or_else(|| own.to_owned());
        let name = parent.text("name").unwrap_or_default();
        let port = parent.number("port", 1..=65_535);
        if name.is_empty() {
            parent.error("name", "the name of the parent is needed");
        }
        let target = match (group.as_str(), kind.as_str()) {
            ("", "Service") => Some(ServiceRef::Service { namespace, name }),
            ("networking.istio.io", "ServiceEntry") => Some(ServiceRef::ServiceEntry { namespace, name }),
            _ => None,
        };
        match target {
            Some(target) => {
                parent.without_effect("sectionName", "has no effect for a service: use port");
                found.push(Parent { target, port });
            }
            None => parent.skip("sectionName"),
        }
        parent.finish();
    }
    found
}

/// Reads what names a backend: `group`, `kind`, `namespace`, `name` and `port`.
pub(super) fn target(fields: &mut Fields<'_>, own: &str) -> (ServiceRef, Option<u16>) {
    let group = fields.text("group").unwrap_or_default();
    let kind = fields.text("kind").unwrap_or_else(|| "Service".to_owned());
    let namespace = fields.text("namespace").unwrap_or_else(|| own.to_owned());
    let name = fields.text("name").unwrap_or_default();
    let port = fields.number("port", 1..=65_535);
    if name.is_empty() {
        fields.error("name", "the name of the backend is needed");
    }
    let target = match (group.as_str(), kind.as_str()) {
        ("" | "core", "Service") => ServiceRef::Service { namespace, name },
        ("networking.istio.io", "Hostname") => {
            if let Err(reason) = names::fqdn(&name) {
                fields.error("name", reason);
            }
            ServiceRef::Hostname(name)
        }
        _ => {
            fields.notice(
                "kind",
                format!("{kind} of {group:?} is no kind of backend here: its requests are answered 500"),
            );
            ServiceRef::Unknown
        }
    };
    if port.is_none() && target != ServiceRef::Unknown {
        fields.notice("port", "a backend needs a port: without it, its requests are answered 500");
    }
    (target, port)
}

/// Reads `{type, name, value}`, a condition on a named thing. `None` after an error.
pub(super) fn named_match(mut fields: Fields<'_>) -> Option<(String, TextMatch)> {
    #[derive(Clone, Copy)]
    enum Type {
        Exact,
        Regex,
    }
    let kind = fields.word("type", &[("Exact", Type::Exact), ("RegularExpression", Type::Regex)]);
    let name = fields.text("name").unwrap_or_default();
    let value = fields.text("value").unwrap_or_default();
    if name.is_empty() {
        fields.error("name", "a name is needed");
    }
    let found = match kind.unwrap_or(Type::Exact) {
        Type::Exact => Some(TextMatch::Exact(value.into())),
        Type::Regex => values::regex(&value, &fields.place().field("value")).map(TextMatch::Regex),
    };
    fields.finish();
    Some((name, found?))
}

/// Reads a list of conditions on named things. Of several with one name, the first counts.
pub(super) fn named_matches(fields: &mut Fields<'_>, list: &'static str) -> Vec<(String, TextMatch)> {
    let report = fields.report();
    let mut found: Vec<(String, TextMatch)> = Vec::new();
    for item in fields.items(list) {
        let Some((name, value)) = item.fields(report).and_then(named_match) else { continue };
        if found.iter().any(|(known, _)| known.eq_ignore_ascii_case(&name)) {
            item.place(report).notice("has no effect: the first entry of this name counts");
        } else {
            found.push((name, value));
        }
    }
    found
}

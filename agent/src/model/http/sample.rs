//! Requests and routes for the tests of this folder.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::field_changes::{FieldChanges, FormatContext};
use super::head::RequestHead;
use super::route::{
    Action, Applicability, Cluster, Destination, Forward, Origin, OriginKind, RequestMatch, Route, Rule, Semantics,
    Target,
};

/// A GET request to `reviews`, without fields.
pub(super) fn get(target: &str) -> RequestHead {
    RequestHead { method: b"GET".into(), target: target.into(), authority: b"reviews".into(), ..RequestHead::default() }
}

pub(super) fn origin(kind: OriginKind, namespace: &str, name: &str) -> Origin {
    Origin { kind, namespace: namespace.into(), name: name.into(), rule: 0 }
}

/// A destination, with a weight, of a host.
pub(super) fn to(hostname: &str, weight: u32) -> Destination {
    Destination {
        target: Target::Cluster(Cluster { hostname: hostname.into(), port: None, subset: None }),
        weight,
        request: FieldChanges::default(),
        response: FieldChanges::default(),
        authority: None,
    }
}

/// What a rule that only names destinations does.
pub(super) fn forward(destinations: Vec<Destination>) -> Forward {
    let has_several = destinations.len() > 1;
    Forward { destinations, has_several, path: None, authority: None, timeout: None, retry: None, mirrors: Vec::new() }
}

/// A rule of a VirtualService without anything but its action.
pub(super) fn rule(action: Action) -> Rule {
    Rule {
        origin: origin(OriginKind::VirtualService, "default", "sample"),
        semantics: Semantics::VirtualService,
        action,
        request: FieldChanges::default(),
        response: FieldChanges::default(),
        fault: None,
        cors: None,
    }
}

/// A route of a VirtualService to a host of the same name.
pub(super) fn route(name: &str, matches: RequestMatch) -> Route {
    let rule = rule(Action::Forward(Box::new(forward(vec![to(name, 1)]))));
    Route { name: name.into(), matches, applies: Applicability::default(), rule: Arc::new(rule) }
}

/// What formats fill in: a client at 10.0.0.1 that dialled an address of IPv6 on a leap day.
pub(super) fn context() -> FormatContext<'static> {
    FormatContext {
        remote: ([10, 0, 0, 1], 1234).into(),
        local: "[fd00::1]:80".parse().expect("an address"),
        start: SystemTime::UNIX_EPOCH + Duration::from_millis(1_709_210_096_789),
        hostname: "client-1",
        route: "main",
        upstream: None,
    }
}

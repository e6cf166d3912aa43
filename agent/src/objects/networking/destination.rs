//! Where a rule of a VirtualService sends requests (`istio.networking.v1.HTTPRouteDestination` and `Destination`).

use super::values::{self, HeaderChanges};
use crate::objects::reading::{Fields, names};

/// An item of `route`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteDestination {
    pub destination: Destination,
    pub weight: u32,
    pub headers: HeaderChanges,
}

/// `destination`: a service, or a part of its endpoints.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Destination {
    /// As written. Empty only where a control plane found no such service for a Gateway API route.
    pub host: String,
    pub subset: Option<String>,
    /// `None`: the port that the client asked for.
    pub port: Option<u16>,
}

/// Reads an item of `route`.
pub(super) fn read_weighted(mut fields: Fields<'_>) -> Option<RouteDestination> {
    let destination = fields.fields("destination").map(read);
    if destination.is_none() && fields.get("destination").is_none() {
        fields.error("destination", "a destination is needed");
    }
    let weight = fields.number("weight", 0..=i128::from(i32::MAX)).unwrap_or(0);
    let headers = values::header_changes(&mut fields);
    fields.finish();
    Some(RouteDestination { destination: destination?, weight, headers })
}

/// Reads a destination. An empty host is one that a control plane wrote: it never was in a user's file.
pub(super) fn read(mut fields: Fields<'_>) -> Destination {
    let host = fields.text("host").unwrap_or_default();
    if host == "*" {
        fields.error("host", "a destination cannot be *: name the service");
    } else if !host.is_empty()
        && host.parse::<std::net::IpAddr>().is_err()
        && let Err(reason) = names::wildcard_host(&host)
    {
        fields.error("host", reason);
    }
    let found = Destination {
        host,
        subset: fields.text("subset").filter(|subset| !subset.is_empty()),
        port: values::port_selector(&mut fields),
    };
    fields.finish();
    found
}

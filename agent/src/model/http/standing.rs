//! What an object is to one source and one service: whether it counts, and why not. For people who ask; the decision itself is made
//! in `route_table` and `destination_rules`.

use std::fmt;
use std::sync::Arc;

use super::route::{Applicability, Origin, OriginKind, Route};

/// Objects that name a service's host, and what they are to a source.
#[derive(Debug, Clone, PartialEq)]
pub struct ObjectStanding {
    /// One VirtualService or DestinationRule with what is merged into it, or all routes of the Gateway API that make one list.
    pub origins: Vec<Origin>,
    /// The host as the objects name it: it may be one with a wildcard.
    pub host: Arc<str>,
    pub standing: Standing,
    /// Routes of theirs that are for other ports or other clients.
    pub left_out: Vec<Arc<Route>>,
}

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Counts,
    /// Another object counts: of a more specific host, nearer to the client, or older.
    Overridden,
    /// `exportTo` leaves the client's namespace out; for a route of the Gateway API, its namespace is neither the client's nor the
    /// service's.
    NotExported,
    /// The client's `Sidecar` does not import it, or not the service.
    NotImported,
    /// All of its rules are for other ports or other clients.
    NoRouteApplies,
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Counts => "counts",
            Self::Overridden => {
                "does not count: another object does, of a more specific host, nearer to the client, or older"
            }
            Self::NotExported => {
                "does not count: it is not visible in the client's namespace (exportTo, or the route's namespace)"
            }
            Self::NotImported => "does not count: the Sidecar of the client does not import it",
            Self::NoRouteApplies => "does not count: all of its rules are for other ports or other clients",
        })
    }
}

/// Whom and what a route is for: `for port 80 and clients with the label app=web`.
impl fmt::Display for Applicability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = self.port.map(|port| format!("port {port}"));
        let namespace = self.source_namespace.as_ref().map(|namespace| format!("clients of namespace {namespace}"));
        let labels = self.source_labels.iter().map(|(name, value)| format!("clients with the label {name}={value}"));
        let all: Vec<String> = port.into_iter().chain(namespace).chain(labels).collect();
        write!(f, "for {}", if all.is_empty() { "everybody".to_owned() } else { all.join(" and ") })
    }
}

/// The kind, as in the object's YAML.
impl fmt::Display for OriginKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::VirtualService => "VirtualService",
            Self::HttpRoute => "HTTPRoute",
            Self::GrpcRoute => "GRPCRoute",
            Self::DestinationRule => "DestinationRule",
        })
    }
}

/// The object without the rule: `VirtualService shop/reviews`.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

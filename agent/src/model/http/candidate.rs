//! Routes that may count for a host: those of a VirtualService, or those that routes of the Gateway API come to together.
//! Which of them apply to a source and a port is decided here, and kept for the next connection for which the same do.

use std::sync::Arc;

use parking_lot::RwLock;

use super::route::{Applicability, PathMatch, RequestMatch, Route, Semantics};
use super::service_routes::ServiceRoutes;
use super::visibility::SourceView;
use super::visibility::{ExportTo, HostPattern};

/// Bounds the lists kept per candidate, one for each set of its routes that applies somewhere.
const KEPT_MAX: usize = 64;

#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) semantics: Semantics,
    /// Of the object, or of all merged ones.
    pub(super) namespace: Arc<str>,
    /// The namespace of the service that routes of the Gateway API are about, where they say it.
    pub(super) parent_namespace: Option<Arc<str>>,
    pub(super) hosts: Vec<HostPattern>,
    pub(super) exported_to: ExportTo,
    routes: Vec<Arc<Route>>,
    /// Lists by the numbers of the routes in them.
    kept: RwLock<Vec<KeptList>>,
}

/// The numbers of the routes in a list, and the list.
type KeptList = (Box<[u32]>, Arc<ServiceRoutes>);

/// How near an object is to a client. Of several for one host, nearer ones count first, and older ones within each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Nearness {
    /// A route of the Gateway API in the client's namespace: a consumer route, or the producer's own.
    OwnGatewayRoute,
    /// Of the client's namespace, exported to nobody else.
    Private,
    /// Exported to the client's namespace by name.
    ByName,
    /// Exported to everyone, or a producer route.
    Public,
}

impl Candidate {
    pub(super) fn new(semantics: Semantics, namespace: &Arc<str>, routes: Vec<Arc<Route>>) -> Self {
        Self {
            semantics,
            namespace: namespace.clone(),
            parent_namespace: None,
            hosts: Vec::new(),
            exported_to: ExportTo::Everyone,
            routes,
            kept: RwLock::default(),
        }
    }

    /// How near it is to clients in a namespace; `None` where it is not for them. A route of the Gateway API in a
    /// namespace that is neither the client's nor that of the service, which has the host, is for nobody.
    pub(super) fn nearness(&self, namespace: &str, service_namespace: &str) -> Option<Nearness> {
        if self.semantics == Semantics::GatewayApi {
            if *self.namespace == *namespace {
                return Some(Nearness::OwnGatewayRoute);
            }
            let parent = self.parent_namespace.as_deref().unwrap_or(service_namespace);
            return (*parent == *self.namespace).then_some(Nearness::Public);
        }
        match &self.exported_to {
            ExportTo::Everyone => Some(Nearness::Public),
            ExportTo::Namespaces(names) if !self.exported_to.includes(namespace) || names.is_empty() => None,
            ExportTo::Namespaces(names) if names.len() == 1 && *self.namespace == *namespace => Some(Nearness::Private),
            ExportTo::Namespaces(_) => Some(Nearness::ByName),
        }
    }

    /// The routes that apply; `None` where none does, so that it is as if the object were not there.
    pub(super) fn routes_for(&self, source: SourceView<'_>, port: u16) -> Option<Arc<ServiceRoutes>> {
        let mut applying: Vec<u32> = Vec::with_capacity(self.routes.len());
        for (number, route) in (0..).zip(&self.routes) {
            if route.applies.to(source, port) {
                applying.push(number);
                if route.matches.is_everything() {
                    // What follows is out of reach.
                    break;
                }
            }
        }
        if applying.is_empty() {
            return None;
        }
        if let Some((_, kept)) = self.kept.read().iter().find(|(numbers, _)| **numbers == *applying) {
            return Some(kept.clone());
        }
        let routes = applying.iter().map(|number| self.routes[*number as usize].clone());
        let list = Arc::new(ServiceRoutes::new(self.semantics, routes.collect()));
        let mut kept = self.kept.write();
        if kept.len() < KEPT_MAX {
            kept.push((applying.into(), list.clone()));
        }
        Some(list)
    }
}

impl Applicability {
    /// Whether requests of a source to a port of a service may take the route.
    #[must_use]
    pub fn to(&self, source: SourceView<'_>, port: u16) -> bool {
        let has_label =
            |(name, value): &(Box<str>, Box<str>)| source.labels.get(&**name).is_some_and(|own| **own == **value);
        self.port.is_none_or(|own| own == port)
            && self.source_namespace.as_ref().is_none_or(|namespace| **namespace == *source.namespace)
            && self.source_labels.iter().all(has_label)
    }
}

impl RequestMatch {
    fn is_everything(&self) -> bool {
        self.path == PathMatch::Any
            && self.method.is_none()
            && self.scheme.is_none()
            && self.authority.is_none()
            && self.fields.is_empty()
            && self.query.is_empty()
    }
}

//! Routes that may count for a host: those of a VirtualService, or those that routes of the Gateway API come to together.
//! Which of them apply to a source and a port is decided here, and kept for the next connection for which the same do.

use std::sync::{Arc, OnceLock};

use parking_lot::RwLock;

use super::objects::RouteObject;
use super::route::{Applicability, Origin, PathMatch, RequestMatch, Route, Semantics};
use super::service_routes::ServiceRoutes;
use super::visibility::{ExportTo, HostPattern, SourceView};

/// Bounds the lists kept per candidate, one for each set of its routes that applies somewhere.
const KEPT_MAX: usize = 64;

#[derive(Debug)]
pub(super) struct Candidate {
    /// The VirtualService that it is the list of.
    pub(super) object: Option<Arc<RouteObject>>,
    pub(super) semantics: Semantics,
    /// Of the object, or of all merged ones.
    pub(super) namespace: Arc<str>,
    /// The namespace of the service that routes of the Gateway API are about, where they say it.
    pub(super) parent_namespace: Option<Arc<str>>,
    pub(super) hosts: Vec<HostPattern>,
    pub(super) exported_to: ExportTo,
    routes: Vec<Arc<Route>>,
    /// What routes say of sources and ports, each once, and which of these each route says. Empty where none says anything.
    conditions: Vec<Applicability>,
    condition_of: Vec<u32>,
    /// All routes, where none says anything.
    whole: OnceLock<Arc<ServiceRoutes>>,
    kept: RwLock<Vec<KeptList>>,
}

/// Which of the conditions hold, and the list of the routes that apply then, if any does.
type KeptList = (Box<[bool]>, Option<Arc<ServiceRoutes>>);

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

impl Nearness {
    /// Nearest first.
    pub(super) const ALL: [Self; 4] = [Self::OwnGatewayRoute, Self::Private, Self::ByName, Self::Public];
}

impl Candidate {
    pub(super) fn of_virtual_service(object: &Arc<RouteObject>) -> Self {
        Self {
            object: Some(object.clone()),
            parent_namespace: object.parent_namespace.clone(),
            hosts: object.hosts.clone(),
            exported_to: object.exported_to.clone(),
            ..Self::new(object.semantics, &object.origin.namespace, object.routes.clone())
        }
    }

    pub(super) fn new(semantics: Semantics, namespace: &Arc<str>, routes: Vec<Arc<Route>>) -> Self {
        let mut conditions: Vec<Applicability> = Vec::new();
        let condition_of = routes.iter().map(|route| {
            let known = conditions.iter().position(|known| *known == route.applies);
            let number = known.unwrap_or_else(|| {
                conditions.push(route.applies.clone());
                conditions.len() - 1
            });
            u32::try_from(number).expect("memory ends long before 2^32 routes")
        });
        let mut condition_of: Vec<u32> = condition_of.collect();
        if conditions == [Applicability::default()] {
            // As most are: nothing is to be asked.
            (conditions, condition_of) = (Vec::new(), Vec::new());
        }
        Self {
            object: None,
            semantics,
            namespace: namespace.clone(),
            parent_namespace: None,
            hosts: Vec::new(),
            exported_to: ExportTo::Everyone,
            routes,
            conditions,
            condition_of,
            whole: OnceLock::new(),
            kept: RwLock::default(),
        }
    }

    /// How near it is to clients in a namespace; `None` where it is not for them. A route of the Gateway API in a
    /// namespace that is neither the client's nor that of the service, which has the host, is for nobody; nor is one whose
    /// parent is another namespace's service of that host.
    pub(super) fn nearness(&self, namespace: &str, service_namespace: &str) -> Option<Nearness> {
        if self.semantics == Semantics::GatewayApi {
            let parent = self.parent_namespace.as_deref().unwrap_or(service_namespace);
            if *parent != *service_namespace {
                return None;
            }
            if *self.namespace == *namespace {
                return Some(Nearness::OwnGatewayRoute);
            }
            return (*parent == *self.namespace).then_some(Nearness::Public);
        }
        match &self.exported_to {
            ExportTo::Everyone => Some(Nearness::Public),
            ExportTo::Namespaces(names) if !self.exported_to.includes(namespace) || names.is_empty() => None,
            ExportTo::Namespaces(names) if names.len() == 1 && *self.namespace == *namespace => Some(Nearness::Private),
            ExportTo::Namespaces(_) => Some(Nearness::ByName),
        }
    }

    /// The objects that its routes are of, each once, without their rules.
    pub(super) fn origins(&self) -> Vec<Origin> {
        let mut origins: Vec<Origin> = Vec::new();
        for route in &self.routes {
            let origin = Origin { rule: 0, ..route.rule.origin.clone() };
            if !origins.contains(&origin) {
                origins.push(origin);
            }
        }
        origins
    }

    /// The routes that do not apply.
    pub(super) fn left_out(&self, source: SourceView<'_>, port: u16) -> Vec<Arc<Route>> {
        self.routes.iter().filter(|route| !route.applies.holds(source, port)).cloned().collect()
    }

    /// The routes that apply; `None` where none does, so that it is as if the object were not there.
    pub(super) fn routes_for(&self, source: SourceView<'_>, port: u16) -> Option<Arc<ServiceRoutes>> {
        if self.conditions.is_empty() {
            let whole = || self.whole.get_or_init(|| Arc::new(self.list(|_| true))).clone();
            return (!self.routes.is_empty()).then(whole);
        }
        let holding: Box<[bool]> = self.conditions.iter().map(|condition| condition.holds(source, port)).collect();
        if let Some((_, kept)) = self.kept.read().iter().find(|(known, _)| *known == holding) {
            return kept.clone();
        }
        let applies = |condition: u32| holding[condition as usize];
        let list = holding.contains(&true).then(|| Arc::new(self.list(applies)));
        let mut kept = self.kept.write();
        if kept.len() < KEPT_MAX {
            kept.push((holding, list.clone()));
        }
        list
    }

    /// The routes of which the condition holds, up to one that takes everything.
    fn list(&self, holds: impl Fn(u32) -> bool) -> ServiceRoutes {
        let mut routes = Vec::new();
        for (number, route) in self.routes.iter().enumerate() {
            if !self.condition_of.get(number).is_none_or(|condition| holds(*condition)) {
                continue;
            }
            routes.push(route.clone());
            if route.matches.is_everything() {
                break;
            }
        }
        ServiceRoutes::new(self.semantics, routes)
    }
}

impl Applicability {
    /// Whether requests of a source to a port of a service may take the route.
    #[must_use]
    pub fn holds(&self, source: SourceView<'_>, port: u16) -> bool {
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

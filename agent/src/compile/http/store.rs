//! The objects about requests that are in force, each with what it compiles to, so that a change of one object compiles that
//! one alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::effects::{self, Hostnames};
use super::settings::HttpSettings;
use super::{client_view, delegation, gateway_route, rate_limit, virtual_service};
use crate::model::authentication::{AuthenticationConfig, AuthenticationObject};
use crate::model::http::config::HttpConfig;
use crate::model::http::destination::UpstreamTls;
use crate::model::http::objects::{DestinationRuleObject, HttpObjects, RouteObject};
use crate::model::http::route::OriginKind;
use crate::model::http::scope::SidecarScope;
use crate::model::rate_limit::config::RateLimitConfig;
use crate::model::rate_limit::objects::RateLimitObject;
use crate::model::telemetry::config::TelemetryConfig;
use crate::model::telemetry::objects::TelemetryObject;
use crate::objects::protobuf::{DEFINED_AT, ReceivedHttpObject};
use crate::objects::{HttpObject, Kind, Metadata, PolicyTarget, ROUTE_PARENTS, VirtualService, has_gateway_semantics};

/// All objects about requests, by kind and name (`namespace/name`).
#[derive(Debug)]
pub struct HttpStore {
    settings: HttpSettings,
    objects: BTreeMap<(Kind, Arc<str>), Entry>,
    is_changed: bool,
    /// What was taken last.
    taken: HttpConfig,
}

#[derive(Debug)]
struct Entry {
    received: ReceivedHttpObject,
    compiled: Compiled,
    /// What of it has no effect because of how it was compiled.
    notes: Vec<String>,
}

#[derive(Debug)]
enum Compiled {
    Routes(Vec<Arc<RouteObject>>),
    DestinationRule(Arc<DestinationRuleObject>),
    Scope(SidecarScope),
    Telemetry(Arc<TelemetryObject>),
    RateLimit(Arc<RateLimitObject>),
    Authentication(Arc<AuthenticationObject>),
}

impl HttpStore {
    /// No objects.
    #[must_use]
    pub fn new(settings: HttpSettings) -> Self {
        Self { settings, objects: BTreeMap::new(), is_changed: true, taken: HttpConfig::default() }
    }

    /// Puts other settings in force.
    pub fn set_settings(&mut self, settings: HttpSettings) {
        if settings == self.settings {
            return;
        }
        self.settings = settings;
        self.is_changed = true;
        self.compile_again(|_| true);
    }

    /// Puts an object in force, in the place of one with its name.
    pub fn put(&mut self, kind: Kind, name: Arc<str>, received: ReceivedHttpObject) {
        let is_delegate = received.is_delegate();
        let (compiled, notes) = self.compile(&received);
        let former = self.objects.insert((kind, name), Entry { received, compiled, notes });
        self.is_changed = true;
        if is_delegate || former.is_some_and(|former| former.received.is_delegate()) {
            self.compile_again(ReceivedHttpObject::delegates);
        }
    }

    /// Removes an object.
    pub fn remove(&mut self, kind: Kind, name: &Arc<str>) {
        let Some(former) = self.objects.remove(&(kind, name.clone())) else { return };
        self.is_changed = true;
        if former.received.is_delegate() {
            self.compile_again(ReceivedHttpObject::delegates);
        }
    }

    /// What requests are decided with, if anything has changed since the last call.
    pub fn take_changed(&mut self) -> Option<HttpConfig> {
        std::mem::take(&mut self.is_changed).then(|| {
            self.taken = self.taken.followed_by(self.http_objects());
            self.taken.clone()
        })
    }

    /// What of an object has no effect, or another one than its author may expect, and why; `known` are the services that
    /// there are.
    #[must_use]
    pub fn notes(&self, kind: Kind, name: &Arc<str>, known: &Hostnames) -> Vec<String> {
        let Some(entry) = self.objects.get(&(kind, name.clone())) else { return Vec::new() };
        let rules = || {
            self.objects.values().filter_map(|entry| match &entry.compiled {
                Compiled::DestinationRule(rule) => Some(rule.clone()),
                _ => None,
            })
        };
        let found = match &entry.compiled {
            Compiled::Routes(objects) => {
                let rules: Vec<_> = rules().collect();
                objects.iter().flat_map(|object| effects::of_routes(object, &rules, known)).collect()
            }
            Compiled::DestinationRule(rule) => effects::of_destination_rule(rule, known),
            Compiled::RateLimit(object) => rate_limit::notes(object, known),
            Compiled::Scope(_) | Compiled::Telemetry(_) | Compiled::Authentication(_) => Vec::new(),
        };
        entry.received.notices.iter().chain(&entry.notes).cloned().chain(found).collect()
    }

    /// How many fields of all objects of a kind have no effect, whatever else there is in the mesh.
    #[must_use]
    pub fn fields_without_effect(&self, kind: Kind) -> usize {
        let of_kind = self.objects.iter().filter(|((known, _), _)| *known == kind);
        of_kind.map(|(_, entry)| entry.received.notices.len() + entry.notes.len()).sum()
    }

    /// What the RateLimit of a name (`namespace/name`) names that there is none of; `None` where there is no such object. `is_known` is
    /// asked about hostnames as they are seen from a namespace.
    #[must_use]
    pub fn missing_references(
        &self,
        name: &str,
        is_known: impl Fn(&str, &str) -> bool,
    ) -> Option<rate_limit::MissingReferences> {
        match &self.objects.get(&(Kind::RateLimit, name.into()))?.compiled {
            Compiled::RateLimit(object) => Some(rate_limit::missing(object, |host| is_known(host, &object.namespace))),
            _ => None,
        }
    }

    /// The settings for TLS of its own that an object has, by the fields that hold them: whether their files can be used is seen
    /// where they are.
    #[must_use]
    pub fn own_tls(&self, kind: Kind, name: &Arc<str>) -> Vec<(String, UpstreamTls)> {
        match self.objects.get(&(kind, name.clone())).map(|entry| &entry.received.object) {
            Some(HttpObject::DestinationRule(rule)) => effects::own_tls(rule),
            _ => Vec::new(),
        }
    }

    fn compile_again(&mut self, which: impl Fn(&ReceivedHttpObject) -> bool) {
        let keys: Vec<_> =
            self.objects.iter().filter(|(_, entry)| which(&entry.received)).map(|(key, _)| key.clone()).collect();
        for key in keys {
            let (compiled, notes) = self.compile(&self.objects[&key].received);
            let entry = self.objects.get_mut(&key).expect("its key was just listed");
            (entry.compiled, entry.notes) = (compiled, notes);
        }
    }

    fn compile(&self, received: &ReceivedHttpObject) -> (Compiled, Vec<String>) {
        let mut notes = Vec::new();
        let settings = &self.settings;
        let metadata = &received.metadata;
        let compiled = match &received.object {
            HttpObject::VirtualService(service) => {
                let delegate = |namespace: &str, name: &str| self.delegate(namespace, name);
                let rules = delegation::in_place(metadata, service, delegate, |note| notes.push(note));
                effects::of_virtual_service(service, &rules, |note| notes.push(note));
                let object = virtual_service::route_object(settings, metadata, service, &rules);
                Compiled::Routes(object.map(Arc::new).into_iter().collect())
            }
            HttpObject::DestinationRule(rule) => {
                Compiled::DestinationRule(Arc::new(client_view::destination_rule(settings, metadata, rule)))
            }
            HttpObject::Telemetry(spec) => {
                effects::of_telemetry(spec, &settings.telemetry, |note| notes.push(note));
                Compiled::Telemetry(Arc::new(TelemetryObject {
                    namespace: metadata.namespace.as_str().into(),
                    name: metadata.name.as_str().into(),
                    spec: (**spec).clone(),
                }))
            }
            HttpObject::RateLimit(spec) => {
                Compiled::RateLimit(Arc::new(rate_limit::rate_limit(settings, metadata, spec)))
            }
            HttpObject::RequestAuthentication(authentication) => {
                if authentication.target == PolicyTarget::Elsewhere {
                    notes.push("targetRefs are a waypoint's business: not enforced at the workloads".to_owned());
                }
                Compiled::Authentication(Arc::new(AuthenticationObject {
                    namespace: metadata.namespace.as_str().into(),
                    name: metadata.name.as_str().into(),
                    target: authentication.target.clone(),
                    rules: authentication.rules.clone(),
                    invalid: authentication.invalid.as_deref().map(Arc::from),
                }))
            }
            HttpObject::Sidecar(sidecar) => Compiled::Scope(client_view::scope(metadata, sidecar)),
            HttpObject::HttpRoute(route) | HttpObject::GrpcRoute(route) => {
                let kind = match received.object {
                    HttpObject::GrpcRoute(_) => OriginKind::GrpcRoute,
                    _ => OriginKind::HttpRoute,
                };
                let objects = gateway_route::route_objects(settings, kind, metadata, route, |note| notes.push(note));
                Compiled::Routes(objects.into_iter().map(Arc::new).collect())
            }
        };
        (compiled, notes)
    }

    fn delegate(&self, namespace: &str, name: &str) -> Option<(&Metadata, &VirtualService)> {
        let entry = self.objects.get(&(Kind::VirtualService, format!("{namespace}/{name}").into()))?;
        let HttpObject::VirtualService(service) = &entry.received.object else { return None };
        Some((&entry.received.metadata, service))
    }

    /// What all objects come to, oldest first.
    #[must_use]
    pub fn http_objects(&self) -> HttpObjects {
        let converted = self.converted_routes();
        let mut routes = Vec::new();
        let mut rules = Vec::new();
        let mut scopes = Vec::new();
        let mut telemetry = Vec::new();
        let mut rate_limits = Vec::new();
        let mut authentication = Vec::new();
        for entry in self.objects.values().filter(|entry| !entry.received.is_among(&converted)) {
            match &entry.compiled {
                Compiled::Routes(objects) => routes.extend(objects.iter().map(|object| (entry, object))),
                Compiled::DestinationRule(object) => rules.push((entry, object)),
                Compiled::Scope(scope) => scopes.push((entry, scope)),
                Compiled::Telemetry(object) => telemetry.push((entry, object)),
                Compiled::RateLimit(object) => rate_limits.push((entry, object)),
                Compiled::Authentication(object) => authentication.push(object.clone()),
            }
        }
        routes.sort_by_cached_key(|(entry, _)| entry.received.age());
        rules.sort_by_cached_key(|(entry, _)| entry.received.age());
        scopes.sort_by_cached_key(|(entry, _)| entry.received.age());
        telemetry.sort_by_cached_key(|(entry, _)| entry.received.age());
        rate_limits.sort_by_cached_key(|(entry, _)| entry.received.age());
        HttpObjects {
            routes: routes.into_iter().map(|(_, object)| object.clone()).collect(),
            destination_rules: rules.into_iter().map(|(_, object)| object.clone()).collect(),
            scopes: scopes.into_iter().map(|(_, scope)| scope.clone()).collect(),
            root_namespace: self.settings.root_namespace.clone(),
            default_retry: self.settings.default_retry.clone(),
            default_policy: self.settings.default_policy(),
            path_normalization: self.settings.path_normalization,
            telemetry: Arc::new(TelemetryConfig {
                objects: telemetry.into_iter().map(|(_, object)| object.clone()).collect(),
                root_namespace: self.settings.root_namespace.clone(),
                defaults: self.settings.telemetry.clone(),
            }),
            rate_limits: Arc::new(RateLimitConfig {
                objects: rate_limits.into_iter().map(|(_, object)| object.clone()).collect(),
                root_namespace: self.settings.root_namespace.clone(),
            }),
            authentication: Arc::new(AuthenticationConfig {
                objects: authentication,
                root_namespace: self.settings.root_namespace.clone(),
            }),
            proxy_headers: self.settings.proxy_headers.clone(),
        }
    }

    /// Routes of the Gateway API that a control plane sends as VirtualServices too, as these name them: those count, and not
    /// the routes as they were written.
    fn converted_routes(&self) -> BTreeSet<&str> {
        let parents = self.objects.values().filter_map(|entry| {
            let metadata = &entry.received.metadata;
            has_gateway_semantics(metadata).then(|| metadata.annotations.get(ROUTE_PARENTS)).flatten()
        });
        parents.flat_map(|parents| parents.split(',')).collect()
    }
}

impl ReceivedHttpObject {
    /// True for a VirtualService that others may delegate to.
    fn is_delegate(&self) -> bool {
        matches!(&self.object, HttpObject::VirtualService(service) if service.hosts.is_empty())
    }

    /// True for a VirtualService that delegates to others.
    fn delegates(&self) -> bool {
        let HttpObject::VirtualService(service) = &self.object else { return false };
        service.http.iter().any(|rule| rule.delegate.is_some())
    }

    /// True for a route of the Gateway API that `names`, which are those of VirtualServices, have.
    fn is_among(&self, names: &BTreeSet<&str>) -> bool {
        let kind = match self.object {
            HttpObject::HttpRoute(_) => Kind::HttpRoute,
            HttpObject::GrpcRoute(_) => Kind::GrpcRoute,
            HttpObject::VirtualService(_)
            | HttpObject::DestinationRule(_)
            | HttpObject::Sidecar(_)
            | HttpObject::Telemetry(_)
            | HttpObject::RateLimit(_)
            | HttpObject::RequestAuthentication(_) => return false,
        };
        !names.is_empty() && names.contains(&*format!("{kind}/{}.{}", self.metadata.name, self.metadata.namespace))
    }

    /// A sort key, oldest first. Objects with a time of creation come from a cluster and are older than those of files, which
    /// rank by where they are defined.
    fn age(&self) -> impl Ord + use<'_> {
        let Metadata { created, annotations, name, namespace, .. } = &self.metadata;
        (created.is_none(), created.as_deref(), annotations.get(DEFINED_AT), name.as_str(), namespace.as_str())
    }
}

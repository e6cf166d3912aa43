//! The snapshot that requests are decided with: all objects, and which of them count for a source and a destination.
//!
//! A look-up costs what names its host: it is made once per connection, or once per destination of a rule. What it comes to is
//! kept, so that all connections share it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::destination::DestinationPolicy;
use super::destination_rules::DestinationRules;
use super::objects::{HttpObjects, PathNormalization};
use super::policies::RetryPolicy;
use super::proxy_headers::ProxyHeaders;
use super::route_table::{RouteLookup, RouteTable};
use super::scope::Scopes;
use super::service_routes::ServiceRoutes;
use super::standing::{ObjectStanding, Standing};
use super::visibility::SourceView;
use super::visibility::lower_case;
use crate::model::authentication::AuthenticationConfig;
use crate::model::mesh::OutboundTrafficPolicy;
use crate::model::rate_limit::config::RateLimitConfig;
use crate::model::service::ServiceKey;
use crate::model::telemetry::config::TelemetryConfig;

/// The only port at which routes for a host count that no service has, as in Istio.
const PORT_OF_UNKNOWN_HOSTS: u16 = 80;

/// All that decides about requests. It does not change: other objects make another one. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct HttpConfig {
    routes: Arc<RouteTable>,
    rules: Arc<DestinationRules>,
    scopes: Arc<Scopes>,
    default_retry: Option<RetryPolicy>,
    path_normalization: PathNormalization,
    telemetry: Arc<TelemetryConfig>,
    rate_limits: Arc<RateLimitConfig>,
    authentication: Arc<AuthenticationConfig>,
    proxy_headers: ProxyHeaders,
}

impl HttpConfig {
    #[must_use]
    pub fn new(objects: HttpObjects) -> Self {
        Self::default().followed_by(objects)
    }

    /// The snapshot that comes next. What has not changed is shared with this one, and so is what became known of it.
    #[must_use]
    pub fn followed_by(&self, objects: HttpObjects) -> Self {
        let HttpObjects { routes, destination_rules, scopes, root_namespace, default_retry, default_policy, .. } =
            objects;
        Self {
            routes: RouteTable::following(&self.routes, routes),
            rules: DestinationRules::following(&self.rules, destination_rules, root_namespace.clone(), default_policy),
            scopes: Arc::new(Scopes::new(scopes, root_namespace)),
            default_retry,
            path_normalization: objects.path_normalization,
            telemetry: objects.telemetry,
            rate_limits: objects.rate_limits,
            authentication: objects.authentication,
            proxy_headers: objects.proxy_headers,
        }
    }

    /// The names of the labels of endpoints that decide anything, but for those that are always known.
    #[must_use]
    pub fn asked_labels(&self) -> &BTreeSet<String> {
        self.rules.asked_labels()
    }

    /// The routes for requests of a source to a port of a service; `None` where no object is about them, so that they go
    /// to the service itself.
    #[must_use]
    pub fn routes(&self, source: SourceView<'_>, service: &ServiceKey, port: u16) -> Option<Arc<ServiceRoutes>> {
        let (scope, host) = (self.scopes.of(source), lower_case(&service.hostname));
        if !scope.imports_service(&service.namespace, &host, port) {
            // An object is imported with all its hosts. For a service that is not, they count as if no service had them.
            return self.routes_by_authority(source, &host, port);
        }
        self.routes.routes(source, &scope, RouteLookup { host: &host, namespace: &service.namespace, port })
    }

    /// The routes for requests with a host that no service has, without its port, to a port. Only where it is 80 are
    /// there any.
    #[must_use]
    pub fn routes_by_authority(&self, source: SourceView<'_>, host: &str, port: u16) -> Option<Arc<ServiceRoutes>> {
        if port != PORT_OF_UNKNOWN_HOSTS {
            return None;
        }
        let host = lower_case(host);
        self.routes.routes(source, &self.scopes.of(source), RouteLookup { host: &host, namespace: "", port })
    }

    /// What the DestinationRule that counts for a source says of a service's port, and a subset. `None` where the subset does
    /// not exist.
    #[must_use]
    pub fn destination_policy(
        &self,
        source: SourceView<'_>,
        service: &ServiceKey,
        port: u16,
        subset: Option<&str>,
    ) -> Option<Arc<DestinationPolicy>> {
        self.rules.policy(source, &service.namespace, &lower_case(&service.hostname), port, subset)
    }

    /// The objects with routes that name a service's host, and why each of them counts for a source or does not; the best
    /// first.
    #[must_use]
    pub fn route_objects(&self, source: SourceView<'_>, service: &ServiceKey, port: u16) -> Vec<ObjectStanding> {
        let (scope, host) = (self.scopes.of(source), lower_case(&service.hostname));
        let is_imported = scope.imports_service(&service.namespace, &host, port);
        // Of a service that is not imported, objects count as if no service had its host: see `routes`.
        let namespace = if is_imported { &*service.namespace } else { "" };
        let mut about = self.routes.about(source, &scope, RouteLookup { host: &host, namespace, port });
        if !is_imported && port != PORT_OF_UNKNOWN_HOSTS {
            about.iter_mut().for_each(|object| object.standing = Standing::NotImported);
        }
        about
    }

    /// The DestinationRules for a service's host, and why each of them counts for a source or does not; the one that counts
    /// first.
    #[must_use]
    pub fn destination_rules(&self, source: SourceView<'_>, service: &ServiceKey) -> Vec<ObjectStanding> {
        self.rules.about(source, &service.namespace, &lower_case(&service.hostname))
    }

    /// The `Sidecar` that counts for a source, as `namespace/name`.
    #[must_use]
    pub fn sidecar(&self, source: SourceView<'_>) -> Option<String> {
        self.scopes.of(source).scope.map(|scope| format!("{}/{}", scope.namespace, scope.name))
    }

    /// Whether the `Sidecar` that counts for a source lets it see a port of a service.
    #[must_use]
    pub fn is_imported(&self, source: SourceView<'_>, service: &ServiceKey, port: u16) -> bool {
        self.scopes.of(source).imports_service(&service.namespace, &lower_case(&service.hostname), port)
    }

    /// What the `Sidecar` that counts for a source says of destinations that are not known; `None` where the mesh's
    /// setting counts.
    #[must_use]
    pub fn outbound_traffic_policy(&self, source: SourceView<'_>) -> Option<OutboundTrafficPolicy> {
        self.scopes.of(source).scope.and_then(|scope| scope.outbound_traffic_policy)
    }

    /// Whether some `Sidecar` says anything of destinations that are not known.
    #[must_use]
    pub fn decides_outbound(&self) -> bool {
        self.scopes.decide_outbound()
    }

    /// For requests that go to a service without any rule.
    #[must_use]
    pub fn default_retry(&self) -> Option<&RetryPolicy> {
        self.default_retry.as_ref()
    }

    /// What is told of requests, and of connections without any.
    #[must_use]
    pub fn telemetry(&self) -> &Arc<TelemetryConfig> {
        &self.telemetry
    }

    /// How many requests pods are asked.
    #[must_use]
    pub fn rate_limits(&self) -> &Arc<RateLimitConfig> {
        &self.rate_limits
    }

    /// Whose tokens count for requests.
    #[must_use]
    pub fn authentication(&self) -> &Arc<AuthenticationConfig> {
        &self.authentication
    }

    #[must_use]
    pub fn path_normalization(&self) -> PathNormalization {
        self.path_normalization
    }

    #[must_use]
    pub fn proxy_headers(&self) -> &ProxyHeaders {
        &self.proxy_headers
    }
}

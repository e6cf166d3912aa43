//! What is to become of a request that an upstream answers: the cluster that its route leads to, and how it is sent there.

use std::sync::Arc;

use super::config::HttpConfig;
use super::destination::DestinationPolicy;
use super::field_changes::{FieldChanges, FormatContext};
use super::head::RequestHead;
use super::policies::RetryPolicy;
use super::reply::Reason;
use super::route::{Action, Cluster, Destination, Forward, Route, Semantics, Target};
use super::timeouts::Timeouts;
use super::visibility::SourceView;
use crate::model::address::{OriginalDst, canonical};
use crate::model::mesh::{Mesh, OutboundTrafficPolicy};
use crate::model::resolve::{Transport, Upstream};
use crate::model::service::{Service, ServiceKey};

/// See the module.
#[derive(Debug)]
pub struct Plan {
    pub service: ServiceKey,
    pub port: u16,
    pub policy: Arc<DestinationPolicy>,
    pub retry: Option<RetryPolicy>,
    pub timeouts: Timeouts,
    /// The one upstream there is, where no endpoint of the service is to be chosen.
    pub fixed: Option<Upstream>,
    /// The route, and which of its destinations; none where no object is about the request.
    pub route: Option<(Arc<Route>, usize)>,
}

impl Plan {
    /// The destination of the route, which may change fields of request and response.
    #[must_use]
    pub fn destination(&self) -> Option<&Destination> {
        let (route, at) = self.route.as_ref()?;
        match &route.rule.action {
            Action::Forward(forward) => forward.destinations.get(*at),
            _ => None,
        }
    }

    /// Changes a request as its route and its destination say. The route was matched before that.
    pub fn change_request(&self, head: &mut RequestHead, context: &FormatContext<'_>) {
        let Some((route, _)) = &self.route else { return };
        let Action::Forward(forward) = &route.rule.action else { return };
        let destination = self.destination();
        let of_destination = destination.map(|destination| &destination.request);
        let levels = forward.in_order(of_destination, &route.rule.request);
        for changes in levels.into_iter().flatten().filter(|changes| !changes.is_empty()) {
            changes.apply_to_request(head, context);
        }
        forward.rewrite(route, destination, head);
    }

    /// The changes of fields of the response, in order.
    pub fn response_changes(&self) -> impl Iterator<Item = &FieldChanges> {
        let route = self.route.as_ref();
        route.into_iter().flat_map(|(route, at)| route.response_changes(Some(*at)))
    }
}

/// What plans for the requests of a source to one port are made from.
#[derive(Debug, Clone, Copy)]
pub struct Planner<'a> {
    pub mesh: &'a Mesh,
    pub config: &'a HttpConfig,
    pub source: SourceView<'a>,
    /// The port of the service that was dialled.
    pub dialled_port: u16,
}

impl Plan {
    /// To the service that was dialled at a port, where no object says anything else.
    ///
    /// # Errors
    /// Why the request cannot be sent there.
    pub fn to_service(
        config: &HttpConfig,
        source: SourceView<'_>,
        service: &Service,
        port: u16,
        head: &RequestHead,
    ) -> Result<Self, Reason> {
        let policy = config.destination_policy(source, &service.key, port, None);
        let policy = policy.ok_or(Reason::NoCluster { status: 503 })?;
        refuse_unsupported_tls(&policy)?;
        let retry = RetryPolicy::of(config.default_retry(), head);
        let timeouts = Timeouts::of(None, None, head);
        Ok(Self { service: service.key.clone(), port, policy, retry, timeouts, fixed: None, route: None })
    }
}

impl Planner<'_> {
    /// To the address that was dialled, which the mesh does not know, as Istio's route `allow_any` does.
    #[must_use]
    pub fn passthrough(&self, dialled: OriginalDst, head: &RequestHead) -> Plan {
        let transport = Transport::Passthrough(canonical(dialled.0));
        Plan {
            service: ServiceKey::new("", "PassthroughCluster"),
            port: self.dialled_port,
            policy: Arc::default(),
            retry: RetryPolicy::of(None, head),
            timeouts: Timeouts::of(None, None, head),
            fixed: Some(Upstream { transport, workload: None, service: None }),
            route: None,
        }
    }

    /// The service that the host of a request to an address that the mesh does not know names; not one that the source may not
    /// know under this policy.
    #[must_use]
    pub fn service_of_host(&self, policy: OutboundTrafficPolicy, head: &RequestHead) -> Option<&Arc<Service>> {
        let (port, host) = (self.dialled_port, String::from_utf8_lossy(head.host()));
        let service = self.mesh.service_of_host(self.source.namespace, &host, port)?;
        let may_know =
            policy == OutboundTrafficPolicy::AllowAny || self.config.is_imported(self.source, &service.key, port);
        may_know.then_some(service)
    }

    /// The upstream of a service whose endpoint is the host of the request; `None` for other services.
    ///
    /// # Errors
    /// When the service does not stand for the host.
    pub fn fixed_upstream(
        &self,
        service: &ServiceKey,
        port: u16,
        head: &RequestHead,
    ) -> Result<Option<Upstream>, Reason> {
        if !service.hostname.starts_with('*') {
            return Ok(None);
        }
        let host = String::from_utf8_lossy(head.host());
        self.mesh.resolve_host(service, port, &host).map_err(|_| Reason::NoRoute)
    }

    /// To the destination number `at` of a route, which `forward` is of.
    ///
    /// # Errors
    /// Why the request cannot be sent there.
    pub fn to_destination(
        self,
        route: &Arc<Route>,
        forward: &Forward,
        at: usize,
        head: &RequestHead,
    ) -> Result<Plan, Reason> {
        let semantics = route.rule.semantics;
        let missing = Reason::NoCluster { status: if semantics == Semantics::GatewayApi { 500 } else { 503 } };
        let cluster = match &forward.destinations.get(at).ok_or(missing)?.target {
            Target::Cluster(cluster) => cluster,
            Target::Invalid { status } => return Err(Reason::NoCluster { status: *status }),
        };
        let (service, port) = self.service_of(cluster).ok_or(missing)?;
        let policy = self.policy(&service, port, cluster.subset.as_deref()).ok_or(missing)?;
        refuse_unsupported_tls(&policy)?;
        let retry = RetryPolicy::of(forward.retry.as_ref(), head);
        let per_try = retry.as_ref().and_then(|retry| retry.per_try_timeout);
        let timeouts = Timeouts::of(forward.timeout, per_try, head);
        let fixed = self.fixed_upstream(&service, port, head)?;
        Ok(Plan { service, port, policy, retry, timeouts, fixed, route: Some((route.clone(), at)) })
    }

    /// The service and the port of a cluster, as the source sees them.
    #[must_use]
    pub fn service_of(&self, cluster: &Cluster) -> Option<(ServiceKey, u16)> {
        let service = self.mesh.service_by_hostname(&cluster.hostname, self.source.namespace)?;
        let port = match (cluster.port, &*service.ports) {
            (Some(port), _) => port,
            // As Istio does: the only port, whatever was dialled.
            (None, [only]) => only.service_port,
            (None, _) => self.dialled_port,
        };
        service.ports.iter().any(|known| known.service_port == port).then(|| (service.key.clone(), port))
    }

    /// What the DestinationRule that counts says of a service's port, and a subset; `None` where the subset does not exist.
    #[must_use]
    pub fn policy(&self, service: &ServiceKey, port: u16, subset: Option<&str>) -> Option<Arc<DestinationPolicy>> {
        self.config.destination_policy(self.source, service, port, subset)
    }
}

/// A destination to which the author of a DestinationRule wants TLS that is not supported gets no request without it.
fn refuse_unsupported_tls(policy: &DestinationPolicy) -> Result<(), Reason> {
    let is_refused = policy.tls.as_ref().is_some_and(|tls| tls.is_own() && tls.is_unsupported);
    if is_refused { Err(Reason::NoCluster { status: 503 }) } else { Ok(()) }
}

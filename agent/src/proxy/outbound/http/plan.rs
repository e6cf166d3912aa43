//! What is to become of a request that an upstream answers: the cluster that its route leads to, and how it is sent there.

use std::sync::Arc;

use super::request::Request;
use crate::model::http::destination::{DestinationPolicy, TlsMode};
use crate::model::http::policies::RetryPolicy;
use crate::model::http::reply::Reason;
use crate::model::http::route::{Action, Cluster, Destination, Forward, Route, Semantics, Target};
use crate::model::http::timeouts::Timeouts;
use crate::model::http::visibility::SourceView;
use crate::model::service::{Service, ServiceKey};

/// See the module.
pub(super) struct Plan {
    pub(super) service: ServiceKey,
    pub(super) port: u16,
    pub(super) policy: Arc<DestinationPolicy>,
    pub(super) retry: Option<RetryPolicy>,
    pub(super) timeouts: Timeouts,
    /// The route, and which of its destinations; none where no object is about the request.
    pub(super) route: Option<(Arc<Route>, usize)>,
}

impl Plan {
    /// The destination of the route, which may change fields of request and response.
    pub(super) fn destination(&self) -> Option<&Destination> {
        let (route, at) = self.route.as_ref()?;
        forward_of(route)?.destinations.get(*at)
    }
}

impl<D> Request<'_, D> {
    /// To the service that was dialled, where no object says anything else.
    pub(super) fn plan_to_service(&self, service: &Service, port: u16) -> Result<Plan, Reason> {
        let policy = self.policy(&service.key, port, None).ok_or(Reason::NoCluster { status: 503 })?;
        refuse_own_tls(&policy)?;
        let retry = RetryPolicy::of(self.config.default_retry(), self.head);
        let timeouts = Timeouts::of(None, None, self.head);
        Ok(Plan { service: service.key.clone(), port, policy, retry, timeouts, route: None })
    }

    /// To one of the destinations of a route. `random` must be uniform.
    pub(super) fn plan_by_route(&self, route: &Arc<Route>, forward: &Forward, random: u64) -> Result<Plan, Reason> {
        let semantics = route.rule.semantics;
        let missing = Reason::NoCluster { status: if semantics == Semantics::GatewayApi { 500 } else { 503 } };
        let chosen = forward.choose(semantics, random).ok_or(Reason::NoDestination { status: 503 })?;
        let at = forward.destinations.iter().position(|destination| std::ptr::eq(destination, chosen)).unwrap_or(0);
        let cluster = match &chosen.target {
            Target::Cluster(cluster) => cluster,
            Target::Invalid { status } => return Err(Reason::NoCluster { status: *status }),
        };
        let (service, port) = self.service_of(cluster).ok_or(missing)?;
        let policy = self.policy(&service, port, cluster.subset.as_deref()).ok_or(missing)?;
        refuse_own_tls(&policy)?;
        let retry = RetryPolicy::of(forward.retry.as_ref(), self.head);
        let per_try = retry.as_ref().and_then(|retry| retry.per_try_timeout);
        let timeouts = Timeouts::of(forward.timeout, per_try, self.head);
        Ok(Plan { service, port, policy, retry, timeouts, route: Some((route.clone(), at)) })
    }

    /// The service and the port of a cluster, as the source sees them.
    pub(super) fn service_of(&self, cluster: &Cluster) -> Option<(ServiceKey, u16)> {
        let connection = self.connection;
        let mesh = connection.pod_proxy.proxy.mesh.read();
        let service = mesh.service_by_hostname(&cluster.hostname, &connection.source.workload.namespace)?;
        let port = match (cluster.port, &*service.ports) {
            (Some(port), _) => port,
            // As Istio does: the only port, whatever was dialled.
            (None, [only]) => only.service_port,
            (None, _) => connection.port,
        };
        service.ports.iter().any(|known| known.service_port == port).then(|| (service.key.clone(), port))
    }

    pub(super) fn policy(
        &self,
        service: &ServiceKey,
        port: u16,
        subset: Option<&str>,
    ) -> Option<Arc<DestinationPolicy>> {
        let pod = self.connection.pod_proxy.pod.current();
        let view = SourceView { namespace: &self.connection.source.workload.namespace, labels: &pod.labels };
        self.config.destination_policy(view, service, port, subset)
    }
}

/// A destination to which the author of a DestinationRule wants TLS of its own gets no request without it.
fn refuse_own_tls(policy: &DestinationPolicy) -> Result<(), Reason> {
    let wants_own = policy.tls.as_ref().is_some_and(|tls| matches!(tls.mode, TlsMode::Simple | TlsMode::Mutual));
    if wants_own { Err(Reason::NoCluster { status: 503 }) } else { Ok(()) }
}

fn forward_of(route: &Route) -> Option<&Forward> {
    match &route.rule.action {
        Action::Forward(forward) => Some(forward),
        _ => None,
    }
}

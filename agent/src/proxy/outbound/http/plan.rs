//! What is to become of a request that an upstream answers, by what is known of its connection.

use std::sync::Arc;

use super::request::Request;
use crate::model::http::destination::DestinationPolicy;
pub(super) use crate::model::http::plan::Plan;
use crate::model::http::plan::Planner;
use crate::model::http::reply::Reason;
use crate::model::http::route::{Cluster, Forward, Route};
use crate::model::http::visibility::SourceView;
use crate::model::mesh::OutboundTrafficPolicy;
use crate::model::service::{Service, ServiceKey};

impl<D> Request<'_, D> {
    /// To the service that was dialled, where no object says anything else.
    pub(super) fn plan_to_service(&self, service: &Service) -> Result<Plan, Reason> {
        let connection = self.connection;
        let pod = connection.pod_proxy.pod.glance();
        let source = SourceView { namespace: &connection.source.workload.namespace, labels: &pod.labels };
        let mut plan = Plan::to_service(self.config, source, service, connection.port, self.head)?;
        if service.key.hostname.starts_with('*') {
            plan.fixed = self.with_planner(|planner| planner.fixed_upstream(&service.key, plan.port, self.head))?;
        }
        Ok(plan)
    }

    /// To the address that was dialled.
    pub(super) fn plan_to_address(&self) -> Plan {
        self.with_planner(|planner| planner.passthrough(self.connection.original_dst, self.head))
    }

    /// The service that the host of the request names, of those that the pod may know.
    pub(super) fn service_of_host(&self, policy: OutboundTrafficPolicy) -> Option<Arc<Service>> {
        self.with_planner(|planner| planner.service_of_host(policy, self.head).cloned())
    }

    /// To one of the destinations of a route, if one was chosen.
    pub(super) fn plan_by_route(
        &self,
        route: &Arc<Route>,
        forward: &Forward,
        place: Option<usize>,
    ) -> Result<Plan, Reason> {
        let at = place.ok_or(Reason::NoDestination { status: 503 })?;
        self.with_planner(|planner| planner.to_destination(route, forward, at, self.head))
    }

    /// The service and the port of a cluster, as the source sees them.
    pub(super) fn service_of(&self, cluster: &Cluster) -> Option<(ServiceKey, u16)> {
        self.with_planner(|planner| planner.service_of(cluster))
    }

    pub(super) fn policy(
        &self,
        service: &ServiceKey,
        port: u16,
        subset: Option<&str>,
    ) -> Option<Arc<DestinationPolicy>> {
        self.with_planner(|planner| planner.policy(service, port, subset))
    }

    fn with_planner<T>(&self, plan: impl FnOnce(Planner<'_>) -> T) -> T {
        let connection = self.connection;
        let pod = connection.pod_proxy.pod.glance();
        let source = SourceView { namespace: &connection.source.workload.namespace, labels: &pod.labels };
        let mesh = connection.pod_proxy.proxy.mesh.read();
        plan(Planner { mesh: &mesh, config: self.config, source, dialled_port: connection.port })
    }
}

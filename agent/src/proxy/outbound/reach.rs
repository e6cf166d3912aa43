//! Which destinations a pod may reach: `outboundTrafficPolicy` of MeshConfig, or of the `Sidecar` that is for the pod; and, where
//! that is REGISTRY_ONLY, the services that the `Sidecar` imports, as with Istio's sidecars.

use crate::model::address::OriginalDst;
use crate::model::http::visibility::SourceView;
use crate::model::mesh::{Mesh, OutboundTrafficPolicy};
use crate::model::resolve::{Unresolved, Upstream};
use crate::proxy::pod::PodProxy;
use crate::telemetry::ends::OutboundSource;

/// What a pod may reach.
pub(super) struct Reach {
    pub(super) policy: OutboundTrafficPolicy,
    /// The destination is a service that is hidden from the pod.
    pub(super) is_hidden: bool,
}

impl Reach {
    /// What a pod may reach, and whether the destination that it dialled is a service that its `Sidecar` does not import.
    pub(super) fn of(pod_proxy: &PodProxy, mesh: &Mesh, source: &OutboundSource, dialled: OriginalDst) -> Self {
        let policy = mesh.settings().outbound_traffic_policy;
        if !mesh.sidecars_decide_outbound() && policy == OutboundTrafficPolicy::AllowAny {
            return Self { policy, is_hidden: false };
        }
        let (pod, config) = (pod_proxy.pod.current(), pod_proxy.proxy.mesh.routes().current());
        let view = SourceView { namespace: &source.workload.namespace, labels: &pod.labels };
        let policy = config.outbound_traffic_policy(view).unwrap_or(policy);
        let is_imported = || {
            let service = mesh.service_at(&source.workload, dialled);
            service.is_none_or(|service| config.is_imported(view, &service.key, dialled.0.port()))
        };
        Self { policy, is_hidden: policy == OutboundTrafficPolicy::RegistryOnly && !is_imported() }
    }

    /// Where a connection goes, and how.
    pub(super) fn resolve(
        &self,
        mesh: &Mesh,
        source: &OutboundSource,
        dialled: OriginalDst,
    ) -> Result<Upstream, Unresolved> {
        if self.is_hidden {
            return Err(Unresolved::RegistryOnly);
        }
        mesh.resolve_under(self.policy, &source.workload, dialled, rand::random)
    }
}

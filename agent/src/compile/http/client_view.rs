//! What pods know about destinations as clients: a DestinationRule, whose blocks become complete in themselves, and a Sidecar, which
//! becomes the scope of the pods that it is for.

use super::settings::{HttpSettings, exported_to};
use super::virtual_service::origin;
use crate::model::http::objects::{DestinationRuleObject, PortPolicies, SubsetObject, TrafficPolicy};
use crate::model::http::route::OriginKind;
use crate::model::http::scope::{Import, ImportedNamespace, SidecarScope};
use crate::model::http::visibility::{ExportTo, HostPattern};
use crate::objects::{self, DestinationRule, EgressHost, EgressListener, Metadata, Sidecar};

/// Compiles a DestinationRule.
pub(super) fn destination_rule(
    settings: &HttpSettings,
    metadata: &Metadata,
    rule: &DestinationRule,
) -> DestinationRuleObject {
    let namespace = metadata.namespace.as_str();
    let policies = |policy: &Option<objects::TrafficPolicy>| policy.as_ref().map(|policy| ports(settings, policy));
    let subset = |subset: &objects::Subset| SubsetObject {
        name: subset.name.as_str().into(),
        labels: subset.labels.clone(),
        policy: policies(&subset.traffic_policy),
    };
    // A rule for some pods is for pods of its own namespace, whatever else it says.
    let exported_to = match &rule.workload_selector {
        Some(_) => ExportTo::Namespaces(vec![namespace.into()]),
        None => exported_to(&rule.export_to, &settings.destination_rules, namespace),
    };
    DestinationRuleObject {
        origin: origin(OriginKind::DestinationRule, namespace, &metadata.name, 0),
        host: HostPattern::parse(&settings.full_name(&rule.host, namespace)),
        exported_to,
        selector: rule.workload_selector.clone(),
        policy: policies(&rule.traffic_policy),
        subsets: rule.subsets.iter().map(subset).collect(),
    }
}

fn ports(settings: &HttpSettings, policy: &objects::TrafficPolicy) -> PortPolicies {
    let ports = policy.ports.iter().map(|(port, policy)| (*port, blocks(settings, policy)));
    PortPolicies { policy: blocks(settings, policy), ports: ports.collect() }
}

fn blocks(settings: &HttpSettings, policy: &objects::TrafficPolicy) -> TrafficPolicy {
    TrafficPolicy {
        load_balancer: policy.load_balancer.clone(),
        pool: policy.connection_pool.as_ref().map(|pool| settings.pool(pool)),
        outlier_detection: policy.outlier_detection,
        tls: policy.tls.clone(),
        retry_budget: policy.retry_budget,
    }
}

/// Compiles a Sidecar.
pub(super) fn scope(metadata: &Metadata, sidecar: &Sidecar) -> SidecarScope {
    SidecarScope {
        namespace: metadata.namespace.as_str().into(),
        name: metadata.name.as_str().into(),
        selector: sidecar.selector.clone(),
        imports: sidecar.egress.iter().flat_map(imports).collect(),
        outbound_traffic_policy: sidecar.outbound_traffic_policy,
    }
}

fn imports(listener: &EgressListener) -> impl Iterator<Item = Import> {
    let import = |host: &EgressHost| Import {
        namespace: match host.namespace.as_str() {
            "*" => ImportedNamespace::Any,
            "." => ImportedNamespace::Own,
            name => ImportedNamespace::Named(name.into()),
        },
        host: HostPattern::parse(&host.host),
        port: listener.port,
        excludes: host.excludes,
    };
    listener.hosts.iter().map(import)
}

//! Which endpoints a service prefers, by an object's wish or its namespace's.

use super::context::Context;
use crate::objects::Metadata;
use crate::proto::istio::workload::{LoadBalancing, load_balancing::Mode, load_balancing::Scope};

const TRAFFIC_DISTRIBUTION: &str = "networking.istio.io/traffic-distribution";

/// The preference in an object's spec, else in its annotation, else in its namespace's.
pub(super) fn traffic_distribution(
    context: &Context<'_>,
    metadata: &Metadata,
    spec: Option<&str>,
) -> Option<LoadBalancing> {
    let own = || metadata.annotations.get(TRAFFIC_DISTRIBUTION).map(String::as_str);
    let inherited = || context.namespace_annotation(&metadata.namespace, TRAFFIC_DISTRIBUTION);
    let wish = spec.or_else(own).or_else(inherited)?;
    let scopes: &[Scope] = match wish.to_ascii_lowercase().as_str() {
        "preferclose" | "prefersamezone" => &[Scope::Network, Scope::Region, Scope::Zone],
        "prefersamenode" => &[Scope::Network, Scope::Region, Scope::Zone, Scope::Subzone, Scope::Node],
        // An unknown wish ends the search: the namespace's is not asked.
        _ => return None,
    };
    Some(LoadBalancing {
        routing_preference: scopes.iter().map(|scope| (*scope).into()).collect(),
        mode: Mode::Failover.into(),
        ..LoadBalancing::default()
    })
}

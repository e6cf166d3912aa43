//! What the layers of a DestinationRule come to for a port and a subset: Istio's `MergeSubsetTrafficPolicy`.
//!
//! Settings of a port take the place of the policy above them as a whole: what they leave out is Istio's default. A subset's
//! blocks each take the place of the same block above; the subset's own settings of the port again as a whole.

use std::sync::Arc;

use super::destination::{DestinationPolicy, LocalitySetting};
use super::objects::{PortPolicies, SubsetObject, TrafficPolicy};
use super::route::Origin;
use crate::model::balance::{LocalityPreference, LocalityRule};

/// The policy of a rule for a port, and for a subset or outside of subsets.
pub(super) fn policy(
    origin: &Origin,
    own: Option<&PortPolicies>,
    mesh: &TrafficPolicy,
    subset: Option<&SubsetObject>,
    port: Option<u16>,
) -> Arc<DestinationPolicy> {
    let mut blocks = own.map_or_else(TrafficPolicy::default, |own| own.at(port));
    blocks.pool = blocks.pool.or_else(|| mesh.pool.clone());
    blocks.outlier_detection = blocks.outlier_detection.or(mesh.outlier_detection);
    if let Some(policies) = subset.and_then(|subset| subset.policy.as_ref()) {
        blocks = under(policies, port, blocks);
    }
    Arc::new(finished(blocks, mesh, Some(origin.clone()), subset))
}

/// The policy where no rule is about a service.
pub(super) fn without_rule(mesh: &TrafficPolicy) -> Arc<DestinationPolicy> {
    let blocks = TrafficPolicy { load_balancer: None, ..mesh.clone() };
    Arc::new(finished(blocks, mesh, None, None))
}

/// `mesh.load_balancer` has the mesh's locality setting, which is the only part of it.
fn finished(
    blocks: TrafficPolicy,
    mesh: &TrafficPolicy,
    origin: Option<Origin>,
    subset: Option<&SubsetObject>,
) -> DestinationPolicy {
    let load_balancer = blocks.load_balancer.unwrap_or_default();
    let of_mesh = mesh.load_balancer.as_ref().and_then(|balancer| balancer.locality.as_ref());
    DestinationPolicy {
        origin,
        subset: subset.map(|subset| subset.labels.clone()),
        locality: locality(load_balancer.locality.as_ref(), of_mesh, blocks.outlier_detection.is_some()).map(Arc::new),
        load_balancer,
        pool: blocks.pool.unwrap_or_default(),
        outlier_detection: blocks.outlier_detection,
        tls: blocks.tls.map(Arc::new),
        retry_budget: blocks.retry_budget,
    }
}

/// Where endpoints should be (Istio's `GetLocalityLbSetting` and `ApplyLocalityLoadBalancer`). The rule's setting counts alone, then
/// what the service says, then the mesh's. Nearer endpoints are preferred only where those that fail are ejected.
fn locality(own: Option<&LocalitySetting>, mesh: Option<&LocalitySetting>, ejects: bool) -> Option<LocalityPreference> {
    let rule_of = |setting: &LocalitySetting| {
        if !setting.enabled {
            None
        } else if !setting.distribute.is_empty() {
            Some(LocalityRule::Distribute(setting.distribute.clone()))
        } else if !ejects {
            None
        } else if setting.failover_priority.is_empty() {
            Some(LocalityRule::Failover(setting.failover.clone()))
        } else {
            Some(LocalityRule::Labels(setting.failover_priority.clone()))
        }
    };
    match own {
        Some(own) => {
            let rule = rule_of(own).unwrap_or(LocalityRule::Anywhere);
            Some(LocalityPreference { rule, yields_to_service: false })
        }
        None => {
            let rule = mesh.map_or_else(|| rule_of(&LocalitySetting::default()), rule_of)?;
            Some(LocalityPreference { rule, yields_to_service: true })
        }
    }
}

fn under(subset: &PortPolicies, port: Option<u16>, above: TrafficPolicy) -> TrafficPolicy {
    let own = &subset.policy;
    let merged = TrafficPolicy {
        load_balancer: own.load_balancer.clone().or(above.load_balancer),
        pool: own.pool.clone().or(above.pool),
        outlier_detection: own.outlier_detection.or(above.outlier_detection),
        tls: own.tls.clone().or(above.tls),
        retry_budget: own.retry_budget.or(above.retry_budget),
    };
    match subset.of_port(port) {
        Some(of_port) => TrafficPolicy { retry_budget: merged.retry_budget, ..of_port.clone() },
        None => merged,
    }
}

impl PortPolicies {
    fn of_port(&self, port: Option<u16>) -> Option<&TrafficPolicy> {
        self.ports.iter().find(|(own, _)| Some(*own) == port).map(|(_, policy)| policy)
    }

    fn at(&self, port: Option<u16>) -> TrafficPolicy {
        match self.of_port(port) {
            // A port's settings have no such block.
            Some(of_port) => TrafficPolicy { retry_budget: None, ..of_port.clone() },
            None => self.policy.clone(),
        }
    }
}

//! PeerAuthentication to DENY policies on plaintext. Which of them a workload lists is `model::peer_authentication`'s.

use super::context::Context;
use crate::compile::presence;
use crate::model::peer_authentication::{Effective, PeerModes, STATIC_STRICT, converted_name};
use crate::objects::{MtlsMode, Object, PeerAuthentication};
use crate::proto::istio::security::{Action, Authorization, Group, Match, Rules as Clause, Scope};

/// The objects' effect; they come oldest first.
pub(super) fn modes(context: &Context<'_>, objects: &[Object<'_, PeerAuthentication>]) -> PeerModes {
    for object in objects {
        let (namespace, name) = (&object.metadata.namespace, &object.metadata.name);
        if context.is_root(namespace) && !object.spec.selector.is_empty() {
            context.tell(format!(
                "PeerAuthentication {namespace}/{name}: a selector in the root namespace has no effect: move it to the workloads' namespace"
            ));
        }
    }
    let objects = objects.iter().map(|o| (o.metadata.namespace.as_str(), o.metadata.name.as_str(), o.spec));
    PeerModes::new(&context.mesh.root_namespace, objects)
}

/// All policies made from PeerAuthentications.
pub(super) fn authorizations(modes: &PeerModes) -> Vec<Authorization> {
    let mut found = Vec::new();
    if modes.is_any() {
        let groups = vec![Group { rules: vec![no_identity(Vec::new())] }];
        found.push(deny(modes.root_namespace(), STATIC_STRICT.to_owned(), groups));
    }
    for (namespace, name, policy) in modes.selecting() {
        let effective = modes.effective(namespace, policy);
        if !effective.exceptions.is_empty() {
            found.push(deny(namespace, converted_name(name), groups(modes, namespace, policy, &effective)));
        }
    }
    found
}

/// istiod's form of the policy, down to the order of its clauses.
fn groups(modes: &PeerModes, namespace: &str, policy: &PeerAuthentication, effective: &Effective) -> Vec<Group> {
    let ports = effective.exceptions.iter().map(|port| u32::from(*port));
    if !effective.strict {
        return ports.map(|port| Group { rules: vec![no_identity(vec![port])] }).collect();
    }
    let other_ports =
        ports.map(|port| Clause { matches: vec![Match { not_destination_ports: vec![port], ..Match::default() }] });
    let own = (policy.mode == MtlsMode::Strict).then(|| no_identity(Vec::new()));
    let inherited = modes.is_strict_by_default(namespace).then(|| no_identity(Vec::new()));
    vec![Group { rules: own.into_iter().chain(other_ports).chain(inherited).collect() }]
}

/// Holds for plaintext, on these ports or, without any, on all.
fn no_identity(destination_ports: Vec<u32>) -> Clause {
    Clause { matches: vec![Match { not_principals: vec![presence()], destination_ports, ..Match::default() }] }
}

fn deny(namespace: &str, name: String, groups: Vec<Group>) -> Authorization {
    Authorization {
        name,
        namespace: namespace.to_owned(),
        scope: Scope::WorkloadSelector.into(),
        action: Action::Deny.into(),
        groups,
        dry_run: false,
    }
}

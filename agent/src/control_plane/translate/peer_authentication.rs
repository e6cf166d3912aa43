//! PeerAuthentication to DENY policies on plaintext. Which of them a workload lists is `model::peer_authentication`'s.

use super::context::Context;
use super::fields;
use crate::model::authorization::{Action, Authorization, Clause, Group, Match, PolicyScope, StringMatch};
use crate::model::peer_authentication::{Effective, PeerModes, STATIC_STRICT, converted_name};
use crate::objects::{MtlsMode, Object, PeerAuthentication};

/// The objects' effect; they come oldest first.
pub(super) fn modes(context: &Context<'_>, objects: &[Object<'_, PeerAuthentication>]) -> PeerModes {
    for object in objects {
        let (namespace, name) = (&object.metadata.namespace, &object.metadata.name);
        if context.is_root(namespace) && !object.spec.selector.is_empty() {
            context.note(format!(
                "PeerAuthentication {namespace}/{name}: a selector in the root namespace has no effect: move it to the workloads' namespace"
            ));
        }
    }
    let mut modes = PeerModes::new(context.mesh.root_namespace());
    for (at, Object { metadata, spec, .. }) in objects.iter().enumerate() {
        modes.insert(&metadata.namespace, &metadata.name, &format!("{at:020}").into(), spec);
    }
    modes
}

/// All policies made from PeerAuthentications.
pub(super) fn authorizations(modes: &PeerModes) -> Vec<Authorization> {
    let mut found = Vec::new();
    if modes.is_any() {
        let groups = vec![group(vec![no_identity(Vec::new())])];
        found.push(deny(modes.root_namespace(), STATIC_STRICT, groups));
    }
    for (namespace, name, policy) in modes.selecting() {
        let effective = modes.effective(namespace, policy);
        if !effective.exceptions.is_empty() {
            found.push(deny(namespace, &converted_name(name), groups(modes, namespace, policy, &effective)));
        }
    }
    found
}

/// istiod's form of the policy, down to the order of its clauses.
fn groups(modes: &PeerModes, namespace: &str, policy: &PeerAuthentication, effective: &Effective) -> Vec<Group> {
    let ports = effective.exceptions.iter().copied();
    if !effective.strict {
        return ports.map(|port| group(vec![no_identity(vec![port])])).collect();
    }
    let other_ports =
        ports.map(|port| Clause { matches: vec![Match { not_destination_ports: vec![port], ..Match::default() }] });
    let own = (policy.mode == MtlsMode::Strict).then(|| no_identity(Vec::new()));
    let inherited = modes.is_strict_by_default(namespace).then(|| no_identity(Vec::new()));
    vec![group(own.into_iter().chain(other_ports).chain(inherited).collect())]
}

fn group(clauses: Vec<Clause>) -> Group {
    Group { clauses, ..Group::default() }
}

/// Holds for plaintext, on these ports or, without any, on all.
fn no_identity(destination_ports: Vec<u16>) -> Clause {
    Clause {
        matches: vec![Match { not_principals: vec![StringMatch::Presence], destination_ports, ..Match::default() }],
    }
}

fn deny(namespace: &str, name: &str, groups: Vec<Group>) -> Authorization {
    Authorization {
        key: fields::policy_key(namespace, name).into(),
        namespace: namespace.into(),
        scope: PolicyScope::WorkloadSelector,
        action: Action::Deny,
        dry_run: false,
        provider: "".into(),
        groups: groups.into(),
        invalid: None,
    }
}

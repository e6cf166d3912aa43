//! PeerAuthentication to DENY policies on plaintext. Which policy a workload lists, and what that policy says, come from
//! the same effective mode per port, so that a listed policy always exists.

use std::collections::BTreeMap;

use super::context::{Context, selects};
use super::matches::presence;
use super::names;
use crate::objects::{Labels, MtlsMode, Object, PeerAuthentication};
use crate::proto::istio::security::{Action, Authorization, Group, Match, Rules as Clause, Scope};

/// Denies every plaintext connection; listed by workloads that are STRICT on all ports.
const STATIC_STRICT: &str = "istio_converted_static_strict";

/// The PeerAuthentications in force.
#[derive(Debug, Default)]
pub(super) struct PeerModes {
    root_namespace: String,
    /// There is at least one object.
    any: bool,
    mesh: MtlsMode,
    /// By namespace, other than the root.
    namespaces: BTreeMap<String, MtlsMode>,
    /// Objects with a selector, by namespace, oldest first.
    selecting: BTreeMap<String, Vec<(String, PeerAuthentication)>>,
}

/// What one object with a selector means for its workloads.
struct Effective {
    /// Ports it does not name are STRICT.
    strict: bool,
    /// The ports that are the other way round, ascending.
    exceptions: Vec<u16>,
}

impl PeerModes {
    /// Gathers the objects, which come oldest first: of several for the same scope the oldest counts.
    pub(super) fn new(context: &Context<'_>, objects: &[Object<'_, PeerAuthentication>]) -> Self {
        let root_namespace = context.mesh.root_namespace.clone();
        let mut modes = Self { root_namespace, any: !objects.is_empty(), ..Self::default() };
        let mut mesh = None;
        for object in objects {
            let (namespace, name) = (&object.metadata.namespace, &object.metadata.name);
            match (context.is_root(namespace), object.spec.selector.is_empty()) {
                (true, true) => {
                    mesh.get_or_insert(object.spec.mode);
                }
                (true, false) => context.tell(format!(
                    "PeerAuthentication {namespace}/{name}: a selector in the root namespace has no effect: move it to the workloads' namespace"
                )),
                (false, true) => {
                    modes.namespaces.entry(namespace.clone()).or_insert(object.spec.mode);
                }
                (false, false) => {
                    modes.selecting.entry(namespace.clone()).or_default().push((name.clone(), object.spec.clone()));
                }
            }
        }
        modes.mesh = mesh.unwrap_or_default();
        modes
    }

    fn is_strict_by_default(&self, namespace: &str) -> bool {
        match self.namespaces.get(namespace) {
            None | Some(MtlsMode::Unset) => self.mesh == MtlsMode::Strict,
            Some(mode) => *mode == MtlsMode::Strict,
        }
    }

    fn effective(&self, namespace: &str, policy: &PeerAuthentication) -> Effective {
        let strict = match policy.mode {
            MtlsMode::Strict => true,
            MtlsMode::Permissive | MtlsMode::Disable => false,
            MtlsMode::Unset => self.is_strict_by_default(namespace),
        };
        let differs = |mode: MtlsMode| mode != MtlsMode::Unset && (mode == MtlsMode::Strict) != strict;
        let exceptions = policy.ports.iter().filter(|(_, mode)| differs(**mode)).map(|(port, _)| *port).collect();
        Effective { strict, exceptions }
    }

    /// Key of the policy that a workload lists, if any.
    pub(super) fn listed_by(&self, namespace: &str, labels: &Labels) -> Option<String> {
        let static_strict = || names::policy_key(&self.root_namespace, STATIC_STRICT);
        let selecting = self.selecting.get(namespace).into_iter().flatten();
        let Some((name, policy)) = selecting.into_iter().find(|(_, policy)| selects(&policy.selector, labels)) else {
            return self.is_strict_by_default(namespace).then(static_strict);
        };
        let effective = self.effective(namespace, policy);
        if effective.exceptions.is_empty() {
            return effective.strict.then(static_strict);
        }
        Some(names::policy_key(namespace, &names::converted_peer_authentication(name)))
    }

    /// All policies made from PeerAuthentications.
    pub(super) fn authorizations(&self) -> Vec<Authorization> {
        let mut found = Vec::new();
        if self.any {
            let groups = vec![Group { rules: vec![no_identity(Vec::new())] }];
            found.push(deny(&self.root_namespace, STATIC_STRICT.to_owned(), groups));
        }
        for (namespace, policies) in &self.selecting {
            for (name, policy) in policies {
                let effective = self.effective(namespace, policy);
                if !effective.exceptions.is_empty() {
                    let groups = self.groups(namespace, policy, &effective);
                    found.push(deny(namespace, names::converted_peer_authentication(name), groups));
                }
            }
        }
        found
    }

    /// istiod's form of the policy, down to the order of its clauses.
    fn groups(&self, namespace: &str, policy: &PeerAuthentication, effective: &Effective) -> Vec<Group> {
        let ports = effective.exceptions.iter().map(|port| u32::from(*port));
        if !effective.strict {
            return ports.map(|port| Group { rules: vec![no_identity(vec![port])] }).collect();
        }
        let other_ports =
            ports.map(|port| Clause { matches: vec![Match { not_destination_ports: vec![port], ..Match::default() }] });
        let own = (policy.mode == MtlsMode::Strict).then(|| no_identity(Vec::new()));
        let inherited = self.is_strict_by_default(namespace).then(|| no_identity(Vec::new()));
        vec![Group { rules: own.into_iter().chain(other_ports).chain(inherited).collect() }]
    }
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

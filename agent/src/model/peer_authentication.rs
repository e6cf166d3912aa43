//! Which pods accept plaintext, as PeerAuthentications say. The policy that a pod lists, and what that policy says, come
//! from the same effective mode per port.

use std::collections::BTreeMap;

/// Labels of an object, or those that a selector asks for.
pub type Labels = BTreeMap<String, String>;

/// Name of the policy, in the root namespace, that denies every plaintext connection; listed by workloads that are STRICT
/// on all ports.
pub const STATIC_STRICT: &str = "istio_converted_static_strict";

/// `spec` of a PeerAuthentication.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PeerAuthentication {
    /// Empty: the whole namespace, or the whole mesh in the root namespace.
    pub selector: Labels,
    pub mode: MtlsMode,
    pub ports: BTreeMap<u16, MtlsMode>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MtlsMode {
    /// As the next wider object says.
    #[default]
    Unset,
    /// Plaintext; mTLS is accepted all the same.
    Disable,
    Permissive,
    Strict,
}

/// The PeerAuthentications in force.
#[derive(Debug, Default)]
pub struct PeerModes {
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
#[derive(Debug)]
pub struct Effective {
    /// Ports it does not name are STRICT.
    pub strict: bool,
    /// The ports that are the other way round, ascending.
    pub exceptions: Vec<u16>,
}

impl PeerModes {
    /// Gathers objects as namespace, name and content, oldest first: of several for the same scope the oldest counts. A
    /// selector in the root namespace has no effect.
    pub fn new<'a>(
        root_namespace: &str,
        objects: impl Iterator<Item = (&'a str, &'a str, &'a PeerAuthentication)>,
    ) -> Self {
        let mut modes = Self { root_namespace: root_namespace.to_owned(), ..Self::default() };
        let mut mesh = None;
        for (namespace, name, object) in objects {
            modes.any = true;
            match (namespace == root_namespace, object.selector.is_empty()) {
                (true, true) => {
                    mesh.get_or_insert(object.mode);
                }
                (true, false) => {}
                (false, true) => {
                    modes.namespaces.entry(namespace.to_owned()).or_insert(object.mode);
                }
                (false, false) => {
                    let of_namespace = modes.selecting.entry(namespace.to_owned()).or_default();
                    of_namespace.push((name.to_owned(), object.clone()));
                }
            }
        }
        modes.mesh = mesh.unwrap_or_default();
        modes
    }

    /// True if there is an object at all.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.any
    }

    #[must_use]
    pub fn root_namespace(&self) -> &str {
        &self.root_namespace
    }

    /// The objects with a selector, as namespace, name and content.
    pub fn selecting(&self) -> impl Iterator<Item = (&str, &str, &PeerAuthentication)> {
        let all = self.selecting.iter();
        all.flat_map(|(namespace, objects)| objects.iter().map(|(name, object)| (namespace.as_str(), &**name, object)))
    }

    /// What a pod without an object of its own is.
    #[must_use]
    pub fn is_strict_by_default(&self, namespace: &str) -> bool {
        match self.namespaces.get(namespace) {
            None | Some(MtlsMode::Unset) => self.mesh == MtlsMode::Strict,
            Some(mode) => *mode == MtlsMode::Strict,
        }
    }

    /// What an object with a selector comes to.
    #[must_use]
    pub fn effective(&self, namespace: &str, policy: &PeerAuthentication) -> Effective {
        let strict = match policy.mode {
            MtlsMode::Strict => true,
            MtlsMode::Permissive | MtlsMode::Disable => false,
            MtlsMode::Unset => self.is_strict_by_default(namespace),
        };
        let differs = |mode: MtlsMode| mode != MtlsMode::Unset && (mode == MtlsMode::Strict) != strict;
        let exceptions = policy.ports.iter().filter(|(_, mode)| differs(**mode)).map(|(port, _)| *port).collect();
        Effective { strict, exceptions }
    }

    /// Namespace and name of the policy that a workload lists, if any.
    #[must_use]
    pub fn listed_by(&self, namespace: &str, labels: &Labels) -> Option<(String, String)> {
        let static_strict = || (self.root_namespace.clone(), STATIC_STRICT.to_owned());
        let mut selecting = self.selecting.get(namespace).into_iter().flatten();
        let Some((name, policy)) = selecting.find(|(_, policy)| selects(&policy.selector, labels)) else {
            return self.is_strict_by_default(namespace).then(static_strict);
        };
        let effective = self.effective(namespace, policy);
        if effective.exceptions.is_empty() {
            return effective.strict.then(static_strict);
        }
        Some((namespace.to_owned(), converted_name(name)))
    }
}

/// Name of the policy made from a PeerAuthentication. Underscores keep it apart from names of Kubernetes objects.
#[must_use]
pub fn converted_name(name: &str) -> String {
    format!("{CONVERTED}{name}")
}

/// True for names of policies that are made from PeerAuthentications.
#[must_use]
pub fn is_converted_name(name: &str) -> bool {
    name == STATIC_STRICT || name.starts_with(CONVERTED)
}

const CONVERTED: &str = "converted_peer_authentication_";

/// True if a selector with at least one label is contained in `labels`.
#[must_use]
pub fn selects(selector: &Labels, labels: &Labels) -> bool {
    !selector.is_empty() && selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

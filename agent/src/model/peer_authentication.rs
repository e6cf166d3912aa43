//! Which pods accept plaintext, as PeerAuthentications say. The policy that a pod lists, and what that policy says, come
//! from the same effective mode per port.

use std::collections::BTreeMap;
use std::sync::Arc;

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

/// The PeerAuthentications in force. A change costs a search among those of its namespace.
#[derive(Debug, Default)]
pub struct PeerModes {
    root_namespace: String,
    namespaces: BTreeMap<String, OfNamespace>,
}

/// Sorts the objects of a namespace, oldest first: by age, then by name.
type Rank = (Arc<str>, String);

/// The objects of one namespace. In the root namespace those without a selector are for the mesh, and those with one have no effect.
#[derive(Debug, Default)]
struct OfNamespace {
    /// Those without a selector: the oldest counts.
    whole: BTreeMap<Rank, MtlsMode>,
    selecting: BTreeMap<Rank, PeerAuthentication>,
}

impl OfNamespace {
    fn mode(&self) -> MtlsMode {
        self.whole.values().next().copied().unwrap_or_default()
    }

    fn is_empty(&self) -> bool {
        self.whole.is_empty() && self.selecting.is_empty()
    }
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
    #[must_use]
    pub fn new(root_namespace: &str) -> Self {
        Self { root_namespace: root_namespace.to_owned(), ..Self::default() }
    }

    /// Changes which namespace is the root.
    pub fn set_root_namespace(&mut self, root_namespace: &str) {
        if self.root_namespace != root_namespace {
            root_namespace.clone_into(&mut self.root_namespace);
        }
    }

    /// Adds an object, which was not there. Of several for the same scope the oldest counts, as `age` sorts them, then by name.
    pub fn insert(&mut self, namespace: &str, name: &str, age: &Arc<str>, object: &PeerAuthentication) {
        let of_namespace = self.namespaces.entry(namespace.to_owned()).or_default();
        let rank = (age.clone(), name.to_owned());
        if object.selector.is_empty() {
            of_namespace.whole.insert(rank, object.mode);
        } else {
            of_namespace.selecting.insert(rank, object.clone());
        }
    }

    /// Removes an object that was added with this age.
    pub fn remove(&mut self, namespace: &str, name: &str, age: &Arc<str>) {
        let Some(of_namespace) = self.namespaces.get_mut(namespace) else { return };
        let rank = (age.clone(), name.to_owned());
        of_namespace.whole.remove(&rank);
        of_namespace.selecting.remove(&rank);
        if of_namespace.is_empty() {
            self.namespaces.remove(namespace);
        }
    }

    /// True if there is an object at all.
    #[must_use]
    pub fn is_any(&self) -> bool {
        !self.namespaces.is_empty()
    }

    #[must_use]
    pub fn root_namespace(&self) -> &str {
        &self.root_namespace
    }

    /// The objects with a selector that have an effect, as namespace, name and content.
    pub fn selecting(&self) -> impl Iterator<Item = (&str, &str, &PeerAuthentication)> {
        let all = self.namespaces.iter().filter(|(namespace, _)| **namespace != self.root_namespace);
        all.flat_map(|(namespace, of_namespace)| {
            let objects = of_namespace.selecting.iter();
            objects.map(|((_age, name), object)| (namespace.as_str(), &**name, object))
        })
    }

    /// What a pod without an object of its own is.
    #[must_use]
    pub fn is_strict_by_default(&self, namespace: &str) -> bool {
        let mode = |namespace: &str| self.namespaces.get(namespace).map_or(MtlsMode::Unset, OfNamespace::mode);
        match mode(namespace) {
            MtlsMode::Unset => mode(&self.root_namespace) == MtlsMode::Strict,
            mode => mode == MtlsMode::Strict,
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
        let of_namespace = self.namespaces.get(namespace).filter(|_| namespace != self.root_namespace);
        let mut selecting = of_namespace.into_iter().flat_map(|of_namespace| &of_namespace.selecting);
        let Some(((_age, name), policy)) = selecting.find(|(_, policy)| selects(&policy.selector, labels)) else {
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

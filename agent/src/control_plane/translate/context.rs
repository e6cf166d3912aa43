//! What every translation looks up: the mesh's configuration, namespaces, and which objects count at all.

use std::cell::RefCell;
use std::collections::BTreeMap;

pub(super) use crate::model::peer_authentication::selects;

use crate::objects::{EntryVisibility, Labels, MeshConfig, Metadata, Objects};

/// Kubernetes labels each namespace with its own name.
const NAMESPACE_NAME_LABEL: &str = "kubernetes.io/metadata.name";
/// The control plane revision an object is for.
const REVISION_LABEL: &str = "istio.io/rev";
const OWN_REVISION: &str = "default";

/// Settings of a translation that no object has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// First part of every workload's uid.
    pub cluster_id: String,
    /// Network of everything that names none.
    pub network: String,
    /// What ends the host names of Kubernetes services.
    pub dns_suffix: String,
}

impl Default for Options {
    fn default() -> Self {
        Self { cluster_id: "Kubernetes".to_owned(), network: String::new(), dns_suffix: "cluster.local".to_owned() }
    }
}

/// The inputs of one translation.
#[derive(Debug)]
pub(super) struct Context<'a> {
    pub(super) objects: &'a Objects,
    pub(super) options: &'a Options,
    pub(super) mesh: MeshConfig,
    notices: RefCell<Vec<String>>,
}

impl<'a> Context<'a> {
    pub(super) fn new(objects: &'a Objects, options: &'a Options) -> Self {
        Self { objects, options, mesh: objects.mesh_config(), notices: RefCell::default() }
    }

    /// Adds a notice: an object, or a part of one, has no effect.
    pub(super) fn note(&self, notice: String) {
        self.notices.borrow_mut().push(notice);
    }

    pub(super) fn into_notices(self) -> Vec<String> {
        self.notices.into_inner()
    }

    pub(super) fn is_root(&self, namespace: &str) -> bool {
        namespace == self.mesh.root_namespace()
    }

    /// The value of an annotation or label of a namespace.
    pub(super) fn namespace_annotation(&self, namespace: &str, name: &str) -> Option<&'a str> {
        self.objects.namespace(namespace)?.annotations.get(name).map(String::as_str)
    }

    /// Labels of a namespace, its name among them.
    pub(super) fn namespace_labels(&self, namespace: &str) -> Labels {
        let mut labels = self.objects.namespace(namespace).map_or_else(BTreeMap::new, |known| known.labels.clone());
        labels.insert(NAMESPACE_NAME_LABEL.to_owned(), namespace.to_owned());
        labels
    }

    /// True if an object is part of this mesh: its namespace is, and it is not meant for another control plane.
    pub(super) fn is_ours(&self, metadata: &Metadata) -> bool {
        metadata.labels.get(REVISION_LABEL).is_none_or(|revision| revision == OWN_REVISION)
            && self.is_discovered(&metadata.namespace)
    }

    /// The root namespace always counts: policy for the whole mesh must not depend on how its namespace is labelled.
    fn is_discovered(&self, namespace: &str) -> bool {
        let selectors = &self.mesh.discovery_selectors;
        if selectors.is_empty() || self.is_root(namespace) {
            return true;
        }
        let labels = self.namespace_labels(namespace);
        selectors.iter().any(|selector| selector.matches(&labels))
    }

    /// Who sees the ServiceEntries of a namespace: the first policy whose rules all match, else the default.
    pub(super) fn visibility(&self, namespace: &str) -> EntryVisibility {
        let Some(setting) = &self.mesh.service_entry_visibility else { return EntryVisibility::Public };
        let labels = self.namespace_labels(namespace);
        let policy = setting.policies.iter().find(|(_, rules)| {
            rules.iter().all(|rule| rule.namespace_selector.as_ref().is_some_and(|selector| selector.matches(&labels)))
        });
        policy.map_or(setting.default, |(visibility, _)| *visibility)
    }
}

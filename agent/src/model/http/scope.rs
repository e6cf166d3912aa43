//! What the pods of a namespace know of the mesh: Istio's `Sidecar` objects.

use std::collections::HashMap;
use std::sync::Arc;

use super::route::Semantics;
use super::visibility::HostPattern;
use super::visibility::SourceView;
use crate::model::mesh::OutboundTrafficPolicy;
use crate::model::peer_authentication::Labels;

/// A `Sidecar`, as far as outbound traffic goes.
#[derive(Debug, Clone, PartialEq)]
pub struct SidecarScope {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    /// Empty: all pods of the namespace.
    pub selector: Labels,
    /// Empty: everything that is exported.
    pub imports: Vec<Import>,
    /// Only where the object has the block.
    pub outbound_traffic_policy: Option<OutboundTrafficPolicy>,
}

/// One host of an egress listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    pub namespace: ImportedNamespace,
    pub host: HostPattern,
    /// Of an egress listener with a port: only that port of the services.
    pub port: Option<u16>,
    /// `~namespace/host`: what it names is not imported, whatever else says so.
    pub excludes: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImportedNamespace {
    Any,
    /// The namespace of the pod that asks, also in an object of the root namespace.
    Own,
    Named(Arc<str>),
}

/// All scopes, by which the one of a source is found.
#[derive(Debug, Default)]
pub(super) struct Scopes {
    by_namespace: HashMap<Arc<str>, Vec<SidecarScope>>,
    root_namespace: Arc<str>,
}

impl Scopes {
    /// From objects, oldest first.
    pub(super) fn new(scopes: Vec<SidecarScope>, root_namespace: Arc<str>) -> Self {
        let mut by_namespace: HashMap<Arc<str>, Vec<SidecarScope>> = HashMap::new();
        for scope in scopes {
            by_namespace.entry(scope.namespace.clone()).or_default().push(scope);
        }
        Self { by_namespace, root_namespace }
    }

    /// Whether any of them has an `outboundTrafficPolicy`.
    pub(super) fn decide_outbound(&self) -> bool {
        self.by_namespace.values().flatten().any(|scope| scope.outbound_traffic_policy.is_some())
    }

    /// The scope of a source: the first that selects it, else the first of its namespace without a selector, else
    /// the first of the root namespace without one.
    pub(super) fn of<'a>(&'a self, source: SourceView<'a>) -> ScopeView<'a> {
        let own = self.by_namespace.get(source.namespace).map_or(&[][..], Vec::as_slice);
        let is_selecting = |scope: &&SidecarScope| {
            !scope.selector.is_empty()
                && scope.selector.iter().all(|(name, value)| source.labels.get(name) == Some(value))
        };
        let for_all = |scopes: &'a [SidecarScope]| scopes.iter().find(|scope| scope.selector.is_empty());
        let of_root = || for_all(self.by_namespace.get(&self.root_namespace).map_or(&[][..], Vec::as_slice));
        let scope = own.iter().find(is_selecting).or_else(|| for_all(own)).or_else(of_root);
        ScopeView { scope, namespace: source.namespace }
    }
}

/// The scope of one source.
#[derive(Debug, Clone, Copy)]
pub(super) struct ScopeView<'a> {
    pub(super) scope: Option<&'a SidecarScope>,
    namespace: &'a str,
}

impl ScopeView<'_> {
    /// Whether a port of a service is imported.
    pub(super) fn imports_service(&self, namespace: &str, host: &str, port: u16) -> bool {
        self.imports(port, |import| self.is_of(import, namespace) && import.host.covers(host))
    }

    /// Whether an object with routes is imported: by any of its hosts. Of a VirtualService, hosts need only overlap.
    pub(super) fn imports_routes(
        &self,
        namespace: &str,
        hosts: &[HostPattern],
        semantics: Semantics,
        port: u16,
    ) -> bool {
        let is_named = |import: &Import, host: &HostPattern| {
            import.host.covers(host.text())
                || (semantics == Semantics::VirtualService && host.covers(import.host.text()))
        };
        self.imports(port, |import| self.is_of(import, namespace) && hosts.iter().any(|host| is_named(import, host)))
    }

    /// A listener of the port itself decides alone; listeners without a port decide about all other ports.
    fn imports(&self, port: u16, names: impl Fn(&Import) -> bool) -> bool {
        let imports = match self.scope {
            None => return true,
            Some(scope) if scope.imports.is_empty() => return true,
            Some(scope) => &scope.imports,
        };
        let has_listener = imports.iter().any(|import| import.port == Some(port));
        let of_port = |import: &&Import| if has_listener { import.port == Some(port) } else { import.port.is_none() };
        let mut is_imported = false;
        for import in imports.iter().filter(of_port).filter(|import| names(import)) {
            if import.excludes {
                return false;
            }
            is_imported = true;
        }
        is_imported
    }

    fn is_of(&self, import: &Import, namespace: &str) -> bool {
        match &import.namespace {
            ImportedNamespace::Any => true,
            ImportedNamespace::Own => *namespace == *self.namespace,
            ImportedNamespace::Named(name) => **name == *namespace,
        }
    }
}

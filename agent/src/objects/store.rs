//! The objects in force, by kind and name.

use std::collections::BTreeMap;

use super::gateway_api::Gateway;
use super::http_object::WrittenHttpObject;
use super::kind::Kind;
use super::kubernetes::{EndpointSlice, Pod, Service};
use super::labels::Labels;
use super::metadata::{Metadata, ObjectKey};
use super::networking::{MeshConfig, ServiceEntry, WorkloadEntry};
use super::reading::SourceLocation;
use super::reading::yaml::Node;
use super::security::{AuthorizationPolicy, PeerAuthentication};

/// The objects in force, each checked.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Objects {
    pub(super) entries: BTreeMap<ObjectKey, Stored>,
}

/// One object, and where it came from.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    pub metadata: Metadata,
    pub location: SourceLocation,
    pub body: Body,
}

/// The content of an object, by kind.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    MeshConfig(Box<MeshConfig>),
    Namespace,
    Node,
    Gateway(Box<Gateway>),
    Service(Box<Service>),
    EndpointSlice(Box<EndpointSlice>),
    Pod(Box<Pod>),
    ServiceEntry(Box<ServiceEntry>),
    WorkloadEntry(Box<WorkloadEntry>),
    AuthorizationPolicy(Box<WrittenPolicy>),
    PeerAuthentication(Box<PeerAuthentication>),
    Http(Box<WrittenHttpObject>),
    Rejected(RejectedPolicy),
}

/// An AuthorizationPolicy of a file, and its `spec` as it was written, which agents are sent.
#[derive(Debug, Clone, PartialEq)]
pub struct WrittenPolicy {
    pub policy: AuthorizationPolicy,
    pub(super) spec: Node,
}

/// A policy that cannot be understood and has no earlier version to fall back on: it denies its scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedPolicy {
    /// The workloads it was about, where they can be read; empty: its namespace, or in the root namespace the mesh.
    pub selector: Labels,
    /// The first thing wrong with it.
    pub reason: String,
}

/// An object of a particular kind.
#[derive(Debug)]
pub struct Object<'a, T> {
    pub metadata: &'a Metadata,
    pub location: &'a SourceLocation,
    pub spec: &'a T,
}

impl<T> Clone for Object<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Object<'_, T> {}

impl<'a, T> Object<'a, T> {
    /// A sort key, oldest first. Objects with a creation time come from a cluster and are older than those without, which
    /// rank by where they are defined: file, then document, then name.
    #[must_use]
    pub fn age(&self) -> impl Ord + use<'a, T> {
        let created = self.metadata.created.as_deref();
        (created.is_none(), created, self.location, self.metadata.namespace.as_str(), self.metadata.name.as_str())
    }
}

impl Objects {
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&ObjectKey, &Stored)> {
        self.entries.iter()
    }

    #[must_use]
    pub fn get(&self, key: &ObjectKey) -> Option<&Stored> {
        self.entries.get(key)
    }

    /// The mesh's configuration; where no object has one, nothing is set.
    #[must_use]
    pub fn mesh_config(&self) -> MeshConfig {
        let mut configs = self.entries.values().filter_map(|stored| match &stored.body {
            Body::MeshConfig(config) => Some(config.as_ref().clone()),
            _ => None,
        });
        configs.next().unwrap_or_default()
    }

    /// What is known of a namespace; `None` if no object describes it.
    #[must_use]
    pub fn namespace(&self, name: &str) -> Option<&Metadata> {
        self.entries.get(&Kind::Namespace.key("", name)).map(|stored| &stored.metadata)
    }

    /// What is known of a node; `None` if no object describes it.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&Metadata> {
        self.entries.get(&Kind::Node.key("", name)).map(|stored| &stored.metadata)
    }

    /// The Gateway of that name.
    #[must_use]
    pub fn gateway(&self, namespace: &str, name: &str) -> Option<Object<'_, Gateway>> {
        let stored = self.entries.get(&Kind::Gateway.key(namespace, name))?;
        let Body::Gateway(spec) = &stored.body else { return None };
        Some(Object { metadata: &stored.metadata, location: &stored.location, spec })
    }

    pub fn services(&self) -> impl Iterator<Item = Object<'_, Service>> {
        self.of_kind(|body| if let Body::Service(spec) = body { Some(spec.as_ref()) } else { None })
    }

    pub fn endpoint_slices(&self) -> impl Iterator<Item = Object<'_, EndpointSlice>> {
        self.of_kind(|body| if let Body::EndpointSlice(spec) = body { Some(spec.as_ref()) } else { None })
    }

    pub fn pods(&self) -> impl Iterator<Item = Object<'_, Pod>> {
        self.of_kind(|body| if let Body::Pod(spec) = body { Some(spec.as_ref()) } else { None })
    }

    pub fn service_entries(&self) -> impl Iterator<Item = Object<'_, ServiceEntry>> {
        self.of_kind(|body| if let Body::ServiceEntry(spec) = body { Some(spec.as_ref()) } else { None })
    }

    pub fn workload_entries(&self) -> impl Iterator<Item = Object<'_, WorkloadEntry>> {
        self.of_kind(|body| if let Body::WorkloadEntry(spec) = body { Some(spec.as_ref()) } else { None })
    }

    pub fn authorization_policies(&self) -> impl Iterator<Item = Object<'_, WrittenPolicy>> {
        self.of_kind(|body| if let Body::AuthorizationPolicy(spec) = body { Some(spec.as_ref()) } else { None })
    }

    pub fn peer_authentications(&self) -> impl Iterator<Item = Object<'_, PeerAuthentication>> {
        self.of_kind(|body| if let Body::PeerAuthentication(spec) = body { Some(spec.as_ref()) } else { None })
    }

    /// Objects about requests, with their kinds.
    pub fn http_objects(&self) -> impl Iterator<Item = (Kind, Object<'_, WrittenHttpObject>)> {
        self.entries.iter().filter_map(|(key, stored)| {
            let Body::Http(spec) = &stored.body else { return None };
            Some((key.kind, Object { metadata: &stored.metadata, location: &stored.location, spec: spec.as_ref() }))
        })
    }

    /// Policies that deny their scope, with the kind they were meant to be.
    pub fn rejected_policies(&self) -> impl Iterator<Item = (Kind, Object<'_, RejectedPolicy>)> {
        self.entries.iter().filter_map(|(key, stored)| {
            let Body::Rejected(spec) = &stored.body else { return None };
            Some((key.kind, Object { metadata: &stored.metadata, location: &stored.location, spec }))
        })
    }

    fn of_kind<'a, T: 'a>(&'a self, of: fn(&'a Body) -> Option<&'a T>) -> impl Iterator<Item = Object<'a, T>> {
        self.entries.values().filter_map(move |stored| {
            Some(Object { metadata: &stored.metadata, location: &stored.location, spec: of(&stored.body)? })
        })
    }
}

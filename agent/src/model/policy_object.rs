//! Policies as their authors wrote them, as far as decisions need them: which pods they select, and what is enforced in place
//! of an L4 form of the control plane's that says something else.

use std::sync::Arc;

use super::authorization::Authorization;
use super::peer_authentication::{Labels, PeerAuthentication};

/// An AuthorizationPolicy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyObject {
    /// `<namespace>/<name>`, the key of its L4 form too.
    pub key: Arc<str>,
    pub namespace: Arc<str>,
    pub target: PolicyTarget,
    /// What is enforced in place of the control plane's L4 form, where that is not what the author wrote.
    pub own_form: Option<Arc<Authorization>>,
    /// What of it is not enforced as written, and how it is, for people.
    pub notes: Vec<Arc<str>>,
}

/// Which pods a policy is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicyTarget {
    /// Those of its namespace; all of the mesh in the root namespace.
    Namespace,
    /// Those with these labels, never empty: of its namespace, or of all in the root namespace.
    Selector(Labels),
    /// None: a waypoint enforces it.
    Elsewhere,
}

/// A PeerAuthentication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerObject {
    /// `<namespace>/<name>`.
    pub key: Arc<str>,
    /// Sorts objects, oldest first.
    pub age: Arc<str>,
    pub spec: PeerAuthentication,
}

impl PeerObject {
    /// Its namespace and its name.
    #[must_use]
    pub fn names(&self) -> (&str, &str) {
        self.key.split_once('/').unwrap_or(("", &self.key))
    }
}

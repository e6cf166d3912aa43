//! An authorization policy: its scope, its action, and the rules that it matches connections and requests with.

use std::sync::Arc;

use super::group::Group;

/// A policy as a control plane's `istio.security.Authorization` has it, or as its author wrote it, with what it asks of requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorization {
    /// `<namespace>/<name>`.
    pub key: Arc<str>,
    pub namespace: Arc<str>,
    pub scope: PolicyScope,
    pub action: Action,
    pub dry_run: bool,
    /// The external authorizer of a CUSTOM policy, by the name of its provider in MeshConfig; empty for other actions.
    pub provider: Arc<str>,
    /// Any group that matches makes the policy match; none at all never does.
    pub groups: Vec<Group>,
    /// Why the policy could not be understood. It then denies everything in its scope, whatever its action says.
    pub invalid: Option<Arc<str>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PolicyScope {
    Global,
    Namespace,
    /// In force for the workloads that list it.
    WorkloadSelector,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    Allow,
    Deny,
    /// What it matches is marked, and decided as if the policy were not there.
    Audit,
    /// What it matches needs the answer of an external authorizer.
    Custom,
}

impl Action {
    /// Whether the policy lets through what it matches. Others close, or mark, and so must not match too little where a part of
    /// them cannot be decided.
    #[must_use]
    pub fn is_allow(self) -> bool {
        self == Self::Allow
    }
}

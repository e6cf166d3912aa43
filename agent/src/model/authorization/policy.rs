//! An authorization policy: its scope, its action, and the rules that it matches connections and requests with.

use std::ops::Deref;
use std::sync::Arc;

use super::group::Group;
use super::rule_filter::{Probe, RuleFilter};

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
    pub groups: Groups,
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
    /// What it matches needs the word of an external authorizer.
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

/// The groups of a policy, in order, with what finds those of them that may match.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Groups {
    groups: Box<[Group]>,
    filter: RuleFilter,
}

impl Groups {
    /// The groups that may match; those that are left out do not. See [`RuleFilter::candidates`].
    pub(super) fn candidates(&self, probe: &Probe<'_>, opens: bool) -> impl Iterator<Item = &Group> {
        self.filter.candidates(probe, opens).map(|position| &self.groups[position])
    }
}

impl Deref for Groups {
    type Target = [Group];

    fn deref(&self) -> &[Group] {
        &self.groups
    }
}

impl From<Vec<Group>> for Groups {
    fn from(groups: Vec<Group>) -> Self {
        Self { filter: RuleFilter::of(&groups), groups: groups.into() }
    }
}

impl FromIterator<Group> for Groups {
    fn from_iter<I: IntoIterator<Item = Group>>(groups: I) -> Self {
        Vec::from_iter(groups).into()
    }
}

impl IntoIterator for Groups {
    type Item = Group;
    type IntoIter = std::vec::IntoIter<Group>;

    fn into_iter(self) -> Self::IntoIter {
        self.groups.into_vec().into_iter()
    }
}

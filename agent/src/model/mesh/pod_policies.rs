//! The policies in force for one pod, found once and asked about its requests for as long as no policy changes.

use std::sync::Arc;

use crate::model::authorization::{Authorization, InForce};

/// The policies that are in force for a workload with these labels of its pod.
#[derive(Debug, Clone)]
pub struct PodPolicies {
    /// The version of all policies that they were found at.
    pub(super) version: u64,
    policies: Vec<PodPolicy>,
}

/// What one policy key stands for.
#[derive(Debug, Clone)]
enum PodPolicy {
    Known(Arc<Authorization>),
    /// The workload lists this key, and the agent has no such policy.
    Unknown(Arc<str>),
}

impl PodPolicies {
    /// From what is in force at this version of all policies.
    pub(super) fn new<'a>(version: u64, in_force: impl Iterator<Item = InForce<'a>>) -> Self {
        let policies = in_force.map(|one| match one {
            InForce::Policy(policy) => PodPolicy::Known(policy.clone()),
            InForce::Unknown(key) => PodPolicy::Unknown(key.clone()),
        });
        Self { version, policies: policies.collect() }
    }

    /// In the order in which they were found, which decides whose name a decision tells.
    pub(super) fn in_force(&self) -> impl Iterator<Item = InForce<'_>> {
        self.policies.iter().map(|one| match one {
            PodPolicy::Known(policy) => InForce::Policy(policy),
            PodPolicy::Unknown(key) => InForce::Unknown(key),
        })
    }
}

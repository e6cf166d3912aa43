//! A mesh of a thousand services: what an agent holds in memory of it, its whole pod, and what it spends as pods come and go.

use crate::harness::Case;

mod agent_cost;
mod foreign_pods;
mod kubernetes_services;
mod service_entries;

/// All of them take minutes.
pub(crate) fn long() -> Vec<Case> {
    [service_entries::LONG, kubernetes_services::LONG].concat()
}

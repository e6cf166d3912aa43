//! Resource names.

use super::context::Options;
use crate::model::naming;
use crate::objects::Labels;

/// Uid of the workload of a Pod; its group is the empty one.
pub(super) fn pod_uid(options: &Options, namespace: &str, name: &str) -> String {
    format!("{}//Pod/{namespace}/{name}", options.cluster_id)
}

/// Uid of the workload of a WorkloadEntry.
pub(super) fn workload_entry_uid(options: &Options, namespace: &str, name: &str) -> String {
    format!("{}/networking.istio.io/WorkloadEntry/{namespace}/{name}", options.cluster_id)
}

/// Uid of one endpoint of a ServiceEntry: its address as written, or the host it is found by.
pub(super) fn endpoint_uid(options: &Options, namespace: &str, entry: &str, endpoint: &str) -> String {
    format!("{}/networking.istio.io/ServiceEntry/{namespace}/{entry}/{endpoint}", options.cluster_id)
}

/// Key of a service, and its name in a workload's `services`.
pub(super) fn service_key(namespace: &str, hostname: &str) -> String {
    format!("{namespace}/{hostname}")
}

/// Key of a policy.
pub(super) fn policy_key(namespace: &str, name: &str) -> String {
    format!("{namespace}/{name}")
}

/// Name of the workload of a WorkloadEntry.
pub(super) fn workload_entry_workload_name<'a>(annotations: &'a Labels, labels: &'a Labels, name: &'a str) -> &'a str {
    let group = annotations.get("istio.io/autoRegistrationGroup").map(String::as_str);
    group.or_else(|| naming::named_by_label(labels)).unwrap_or(name)
}

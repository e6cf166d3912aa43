//! Resource names, and the names metrics call a workload by.

use super::Options;
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

/// Canonical name of a workload.
pub(super) fn canonical_name(labels: &Labels, workload_name: &str) -> String {
    let names = ["service.istio.io/canonical-name", "app.kubernetes.io/name", "app"];
    first_of(labels, &names).unwrap_or(workload_name).to_owned()
}

/// Canonical revision of a workload.
pub(super) fn canonical_revision(labels: &Labels) -> String {
    let names = ["service.istio.io/canonical-revision", "app.kubernetes.io/version", "version"];
    first_of(labels, &names).unwrap_or("latest").to_owned()
}

/// Name of the workload of a WorkloadEntry.
pub(super) fn workload_entry_workload_name<'a>(annotations: &'a Labels, labels: &'a Labels, name: &'a str) -> &'a str {
    let group = annotations.get("istio.io/autoRegistrationGroup").map(String::as_str);
    group.or_else(|| first_of(labels, &["service.istio.io/workload-name"])).unwrap_or(name)
}

fn first_of<'a>(labels: &'a Labels, names: &[&str]) -> Option<&'a str> {
    names.iter().find_map(|name| labels.get(*name)).map(String::as_str)
}

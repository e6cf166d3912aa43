//! What metrics, logs and dashboards call a workload: by what made it, not by the names of its pods, which come and go.
//! The rules are Istio's (`GetWorkloadMetaFromPod`, canonical service and revision), so that figures of both join.

use super::peer_authentication::Labels;

const WORKLOAD_NAME: &str = "service.istio.io/workload-name";
const CANONICAL_NAME: [&str; 3] = ["service.istio.io/canonical-name", "app.kubernetes.io/name", "app"];
const CANONICAL_REVISION: [&str; 3] = ["service.istio.io/canonical-revision", "app.kubernetes.io/version", "version"];
/// What a Deployment and an Argo Rollout append to the name of each of their ReplicaSets.
const TEMPLATE_HASH: [&str; 2] = ["pod-template-hash", "rollouts-pod-template-hash"];
/// On pods of an OpenShift DeploymentConfig.
const DEPLOYMENT_CONFIG: &str = "deploymentconfig";
/// The revision of a workload that names none.
const LATEST: &str = "latest";

/// The object that made a pod and looks after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Controller<'a> {
    pub kind: &'a str,
    pub name: &'a str,
}

/// The name of what made a pod, as a user knows it: of the Deployment, not of its ReplicaSet. Only pods whose own name was
/// made up (`generateName`) are named by their controller.
#[must_use]
pub fn workload_name(pod: &str, labels: &Labels, controller: Option<Controller<'_>>, is_generated: bool) -> String {
    if let Some(name) = labels.get(WORKLOAD_NAME) {
        return name.clone();
    }
    let made_by = controller.filter(|_| is_generated).map_or(pod, |controller| known_as(controller, labels));
    made_by.to_owned()
}

/// Canonical name of a workload.
#[must_use]
pub fn canonical_name<'a>(labels: &'a Labels, workload_name: &'a str) -> &'a str {
    first_of(labels, &CANONICAL_NAME).unwrap_or(workload_name)
}

/// Canonical revision of a workload.
#[must_use]
pub fn canonical_revision(labels: &Labels) -> &str {
    first_of(labels, &CANONICAL_REVISION).unwrap_or(LATEST)
}

/// The workload name that labels give to something that is no pod.
#[must_use]
pub fn named_by_label(labels: &Labels) -> Option<&str> {
    labels.get(WORKLOAD_NAME).map(String::as_str)
}

fn known_as<'a>(controller: Controller<'a>, labels: &'a Labels) -> &'a str {
    let name = controller.name;
    let above = match controller.kind {
        "ReplicaSet" => first_of(labels, &TEMPLATE_HASH).and_then(|hash| name.strip_suffix(hash)?.strip_suffix('-')),
        "ReplicationController" => labels.get(DEPLOYMENT_CONFIG).map(String::as_str),
        "Job" => without_schedule(name),
        _ => None,
    };
    above.unwrap_or(name)
}

/// `x` of `x-28000000`, a Job that a CronJob made.
fn without_schedule(job: &str) -> Option<&str> {
    let (name, schedule) = job.rsplit_once('-')?;
    let scheduled = (8..=10).contains(&schedule.len()) && schedule.bytes().all(|byte| byte.is_ascii_digit());
    (scheduled && !name.is_empty()).then_some(name)
}

fn first_of<'a>(labels: &'a Labels, names: &[&str]) -> Option<&'a str> {
    names.iter().find_map(|name| labels.get(*name)).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of `key=value` words.
    fn labels(text: &str) -> Labels {
        text.split_whitespace()
            .filter_map(|word| word.split_once('='))
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .collect()
    }

    #[test]
    fn a_pod_is_named_after_what_made_it() {
        for (kind, name, with, expected) in [
            ("ReplicaSet", "web-5d4f", "pod-template-hash=5d4f", "web"),
            ("ReplicaSet", "web-5d4f", "rollouts-pod-template-hash=5d4f", "web"),
            ("ReplicaSet", "web-5d4f", "", "web-5d4f"),
            ("ReplicaSet", "web", "pod-template-hash=5d4f", "web"),
            ("ReplicationController", "web-2", "deploymentconfig=web", "web"),
            ("Job", "backup-28000000", "", "backup"),
            ("Job", "backup-1", "", "backup-1"),
            ("Job", "-28000000", "", "-28000000"),
            ("StatefulSet", "db", "", "db"),
            ("StatefulSet", "db", "service.istio.io/workload-name=own", "own"),
        ] {
            let found = workload_name("pod-x", &labels(with), Some(Controller { kind, name }), true);
            assert_eq!(found, expected, "{kind} {name}");
        }
    }

    #[test]
    fn a_pod_with_a_name_of_its_own_keeps_it() {
        let controller = Some(Controller { kind: "ReplicaSet", name: "web" });
        assert_eq!(workload_name("pod-x", &labels(""), controller, false), "pod-x");
        assert_eq!(workload_name("pod-x", &labels(""), None, true), "pod-x");
    }

    #[test]
    fn canonical_names_come_from_labels_first() {
        let both = labels("app=a app.kubernetes.io/name=b version=v2");
        assert_eq!((canonical_name(&both, "w"), canonical_revision(&both)), ("b", "v2"));
        let none = labels("");
        assert_eq!((canonical_name(&none, "w"), canonical_revision(&none)), ("w", "latest"));
    }
}

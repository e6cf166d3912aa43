//! What pods do with inbound plaintext while no agent runs. That is written to a kernel map beforehand, for each pod: refuse
//! it at enrolment, accept it where the setting allows that and no policy is in force, refuse it again with the first policy.

use std::collections::HashMap;
use std::time::Duration;

use super::foundation::Foundation;
use crate::capture::NetnsCookie;
use crate::config::PlaintextWithoutAgent;
use crate::enrollment::pod::EnrolledPod;
use crate::model::authorization::Destination;
use crate::model::mesh::Mesh;

/// How soon a new pod is checked where the mesh does not change.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// The pause between two checks while the mesh changes all the time.
const PAUSE_BETWEEN_CHECKS: Duration = Duration::from_millis(100);

/// Keeps the kernel map up to date, if the setting allows any plaintext. A pod that the mesh does not know refuses it.
pub(super) fn start(foundation: &Foundation) {
    let Foundation { config, capture, enrollment, mesh, xds, .. } = foundation;
    if config.istiod.plaintext_without_agent == PlaintextWithoutAgent::Deny {
        return;
    }
    let (capture, enrollment, mesh) = (capture.clone(), enrollment.clone(), mesh.clone());
    let status = xds.clone();
    tokio::spawn(async move {
        status.first_sync().await;
        let mut changes = mesh.watch();
        let mut opened: HashMap<NetnsCookie, bool> = HashMap::new();
        loop {
            let pods = enrollment.pods();
            opened.retain(|cookie, _| pods.iter().any(|pod| pod.netns.cookie() == *cookie));
            for pod in &pods {
                let open = may_open(&mesh.read(), pod);
                let known = opened.entry(pod.netns.cookie()).or_default();
                if open == *known {
                    continue;
                }
                match capture.set_closed_without_agent(pod.netns.cookie(), !open) {
                    Ok(()) => *known = open,
                    Err(error) => tracing::warn!(pod = pod.spec.name, %error, "what it does without an agent is stale"),
                }
            }
            // Whether the mesh changed or time is up, the pods are checked again.
            let _ = tokio::time::timeout(CHECK_INTERVAL, changes.changed()).await;
            tokio::time::sleep(PAUSE_BETWEEN_CHECKS).await;
        }
    });
}

fn may_open(mesh: &Mesh, pod: &EnrolledPod) -> bool {
    let current = pod.current();
    let workload = mesh.workload_of_pod(pod.spec.key());
    let destination = |workload| Destination { labels: &current.labels, ..Destination::of(workload) };
    workload.is_some_and(|workload| !mesh.is_restricted(&destination(workload)))
}

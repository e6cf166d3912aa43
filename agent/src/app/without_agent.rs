//! What pods do with inbound plaintext while no agent runs. It is written in a kernel map beforehand, pod by pod: closed at
//! enrolment, opened where the setting allows it and no policy is in force, closed again with the first policy.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::capture::{Capture, NetnsCookie};
use crate::config::AgentConfig;
use crate::config::istiod::PlaintextWithoutAgent;
use crate::enrollment::Enrollment;
use crate::enrollment::pod::EnrolledPod;
use crate::model::authorization::Destination;
use crate::model::mesh::Mesh;
use crate::state::SharedMesh;
use crate::xds::XdsStatus;

/// How soon a pod that came is looked at, where the mesh does not change.
const INTERVAL: Duration = Duration::from_secs(1);
/// A mesh that changes all the time is looked at this often.
const PAUSE: Duration = Duration::from_millis(100);

/// Follows pods and policies, if the setting opens anything. A pod that the mesh does not know stays closed.
pub(super) fn prepare(
    config: &Arc<AgentConfig>,
    capture: &Arc<Capture>,
    enrollment: &Arc<Enrollment>,
    mesh: &SharedMesh,
    status: &XdsStatus,
) {
    if config.istiod.plaintext_without_agent == PlaintextWithoutAgent::Deny {
        return;
    }
    let (capture, enrollment, mesh, network) =
        (capture.clone(), enrollment.clone(), mesh.clone(), config.network.clone());
    let status = status.clone();
    tokio::spawn(async move {
        status.first_sync().await;
        let mut changes = mesh.watch();
        let mut opened: HashMap<NetnsCookie, bool> = HashMap::new();
        loop {
            let pods = enrollment.pods();
            opened.retain(|cookie, _| pods.iter().any(|pod| pod.netns.cookie() == *cookie));
            for pod in &pods {
                let open = may_open(&mesh.read(), pod, &network);
                let known = opened.entry(pod.netns.cookie()).or_default();
                if open == *known {
                    continue;
                }
                match capture.set_closed_without_agent(pod.netns.cookie(), !open) {
                    Ok(()) => *known = open,
                    Err(error) => tracing::warn!(pod = pod.spec.name, %error, "what it does without an agent is stale"),
                }
            }
            // Either way it is time to look again.
            let _ = tokio::time::timeout(INTERVAL, changes.changed()).await;
            tokio::time::sleep(PAUSE).await;
        }
    });
}

fn may_open(mesh: &Mesh, pod: &EnrolledPod, network: &str) -> bool {
    let spec = &pod.spec;
    let workload = mesh.workload_of_pod(network, &spec.namespace, &spec.name, &spec.addresses);
    workload
        .is_some_and(|workload| !mesh.is_restricted(&Destination { labels: &spec.labels, ..Destination::of(workload) }))
}

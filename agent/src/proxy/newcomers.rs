//! Pods that are being brought into the mesh, as others see them: until the control plane has said of one that it speaks
//! HBONE, which takes it a moment, the agent on its node is asked, and believed once it has proved the pod's identity.
//! Nobody waits for the answer: connections go as the control plane says meanwhile.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::PodProxy;
use crate::hbone::pool::{Pool, Target};
use crate::model::resolve::{Transport, Upstream};
use crate::model::workload::Workload;
use crate::pauses::Pauses;

/// First and longest pause between two questions.
const PAUSE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(40));

/// What is known of pods by asking, by their workloads' uids.
#[derive(Debug, Default)]
pub(super) struct Newcomers {
    answers: Mutex<HashMap<Arc<str>, Answer>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// Somebody is asking.
    Pending,
    SpeaksHbone,
}

/// How a connection to a newcomer may be carried over HBONE, where it is known to speak it. Where that is not known yet,
/// it is asked for those who come later; should it have ceased to, that is found out at once.
pub(super) async fn over_hbone(served: &Arc<PodProxy>, upstream: &Upstream) -> Option<Transport> {
    let workload = upstream.workload.as_ref()?;
    if !served.proxy.mesh.joining().is_joining(&workload.namespace) {
        return None;
    }
    let transport = upstream.over_hbone()?;
    let Transport::Hbone { peer, identities, .. } = &transport else { return None };
    if served.pod.spec.addresses.contains(&peer.ip()) {
        return None;
    }
    let target = Target { peer: *peer, identities: identities.clone() };
    match served.proxy.newcomers.answer_or_ask(&workload.uid) {
        Some(Answer::SpeaksHbone) if Pool::prepare(served, &target).await.is_ok() => Some(transport),
        Some(Answer::SpeaksHbone) => {
            forget(served, workload);
            None
        }
        Some(Answer::Pending) => None,
        None => {
            tokio::spawn(ask(served.clone(), workload.clone(), target));
            None
        }
    }
}

/// It did not after all.
pub(super) fn forget(served: &PodProxy, workload: &Workload) {
    served.proxy.newcomers.answers.lock().remove(&workload.uid);
}

impl Newcomers {
    /// `None` where nobody had asked: who gets that has to.
    fn answer_or_ask(&self, uid: &Arc<str>) -> Option<Answer> {
        let mut answers = self.answers.lock();
        let answer = answers.get(uid).copied();
        if answer.is_none() {
            answers.insert(uid.clone(), Answer::Pending);
        }
        answer
    }
}

/// Asks until there is an answer, or no need for one; and forgets it once there is none.
async fn ask(served: Arc<PodProxy>, workload: Arc<Workload>, target: Target) {
    let joining = served.proxy.mesh.joining();
    let mut pauses = Pauses::new(PAUSE.0, PAUSE.1);
    let mut speaks = false;
    while joining.is_joining(&workload.namespace) && !served.pod.left.is_cancelled() {
        if !speaks && Pool::prepare(&served, &target).await.is_ok() {
            speaks = true;
            pauses = Pauses::new(Duration::from_secs(1), Duration::from_secs(1));
            tracing::debug!(workload = &*workload.uid, peer = %target.peer, "speaks HBONE before the mesh says so");
            served.proxy.newcomers.answers.lock().insert(workload.uid.clone(), Answer::SpeaksHbone);
        }
        tokio::select! {
            () = tokio::time::sleep(pauses.take()) => {}
            () = served.pod.left.cancelled() => {}
            () = served.proxy.drain.draining() => break,
        }
    }
    forget(&served, &workload);
}

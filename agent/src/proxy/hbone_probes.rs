//! Which pods of freshly labelled namespaces speak HBONE, found by asking their agents before the control plane says so.
//!
//! The control plane takes a moment to say of each pod of a namespace that has come into the mesh that it speaks HBONE.
//! Until then the agent of such a pod is probed (`outbound/candidate.rs`), and believed once it has proven the pod's
//! identity.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::model::workload::Workload;

/// The probes of this node, by the uids of the workloads that are probed.
#[derive(Debug, Default)]
pub(super) struct HboneProbes {
    states: Mutex<HashMap<Arc<str>, ProbeState>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProbeState {
    /// A task is probing the pod.
    Running,
    SpeaksHbone,
}

impl HboneProbes {
    /// `None` where nobody is probing the workload: the caller that gets it has to.
    pub(super) fn state_or_claim(&self, uid: &Arc<str>) -> Option<ProbeState> {
        let mut states = self.states.lock();
        let state = states.get(uid).copied();
        if state.is_none() {
            states.insert(uid.clone(), ProbeState::Running);
        }
        state
    }

    /// Remembers that an agent has proven the identity of the workload's pod.
    pub(super) fn succeeded(&self, workload: &Workload) {
        self.states.lock().insert(workload.uid.clone(), ProbeState::SpeaksHbone);
    }

    pub(super) fn forget(&self, workload: &Workload) {
        self.states.lock().remove(&workload.uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_caller_probes_a_workload_until_it_is_forgotten() {
        let probes = HboneProbes::default();
        let (web, api): (Arc<str>, Arc<str>) = ("web".into(), "api".into());
        assert_eq!(probes.state_or_claim(&web), None, "the first has to probe");
        assert_eq!(probes.state_or_claim(&web), Some(ProbeState::Running));
        assert_eq!(probes.state_or_claim(&api), None, "another workload");
        probes.states.lock().insert(web.clone(), ProbeState::SpeaksHbone);
        assert_eq!(probes.state_or_claim(&web), Some(ProbeState::SpeaksHbone));
        probes.states.lock().remove(&web);
        assert_eq!(probes.state_or_claim(&web), None);
    }
}

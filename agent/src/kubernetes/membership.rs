//! Which pods are in the mesh, by their labels and their namespace's: a pure decision, the same as istio-cni's node agent
//! makes.

use std::collections::BTreeSet;

/// The label of pods and namespaces that says by which data plane their traffic is carried.
pub(super) const DATAPLANE_MODE: &str = "istio.io/dataplane-mode";

/// The values of the label [`DATAPLANE_MODE`] that have a meaning here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DataplaneMode {
    Ambient,
    None,
}

impl DataplaneMode {
    pub(super) fn of(value: &str) -> Option<Self> {
        match value {
            "ambient" => Some(Self::Ambient),
            "none" => Some(Self::None),
            _ => None,
        }
    }
}

/// What the decision needs to know of a pod.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate<'a> {
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
    /// The pod's own label.
    pub(super) mode: Option<DataplaneMode>,
    pub(super) host_network: bool,
    /// A sidecar proxy carries its traffic already.
    pub(super) has_sidecar: bool,
    /// All its containers have ended for good.
    pub(super) is_finished: bool,
}

/// What is left out, whatever labels say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MembershipRules {
    pub excluded_namespaces: BTreeSet<String>,
    /// Namespace and name of the agent's own pod.
    pub own_pod: (String, String),
}

impl MembershipRules {
    /// Whether a pod is in the mesh, given what its namespace's label says. A pod that is being deleted stays in it
    /// until it is gone: its last connections are carried like its first.
    pub(super) fn is_in_mesh(&self, pod: &Candidate<'_>, namespace: Option<DataplaneMode>) -> bool {
        let is_left_out = pod.host_network
            || pod.has_sidecar
            || pod.is_finished
            || self.excluded_namespaces.contains(pod.namespace)
            || (pod.namespace, pod.name) == (self.own_pod.0.as_str(), self.own_pod.1.as_str());
        let wanted = pod.mode.or(namespace) == Some(DataplaneMode::Ambient);
        wanted && !is_left_out
    }
}

#[cfg(test)]
mod tests {
    use super::DataplaneMode::{Ambient, None as Never};
    use super::*;

    fn rules() -> MembershipRules {
        MembershipRules {
            excluded_namespaces: ["istio-system".to_owned(), "kube-system".to_owned()].into(),
            own_pod: ("weir".to_owned(), "weir-1".to_owned()),
        }
    }

    const POD: Candidate<'_> = Candidate {
        namespace: "shop",
        name: "cart",
        mode: None,
        host_network: false,
        has_sidecar: false,
        is_finished: false,
    };

    #[test]
    fn labels_decide_and_the_pods_own_wins() {
        for (pod, namespace, expected) in [
            (None, None, false),
            (None, Some(Ambient), true),
            (None, Some(Never), false),
            (Some(Ambient), None, true),
            (Some(Ambient), Some(Never), true),
            (Some(Ambient), Some(Ambient), true),
            (Some(Never), Some(Ambient), false),
            (Some(Never), None, false),
        ] {
            let candidate = Candidate { mode: pod, ..POD };
            assert_eq!(rules().is_in_mesh(&candidate, namespace), expected, "pod {pod:?}, namespace {namespace:?}");
        }
    }

    #[test]
    fn some_pods_are_left_out_whatever_labels_say() {
        for (why, candidate) in [
            ("host network", Candidate { host_network: true, ..POD }),
            ("a sidecar", Candidate { has_sidecar: true, ..POD }),
            ("finished", Candidate { is_finished: true, ..POD }),
            ("the mesh's own namespace", Candidate { namespace: "istio-system", ..POD }),
            ("the cluster's own namespace", Candidate { namespace: "kube-system", ..POD }),
            ("the agent itself", Candidate { namespace: "weir", name: "weir-1", ..POD }),
        ] {
            let candidate = Candidate { mode: Some(Ambient), ..candidate };
            assert!(!rules().is_in_mesh(&candidate, Some(Ambient)), "{why}");
        }
        let neighbour = Candidate { namespace: "weir", name: "weir-2", ..POD };
        assert!(rules().is_in_mesh(&neighbour, Some(Ambient)), "only its own pod");
    }

    #[test]
    fn words_that_nobody_knows_say_nothing() {
        for (word, mode) in [("ambient", Some(Ambient)), ("none", Some(Never)), ("Ambient", None), ("sidecar", None)] {
            assert_eq!(DataplaneMode::of(word), mode, "{word}");
        }
    }
}

//! The phases of a supervisor, from its first worker to its end, as a table of transitions. Pure: it acts on nothing.

/// What a supervisor is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// No worker has served yet. One that exits by itself ends the supervisor: trying the same again would not help.
    Starting,
    /// A worker has served. One that ends is replaced.
    Serving,
    /// A successor serves the node, and the workers here drain. `same_network`: the successor runs in this supervisor's
    /// network namespace. `has_served`: to which phase to return should it crash.
    Superseded { same_network: bool, has_served: bool },
    /// The supervisor ends with its worker, and starts no other. The worker may serve on for a while, and a successor can
    /// still take over.
    Stopping,
    /// Nothing new is accepted here, nor can a successor take over any more. The supervisor ends with its last worker.
    Draining,
}

/// What moves a supervisor from one phase to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transition {
    /// The worker accepts connections.
    WorkerServes,
    /// The worker received a signal to stop, and accepts no new connection.
    WorkerDrains,
    /// The supervisor has to end: a signal, a first worker that exited, or a predecessor that goes on.
    Stop,
    SuccessorServes {
        same_network: bool,
    },
    /// The successor is gone without having said that it ends.
    SuccessorCrashed,
}

impl Phase {
    /// The phase that follows. What does not apply to a phase leaves it as it is.
    pub(super) fn after(self, transition: Transition) -> Self {
        match (self, transition) {
            (Self::Starting, Transition::WorkerServes) => Self::Serving,
            (_, Transition::WorkerDrains) => Self::Draining,
            (Self::Starting | Self::Serving, Transition::Stop) => Self::Stopping,
            (Self::Superseded { .. }, Transition::Stop) => Self::Draining,
            (Self::Starting | Self::Serving, Transition::SuccessorServes { same_network }) => {
                Self::Superseded { same_network, has_served: self == Self::Serving }
            }
            (Self::Stopping, Transition::SuccessorServes { .. }) => Self::Draining,
            (Self::Superseded { has_served: true, .. }, Transition::SuccessorCrashed) => Self::Serving,
            (Self::Superseded { has_served: false, .. }, Transition::SuccessorCrashed) => Self::Starting,
            (phase, _) => phase,
        }
    }

    /// No worker is started any more.
    pub(super) fn is_stopping(self) -> bool {
        matches!(self, Self::Stopping | Self::Draining)
    }

    /// The supervisor has nothing to do once its last worker has ended.
    ///
    /// One whose successor runs in another network namespace (a pod beside this one) waits for whoever started it: ending
    /// by itself it would be started again, and take over in its turn.
    pub(super) fn ends_with_last_worker(self) -> bool {
        match self {
            Self::Starting | Self::Serving => false,
            Self::Superseded { same_network, .. } => same_network,
            Self::Stopping | Self::Draining => true,
        }
    }

    /// A successor may begin to take over.
    pub(super) fn accepts_successor(self) -> bool {
        self != Self::Draining
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BESIDE: Phase = Phase::Superseded { same_network: false, has_served: true };
    const SUPERSEDED: Phase = Phase::Superseded { same_network: true, has_served: true };
    const SUPERSEDED_EARLY: Phase = Phase::Superseded { same_network: true, has_served: false };

    #[test]
    fn every_transition_leads_from_each_phase_to_one() {
        use Phase::{Draining, Serving, Starting, Stopping};
        let transitions = [
            Transition::WorkerServes,
            Transition::WorkerDrains,
            Transition::Stop,
            Transition::SuccessorServes { same_network: true },
            Transition::SuccessorServes { same_network: false },
            Transition::SuccessorCrashed,
        ];
        let beside_early = Phase::Superseded { same_network: false, has_served: false };
        for (phase, after) in [
            (Starting, [Serving, Draining, Stopping, SUPERSEDED_EARLY, beside_early, Starting]),
            (Serving, [Serving, Draining, Stopping, SUPERSEDED, BESIDE, Serving]),
            (SUPERSEDED, [SUPERSEDED, Draining, Draining, SUPERSEDED, SUPERSEDED, Serving]),
            (SUPERSEDED_EARLY, [SUPERSEDED_EARLY, Draining, Draining, SUPERSEDED_EARLY, SUPERSEDED_EARLY, Starting]),
            (BESIDE, [BESIDE, Draining, Draining, BESIDE, BESIDE, Serving]),
            (Stopping, [Stopping, Draining, Stopping, Draining, Draining, Stopping]),
            (Draining, [Draining; 6]),
        ] {
            for (transition, expected) in transitions.into_iter().zip(after) {
                assert_eq!(phase.after(transition), expected, "{phase:?}, {transition:?}");
            }
        }
    }

    #[test]
    fn what_is_started_accepted_and_ended_depends_on_the_phase() {
        for (phase, is_stopping, accepts_successor, ends) in [
            (Phase::Starting, false, true, false),
            (Phase::Serving, false, true, false),
            (SUPERSEDED, false, true, true),
            (BESIDE, false, true, false),
            (Phase::Stopping, true, true, true),
            (Phase::Draining, true, false, true),
        ] {
            let seen = (phase.is_stopping(), phase.accepts_successor(), phase.ends_with_last_worker());
            assert_eq!(seen, (is_stopping, accepts_successor, ends), "{phase:?}");
        }
    }
}

//! What the streams of a pod, and of the agent, may hold for readers that are slow.
//!
//! Every stream has a receive window of its own with which it begins, a small one once half of the budget is taken. Whatever a window grows beyond that is taken from a limit of the pod
//! and from one of the agent, and given back when the stream ends. Where nothing is left, windows stay as they are: the peer
//! sends less at a time, and nothing fails.

use crate::limits::{Limit, LimitKind, PodLimits};

/// See the module. In KiB of receive windows.
#[derive(Debug, Clone)]
pub struct WindowBudget {
    pod: Limit,
    agent: Limit,
}

impl WindowBudget {
    /// The budget of a pod, as a part of that of the agent.
    #[must_use]
    pub fn new(pod: &PodLimits, agent: &Limit) -> Self {
        Self { pod: pod.of(LimitKind::HeldKib).clone(), agent: agent.clone() }
    }

    /// Whether less than half is taken, of the pod and of the agent.
    pub(super) fn is_ample(&self) -> bool {
        [&self.pod, &self.agent].iter().all(|limit| limit.held() < limit.maximum() / 2)
    }

    /// Takes so many bytes for a window that grows. False where the pod or the agent has not so many left.
    pub(super) fn take(&self, bytes: u32) -> bool {
        let kib = bytes / 1024;
        if !self.pod.try_take_many(kib) {
            return false;
        }
        let is_granted = self.agent.try_take_many(kib);
        if !is_granted {
            self.pod.give_back(kib);
        }
        is_granted
    }

    /// Gives back so many bytes that were taken.
    pub(super) fn give_back(&self, bytes: u32) {
        if bytes > 0 {
            self.pod.give_back(bytes / 1024);
            self.agent.give_back(bytes / 1024);
        }
    }

    /// A budget of so many KiB, of a pod by itself.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn of_kib(kib: u32) -> Self {
        let limits = crate::limits::NodeLimits::new(|_| kib);
        Self::new(&limits.for_pod(), &limits.of_agent(LimitKind::AgentHeldKib))
    }

    /// KiB that are taken.
    #[cfg(test)]
    pub(super) fn taken(&self) -> u32 {
        self.pod.held()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::NodeLimits;

    #[test]
    fn what_is_taken_counts_for_the_pod_and_the_agent_until_it_is_given_back() {
        const KIB: u32 = 1024;
        let limits = NodeLimits::new(|kind| if kind == LimitKind::AgentHeldKib { 100 } else { 60 });
        let agent = limits.of_agent(LimitKind::AgentHeldKib);
        let (one, other) = (WindowBudget::new(&limits.for_pod(), &agent), WindowBudget::new(&limits.for_pod(), &agent));
        let reached = || limits.reached().into_iter().filter(|(_, times)| *times > 0).collect::<Vec<_>>();
        assert!(one.is_ample() && other.is_ample());
        assert!(one.take(60 * KIB));
        assert!(!one.is_ample() && !other.is_ample(), "the pod has none left, the agent less than half");
        assert_eq!((one.taken(), other.taken(), agent.held(), reached()), (60, 0, 60, vec![]));
        assert!(!one.take(KIB), "the pod has no more");
        assert!(!other.take(41 * KIB), "the agent has no more");
        assert_eq!((one.taken(), other.taken(), agent.held()), (60, 0, 60));
        assert_eq!(reached(), [("held_kib", 1), ("agent_held_kib", 1)]);
        assert!(other.take(40 * KIB));
        one.give_back(60 * KIB);
        other.give_back(40 * KIB);
        assert_eq!((one.taken(), other.taken(), agent.held()), (0, 0, 0));
    }
}

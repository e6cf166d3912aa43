//! What the streams and connections of a pod, and of the agent, may hold for readers that are slow.
//!
//! Every stream has a receive window of its own, and how large it is at first depends on how many streams the pod has
//! ([`FirstWindow`]). Whatever a window grows beyond that is taken from a limit of the pod and from one of the agent, and given
//! back when the stream ends. Where nothing is left, windows stay as they are: the peer sends less at a time, and nothing
//! fails. Plaintext connections take what they read at once from the same limits.

use std::sync::Arc;

use crate::limits::{Limit, LimitKind, PodLimits};

/// Streams of a pod's own connections that may begin with [`FirstWindow::Usual`], and as many of its peers with
/// [`FirstWindow::Granted`].
const MAX_USUAL_STREAMS: u32 = 2048;

/// The window with which the streams of a connection begin. A reader that never reads makes us hold as much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FirstWindow {
    /// For as many tunnels that a pod opened as make half of its limit together, while half of what the pod and the agent may hold is
    /// free. Envoy as the server cuts off what it has not sent yet when its upstream ends before the client does: what an
    /// application answers and ends with should fit into the window.
    Ample,
    /// For [`MAX_USUAL_STREAMS`] on connections that a pod opened.
    Usual,
    /// For as many streams of tunnels that its peers opened, once they are granted.
    Granted,
    /// For further streams of connections that a pod opened, and for all that its peers open: none is denied that.
    Small,
}

impl FirstWindow {
    pub(super) fn bytes(self) -> u32 {
        match self {
            Self::Ample => 1024 * 1024,
            Self::Usual | Self::Granted => 64 * 1024,
            Self::Small => 16 * 1024,
        }
    }
}

/// See the module. In KiB.
#[derive(Debug, Clone)]
pub struct WindowBudget(Arc<Limits>);

#[derive(Debug)]
struct Limits {
    pod: Limit,
    agent: Limit,
    /// Streams of the pod that began with such a window.
    ample: Limit,
    usual: Limit,
    granted: Limit,
}

impl WindowBudget {
    /// The budget of a pod, as a part of that of the agent.
    #[must_use]
    pub fn new(limits: &PodLimits) -> Self {
        let [pod, agent] = [LimitKind::HeldKib, LimitKind::AgentHeldKib].map(|kind| limits.of(kind).clone());
        // Half as much as may be taken: together they bound what readers that never read make us hold.
        let ample = pod.another(pod.maximum() / (2 * FirstWindow::Ample.bytes() / 1024));
        let (usual, granted) = (pod.another(MAX_USUAL_STREAMS), pod.another(MAX_USUAL_STREAMS));
        Self(Arc::new(Limits { pod, agent, ample, usual, granted }))
    }

    /// The window with which the streams of a connection that the pod opens now are to begin.
    pub(super) fn first_window(&self) -> FirstWindow {
        if is_half_free(&self.0.usual) { FirstWindow::Usual } else { FirstWindow::Small }
    }

    /// Counts a stream that begins with such a window. False where the pod has too many of them, or the budget is not ample.
    pub(super) fn begin_stream(&self, first: FirstWindow) -> bool {
        let limit = match first {
            FirstWindow::Ample if ![&self.0.pod, &self.0.agent].into_iter().all(is_half_free) => return false,
            FirstWindow::Ample => &self.0.ample,
            FirstWindow::Usual => &self.0.usual,
            FirstWindow::Granted => &self.0.granted,
            FirstWindow::Small => return true,
        };
        // Asked first: a pod with many streams has not reached a limit that anybody needs to be told of.
        limit.held() < limit.maximum() && limit.try_take_many(1)
    }

    /// Counts no longer a stream that was counted.
    pub(super) fn end_stream(&self, first: FirstWindow) {
        match first {
            FirstWindow::Ample => self.0.ample.give_back(1),
            FirstWindow::Usual => self.0.usual.give_back(1),
            FirstWindow::Granted => self.0.granted.give_back(1),
            FirstWindow::Small => {}
        }
    }

    /// Takes what something grows by, from one size in bytes to another. False where the agent has not so much left, or the pod
    /// not four times the new size: what has grown and is idle keeps what it took, and others must be able to grow after it.
    #[must_use]
    pub(crate) fn grow(&self, from: u32, to: u32) -> bool {
        let left = u64::from(self.0.pod.maximum() - self.0.pod.held());
        if u64::from(to / 1024) * 4 > left {
            self.0.pod.count_reached();
            return false;
        }
        self.take(to - from)
    }

    /// Takes so many bytes. False where the pod or the agent has not so many left.
    pub(super) fn take(&self, bytes: u32) -> bool {
        let kib = bytes / 1024;
        if !self.0.pod.try_take_many(kib) {
            return false;
        }
        let is_granted = self.0.agent.try_take_many(kib);
        if !is_granted {
            self.0.pod.give_back(kib);
        }
        is_granted
    }

    /// Gives back so many bytes that were taken.
    pub(crate) fn give_back(&self, bytes: u32) {
        if bytes > 0 {
            self.0.pod.give_back(bytes / 1024);
            self.0.agent.give_back(bytes / 1024);
        }
    }

    /// A budget of so many KiB, of a pod by itself.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn of_kib(kib: u32) -> Self {
        Self::new(&crate::limits::NodeLimits::new(|_| kib).for_pod())
    }

    /// KiB that are taken.
    #[cfg(test)]
    pub(crate) fn taken(&self) -> u32 {
        self.0.pod.held()
    }
}

fn is_half_free(limit: &Limit) -> bool {
    u64::from(limit.held()) * 2 < u64::from(limit.maximum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::NodeLimits;

    #[test]
    fn what_is_taken_counts_for_the_pod_and_the_agent_until_it_is_given_back() {
        const KIB: u32 = 1024;
        let limits = NodeLimits::new(|kind| if kind == LimitKind::AgentHeldKib { 100 } else { 60 });
        let pods = [limits.for_pod(), limits.for_pod()];
        let [one, other] = pods.each_ref().map(WindowBudget::new);
        let agent = pods[0].of(LimitKind::AgentHeldKib);
        let reached = || limits.reached().into_iter().filter(|(_, times)| *times > 0).collect::<Vec<_>>();
        assert!(one.take(60 * KIB));
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

    #[test]
    fn streams_of_peers_have_a_bound_of_their_own() {
        let budget = WindowBudget::of_kib(8 * 1024);
        let granted = (0..3000).filter(|_| budget.begin_stream(FirstWindow::Granted)).count();
        assert_eq!(granted, MAX_USUAL_STREAMS as usize);
        assert!(budget.begin_stream(FirstWindow::Usual), "the pod's own streams are counted by themselves");
        budget.end_stream(FirstWindow::Granted);
        assert!(budget.begin_stream(FirstWindow::Granted), "one has ended");
    }

    #[test]
    fn what_grows_leaves_others_room_to_grow() {
        const KIB: u32 = 1024;
        let budget = WindowBudget::of_kib(32 * 1024);
        for (from, to, times) in [(64, 4096, 5), (64, 1024, 9), (64, 256, 16)] {
            let grown = (0..100).filter(|_| budget.grow(from * KIB, to * KIB)).count();
            assert_eq!(grown, times, "from {from} to {to} KiB");
        }
    }

    #[test]
    fn so_many_streams_of_a_pod_begin_with_a_larger_window_and_none_is_denied_the_smallest() {
        let budget = WindowBudget::of_kib(8 * 1024);
        let mut windows = Vec::new();
        for _ in 0..6000 {
            let mut first = budget.first_window();
            if !budget.begin_stream(first) {
                first = FirstWindow::Small;
            }
            windows.push(first);
        }
        let count = |first| windows.iter().filter(|window| **window == first).count();
        assert_eq!(count(FirstWindow::Usual), 1024, "half of them: the rest is for open connections");
        assert_eq!(budget.taken(), 0, "growth has a limit of its own");
    }

    #[test]
    fn some_tunnels_of_a_pod_begin_with_an_ample_window_while_half_of_what_may_be_held_is_free() {
        const KIB: u32 = 1024;
        let budget = WindowBudget::of_kib(8 * KIB);
        let ample = (0..100).filter(|_| budget.begin_stream(FirstWindow::Ample)).count();
        assert_eq!(ample, 4, "half of eight MiB");
        budget.end_stream(FirstWindow::Ample);
        assert!(budget.begin_stream(FirstWindow::Ample), "one has ended");
        budget.end_stream(FirstWindow::Ample);
        assert!(budget.take(4 * KIB * KIB));
        assert!(!budget.begin_stream(FirstWindow::Ample), "windows have grown by half of what they may");
        budget.give_back(KIB * KIB);
        assert!(budget.begin_stream(FirstWindow::Ample));
    }
}

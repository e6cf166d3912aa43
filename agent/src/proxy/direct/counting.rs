//! What open direct connections have received so far, as the sockets of both ends say. To list the sockets of a pod takes long where it has
//! very many: each pod is asked beside everything else that there is to do, and not again before it has answered.

use std::collections::HashSet;
use std::future::pending;

use tokio::task::JoinSet;

use crate::capture::NetnsCookie;
use crate::capture::noted::Noted;
use crate::enrollment::netns::Received;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Counting {
    /// The connections that were open as pods were asked last.
    open: Vec<Noted>,
    asking: JoinSet<Answer>,
    asked: HashSet<NetnsCookie>,
}

/// What the connections of a pod have received. Nothing where the kernel does not tell.
pub(super) type Answer = (NetnsCookie, Received);

impl Counting {
    /// Asks the pods of these connections. `ask` gives what asks one of them, in a thread of its own.
    pub(super) fn begin<A>(&mut self, open: Vec<Noted>, ask: impl Fn(NetnsCookie) -> Option<A>)
    where
        A: FnOnce() -> Received + Send + 'static,
    {
        for pod in open.iter().flat_map(|noted| [noted.pair.source, noted.pair.server]) {
            if self.asked.contains(&pod) {
                continue;
            }
            if let Some(ask) = ask(pod) {
                self.asked.insert(pod);
                self.asking.spawn_blocking(move || (pod, ask()));
            }
        }
        self.open = open;
    }

    /// The next answer, with the connections that it may be about.
    pub(super) async fn next(&mut self) -> (Answer, Vec<Noted>) {
        loop {
            match self.asking.join_next().await {
                Some(Ok((pod, received))) => {
                    self.asked.remove(&pod);
                    let is_its = |noted: &&Noted| noted.pair.source == pod || noted.pair.server == pod;
                    let its = self.open.iter().filter(is_its).copied().collect();
                    if self.asked.is_empty() {
                        self.open = Vec::new();
                    }
                    return ((pod, received), its);
                }
                // Nobody says whose it was.
                Some(Err(_)) => self.asked.clear(),
                None => pending().await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::mpsc;
    use std::time::Duration;

    use futures_util::FutureExt as _;

    use super::*;
    use crate::capture::noted::{End, EndState, Pair};

    fn open(source: u64, server: u64) -> Noted {
        let endpoint = SocketAddr::from(([10, 0, 0, 7], 80));
        let end = End { state: EndState::Open, got_all: false, is_cut: false, received: 0 };
        Noted {
            key: source,
            pair: Pair { source: NetnsCookie(source), server: NetnsCookie(server), endpoint },
            client: Some(endpoint),
            dialled: endpoint,
            age: Duration::ZERO,
            lasted: Duration::ZERO,
            has_arrived: true,
            is_told: false,
            client_end: end,
            server_end: end,
        }
    }

    #[tokio::test]
    async fn a_pod_that_takes_long_holds_up_no_other_and_is_not_asked_twice() {
        let mut counting = Counting::default();
        assert!(counting.next().now_or_never().is_none(), "nobody is asked");
        let (go_on, wait) = mpsc::channel::<()>();
        let mut slow = Some(wait).into_iter();
        let slow = std::cell::RefCell::new(&mut slow);
        let connections = || vec![open(1, 2), open(3, 2)];
        let ask = |pod: NetnsCookie| {
            let wait = if pod == NetnsCookie(1) { slow.borrow_mut().next() } else { None };
            Some(move || {
                if let Some(wait) = wait {
                    assert!(wait.recv().is_err(), "nobody says anything");
                }
                Received::new()
            })
        };
        for round in 0..2 {
            counting.begin(connections(), ask);
            let mut answered = Vec::new();
            for _ in 0..2 {
                let ((pod, _), its) = counting.next().await;
                answered.push((pod.0, its.len()));
            }
            answered.sort_unstable();
            assert_eq!(answered, [(2, 2), (3, 1)], "round {round}");
            assert!(counting.next().now_or_never().is_none(), "round {round}: it is asked still");
        }
        drop(go_on);
        let ((pod, _), its) = counting.next().await;
        assert_eq!((pod.0, its.len(), counting.open.len()), (1, 1, 0));
    }
}

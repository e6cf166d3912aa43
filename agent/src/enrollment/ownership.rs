//! Which agent may enrol and unenrol pods: this one, neither while a successor takes over, or the successor. One pod is
//! enrolled or unenrolled at a time.

use parking_lot::{Condvar, Mutex, MutexGuard};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ownership {
    /// Locked while a pod is enrolled or unenrolled.
    owner: Mutex<Owner>,
    decided: Condvar,
    /// The same, for who only asks.
    now: Mutex<Owner>,
}

/// Who may enrol and unenrol pods.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    #[default]
    ThisAgent,
    /// A successor takes over, and may fail yet.
    Undecided,
    Successor,
}

/// Held while one pod is enrolled or unenrolled.
pub(super) type Turn<'a> = MutexGuard<'a, Owner>;

impl Ownership {
    /// Waits for the caller's turn, also while the owner is undecided; `None` if it is no longer this agent.
    pub(super) fn turn(&self) -> Option<Turn<'_>> {
        let mut owner = self.owner.lock();
        self.decided.wait_while(&mut owner, |owner| *owner == Owner::Undecided);
        (*owner == Owner::ThisAgent).then_some(owner)
    }

    /// The owner now. Never waits for a pod that is being enrolled or unenrolled.
    pub(super) fn owner(&self) -> Owner {
        *self.now.lock()
    }

    /// Changes the owner. Waits while a pod is being enrolled or unenrolled; none is while the result is held.
    pub(super) fn pass_to(&self, owner: Owner) -> Turn<'_> {
        let mut current = self.owner.lock();
        *current = owner;
        *self.now.lock() = owner;
        self.decided.notify_all();
        current
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn whoever_comes_while_it_is_undecided_waits_for_the_decision() {
        for (decision, gets_turn) in [(Owner::ThisAgent, true), (Owner::Successor, false)] {
            let ownership = Arc::new(Ownership::default());
            assert!(ownership.turn().is_some());
            drop(ownership.pass_to(Owner::Undecided));
            let waiting = std::thread::spawn({
                let ownership = ownership.clone();
                move || ownership.turn().is_some()
            });
            drop(ownership.pass_to(decision));
            assert_eq!(waiting.join().expect("it does not panic"), gets_turn);
            assert_eq!(ownership.owner(), decision);
        }
    }

    #[test]
    fn who_only_asks_does_not_wait_for_a_turn_to_end() {
        let ownership = Ownership::default();
        let turn = ownership.turn();
        assert_eq!((turn.is_some(), ownership.owner()), (true, Owner::ThisAgent));
    }
}

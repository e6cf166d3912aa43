//! Whose it is to let pods come and go: this agent's, nobody's while a successor takes over, or the successor's. One pod
//! comes or goes at a time. Knows no pod.

use parking_lot::{Condvar, Mutex, MutexGuard};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Duty {
    holder: Mutex<Holder>,
    decided: Condvar,
}

/// Who lets pods come and go.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holder {
    #[default]
    Ours,
    Undecided,
    Successor,
}

/// Held while one pod comes or goes.
pub(super) type Turn<'a> = MutexGuard<'a, Holder>;

impl Duty {
    /// Waits for the turn of the caller; `None` if it is no longer this agent's.
    pub(super) fn turn(&self) -> Option<Turn<'_>> {
        let mut holder = self.holder.lock();
        self.decided.wait_while(&mut holder, |holder| *holder == Holder::Undecided);
        (*holder == Holder::Ours).then_some(holder)
    }

    /// Who has it now; a change under way is waited for.
    pub(super) fn holder(&self) -> Holder {
        *self.holder.lock()
    }

    /// Gives it to somebody; a change under way is waited for.
    pub(super) fn pass(&self, to: Holder) -> Turn<'_> {
        let mut holder = self.holder.lock();
        *holder = to;
        self.decided.notify_all();
        holder
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn whoever_comes_while_it_is_undecided_waits_for_the_decision() {
        for (decision, gets_turn) in [(Holder::Ours, true), (Holder::Successor, false)] {
            let duty = Arc::new(Duty::default());
            assert!(duty.turn().is_some());
            drop(duty.pass(Holder::Undecided));
            let waiting = std::thread::spawn({
                let duty = duty.clone();
                move || duty.turn().is_some()
            });
            drop(duty.pass(decision));
            assert_eq!(waiting.join().expect("it does not panic"), gets_turn);
            assert_eq!(duty.holder(), decision);
        }
    }
}

//! Enrolment between two agents: while a successor takes over, and after it has. Who says so is not known here.

use std::sync::atomic::Ordering;

use super::duty::{Holder, Turn};
use super::{Enrollment, EnrollmentError};

impl Enrollment {
    /// Lets no pod come or go until [`go_on`](Self::go_on) or [`hand_over`](Self::hand_over): a successor takes over.
    pub fn freeze(&self) {
        let _turn = self.duty.pass(Holder::Undecided);
        if self.unsaved.load(Ordering::Relaxed) && self.save().is_err() {
            tracing::warn!("the successor finds an outdated list of enrolled pods");
        }
    }

    /// The successor failed.
    pub fn go_on(&self) {
        drop(self.duty.pass(Holder::Ours));
    }

    /// The successor serves: it is told of pods from now on, and writes the list. Pods that die still end here.
    pub fn hand_over(&self) {
        drop(self.duty.pass(Holder::Successor));
    }

    /// Whether pods come and go through this agent.
    pub fn is_in_charge(&self) -> bool {
        self.duty.holder() == Holder::Ours
    }

    /// The caller's turn to let pods come and go, as long as it is held.
    pub(super) fn turn(&self) -> Result<Turn<'_>, EnrollmentError> {
        self.duty.turn().ok_or(EnrollmentError::HandedOver)
    }
}

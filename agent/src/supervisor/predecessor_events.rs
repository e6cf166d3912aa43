//! What the supervisor does when the one before it speaks or ends.

use nix::sys::signal::Signal;

use super::handover::PredecessorStage;
use super::message::ToSuccessor;
use super::phase::Transition;
use super::state::Supervisor;

impl Supervisor {
    pub(super) fn receive_from_predecessor(&mut self) {
        while let Some(predecessor) = &mut self.predecessor {
            predecessor.channel.flush();
            match predecessor.channel.receive() {
                Ok(None) => return,
                Ok(Some((ToSuccessor::Held(sockets), descriptors))) => self.hold(sockets, descriptors),
                Ok(Some((ToSuccessor::AllHeld, _))) => {
                    if predecessor.stage == PredecessorStage::HandingOver {
                        predecessor.stage = PredecessorStage::HandedOver;
                    }
                    self.send_held_sockets();
                }
                Ok(Some((ToSuccessor::TooLate, _))) => {
                    tracing::error!("the predecessor did not wait any longer and goes on: this agent ends");
                    self.end_in_favour_of_predecessor();
                }
                Ok(Some((other, _))) => tracing::warn!(?other, "the predecessor says what is not expected"),
                Err(_) => {
                    let stage = predecessor.stage;
                    self.predecessor = None;
                    // Nobody else listens on its sockets any more: those that have come so far are all there are.
                    if stage == PredecessorStage::HandingOver {
                        self.send_held_sockets();
                    }
                    return;
                }
            }
        }
    }

    /// The predecessor's worker serves the node again: nothing of this agent may stay.
    fn end_in_favour_of_predecessor(&mut self) {
        self.predecessor = None;
        self.phase = self.phase.after(Transition::Stop);
        self.exit_code = 1;
        if let Some(worker) = self.running_worker() {
            worker.signal(Signal::SIGKILL);
        }
    }
}

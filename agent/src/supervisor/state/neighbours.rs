//! The supervisor before this one, and the one after: what they say, and what it means for what is kept. Never waits.

use std::time::Instant;

use super::{House, Relief};
use crate::supervisor::handover_socket::own_network;
use crate::supervisor::message::{ToPredecessor, ToSuccessor, ToWorker, VERSION};
use crate::supervisor::succession::{Stage, Successor, TAKING_OVER};

impl House {
    pub(super) fn listen_to_predecessor(&mut self) {
        while let Some(predecessor) = &mut self.predecessor {
            predecessor.channel.flush();
            match predecessor.channel.receive() {
                Ok(None) => return,
                Ok(Some((ToSuccessor::Held(sockets), descriptors))) => self.hold(sockets, descriptors),
                Ok(Some((ToSuccessor::AllHeld, _))) => {
                    predecessor.asked = false;
                    self.give_held();
                }
                Ok(Some((ToSuccessor::TooLate, _))) => {
                    tracing::error!("the predecessor did not wait any longer and goes on: this agent ends");
                    self.end_in_favour();
                }
                Ok(Some((other, _))) => tracing::warn!(?other, "the predecessor says what is not expected"),
                Err(_) => {
                    let asked = predecessor.asked;
                    self.predecessor = None;
                    // It has ended, and nobody else listens on its sockets: what it passed on so far is what there is.
                    if asked {
                        self.give_held();
                    }
                    return;
                }
            }
        }
    }

    /// The predecessor goes on: nothing of this agent may stay.
    fn end_in_favour(&mut self) {
        self.predecessor = None;
        (self.stopping, self.code) = (true, 1);
        if let Some(worker) = &self.worker {
            worker.signal(nix::sys::signal::Signal::SIGKILL);
        }
    }

    pub(super) fn say_bye(&mut self) {
        if let Some(predecessor) = &mut self.predecessor {
            predecessor.channel.send(&ToPredecessor::Bye, Vec::new());
        }
    }

    pub(super) fn answer_door(&mut self) {
        while let Some(door) = &self.door {
            match door.accept() {
                Ok(Some(mut channel)) => {
                    if self.successor.is_some() || self.closed {
                        let why = if self.closed { "it is stopping" } else { "another successor is there" };
                        channel.send(&ToSuccessor::Refused { reason: why.to_owned() }, Vec::new());
                    } else {
                        self.successor = Some(Successor::new(channel));
                        self.listen_to_successor();
                    }
                }
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!(%error, "a successor cannot be let in");
                    return;
                }
            }
        }
    }

    pub(super) fn listen_to_successor(&mut self) {
        while let Some(successor) = &mut self.successor {
            successor.channel.flush();
            match successor.channel.receive() {
                Ok(None) => return,
                Ok(Some((message, _))) => self.hear_successor(message),
                Err(_) => return self.lost_successor(),
            }
        }
    }

    fn hear_successor(&mut self, message: ToPredecessor) {
        let Some(successor) = &mut self.successor else { return };
        match (message, successor.stage) {
            (ToPredecessor::Hello { version: VERSION, network }, Stage::Silent) => {
                successor.same_network = own_network().is_ok_and(|own| own == network);
                successor.stage = Stage::Greeted;
                let supervisor = std::process::id().cast_signed();
                successor.channel.send(&ToSuccessor::Welcome { supervisor }, Vec::new());
                tracing::info!(same_network = successor.same_network, "a successor prepares");
            }
            (ToPredecessor::TakeOver, Stage::Greeted) => {
                successor.stage = Stage::Freezing { until: Instant::now() + TAKING_OVER };
                match &mut self.worker {
                    Some(worker) => worker.channel.send(&ToWorker::Freeze, Vec::new()),
                    // Nobody can let pods come or go.
                    None => self.hand_over(),
                }
            }
            (ToPredecessor::Serving, Stage::TakingOver { .. }) => self.relieve(),
            (ToPredecessor::Bye, Stage::Serving) => successor.said_bye = true,
            (message, stage) => {
                tracing::warn!(?message, ?stage, "a successor says what cannot be understood: it is sent away");
                let reason = format!("supervisors of version {VERSION} do not understand {message:?}");
                successor.channel.send(&ToSuccessor::Refused { reason }, Vec::new());
                self.lost_successor();
            }
        }
    }

    /// Pods neither come nor go: the sockets can be handed over.
    pub(super) fn hand_over(&mut self) {
        let freezing = |successor: &&mut Successor| matches!(successor.stage, Stage::Freezing { .. });
        let Some(successor) = self.successor.as_mut().filter(freezing) else { return };
        for held in self.held.values() {
            successor.channel.send(&ToSuccessor::Held(held.sockets.clone()), held.descriptors.clone());
        }
        successor.channel.send(&ToSuccessor::AllHeld, Vec::new());
        successor.stage = Stage::TakingOver { until: Instant::now() + TAKING_OVER };
    }

    /// The successor serves. What this supervisor holds it goes on holding, should the successor die.
    fn relieve(&mut self) {
        let Some(successor) = &mut self.successor else { return };
        successor.stage = Stage::Serving;
        let same_network = successor.same_network;
        self.relieved = Some(Relief { same_network });
        self.was_relieved = true;
        self.restart_at = None;
        self.door = None;
        self.say_bye();
        if let Some(mut worker) = self.worker.take() {
            worker.channel.send(&ToWorker::Retire { same_network }, Vec::new());
            self.retired.push(worker);
        }
        tracing::info!(pods = self.held.len(), "a successor serves the node; what is open here is finished");
    }

    fn lost_successor(&mut self) {
        let Some(lost) = self.successor.take() else { return };
        match lost.stage {
            // It had its reasons.
            Stage::Serving if lost.said_bye || self.stopping => {}
            Stage::Serving => {
                tracing::error!("the successor is gone without a word: this agent goes on");
                self.relieved = None;
                self.open_door();
                self.restart_at = Some(Instant::now());
            }
            _ => {
                tracing::warn!(stage = ?lost.stage, "the successor is gone before it served: this agent goes on");
                if matches!(lost.stage, Stage::TakingOver { .. }) && self.door.is_some() {
                    // It may have put its own in the place of this.
                    self.open_door();
                }
                if lost.froze() {
                    self.thaw();
                }
            }
        }
    }

    /// All is as before the successor came.
    pub(super) fn thaw(&mut self) {
        if let Some(worker) = &mut self.worker {
            worker.channel.send(&ToWorker::Thaw, Vec::new());
        }
    }
}

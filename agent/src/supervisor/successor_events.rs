//! What the supervisor does when one that is to succeed it connects, speaks or ends.

use std::time::Instant;

use super::handover::{HANDOVER_STEP_TIMEOUT, Successor, SuccessorStage};
use super::handover_socket::own_network_namespace;
use super::message::{ToPredecessor, ToSuccessor, ToWorker, VERSION};
use super::phase::{Phase, Transition};
use super::state::{Supervisor, WorkerSlot};

impl Supervisor {
    /// Lets in one successor at a time; any other is refused.
    pub(super) fn accept_successors(&mut self) {
        while let Some(socket) = &self.handover_socket {
            match socket.accept() {
                Ok(Some(mut channel)) => {
                    let reason = if !self.phase.accepts_successor() {
                        "it is stopping"
                    } else if self.successor.is_some() {
                        "another successor is there"
                    } else {
                        self.successor = Some(Successor::new(channel));
                        self.receive_from_successor();
                        continue;
                    };
                    channel.send(&ToSuccessor::Refused { reason: reason.to_owned() }, Vec::new());
                }
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!(%error, "a successor cannot be let in");
                    return;
                }
            }
        }
    }

    pub(super) fn receive_from_successor(&mut self) {
        while let Some(successor) = &mut self.successor {
            successor.channel.flush();
            match successor.channel.receive() {
                Ok(None) => return,
                Ok(Some((message, _))) => self.on_successor_message(message),
                Err(_) => return self.on_successor_gone(),
            }
        }
    }

    /// Sends the sockets to the successor, once no pod is enrolled or unenrolled any more.
    pub(super) fn send_sockets_to_successor(&mut self) {
        let is_freezing = |successor: &&mut Successor| matches!(successor.stage, SuccessorStage::Freezing { .. });
        let Some(successor) = self.successor.as_mut().filter(is_freezing) else { return };
        for held in self.held.values() {
            successor.channel.send(&ToSuccessor::Held(held.sockets.clone()), held.descriptors.clone());
        }
        successor.channel.send(&ToSuccessor::AllHeld, Vec::new());
        successor.stage = SuccessorStage::TakingOver { until: Instant::now() + HANDOVER_STEP_TIMEOUT };
    }

    /// The handover failed: the worker enrols and unenrols pods again.
    pub(super) fn resume_worker(&mut self) {
        self.send_to_worker(&ToWorker::Resume);
    }

    fn on_successor_message(&mut self, message: ToPredecessor) {
        let Some(successor) = &mut self.successor else { return };
        match (message, successor.stage) {
            (ToPredecessor::Hello { version: VERSION, network }, SuccessorStage::Connected) => {
                successor.same_network = own_network_namespace().is_ok_and(|own| own == network);
                successor.stage = SuccessorStage::Preparing;
                let supervisor = std::process::id().cast_signed();
                successor.channel.send(&ToSuccessor::Welcome { supervisor }, Vec::new());
                tracing::info!(same_network = successor.same_network, "a successor prepares");
            }
            (ToPredecessor::TakeOver, SuccessorStage::Preparing) => {
                successor.stage = SuccessorStage::Freezing { until: Instant::now() + HANDOVER_STEP_TIMEOUT };
                match &mut self.worker {
                    WorkerSlot::Running(worker) => worker.channel.send(&ToWorker::Freeze, Vec::new()),
                    WorkerSlot::Restarting { .. } | WorkerSlot::Vacant => self.send_sockets_to_successor(),
                }
            }
            (ToPredecessor::Serving, SuccessorStage::TakingOver { .. }) => self.on_successor_serving(),
            (ToPredecessor::Bye, SuccessorStage::Serving { .. }) => {
                successor.stage = SuccessorStage::Serving { said_bye: true };
            }
            (message, stage) => {
                tracing::warn!(?message, ?stage, "a successor says what cannot be understood: it is sent away");
                let reason = format!("supervisors of version {VERSION} do not understand {message:?}");
                successor.channel.send(&ToSuccessor::Refused { reason }, Vec::new());
                self.on_successor_gone();
            }
        }
    }

    /// The worker here drains from now on. The sockets go on being held, in case the successor crashes.
    fn on_successor_serving(&mut self) {
        let Some(successor) = &mut self.successor else { return };
        successor.stage = SuccessorStage::Serving { said_bye: false };
        let same_network = successor.same_network;
        self.phase = self.phase.after(Transition::SuccessorServes { same_network });
        self.had_successor = true;
        self.handover_socket = None;
        self.say_bye_to_predecessor();
        if let WorkerSlot::Running(mut worker) = std::mem::replace(&mut self.worker, WorkerSlot::Vacant) {
            worker.channel.send(&ToWorker::Drain { same_network }, Vec::new());
            self.draining.push(worker);
        }
        tracing::info!(pods = self.held.len(), "a successor serves the node; what is open here is finished");
    }

    fn on_successor_gone(&mut self) {
        let Some(gone) = self.successor.take() else { return };
        match gone.stage {
            SuccessorStage::Serving { said_bye: true } => {}
            SuccessorStage::Serving { said_bye: false } => {
                if matches!(self.phase, Phase::Superseded { .. }) {
                    tracing::error!("the successor is gone without a word: this agent goes on");
                    self.phase = self.phase.after(Transition::SuccessorCrashed);
                    self.bind_handover_socket();
                    self.worker = WorkerSlot::Restarting { at: Instant::now() };
                }
            }
            stage => {
                tracing::warn!(?stage, "the successor is gone before it served: this agent goes on");
                if matches!(stage, SuccessorStage::TakingOver { .. }) && self.handover_socket.is_some() {
                    // The successor may have bound its own in the place of this one.
                    self.bind_handover_socket();
                }
                if gone.is_undecided() {
                    self.resume_worker();
                }
            }
        }
    }
}

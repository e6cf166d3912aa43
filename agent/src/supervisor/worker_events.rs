//! How the supervisor starts workers, and what it does when one of them speaks or ends.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Instant;

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::handover::{Predecessor, PredecessorStage, SuccessorStage};
use super::liveness::{self, HangAction};
use super::message::{FromWorker, StartInfo, ToPredecessor, ToWorker};
use super::phase::{Phase, Transition};
use super::state::{IDLE_AFTER_START, Supervisor, WorkerSlot};
use super::worker::{Worker, WorkerExit};

impl Supervisor {
    /// Starts a worker. One that succeeds another agent asks for that agent's sockets later on; any other gets those that
    /// are held at once.
    ///
    /// # Errors
    /// When the system gives no process.
    pub(super) fn start_worker(&mut self) -> io::Result<()> {
        let has_predecessor = self.predecessor.as_ref().is_some_and(Predecessor::is_in_charge);
        let mut worker = Worker::start(&self.options.worker, self.options.hang_limit)?;
        let info = StartInfo {
            supervisor: std::process::id().cast_signed(),
            supervisor_since: self.started_at,
            restarts: self.restarts.count,
            last_end: self.restarts.last_exit.clone(),
            has_predecessor,
            ports_may_be_taken: has_predecessor || self.had_successor,
        };
        worker.channel.send(&ToWorker::Start(info), Vec::new());
        tracing::info!(pid = %worker.pid, restarts = self.restarts.count, pods = self.held.len(), "a worker starts");
        self.worker = WorkerSlot::Running(worker);
        if !has_predecessor {
            self.send_held_sockets();
        }
        Ok(())
    }

    /// Sends the worker all sockets that are held.
    pub(super) fn send_held_sockets(&mut self) {
        let WorkerSlot::Running(worker) = &mut self.worker else { return };
        for held in self.held.values() {
            worker.channel.send(&ToWorker::Held(held.sockets.clone()), held.descriptors.clone());
        }
        worker.channel.send(&ToWorker::AllHeld, Vec::new());
    }

    pub(super) fn receive_from_worker(&mut self) {
        while let WorkerSlot::Running(worker) = &mut self.worker {
            worker.channel.flush();
            // That the worker is gone shows when it is waited for.
            let Ok(Some((message, descriptors))) = worker.channel.receive() else { return };
            self.on_worker_message(message, descriptors);
        }
    }

    pub(super) fn receive_from_draining_workers(&mut self) {
        for worker in &mut self.draining {
            worker.channel.flush();
            while let Ok(Some((message, _))) = worker.channel.receive() {
                // A pod died. While another worker runs, it is that worker which says so.
                if let (FromWorker::Release { cookie }, WorkerSlot::Restarting { .. } | WorkerSlot::Vacant) =
                    (message, &self.worker)
                {
                    self.held.remove(&cookie);
                }
            }
        }
    }

    /// A child process ended. One that was no worker was an orphan that this process inherited.
    pub(super) fn on_exit(&mut self, pid: Pid, exit: WorkerExit) {
        // What it said before it ended still counts.
        self.receive_from_worker();
        if let Some(at) = self.draining.iter().position(|worker| worker.pid == pid) {
            self.draining.swap_remove(at);
            self.exit_code = exit.code();
            tracing::info!(%pid, end = %exit, "the worker that finished what was open has ended");
            return;
        }
        let Some(age) = self.running_worker().filter(|worker| worker.pid == pid).map(Worker::age) else { return };
        self.worker = WorkerSlot::Vacant;
        self.exit_code = exit.code();
        if self.phase.is_stopping() {
            return;
        }
        let is_hopeless = self.predecessor.is_some() || matches!(exit, WorkerExit::Code(_));
        if self.phase == Phase::Starting && is_hopeless {
            // The worker said why. Whoever started this process knows better than to try the same again at once.
            self.phase = self.phase.after(Transition::Stop);
            return;
        }
        let pause = self.restarts.pause_after(exit, age);
        tracing::warn!(%pid, end = %exit, ?age, ?pause, restarts = self.restarts.count, pods = self.held.len(),
            "the worker ended; new connections wait for the next one");
        self.worker = WorkerSlot::Restarting { at: Instant::now() + pause };
        if self.successor.as_ref().is_some_and(|successor| matches!(successor.stage, SuccessorStage::Freezing { .. })) {
            // Without a worker no pod is enrolled or unenrolled.
            self.send_sockets_to_successor();
        }
    }

    /// Replaces a worker that hangs: tells what its threads do, and kills it if it stays silent.
    pub(super) fn check_liveness(&mut self, now: Instant) {
        if self.phase.is_stopping() {
            return;
        }
        let WorkerSlot::Running(worker) = &mut self.worker else { return };
        match worker.liveness.next_action(now) {
            Some(HangAction::LogThreads) => {
                tracing::error!(pid = %worker.pid, "the worker stands still: it does not say that its threads go on");
                for thread in liveness::threads(worker.pid) {
                    tracing::error!(thread, "a thread of the worker that stands still");
                }
            }
            Some(HangAction::Kill) => {
                tracing::error!(pid = %worker.pid, "the worker stands still: it is replaced");
                worker.signal(Signal::SIGKILL);
            }
            None => {}
        }
    }

    fn on_worker_message(&mut self, message: FromWorker, descriptors: Vec<OwnedFd>) {
        match message {
            FromWorker::Hold(sockets) => self.hold(sockets, descriptors),
            FromWorker::Release { cookie } => drop(self.held.remove(&cookie)),
            FromWorker::TakeOver => match &mut self.predecessor {
                Some(predecessor) => {
                    predecessor.stage = PredecessorStage::HandingOver;
                    predecessor.channel.send(&ToPredecessor::TakeOver, Vec::new());
                }
                // It has ended meanwhile.
                None => self.send_held_sockets(),
            },
            FromWorker::Serving => self.on_serving(),
            FromWorker::Alive => {
                if let WorkerSlot::Running(worker) = &mut self.worker {
                    worker.liveness.heartbeat(Instant::now());
                }
            }
            FromWorker::Frozen => self.send_sockets_to_successor(),
            FromWorker::Draining => {
                self.phase = self.phase.after(Transition::WorkerDrains);
                self.say_bye_to_predecessor();
                // A client must not find a listening socket that nobody accepts on.
                self.held.clear();
            }
        }
    }

    fn on_serving(&mut self) {
        self.phase = self.phase.after(Transition::WorkerServes);
        // Before the predecessor receives `Serving` and removes its own socket: it must find this one in its place.
        if self.handover_socket.is_none() {
            self.bind_handover_socket();
        }
        if let Some(predecessor) = self.predecessor.as_mut().filter(|predecessor| predecessor.is_in_charge()) {
            predecessor.stage = PredecessorStage::Superseded;
            predecessor.channel.send(&ToPredecessor::Serving, Vec::new());
            tracing::info!(
                pods = self.held.len(),
                "this agent serves the node; the one before it finishes what is open"
            );
        }
        (self.options.on_idle)();
        self.idle_at = Some(Instant::now() + IDLE_AFTER_START);
    }
}

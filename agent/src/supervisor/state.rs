//! [`Supervisor`]: the state of the process, its deadlines, and the signals that stop it. It never blocks.
//!
//! What it does when another process speaks or ends stands in `worker_events`, `predecessor_events` and
//! `successor_events`.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::sys::signal::Signal;

use super::channel::Channel;
use super::handover::{HANDOVER_STEP_TIMEOUT, Predecessor, Successor};
use super::handover_socket::{self, HandoverSocket};
use super::message::{PodSockets, ToPredecessor, ToSuccessor, ToWorker};
use super::phase::{Phase, Transition};
use super::worker::{Restarts, Worker, WorkerExit, WorkerProgram};

/// How long after a worker has begun to serve the supervisor has surely nothing left to do. The worker's next heartbeat wakes it.
pub(super) const IDLE_AFTER_START: Duration = Duration::from_secs(3);
/// The shortest pause after a worker could not even be started.
const MIN_PAUSE_AFTER_FAILED_START: Duration = Duration::from_millis(100);

/// What a supervisor needs to know.
#[derive(Debug, Clone)]
pub struct SupervisorOptions {
    /// Directory of the handover socket.
    pub run_dir: PathBuf,
    pub worker: WorkerProgram,
    /// How long a worker may be silent before it counts as hung.
    pub hang_limit: Duration,
    /// Called when nothing is left to do but to wait: once a worker serves, and again a moment later.
    pub on_idle: fn(),
}

/// Duplicates of the sockets that the worker listens on in one pod's network namespace.
#[derive(Debug)]
pub(super) struct HeldPod {
    pub(super) sockets: PodSockets,
    pub(super) descriptors: Vec<Arc<OwnedFd>>,
}

/// The worker that is to serve the node.
#[derive(Debug)]
pub(super) enum WorkerSlot {
    Running(Worker),
    /// It ended; another one starts then.
    Restarting {
        at: Instant,
    },
    /// There is none, and none is started.
    Vacant,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Supervisor {
    pub(super) options: SupervisorOptions,
    /// When it started, in seconds since the Unix epoch.
    pub(super) started_at: u64,
    pub(super) phase: Phase,
    pub(super) worker: WorkerSlot,
    /// Workers that finish what is open, since a successor serves.
    pub(super) draining: Vec<Worker>,
    pub(super) restarts: Restarts,
    /// The exit code of the last worker, which becomes the supervisor's.
    pub(super) exit_code: u8,
    /// By the cookie of the pod's network namespace.
    pub(super) held: BTreeMap<u64, HeldPod>,
    /// Where a successor finds this supervisor, while it serves the node.
    pub(super) handover_socket: Option<HandoverSocket>,
    pub(super) predecessor: Option<Predecessor>,
    pub(super) successor: Option<Successor>,
    /// A successor has served the node, so that its worker may still have the ports of the admin endpoints.
    pub(super) had_successor: bool,
    /// When what the start of a worker needed is needed no more.
    pub(super) idle_at: Option<Instant>,
}

impl Supervisor {
    /// Connects to the supervisor that serves this node, if there is one, and starts the first worker.
    ///
    /// # Errors
    /// When the worker cannot be started.
    pub(super) fn start(options: SupervisorOptions) -> io::Result<Self> {
        let started_at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let predecessor = handover_socket::connect_to_predecessor(&options.run_dir);
        if let Some((_, supervisor)) = &predecessor {
            tracing::info!(supervisor, "another agent serves this node: taking over from it");
        }
        let mut supervisor = Self {
            options,
            started_at,
            phase: Phase::Starting,
            worker: WorkerSlot::Vacant,
            draining: Vec::new(),
            restarts: Restarts::default(),
            exit_code: 0,
            held: BTreeMap::new(),
            handover_socket: None,
            predecessor: predecessor.map(|(channel, _)| Predecessor::new(channel)),
            successor: None,
            had_successor: false,
            idle_at: None,
        };
        supervisor.start_worker()?;
        if supervisor.predecessor.is_none() {
            supervisor.bind_handover_socket();
        }
        Ok(supervisor)
    }

    /// The exit code, once nothing is left to supervise.
    pub(super) fn exit_code(&self) -> Option<u8> {
        let has_workers = !matches!(self.worker, WorkerSlot::Vacant) || !self.draining.is_empty();
        (!has_workers && self.phase.ends_with_last_worker()).then_some(self.exit_code)
    }

    /// When [`tick`](Self::tick) has something to do.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let restart = self.restart_at().filter(|_| !self.is_handover_undecided());
        let handover = self.successor.as_ref().and_then(Successor::deadline);
        let worker = self.running_worker().filter(|_| !self.phase.is_stopping());
        let liveness = worker.and_then(|worker| worker.liveness.deadline());
        [restart, handover, liveness].into_iter().flatten().min()
    }

    pub(super) fn handover_socket(&self) -> Option<BorrowedFd<'_>> {
        self.handover_socket.as_ref().map(HandoverSocket::as_fd)
    }

    /// The connections to all other processes.
    pub(super) fn channels(&self) -> impl Iterator<Item = &Channel> {
        let workers = self.running_worker().into_iter().chain(&self.draining).map(|worker| &worker.channel);
        let predecessor = self.predecessor.iter().map(|predecessor| &predecessor.channel);
        let successor = self.successor.iter().map(|successor| &successor.channel);
        workers.chain(predecessor).chain(successor)
    }

    /// Handles all messages that have come, and sends what the other processes could not take before.
    pub(super) fn receive_all(&mut self) {
        self.receive_from_worker();
        self.receive_from_draining_workers();
        self.receive_from_predecessor();
        self.receive_from_successor();
        self.accept_successors();
    }

    /// Does what is due by the clock: gives up on a successor that takes too long, replaces a worker that hangs, and starts the
    /// next one.
    pub(super) fn tick(&mut self, now: Instant) {
        if self.successor.as_ref().and_then(Successor::deadline).is_some_and(|until| until <= now) {
            tracing::error!(
                seconds = HANDOVER_STEP_TIMEOUT.as_secs(),
                "the successor took too long: this agent goes on"
            );
            if let Some(mut late) = self.successor.take() {
                late.channel.send(&ToSuccessor::TooLate, Vec::new());
            }
            self.resume_worker();
        }
        self.check_liveness(now);
        if self.idle_at.take_if(|at| *at <= now).is_some() {
            (self.options.on_idle)();
        }
        let is_due = self.restart_at().is_some_and(|at| at <= now);
        if is_due && !self.is_handover_undecided() {
            self.worker = WorkerSlot::Vacant;
            if let Err(error) = self.start_worker() {
                let pause = self.restarts.pause_after(WorkerExit::Code(1), Duration::ZERO);
                tracing::error!(%error, ?pause, "no worker can be started");
                self.worker = WorkerSlot::Restarting { at: now + pause.max(MIN_PAUSE_AFTER_FAILED_START) };
            }
        }
    }

    /// SIGTERM or SIGINT came: the workers drain, and the supervisor ends with the last of them. A second signal ends a
    /// draining worker at once.
    pub(super) fn on_stop_signal(&mut self) {
        self.phase = self.phase.after(Transition::Stop);
        if matches!(self.worker, WorkerSlot::Restarting { .. }) {
            self.worker = WorkerSlot::Vacant;
            self.exit_code = 0;
        }
        self.say_bye_to_predecessor();
        for worker in self.running_worker().into_iter().chain(&self.draining) {
            worker.signal(Signal::SIGTERM);
        }
    }

    pub(super) fn running_worker(&self) -> Option<&Worker> {
        match &self.worker {
            WorkerSlot::Running(worker) => Some(worker),
            WorkerSlot::Restarting { .. } | WorkerSlot::Vacant => None,
        }
    }

    pub(super) fn send_to_worker(&mut self, message: &ToWorker) {
        if let WorkerSlot::Running(worker) = &mut self.worker {
            worker.channel.send(message, Vec::new());
        }
    }

    /// Makes this supervisor the one that a successor finds, in the place of whatever has the name.
    pub(super) fn bind_handover_socket(&mut self) {
        match HandoverSocket::bind(&self.options.run_dir) {
            Ok(socket) => self.handover_socket = Some(socket),
            Err(error) => tracing::error!(%error, "no successor can take over: its socket cannot be made"),
        }
    }

    /// Holds a pod's sockets, in the place of those that it had before.
    pub(super) fn hold(&mut self, sockets: PodSockets, descriptors: Vec<OwnedFd>) {
        let descriptors = descriptors.into_iter().map(Arc::new).collect();
        self.held.insert(sockets.cookie, HeldPod { sockets, descriptors });
    }

    /// Tells the predecessor, if there is one, that nobody is to go on in this agent's place.
    pub(super) fn say_bye_to_predecessor(&mut self) {
        if let Some(predecessor) = &mut self.predecessor {
            predecessor.channel.send(&ToPredecessor::Bye, Vec::new());
        }
    }

    fn restart_at(&self) -> Option<Instant> {
        match self.worker {
            WorkerSlot::Restarting { at } => Some(at),
            WorkerSlot::Running(_) | WorkerSlot::Vacant => None,
        }
    }

    fn is_handover_undecided(&self) -> bool {
        self.successor.as_ref().is_some_and(Successor::is_undecided)
    }
}

//! What a supervisor keeps: the sockets, the worker, the supervisors before and after it; and what it does when one of them
//! speaks or ends. Never waits.

mod neighbours;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::SupervisorOptions;
use super::channel::Channel;
use super::handover_socket::{self, Door};
use super::message::{Circumstances, FromWorker, Sockets, ToPredecessor, ToSuccessor, ToWorker};
use super::succession::{Predecessor, Stage, Successor, TAKING_OVER};
use super::worker::{End, Restarts, Worker};

/// One pod's sockets.
#[derive(Debug)]
struct Held {
    sockets: Sockets,
    descriptors: Vec<Arc<OwnedFd>>,
}

/// The supervisor after this one has taken over.
#[derive(Debug)]
struct Relief {
    /// In this supervisor's own network namespace.
    same_network: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct House {
    options: SupervisorOptions,
    since: u64,
    held: BTreeMap<u64, Held>,
    worker: Option<Worker>,
    /// Workers that finish what is open, since a successor serves.
    retired: Vec<Worker>,
    restarts: Restarts,
    /// When the next worker starts, while there is none.
    restart_at: Option<Instant>,
    /// A worker of this supervisor has served.
    served: bool,
    /// Told to stop, or the worker was. It may serve on for a while, and have a successor yet.
    stopping: bool,
    /// The worker takes nothing new any more, and no successor has come.
    closed: bool,
    /// The code that the last worker ended with.
    code: u8,
    door: Option<Door>,
    predecessor: Option<Predecessor>,
    successor: Option<Successor>,
    /// A successor serves the node, or did and ended in good order.
    relieved: Option<Relief>,
    /// There was another supervisor, whose worker may have the ports of the admin endpoints.
    was_relieved: bool,
}

impl House {
    /// Starts the first worker.
    pub(super) fn open(options: SupervisorOptions) -> io::Result<Self> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let predecessor = handover_socket::predecessor(&options.run_dir);
        if let Some((_, supervisor)) = &predecessor {
            tracing::info!(supervisor, "another agent serves this node: taking over from it");
        }
        let mut house = Self {
            options,
            since,
            held: BTreeMap::new(),
            worker: None,
            retired: Vec::new(),
            restarts: Restarts::default(),
            restart_at: None,
            served: false,
            stopping: false,
            closed: false,
            code: 0,
            door: None,
            predecessor: predecessor.map(|(channel, _)| Predecessor::new(channel)),
            successor: None,
            relieved: None,
            was_relieved: false,
        };
        house.start_worker()?;
        if house.predecessor.is_none() {
            house.open_door();
        }
        Ok(house)
    }

    /// The exit code, once there is nothing to keep any more.
    pub(super) fn is_over(&self) -> Option<u8> {
        let done = self.worker.is_none() && self.retired.is_empty() && self.restart_at.is_none();
        // Where the successor is in another namespace (a pod beside this one), whoever started this one ends it; ending
        // by itself it would be started again, and take over in its turn.
        let superfluous = self.relieved.as_ref().is_some_and(|relief| relief.same_network);
        (done && (self.stopping || superfluous)).then_some(self.code)
    }

    /// When [`keep_time`](Self::keep_time) has something to do.
    pub(super) fn alarm(&self) -> Option<Instant> {
        let waiting = self.restart_at.filter(|_| !self.successor.as_ref().is_some_and(Successor::froze));
        [waiting, self.successor.as_ref().and_then(Successor::deadline)].into_iter().flatten().min()
    }

    pub(super) fn door(&self) -> Option<BorrowedFd<'_>> {
        self.door.as_ref().map(Door::as_fd)
    }

    pub(super) fn channels(&self) -> impl Iterator<Item = &Channel> {
        let workers = self.worker.iter().chain(&self.retired).map(|worker| &worker.channel);
        let supervisors = self.predecessor.iter().map(|predecessor| &predecessor.channel);
        workers.chain(supervisors).chain(self.successor.iter().map(|successor| &successor.channel))
    }

    /// Hears what everybody has to say, and says what they could not take before.
    pub(super) fn listen(&mut self) {
        self.listen_to_worker();
        self.listen_to_retired();
        self.listen_to_predecessor();
        self.listen_to_successor();
        self.answer_door();
    }

    /// What is due by the clock.
    pub(super) fn keep_time(&mut self, now: Instant) {
        if self.successor.as_ref().and_then(Successor::deadline).is_some_and(|until| until <= now) {
            tracing::error!(seconds = TAKING_OVER.as_secs(), "the successor took too long: this agent goes on");
            if let Some(mut late) = self.successor.take() {
                late.channel.send(&ToSuccessor::TooLate, Vec::new());
            }
            self.thaw();
        }
        let undecided = self.successor.as_ref().is_some_and(Successor::froze);
        if self.restart_at.is_some_and(|at| at <= now) && !undecided {
            self.restart_at = None;
            if let Err(error) = self.start_worker() {
                let pause = self.restarts.pause_after(End::Exit(1), Duration::ZERO);
                tracing::error!(%error, ?pause, "no worker can be started");
                self.restart_at = Some(now + pause.max(Duration::from_millis(100)));
            }
        }
    }

    /// SIGTERM or SIGINT came: the worker drains, and with it ends the supervisor. Told so twice, it ends at once.
    pub(super) fn told_to_stop(&mut self) {
        self.stopping = true;
        if self.restart_at.take().is_some() {
            self.code = 0;
        }
        self.say_bye();
        for worker in self.worker.iter().chain(&self.retired) {
            worker.signal(Signal::SIGTERM);
        }
    }

    /// A process ended; if it was no worker, it was an orphan.
    pub(super) fn ended(&mut self, pid: Pid, end: End) {
        // Its last words.
        self.listen_to_worker();
        if let Some(at) = self.retired.iter().position(|worker| worker.pid == pid) {
            self.retired.swap_remove(at);
            self.code = end.code();
            tracing::info!(%pid, %end, "the worker that finished what was open has ended");
            return;
        }
        let Some(worker) = self.worker.take_if(|worker| worker.pid == pid) else { return };
        self.code = end.code();
        if self.stopping {
            return;
        }
        if !self.served && (self.predecessor.is_some() || matches!(end, End::Exit(_))) {
            // It said why. Whoever started this process knows better than to try the same again at once.
            self.stopping = true;
            return;
        }
        let age = worker.age();
        let pause = self.restarts.pause_after(end, age);
        tracing::warn!(%pid, %end, ?age, ?pause, restarts = self.restarts.count, pods = self.held.len(),
            "the worker ended; new connections wait for the next one");
        self.restart_at = Some(Instant::now() + pause);
        if self.successor.as_ref().is_some_and(|successor| matches!(successor.stage, Stage::Freezing { .. })) {
            self.hand_over();
        }
    }

    fn start_worker(&mut self) -> io::Result<()> {
        let succeeds = self.predecessor.as_ref().is_some_and(|predecessor| !predecessor.relieved);
        let mut worker = Worker::start(&self.options.worker)?;
        let circumstances = Circumstances {
            supervisor: std::process::id().cast_signed(),
            supervisor_since: self.since,
            restarts: self.restarts.count,
            last_end: self.restarts.last_end.clone(),
            succeeds,
            ports_may_be_taken: succeeds || self.was_relieved,
        };
        worker.channel.send(&ToWorker::Start(circumstances), Vec::new());
        tracing::info!(pid = %worker.pid, restarts = self.restarts.count, pods = self.held.len(), "a worker starts");
        self.worker = Some(worker);
        if !succeeds {
            self.give_held();
        }
        Ok(())
    }

    fn give_held(&mut self) {
        let Some(worker) = &mut self.worker else { return };
        for held in self.held.values() {
            worker.channel.send(&ToWorker::Held(held.sockets.clone()), held.descriptors.clone());
        }
        worker.channel.send(&ToWorker::AllHeld, Vec::new());
    }

    fn open_door(&mut self) {
        match Door::open(&self.options.run_dir) {
            Ok(door) => self.door = Some(door),
            Err(error) => tracing::error!(%error, "no successor can take over: its socket cannot be made"),
        }
    }

    fn hold(&mut self, sockets: Sockets, descriptors: Vec<OwnedFd>) {
        let descriptors = descriptors.into_iter().map(Arc::new).collect();
        self.held.insert(sockets.cookie, Held { sockets, descriptors });
    }

    fn listen_to_worker(&mut self) {
        while let Some(worker) = &mut self.worker {
            worker.channel.flush();
            // That it is gone, its end will tell.
            let Ok(Some((message, descriptors))) = worker.channel.receive() else { return };
            self.hear_worker(message, descriptors);
        }
    }

    fn hear_worker(&mut self, message: FromWorker, descriptors: Vec<OwnedFd>) {
        match message {
            FromWorker::Hold(sockets) => self.hold(sockets, descriptors),
            FromWorker::Release { cookie } => drop(self.held.remove(&cookie)),
            FromWorker::TakeOver => match &mut self.predecessor {
                Some(predecessor) => {
                    predecessor.asked = true;
                    predecessor.channel.send(&ToPredecessor::TakeOver, Vec::new());
                }
                None => self.give_held(),
            },
            FromWorker::Serving => self.serves(),
            FromWorker::Frozen => self.hand_over(),
            FromWorker::Stopping => {
                (self.stopping, self.closed) = (true, true);
                self.say_bye();
                // What the worker no longer accepts on must not seem to be listened on.
                self.held.clear();
            }
        }
    }

    fn serves(&mut self) {
        self.served = true;
        // Before the predecessor is told, which then takes its own away: it must find that this one is in its place.
        if self.door.is_none() && self.relieved.is_none() {
            self.open_door();
        }
        if let Some(predecessor) = self.predecessor.as_mut().filter(|predecessor| !predecessor.relieved) {
            predecessor.relieved = true;
            predecessor.channel.send(&ToPredecessor::Serving, Vec::new());
            tracing::info!(
                pods = self.held.len(),
                "this agent serves the node; the one before it finishes what is open"
            );
        }
        (self.options.settled)();
    }

    fn listen_to_retired(&mut self) {
        for at in 0..self.retired.len() {
            self.retired[at].channel.flush();
            while let Ok(Some((message, _))) = self.retired[at].channel.receive() {
                // A pod died. While there is another worker, that is its to know.
                if let (FromWorker::Release { cookie }, None) = (message, &self.worker) {
                    self.held.remove(&cookie);
                }
            }
        }
    }
}

//! The worker's end of the connection to its supervisor: the information about its start, the sockets that the supervisor
//! holds for it, the supervisor's commands, and the worker's reports.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::getppid;
use parking_lot::Mutex;

use super::channel;
use super::message::{FromWorker, PodSockets, StartInfo, ToWorker};

/// The environment variable with the descriptor of the worker's end. A process that finds it set is a worker.
pub(super) const SOCKET_VARIABLE: &str = "WEIR_SUPERVISOR_SOCKET";

/// Why a process cannot be a worker.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorLinkError {
    #[error("{SOCKET_VARIABLE} must name a descriptor, not {0:?}; do not set it by hand")]
    Variable(String),
    #[error("the supervisor's socket: {0}")]
    Socket(#[from] io::Error),
    #[error("the supervisor's first message was not the start")]
    NoStart,
    #[error("the supervisor is gone")]
    Orphan,
}

/// What a supervisor has a running worker do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SupervisorCommand {
    /// A successor takes over: enrol and unenrol no pod, and report that. One of the other two follows.
    Freeze,
    /// The successor failed: enrol and unenrol pods again.
    Resume,
    /// The successor serves: finish what is open. `same_network`: it runs in this process's network namespace.
    Drain { same_network: bool },
}

/// The sockets of one pod by name.
pub type HeldSockets = BTreeMap<String, OwnedFd>;

/// See the module. Shared as `Arc<SupervisorLink>`.
#[derive(Debug)]
pub struct SupervisorLink {
    socket: OwnedFd,
    start_info: StartInfo,
    held: Mutex<BTreeMap<u64, HeldSockets>>,
}

impl SupervisorLink {
    /// The link of this process; `None` if it is no worker. From now on the process dies with its supervisor.
    ///
    /// # Errors
    /// When it is a worker, but its supervisor is gone or did not say how to start.
    pub fn of_this_process() -> Result<Option<Self>, SupervisorLinkError> {
        let Ok(number) = std::env::var(SOCKET_VARIABLE) else { return Ok(None) };
        let socket = inherited(&number)?;
        // The supervisor blocks the signals that it reads from a descriptor, and its mask was inherited.
        SigSet::empty().thread_set_mask().map_err(io::Error::from)?;
        prctl::set_pdeathsig(Signal::SIGKILL).map_err(io::Error::from)?;
        let (ToWorker::Start(start_info), _) = channel::receive(socket.as_fd())? else {
            return Err(SupervisorLinkError::NoStart);
        };
        if getppid().as_raw() != start_info.supervisor {
            return Err(SupervisorLinkError::Orphan);
        }
        let link = Self { socket, start_info, held: Mutex::default() };
        if !link.start_info.has_predecessor {
            link.receive_held()?;
        }
        Ok(Some(link))
    }

    #[must_use]
    pub fn start_info(&self) -> &StartInfo {
        &self.start_info
    }

    /// Asks for the predecessor's sockets, and blocks until they are here. The predecessor enrols and unenrols no pod from
    /// then on.
    ///
    /// # Errors
    /// When the supervisor is gone.
    pub fn take_over(&self) -> io::Result<()> {
        self.send(&FromWorker::TakeOver, &[])?;
        self.receive_held()
    }

    /// Duplicates of the sockets that are held for a pod, once. The supervisor goes on holding them.
    #[must_use]
    pub fn take_held(&self, cookie: u64) -> Option<HeldSockets> {
        self.held.lock().remove(&cookie)
    }

    /// Has the supervisor close what it holds for pods whose sockets were not taken.
    pub fn release_untaken(&self) {
        let rest = std::mem::take(&mut *self.held.lock());
        rest.into_keys().for_each(|cookie| self.release(cookie));
    }

    /// Has the supervisor hold duplicates of a pod's sockets, so that they outlive this process.
    pub fn hold(&self, cookie: u64, pod: &str, sockets: &[(&str, BorrowedFd<'_>)]) {
        let names = sockets.iter().map(|(name, _)| (*name).to_owned()).collect();
        let descriptors: Vec<RawFd> = sockets.iter().map(|(_, socket)| socket.as_raw_fd()).collect();
        self.send_or_log(&FromWorker::Hold(PodSockets { cookie, pod: pod.to_owned(), names }), &descriptors);
    }

    /// Has the supervisor close what it holds of a pod.
    pub fn release(&self, cookie: u64) {
        self.send_or_log(&FromWorker::Release { cookie }, &[]);
    }

    /// Reports that this process accepts connections.
    pub fn report_serving(&self) {
        self.send_or_log(&FromWorker::Serving, &[]);
    }

    /// Reports that this process received a signal to stop and drains, so that the supervisor starts no other worker.
    pub fn report_draining(&self) {
        self.send_or_log(&FromWorker::Draining, &[]);
    }

    /// Reports that no pod is enrolled or unenrolled any more.
    pub fn report_frozen(&self) {
        self.send_or_log(&FromWorker::Frozen, &[]);
    }

    /// Reports that all threads of the data plane go on.
    pub fn report_alive(&self) {
        self.send_or_log(&FromWorker::Alive, &[]);
    }

    /// Blocks until the next command; `None` once the supervisor is gone.
    #[must_use]
    pub fn next_command(&self) -> Option<SupervisorCommand> {
        loop {
            let (message, _) = channel::receive(self.socket.as_fd()).ok()?;
            return Some(match message {
                ToWorker::Freeze => SupervisorCommand::Freeze,
                ToWorker::Resume => SupervisorCommand::Resume,
                ToWorker::Drain { same_network } => SupervisorCommand::Drain { same_network },
                ToWorker::Start(_) | ToWorker::Held(_) | ToWorker::AllHeld => continue,
            });
        }
    }

    fn receive_held(&self) -> io::Result<()> {
        loop {
            match channel::receive(self.socket.as_fd())? {
                (ToWorker::Held(sockets), descriptors) => {
                    let named = sockets.names.into_iter().zip(descriptors).collect();
                    self.held.lock().insert(sockets.cookie, named);
                }
                (ToWorker::AllHeld, _) => return Ok(()),
                (other, _) => return Err(io::Error::other(format!("the supervisor says {other:?} too early"))),
            }
        }
    }

    fn send(&self, message: &FromWorker, descriptors: &[RawFd]) -> io::Result<()> {
        channel::send(self.socket.as_fd(), message, descriptors)
    }

    /// Sends, and logs a failure: without its supervisor this process ends within a moment anyway.
    fn send_or_log(&self, message: &FromWorker, descriptors: &[RawFd]) {
        if let Err(error) = self.send(message, descriptors) {
            tracing::warn!(%error, ?message, "the supervisor takes no messages");
        }
    }
}

fn inherited(number: &str) -> Result<OwnedFd, SupervisorLinkError> {
    let unusable = || SupervisorLinkError::Variable(number.to_owned());
    let descriptor: RawFd = number.parse().map_err(|_| unusable())?;
    // SAFETY: borrowed for a call that fails for what is no open descriptor.
    #[expect(unsafe_code, reason = "a descriptor that comes by its number")]
    let borrowed = unsafe { BorrowedFd::borrow_raw(descriptor.max(0)) };
    if descriptor <= 2 || fcntl(borrowed, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).is_err() {
        return Err(unusable());
    }
    // SAFETY: it is open, and the supervisor left it to this process for this link alone.
    #[expect(unsafe_code, reason = "a descriptor that comes by its number")]
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

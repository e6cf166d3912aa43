//! The worker's end of the connection to its supervisor: under which circumstances it was started, which sockets are held
//! for it, and what it tells of its own. Does nothing by itself.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::getppid;
use parking_lot::Mutex;

use super::channel;
use super::message::{Circumstances, FromWorker, Sockets, ToWorker};

/// Names the descriptor of the worker's end; whoever finds it set is a worker.
pub(super) const VARIABLE: &str = "WEIR_SUPERVISOR_SOCKET";

/// Why a process cannot be a worker.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("{VARIABLE} must name a descriptor, not {0:?}; do not set it by hand")]
    Variable(String),
    #[error("the supervisor's socket: {0}")]
    Socket(#[from] io::Error),
    #[error("the supervisor said something else than how to start")]
    NoStart,
    #[error("the supervisor is gone")]
    Orphan,
}

/// What a supervisor tells a worker that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Let no pod come or go, say so, and wait for one of the others.
    Freeze,
    /// Go on.
    Thaw,
    /// Finish what is open: a successor serves. It is in the same network namespace, or it is not.
    Retire { same_network: bool },
}

/// The sockets of a pod by name.
pub type HeldSockets = BTreeMap<String, OwnedFd>;

/// See the module. Shared as `Arc<Link>`.
#[derive(Debug)]
pub struct Link {
    socket: OwnedFd,
    circumstances: Circumstances,
    held: Mutex<BTreeMap<u64, HeldSockets>>,
}

impl Link {
    /// The link of this process; `None` if it is no worker. From now on it dies with its supervisor.
    ///
    /// # Errors
    /// When it is a worker, but its supervisor is gone or cannot be understood.
    pub fn of_this_process() -> Result<Option<Self>, LinkError> {
        let Ok(number) = std::env::var(VARIABLE) else { return Ok(None) };
        let socket = own(&number)?;
        // The supervisor waits for signals in another way, and its mask was inherited.
        SigSet::empty().thread_set_mask().map_err(io::Error::from)?;
        prctl::set_pdeathsig(Signal::SIGKILL).map_err(io::Error::from)?;
        let (ToWorker::Start(circumstances), _) = channel::receive(socket.as_fd())? else {
            return Err(LinkError::NoStart);
        };
        if getppid().as_raw() != circumstances.supervisor {
            return Err(LinkError::Orphan);
        }
        let link = Self { socket, circumstances, held: Mutex::default() };
        if !link.circumstances.succeeds {
            link.receive_held()?;
        }
        Ok(Some(link))
    }

    #[must_use]
    pub fn circumstances(&self) -> &Circumstances {
        &self.circumstances
    }

    /// Asks for what the predecessor holds, and waits for it. The predecessor lets no pod come or go from then on.
    ///
    /// # Errors
    /// When the supervisor is gone.
    pub fn take_over(&self) -> io::Result<()> {
        self.tell(&FromWorker::TakeOver, &[])?;
        self.receive_held()
    }

    /// The sockets that are held for a pod. They go on being held.
    #[must_use]
    pub fn take(&self, cookie: u64) -> Option<HeldSockets> {
        self.held.lock().remove(&cookie)
    }

    /// Lets go of what is held for pods that nobody took sockets for.
    pub fn release_rest(&self) {
        let rest = std::mem::take(&mut *self.held.lock());
        rest.into_keys().for_each(|cookie| self.release(cookie));
    }

    /// Has duplicates of a pod's sockets held, so that they outlive this process.
    pub fn hold(&self, cookie: u64, pod: &str, sockets: &[(&str, BorrowedFd<'_>)]) {
        let names = sockets.iter().map(|(name, _)| (*name).to_owned()).collect();
        let descriptors: Vec<RawFd> = sockets.iter().map(|(_, socket)| socket.as_raw_fd()).collect();
        self.say(&FromWorker::Hold(Sockets { cookie, pod: pod.to_owned(), names }), &descriptors);
    }

    /// Has the supervisor let go of a pod's sockets.
    pub fn release(&self, cookie: u64) {
        self.say(&FromWorker::Release { cookie }, &[]);
    }

    /// All has come up.
    pub fn serving(&self) {
        self.say(&FromWorker::Serving, &[]);
    }

    /// The process ends because it was told to: no other is to be started.
    pub fn stopping(&self) {
        self.say(&FromWorker::Stopping, &[]);
    }

    /// No pod comes or goes any more.
    pub fn frozen(&self) {
        self.say(&FromWorker::Frozen, &[]);
    }

    /// Waits for the next order; `None` once the supervisor is gone.
    #[must_use]
    pub fn next_order(&self) -> Option<Order> {
        loop {
            let (message, _) = channel::receive(self.socket.as_fd()).ok()?;
            return Some(match message {
                ToWorker::Freeze => Order::Freeze,
                ToWorker::Thaw => Order::Thaw,
                ToWorker::Retire { same_network } => Order::Retire { same_network },
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

    fn tell(&self, message: &FromWorker, descriptors: &[RawFd]) -> io::Result<()> {
        channel::send(self.socket.as_fd(), message, descriptors)
    }

    /// For what cannot be helped: a worker without its supervisor has no more than a moment to live.
    fn say(&self, message: &FromWorker, descriptors: &[RawFd]) {
        if let Err(error) = self.tell(message, descriptors) {
            tracing::warn!(%error, ?message, "the supervisor does not listen");
        }
    }
}

fn own(number: &str) -> Result<OwnedFd, LinkError> {
    let unusable = || LinkError::Variable(number.to_owned());
    let descriptor: RawFd = number.parse().map_err(|_| unusable())?;
    // SAFETY: borrowed for a call that fails for what is no open descriptor.
    #[expect(unsafe_code, reason = "a descriptor that comes by its number")]
    let borrowed = unsafe { BorrowedFd::borrow_raw(descriptor.max(0)) };
    if descriptor <= 2 || fcntl(borrowed, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).is_err() {
        return Err(unusable());
    }
    // SAFETY: it is open, and the supervisor left it to this process for this alone.
    #[expect(unsafe_code, reason = "a descriptor that comes by its number")]
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

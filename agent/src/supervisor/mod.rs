//! The supervisor: the small process that `weir agent` is first of all. It holds the listening sockets of the pods, so that
//! new connections wait while no worker runs, starts the worker and starts it again, and passes all of it on to the
//! supervisor of another version. One thread, one loop; it parses nothing that a peer sends, and knows sockets by name only.
//!
//! `message` is what is said, `channel` how; `worker` is a child as seen from here, `link` what is seen from there; `handover_socket`
//! is where a successor knocks, `succession` what happens then; `state` is what is kept, and this the loop around it.

mod channel;
mod handover_socket;
mod link;
mod message;
mod state;
mod succession;
mod worker;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, waitpid};

use self::channel::Channel;
pub use self::link::{HeldSockets, Link, LinkError, Order};
pub use self::message::Circumstances;
use self::state::House;
use self::worker::End;
pub use self::worker::Program;

/// What a supervisor needs to know.
#[derive(Debug, Clone)]
pub struct SupervisorOptions {
    /// Where its socket is.
    pub run_dir: PathBuf,
    pub worker: Program,
    /// Called whenever there is nothing left to do but wait.
    pub settled: fn(),
}

/// Keeps a worker running until it is told to stop, or until the first worker cannot come up; gives the exit code.
///
/// # Errors
/// When the system gives no descriptors or no process at the start.
pub fn keep(options: SupervisorOptions) -> io::Result<u8> {
    let signals = watch_signals()?;
    // A pod is six descriptors.
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    let mut house = House::open(options)?;
    loop {
        if let Some(code) = house.is_over() {
            return Ok(code);
        }
        wait(&house, &signals)?;
        house.listen();
        while let Some(signal) = signals.read_signal()? {
            if signal.ssi_signo == Signal::SIGCHLD as u32 {
                continue;
            }
            house.told_to_stop();
        }
        reap(&mut house)?;
        house.keep_time(Instant::now());
    }
}

fn watch_signals() -> io::Result<SignalFd> {
    let mut mask = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGCHLD] {
        mask.add(signal);
    }
    mask.thread_block()?;
    Ok(SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?)
}

/// Waits until there is something to do.
fn wait(house: &House, signals: &SignalFd) -> io::Result<()> {
    let timeout = match house.alarm() {
        None => PollTimeout::NONE,
        // A little late rather than many times too early.
        Some(at) => PollTimeout::try_from(at.saturating_duration_since(Instant::now()).as_millis() + 1)
            .unwrap_or(PollTimeout::MAX),
    };
    let interest = |channel: &Channel| {
        if channel.has_more_to_send() { PollFlags::POLLIN | PollFlags::POLLOUT } else { PollFlags::POLLIN }
    };
    let mut watched = vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
    watched.extend(house.door().map(|door: BorrowedFd<'_>| PollFd::new(door, PollFlags::POLLIN)));
    watched.extend(house.channels().map(|channel| PollFd::new(channel.as_fd(), interest(channel))));
    match poll(&mut watched, timeout) {
        Err(Errno::EINTR) | Ok(_) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Takes note of every child that ended, and of orphans where this process is the first of a container.
fn reap(house: &mut House) -> io::Result<()> {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(status) => match End::of(status) {
                Some((pid, end)) => house.ended(pid, end),
                None => return Ok(()),
            },
            Err(Errno::ECHILD) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

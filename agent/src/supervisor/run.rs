//! The poll loop of the supervisor: waits until another process speaks, a child ends, a signal comes or time is up.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, waitpid};

use super::channel::Channel;
use super::state::{Supervisor, SupervisorOptions};
use super::worker::WorkerExit;

/// Keeps a worker running until a signal stops it, or until the first worker fails to start. Returns the exit code.
///
/// # Errors
/// When the system gives no descriptors or no process at the start.
pub fn run(options: SupervisorOptions) -> io::Result<u8> {
    let signals = watch_signals()?;
    raise_descriptor_limit()?;
    let mut supervisor = Supervisor::start(options)?;
    loop {
        if let Some(code) = supervisor.exit_code() {
            return Ok(code);
        }
        wait(&supervisor, &signals)?;
        supervisor.receive_all();
        while let Some(signal) = signals.read_signal()? {
            // A child that ended is reaped below.
            if signal.ssi_signo != Signal::SIGCHLD as u32 {
                supervisor.on_stop_signal();
            }
        }
        reap_children(&mut supervisor)?;
        supervisor.tick(Instant::now());
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

/// Up to six descriptors are held for each pod: the soft limit that shells hand out is soon reached.
fn raise_descriptor_limit() -> io::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?)
}

/// Waits until there is something to do.
fn wait(supervisor: &Supervisor, signals: &SignalFd) -> io::Result<()> {
    let timeout = match supervisor.next_deadline() {
        None => PollTimeout::NONE,
        // Rounded up: waking before the deadline would be a loop that does nothing.
        Some(at) => PollTimeout::try_from(at.saturating_duration_since(Instant::now()).as_millis() + 1)
            .unwrap_or(PollTimeout::MAX),
    };
    let interest = |channel: &Channel| {
        if channel.has_more_to_send() { PollFlags::POLLIN | PollFlags::POLLOUT } else { PollFlags::POLLIN }
    };
    let mut watched = vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
    watched.extend(supervisor.handover_socket().map(|socket: BorrowedFd<'_>| PollFd::new(socket, PollFlags::POLLIN)));
    watched.extend(supervisor.channels().map(|channel| PollFd::new(channel.as_fd(), interest(channel))));
    match poll(&mut watched, timeout) {
        Err(Errno::EINTR) | Ok(_) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Reaps every child that ended, also the orphans that the first process of a container inherits.
fn reap_children(supervisor: &mut Supervisor) -> io::Result<()> {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(status) => match WorkerExit::of(status) {
                Some((pid, exit)) => supervisor.on_exit(pid, exit),
                None => return Ok(()),
            },
            Err(Errno::ECHILD) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

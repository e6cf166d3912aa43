//! A worker process as its supervisor sees it: how it is started, how it ended, and when the next one may start.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;

use super::channel::Channel;
use super::link::VARIABLE;

/// A worker that ends this soon after its start has not got far.
const SHORT_LIFE: Duration = Duration::from_secs(10);
/// So many short lives in a row are followed by another worker at once.
const SHORT_LIVES_IN_A_ROW: u32 = 3;
/// The pause after one more, doubled with every further one.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// What a worker is started with: the supervisor's own program and arguments.
#[derive(Debug, Clone)]
pub struct Program {
    pub path: PathBuf,
    pub arguments: Vec<OsString>,
}

/// A running worker.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) pid: Pid,
    pub(super) channel: Channel,
    started: Instant,
}

impl Worker {
    /// Starts one. It inherits everything but the supervisor's place among process groups: what a terminal sends to the
    /// supervisor's group, the supervisor passes on.
    pub(super) fn start(program: &Program) -> io::Result<Self> {
        let (channel, theirs) = Channel::pair()?;
        let pid = spawn(program, &theirs)?;
        Ok(Self { pid, channel, started: Instant::now() })
    }

    /// Signals it; one that has just ended needs no signal.
    pub(super) fn signal(&self, signal: Signal) {
        // Its process id is not given away before it is waited for.
        let _ = kill(self.pid, signal);
    }

    pub(super) fn age(&self) -> Duration {
        self.started.elapsed()
    }
}

fn spawn(program: &Program, theirs: &OwnedFd) -> io::Result<Pid> {
    // This process has one thread: nobody else starts a program meanwhile, which would inherit it too.
    fcntl(theirs, FcntlArg::F_SETFD(FdFlag::empty()))?;
    let child = Command::new(&program.path)
        .arg0("weir")
        .args(&program.arguments)
        .env(VARIABLE, theirs.as_raw_fd().to_string())
        .process_group(0)
        .spawn()?;
    Ok(Pid::from_raw(child.id().cast_signed()))
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Exit(i32),
    Killed(Signal),
}

impl End {
    /// What is waited for, if it is an end.
    pub(super) fn of(status: WaitStatus) -> Option<(Pid, Self)> {
        match status {
            WaitStatus::Exited(pid, code) => Some((pid, Self::Exit(code))),
            WaitStatus::Signaled(pid, signal, _) => Some((pid, Self::Killed(signal))),
            _ => None,
        }
    }

    /// As shells tell it.
    pub(super) fn code(self) -> u8 {
        match self {
            Self::Exit(code) => u8::try_from(code).unwrap_or(1),
            Self::Killed(signal) => 128 + signal as u8,
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exit(code) => write!(f, "exit code {code}"),
            Self::Killed(signal) => write!(f, "{signal}"),
        }
    }
}

/// Workers that ended without having been told to.
#[derive(Debug, Default)]
pub(super) struct Restarts {
    pub(super) count: u64,
    pub(super) last_end: Option<String>,
    short_lives: u32,
}

impl Restarts {
    /// Notes the end of a worker, and says how long to wait before the next one.
    pub(super) fn pause_after(&mut self, end: End, age: Duration) -> Duration {
        self.count += 1;
        self.last_end = Some(end.to_string());
        self.short_lives = if age < SHORT_LIFE { self.short_lives + 1 } else { 0 };
        match self.short_lives.checked_sub(SHORT_LIVES_IN_A_ROW + 1) {
            None => Duration::ZERO,
            Some(more) => PAUSES.0.saturating_mul(1 << more.min(16)).min(PAUSES.1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_while_workers_die_young() {
        let mut restarts = Restarts::default();
        let mut pause = |seconds| restarts.pause_after(End::Killed(Signal::SIGKILL), Duration::from_secs(seconds));
        let pauses: Vec<u128> = (0..11).map(|_| pause(1).as_millis()).collect();
        assert_eq!(pauses, [0, 0, 0, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(pause(60), Duration::ZERO, "one that lived begins the count anew");
        assert_eq!(pause(1), Duration::ZERO);
        assert_eq!((restarts.count, restarts.last_end.as_deref()), (13, Some("SIGKILL")));
    }

    #[test]
    fn ends_are_told_as_shells_tell_them() {
        assert_eq!((End::Exit(2).code(), End::Exit(2).to_string().as_str()), (2, "exit code 2"));
        assert_eq!(End::Killed(Signal::SIGTERM).code(), 143);
    }
}

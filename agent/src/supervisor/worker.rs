//! A worker process as its supervisor sees it: how it is started, how it ended, and when the next one starts.

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
use super::link::SOCKET_VARIABLE;
use super::liveness::Liveness;

/// A worker that ends within this time of its start counts as an early crash.
const EARLY_CRASH_AGE: Duration = Duration::from_secs(10);
/// After so many early crashes in a row another worker still starts at once.
const CRASHES_WITHOUT_PAUSE: u32 = 3;
/// The pause after one more early crash. It doubles with every further one, up to the longest.
const FIRST_RESTART_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_RESTART_PAUSE: Duration = Duration::from_secs(5);

/// What a worker is started with: the supervisor's own program and arguments.
#[derive(Debug, Clone)]
pub struct WorkerProgram {
    pub path: PathBuf,
    pub arguments: Vec<OsString>,
}

/// A running worker.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) pid: Pid,
    pub(super) channel: Channel,
    pub(super) liveness: Liveness,
    started: Instant,
}

impl Worker {
    /// Starts a worker in a process group of its own: a signal that a terminal sends to the supervisor's group reaches the
    /// worker only as the supervisor passes it on.
    pub(super) fn start(program: &WorkerProgram, hang_limit: Duration) -> io::Result<Self> {
        let (channel, theirs) = Channel::pair()?;
        let pid = spawn(program, &theirs)?;
        Ok(Self { pid, channel, liveness: Liveness::new(hang_limit), started: Instant::now() })
    }

    /// Sends a signal; to one that has just ended none is needed.
    pub(super) fn signal(&self, signal: Signal) {
        // Its process id is not given to another process before it is waited for.
        let _ = kill(self.pid, signal);
    }

    pub(super) fn age(&self) -> Duration {
        self.started.elapsed()
    }
}

fn spawn(program: &WorkerProgram, theirs: &OwnedFd) -> io::Result<Pid> {
    // This process has one thread: no other program is started meanwhile that would inherit the descriptor, too.
    fcntl(theirs, FcntlArg::F_SETFD(FdFlag::empty()))?;
    let child = Command::new(&program.path)
        .arg0("weir")
        .args(&program.arguments)
        .env(SOCKET_VARIABLE, theirs.as_raw_fd().to_string())
        .process_group(0)
        .spawn()?;
    Ok(Pid::from_raw(child.id().cast_signed()))
}

/// How a worker process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WorkerExit {
    Code(i32),
    Killed(Signal),
}

impl WorkerExit {
    /// What waitpid(2) reported, if it is that a process ended.
    pub(super) fn of(status: WaitStatus) -> Option<(Pid, Self)> {
        match status {
            WaitStatus::Exited(pid, code) => Some((pid, Self::Code(code))),
            WaitStatus::Signaled(pid, signal, _) => Some((pid, Self::Killed(signal))),
            _ => None,
        }
    }

    /// The exit code as shells report it: 128 and the signal's number for a process that was killed.
    pub(super) fn code(self) -> u8 {
        match self {
            Self::Code(code) => u8::try_from(code).unwrap_or(1),
            Self::Killed(signal) => 128 + signal as u8,
        }
    }
}

impl fmt::Display for WorkerExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Killed(signal) => write!(f, "{signal}"),
        }
    }
}

/// The workers that ended without a request to stop, and how long the next one has to wait.
#[derive(Debug, Default)]
pub(super) struct Restarts {
    pub(super) count: u64,
    pub(super) last_exit: Option<String>,
    /// In a row.
    early_crashes: u32,
}

impl Restarts {
    /// Notes the end of a worker, and says how long to wait before the next one.
    pub(super) fn pause_after(&mut self, exit: WorkerExit, age: Duration) -> Duration {
        self.count += 1;
        self.last_exit = Some(exit.to_string());
        self.early_crashes = if age < EARLY_CRASH_AGE { self.early_crashes + 1 } else { 0 };
        match self.early_crashes.checked_sub(CRASHES_WITHOUT_PAUSE + 1) {
            None => Duration::ZERO,
            Some(more) => FIRST_RESTART_PAUSE.saturating_mul(1 << more.min(16)).min(LONGEST_RESTART_PAUSE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_while_workers_die_young() {
        let mut restarts = Restarts::default();
        let mut pause =
            |seconds| restarts.pause_after(WorkerExit::Killed(Signal::SIGKILL), Duration::from_secs(seconds));
        let pauses: Vec<u128> = (0..11).map(|_| pause(1).as_millis()).collect();
        assert_eq!(pauses, [0, 0, 0, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(pause(60), Duration::ZERO, "one that lived begins the count anew");
        assert_eq!(pause(1), Duration::ZERO);
        assert_eq!((restarts.count, restarts.last_exit.as_deref()), (13, Some("SIGKILL")));
    }

    #[test]
    fn exits_are_reported_as_shells_report_them() {
        assert_eq!((WorkerExit::Code(2).code(), WorkerExit::Code(2).to_string().as_str()), (2, "exit code 2"));
        assert_eq!(WorkerExit::Killed(Signal::SIGTERM).code(), 143);
    }
}

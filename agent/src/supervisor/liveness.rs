//! Whether a worker still goes on: it says so every second, and one that has not said so for long is replaced. A worker that
//! hangs serves nobody, and nothing else would end it.

use std::fs;
use std::time::{Duration, Instant};

use nix::unistd::Pid;

/// How long a worker that is suspected to hang still has to speak. A machine that stood still as a whole needs no longer: the
/// worker's messages may come a moment after the supervisor goes on.
const GRACE: Duration = Duration::from_secs(2);

/// What is to be done about a silent worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Tell what its threads do; it has [`GRACE`] to speak.
    Suspect,
    Kill,
}

/// When a worker was heard of last. Nothing is expected of one before it has spoken for the first time.
#[derive(Debug)]
pub(super) struct Liveness {
    limit: Duration,
    /// When the next step is due.
    due: Option<Instant>,
    is_suspected: bool,
}

impl Liveness {
    /// For a worker that may be silent for so long.
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, due: None, is_suspected: false }
    }

    /// The worker has said that it goes on.
    pub(super) fn heard(&mut self, now: Instant) {
        self.due = Some(now + self.limit);
        if std::mem::take(&mut self.is_suspected) {
            tracing::info!("the worker goes on after all");
        }
    }

    /// When [`step`](Self::step) has something to say.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.due
    }

    /// What is to be done by now, once.
    pub(super) fn step(&mut self, now: Instant) -> Option<Step> {
        self.due.filter(|due| *due <= now)?;
        if self.is_suspected {
            self.due = None;
            return Some(Step::Kill);
        }
        self.is_suspected = true;
        self.due = Some(now + GRACE);
        Some(Step::Suspect)
    }
}

/// What each thread of a process does, as far as the kernel tells (proc(5)): its name, its state, where it waits in the kernel,
/// and the system call with its arguments.
pub(super) fn threads(pid: Pid) -> Vec<String> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let described = tasks.flatten().map(|task| {
        let read = |name: &str| fs::read_to_string(task.path().join(name)).unwrap_or_default();
        let status = read("status");
        let state = status.lines().find_map(|line| line.strip_prefix("State:")).unwrap_or_default();
        let stack: Vec<_> = read("stack").lines().map(|line| line.trim_start_matches("[<0>] ").to_owned()).collect();
        format!(
            "{} ({}): {}, waits in {}, system call {}, kernel stack {}",
            read("comm").trim(),
            task.file_name().display(),
            state.trim(),
            read("wchan"),
            read("syscall").trim(),
            stack.join(" < ")
        )
    });
    described.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_worker_is_suspected_and_then_killed_unless_it_speaks() {
        let (start, limit) = (Instant::now(), Duration::from_secs(20));
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut liveness = Liveness::new(limit);
        assert_eq!((liveness.deadline(), liveness.step(at(60))), (None, None), "it has never spoken");
        liveness.heard(at(60));
        assert_eq!(liveness.step(at(79)), None);
        assert_eq!(liveness.step(at(80)), Some(Step::Suspect));
        assert_eq!((liveness.deadline(), liveness.step(at(81))), (Some(at(82)), None), "it may still speak");
        liveness.heard(at(81));
        assert_eq!(liveness.step(at(100)), None, "it has");
        assert_eq!(liveness.step(at(101)), Some(Step::Suspect));
        assert_eq!(liveness.step(at(103)), Some(Step::Kill));
        assert_eq!((liveness.deadline(), liveness.step(at(200))), (None, None), "once");
    }

    #[test]
    fn threads_of_a_process_are_told_by_name() {
        let (ready, go_on) = (std::sync::mpsc::channel(), std::sync::mpsc::channel::<()>());
        let body = move || {
            ready.0.send(()).expect("the test waits");
            let _ = go_on.1.recv();
        };
        let thread = std::thread::Builder::new().name("stands-still".to_owned()).spawn(body).expect("a thread");
        ready.1.recv().expect("the thread runs");
        let told = threads(Pid::this());
        assert!(told.iter().any(|line| line.starts_with("stands-still (")), "{told:?}");
        drop(go_on.0);
        thread.join().expect("it ends");
    }
}

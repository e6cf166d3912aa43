//! Whether a worker process hangs. It sends the supervisor a heartbeat every second, and is killed and replaced when none has
//! come for long: a worker that hangs serves nobody, and nothing else would end it.

use std::fs;
use std::time::{Duration, Instant};

use nix::unistd::Pid;

/// How long a worker that is suspected to hang has for a heartbeat. It is enough after the whole machine was paused: the
/// worker's heartbeats then arrive a moment after the supervisor continues.
const GRACE_PERIOD: Duration = Duration::from_secs(2);

/// What the supervisor does with a worker that sends no heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HangAction {
    /// Log what its threads do. It has [`GRACE_PERIOD`] for a heartbeat.
    LogThreads,
    Kill,
}

/// When the next heartbeat of a worker is due. None is before its first one.
#[derive(Debug)]
pub(super) struct Liveness {
    limit: Duration,
    /// When the next step is due.
    due: Option<Instant>,
    is_suspected: bool,
}

impl Liveness {
    /// For a worker whose heartbeats may be so far apart.
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, due: None, is_suspected: false }
    }

    /// A heartbeat has arrived.
    pub(super) fn heartbeat(&mut self, now: Instant) {
        self.due = Some(now + self.limit);
        if std::mem::take(&mut self.is_suspected) {
            tracing::info!("the worker goes on after all");
        }
    }

    /// When [`next_action`](Self::next_action) returns one.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.due
    }

    /// What is due by now; each action once.
    pub(super) fn next_action(&mut self, now: Instant) -> Option<HangAction> {
        self.due.filter(|due| *due <= now)?;
        if self.is_suspected {
            self.due = None;
            return Some(HangAction::Kill);
        }
        self.is_suspected = true;
        self.due = Some(now + GRACE_PERIOD);
        Some(HangAction::LogThreads)
    }
}

/// What each thread of a process does, as far as proc(5) shows it: its name, its state, where it waits in the kernel,
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
        assert_eq!((liveness.deadline(), liveness.next_action(at(60))), (None, None), "it has never spoken");
        liveness.heartbeat(at(60));
        assert_eq!(liveness.next_action(at(79)), None);
        assert_eq!(liveness.next_action(at(80)), Some(HangAction::LogThreads));
        assert_eq!((liveness.deadline(), liveness.next_action(at(81))), (Some(at(82)), None), "it may still speak");
        liveness.heartbeat(at(81));
        assert_eq!(liveness.next_action(at(100)), None, "it has");
        assert_eq!(liveness.next_action(at(101)), Some(HangAction::LogThreads));
        assert_eq!(liveness.next_action(at(103)), Some(HangAction::Kill));
        assert_eq!((liveness.deadline(), liveness.next_action(at(200))), (None, None), "once");
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

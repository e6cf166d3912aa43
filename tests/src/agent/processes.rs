//! The two processes of a running agent, and how either is killed.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::node_agent::Agent;
use crate::wait;

impl Agent {
    /// Kills both of its processes, as losing its container would.
    ///
    /// # Errors
    /// If it is not running.
    pub fn kill(&mut self) -> Result<()> {
        let workers = self.workers()?;
        let program = self.program.take().context("the agent is not running")?;
        program.signal(Signal::SIGKILL)?;
        program.finish(Duration::from_secs(5))?;
        wait::until("its worker is gone, too", Duration::from_secs(5), || {
            ensure!(!workers.iter().copied().any(is_running), "it goes on running");
            Ok(())
        })
    }

    /// Kills the worker alone, as the kernel does where there is no memory, and waits until it is gone.
    ///
    /// # Errors
    /// If there is none, or it goes on running.
    pub fn kill_worker(&self) -> Result<()> {
        self.end_worker(Signal::SIGKILL)
    }

    /// Ends the worker alone by a signal, and waits until it is gone.
    ///
    /// # Errors
    /// If there is none, or it goes on running.
    pub fn end_worker(&self, signal: Signal) -> Result<()> {
        let worker = self.id()?;
        nix::sys::signal::kill(Pid::from_raw(worker.cast_signed()), signal)?;
        wait::until("the worker is gone", Duration::from_secs(5), || {
            ensure!(!is_running(worker), "it goes on running");
            Ok(())
        })
    }

    /// Process id of the running agent's supervisor.
    ///
    /// # Errors
    /// If it is not running.
    pub fn supervisor(&self) -> Result<u32> {
        Ok(self.program.as_ref().context("the agent is not running")?.id())
    }

    /// Process id of its worker, the process that carries connections.
    ///
    /// # Errors
    /// If there is none now.
    pub fn id(&self) -> Result<u32> {
        self.workers()?.last().copied().context("the agent has no worker now")
    }

    /// Bytes of memory that its worker holds now.
    ///
    /// # Errors
    /// If there is no worker.
    pub fn resident_bytes(&self) -> Result<u64> {
        let statm = fs::read_to_string(format!("/proc/{}/statm", self.id()?))?;
        let pages: u64 = statm.split(' ').nth(1).context("statm has no resident pages")?.parse()?;
        Ok(pages * 4096)
    }

    /// Process ids of all workers, also of those that only finish what is open.
    ///
    /// # Errors
    /// If the agent is not running.
    pub fn workers(&self) -> Result<Vec<u32>> {
        let supervisor = self.supervisor()?;
        let children = fs::read_to_string(format!("/proc/{supervisor}/task/{supervisor}/children"))?;
        let children = children.split_ascii_whitespace().filter_map(|child| child.parse().ok());
        Ok(children.filter(|child| is_running(*child)).collect())
    }
}

/// Whether there is such a process, and it is no zombie.
fn is_running(process: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let has_ended = stat.rsplit_once(") ").is_none_or(|(_, state)| state.starts_with(['Z', 'X']));
    // The first thread may have ended before the others: what they have open is closed with the last one.
    let threads = || fs::read_dir(format!("/proc/{process}/task")).map_or(0, Iterator::count);
    !has_ended || threads() > 1
}

//! A running program of a test: its output, its end, its ports. Dropping it kills it and all of its process group.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::wait;

/// How much of a log is worth printing.
const TAIL_LINES: usize = 12;

/// What a command left when it ended.
#[derive(Debug, Clone)]
pub struct Output {
    pub success: bool,
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// Status and both outputs in one line or a few.
    #[must_use]
    pub fn summary(&self) -> String {
        format!("{}; {} {}", self.status, self.stdout.trim(), self.stderr.trim())
    }
}

/// A program that was started in a [`crate::place::Place`].
#[derive(Debug)]
pub struct Program {
    what: String,
    child: Child,
    log: PathBuf,
}

impl Program {
    pub(crate) fn new(what: String, child: Child, log: PathBuf) -> Self {
        Self { what, child, log }
    }

    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to standard output so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// What it has written to standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        fs::read_to_string(self.log.with_extension("err")).unwrap_or_default()
    }

    /// Where its standard output goes.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The end of both outputs, for messages.
    #[must_use]
    pub fn tail(&self) -> String {
        let all = self.stdout() + &self.stderr();
        let lines: Vec<&str> = all.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }

    /// True until it has ended.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends a signal to its process group.
    ///
    /// # Errors
    /// If it has ended already.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        killpg(Pid::from_raw(self.child.id().cast_signed()), signal)
            .with_context(|| format!("{signal} to {}", self.what))
    }

    /// Waits for it to end by itself.
    ///
    /// # Errors
    /// If it does not in time; it is killed then.
    pub fn finish(mut self, within: Duration) -> Result<Output> {
        let status = self.ended(within)?;
        Ok(Output { success: status.success(), status, stdout: self.stdout(), stderr: self.stderr() })
    }

    /// Waits for it to end by itself, without giving it up.
    ///
    /// # Errors
    /// If it does not in time.
    pub fn ended(&mut self, within: Duration) -> Result<ExitStatus> {
        let what = format!("{} ends", self.what);
        let ended = wait::until(&what, within, || self.child.try_wait()?.context("it goes on running"));
        ended.with_context(|| format!("its output ends with:\n{}", self.tail()))
    }

    /// Asks it to end (SIGTERM) and waits.
    ///
    /// # Errors
    /// If it does not end in time.
    pub fn stop(self, within: Duration) -> Result<Output> {
        self.signal(Signal::SIGTERM)?;
        self.finish(within)
    }

    /// Waits until it, or a child in its namespace, listens on a TCP port. Nothing is sent to the port.
    ///
    /// # Errors
    /// If it ends before, or does not listen in time.
    pub fn listens_on(&mut self, port: u16) -> Result<()> {
        self.listens_within(Duration::from_secs(10), port)
    }

    /// As [`Program::listens_on`], for a program that takes longer.
    ///
    /// # Errors
    /// If it ends or does not listen in time; with the end of its output.
    pub fn listens_within(&mut self, within: Duration, port: u16) -> Result<()> {
        let what = format!("{} listens on {port}", self.what);
        let listening = wait::until(&what, within, || {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Err(status));
            }
            ensure!(listening_ports(self.child.id())?.contains(&port), "it does not");
            Ok(Ok(()))
        });
        match listening {
            Ok(Ok(())) => Ok(()),
            Ok(Err(status)) => bail!("{} ended with {status}:\n{}", self.what, self.tail()),
            Err(error) => Err(error.context(format!("its output ends with:\n{}", self.tail()))),
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if self.is_running() {
            let _ = self.signal(Signal::SIGKILL);
            let _ = self.child.wait();
        }
    }
}

/// The TCP ports somebody listens on in the network namespace of a process, in ascending order.
///
/// # Errors
/// If the process is gone.
pub fn listening_ports(pid: u32) -> Result<Vec<u16>> {
    let mut ports = Vec::new();
    for table in ["tcp", "tcp6"] {
        let text = fs::read_to_string(format!("/proc/{pid}/net/{table}"))?;
        ports.extend(text.lines().skip(1).filter_map(listening_port));
    }
    ports.sort_unstable();
    ports.dedup();
    Ok(ports)
}

/// The local port of a line of /proc/net/tcp, if its socket listens (state 0A).
fn listening_port(line: &str) -> Option<u16> {
    let mut fields = line.split_whitespace().skip(1);
    let (local, state) = (fields.next()?, fields.nth(1)?);
    if state != "0A" {
        return None;
    }
    u16::from_str_radix(local.rsplit(':').next()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listening_sockets_count() {
        let listening = "   0: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 1";
        let connected = "   1: 0100007F:1F90 0100007F:A2C4 01 00000000:00000000 00:00000000 00000000 0 0 2";
        assert_eq!(listening_port(listening), Some(8080));
        assert_eq!(listening_port(connected), None);
        assert_eq!(listening_port("junk"), None);
    }
}

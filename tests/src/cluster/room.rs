//! A room: a set of namespaces and cgroups that lives as long as its first process, and a [`Place`] in which programs of
//! it run. Control plane and nodes are rooms.
//!
//! A room is to be opened by a thread that lives as long as the room shall: the kernel takes the room down when the
//! thread ends, which is what makes it go with a killed test.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask};

use super::hierarchies::{self, Directories};
use super::inside;
use super::parts::{Parts, this_program};
use crate::namespace;
use crate::place::Place;
use crate::program::Program;
use crate::run::Run;
use crate::wait;

/// A room. Dropping it ends everything in it.
#[derive(Debug)]
pub struct Room {
    name: String,
    /// Waits for the first process; the kernel ends that one with it.
    _opener: Program,
    inmate: u32,
    directories: Directories,
    place: Place,
}

impl Room {
    /// Opens a room: `kinds` are the namespaces besides mounts, network and processes, in unshare's words; `role` is what
    /// its first process is told.
    ///
    /// # Errors
    /// If the kernel refuses, or the first process cannot make its mounts.
    pub fn open(run: &Run, parts: &Parts, name: &str, kinds: &[&str], role: &[&str]) -> Result<Self> {
        let directories = hierarchies::create(run, name)?;
        let log = run.logs().join(format!("{name}-room.log"));
        let mut unshare = Command::new("unshare");
        unshare.args([
            "--mount",
            "--net",
            "--pid",
            "--fork",
            "--mount-proc",
            "--kill-child",
            "--propagation",
            "private",
        ]);
        unshare.args(kinds).arg("--").arg(this_program()?).arg(inside::WORD).args(role);
        unshare.stdin(Stdio::null()).stdout(File::create(&log)?).stderr(File::create(log.with_extension("err"))?);
        unshare.process_group(0);
        prepare(&mut unshare, &directories)?;
        let child = unshare.spawn().context("running unshare")?;
        let mut opener = Program::new(format!("room {name}"), child, log);
        let inmate = wait::until(&format!("room {name} is ready"), Duration::from_secs(10), || {
            ensure!(opener.is_running() && opener.stdout().contains(inside::READY), "{}", opener.tail());
            only_child(opener.id())
        })?;
        let netns = File::open(format!("/proc/{inmate}/ns/net")).context("opening the room's network namespace")?;
        let place = Place::new(name, Arc::new(netns.into()), &directories.unified, &run.logs())
            .within(inmate, &directories.others)
            .with_environment(parts.environment());
        Ok(Self { name: name.to_owned(), _opener: opener, inmate, directories, place })
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its programs run.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The process id of its first process, as this machine counts.
    #[must_use]
    pub fn inmate(&self) -> u32 {
        self.inmate
    }

    /// Where a path of the room is found from outside.
    #[must_use]
    pub fn path(&self, inside: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{inside}", self.inmate))
    }

    /// Runs lines of `ip` commands in it.
    ///
    /// # Errors
    /// With ip's own words.
    pub fn ip(&self, lines: &str) -> Result<()> {
        let target = self.inmate.to_string();
        let mut ip = Command::new("nsenter");
        ip.args(["--net", "--target", &target, "--", "ip", "-batch", "-"]);
        let mut ip = ip.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        ip.stdin.take().expect("stdin is piped").write_all(lines.as_bytes())?;
        let output = ip.wait_with_output()?;
        let words = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "ip in {}: {}\n{lines}", self.name, words.trim());
        Ok(())
    }

    /// Sets a value below `/proc/sys` as its network namespace has it.
    ///
    /// # Errors
    /// If there is no such setting or the value is refused.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        let path = Path::new("/proc/sys").join(key);
        namespace::enter(self.place.netns().as_fd(), || fs::write(&path, value))?
            .with_context(|| format!("setting {key} in {}", self.name))
    }

    /// Its cgroup of version 2, as this machine sees it.
    #[must_use]
    pub fn cgroup(&self) -> &PathBuf {
        &self.directories.unified
    }

    /// Its cgroups in all hierarchies.
    pub fn cgroups(&self) -> impl Iterator<Item = &PathBuf> {
        std::iter::once(&self.directories.unified).chain(&self.directories.others)
    }
}

/// Lets the child enter its cgroups before it makes a cgroup namespace of them, and end with this thread.
fn prepare(unshare: &mut Command, directories: &Directories) -> Result<()> {
    let mut cgroups = Vec::new();
    for directory in std::iter::once(&directories.unified).chain(&directories.others) {
        cgroups.push(File::options().write(true).open(directory.join("cgroup.procs"))?);
    }
    let enter = move || {
        for cgroup in &cgroups {
            nix::unistd::write(cgroup, b"0")?;
        }
        set_pdeathsig(Signal::SIGKILL)?;
        pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
        Ok(())
    };
    #[expect(unsafe_code, reason = "a child must enter its cgroups between fork and exec")]
    // SAFETY: `enter` only makes system calls on descriptors opened before the fork; it neither allocates nor locks.
    unsafe {
        unshare.pre_exec(enter);
    }
    Ok(())
}

/// The process that unshare started in the new process namespace.
fn only_child(parent: u32) -> Result<u32> {
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"))?;
    children.split_whitespace().next().context("unshare has no child")?.parse().context("a process id is a number")
}

//! Where a program of a test runs: a network namespace and a cgroup, or all namespaces of a process and several cgroups. A
//! child process is moved into them before it becomes the program, as a container runtime does it, so the program's very
//! first socket belongs there.
//!
//! `ip netns exec` is of no use for this: it mounts a fresh /sys, which hides cgroup2 and the BPF file system.

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{SigSet, SigmaskHow, pthread_sigmask};

use crate::program::{Output, Program};

/// How long a command may take that is not expected to take long.
const USUAL: Duration = Duration::from_secs(30);

/// Where programs run.
#[derive(Debug, Clone)]
pub struct Place {
    name: String,
    netns: Arc<OwnedFd>,
    cgroup: PathBuf,
    /// Cgroups of other hierarchies that its programs are in too.
    more_cgroups: Vec<PathBuf>,
    /// The process whose namespaces, all of them, its programs share.
    inmate: Option<u32>,
    environment: Vec<(OsString, OsString)>,
    /// Command that runs its programs, if any.
    under: Vec<OsString>,
    logs: PathBuf,
    started: Arc<AtomicU32>,
}

impl Place {
    /// A place from its parts; the cgroup must exist.
    #[must_use]
    pub fn new(name: &str, netns: Arc<OwnedFd>, cgroup: &Path, logs: &Path) -> Self {
        Self {
            name: name.to_owned(),
            netns,
            cgroup: cgroup.to_owned(),
            more_cgroups: Vec::new(),
            inmate: None,
            environment: Vec::new(),
            under: Vec::new(),
            logs: logs.to_owned(),
            started: Arc::default(),
        }
    }

    /// The same, for programs that also share the mounts, processes, host name and cgroup root of a process, and are in
    /// more cgroups, whose hierarchies are not the place's own.
    #[must_use]
    pub fn within(mut self, inmate: u32, more_cgroups: &[PathBuf]) -> Self {
        self.inmate = Some(inmate);
        self.more_cgroups = more_cgroups.to_vec();
        self
    }

    /// The same, with variables that its programs find in their environment.
    #[must_use]
    pub fn with_environment(mut self, variables: Vec<(OsString, OsString)>) -> Self {
        self.environment = variables;
        self
    }

    /// The same, for programs that are run by another command, such as `chrt` with its arguments.
    #[must_use]
    pub fn under(mut self, command: &[&str]) -> Self {
        self.under = command.iter().map(OsString::from).collect();
        self
    }

    /// The same by another name and in another cgroup, which must exist.
    #[must_use]
    pub fn in_cgroup(&self, name: &str, cgroup: &Path) -> Self {
        Self { name: name.to_owned(), cgroup: cgroup.to_owned(), ..self.clone() }
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    #[must_use]
    pub fn cgroup(&self) -> &Path {
        &self.cgroup
    }

    #[must_use]
    pub fn netns(&self) -> &OwnedFd {
        &self.netns
    }

    /// Starts a program that goes on running. Its output goes to a file of the run, named after place and program.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn spawn<S: AsRef<OsStr>>(&self, command: &[S]) -> Result<Program> {
        let program = command.first().context("a command has at least a program")?.as_ref();
        let what = Path::new(program).file_name().unwrap_or(program).to_string_lossy().into_owned();
        let serial = self.started.fetch_add(1, Ordering::Relaxed);
        let log = self.logs.join(format!("{}-{serial}-{what}.log", self.name));
        let out = File::create(&log).with_context(|| format!("creating {}", log.display()))?;
        let errors = File::create(log.with_extension("err"))?;
        let mut child = self.command(command);
        child.stdin(Stdio::null()).stdout(out).stderr(errors).process_group(0);
        child.envs(self.environment.iter().map(|(name, value)| (name, value)));
        self.move_in(&mut child)?;
        let child = child.spawn().with_context(|| format!("starting {what} in {}", self.name))?;
        Ok(Program::new(format!("{what} in {}", self.name), child, log))
    }

    /// Runs a command to its end.
    ///
    /// # Errors
    /// If it cannot be started or takes longer than half a minute. A failing exit status is not an error here.
    pub fn output<S: AsRef<OsStr>>(&self, command: &[S]) -> Result<Output> {
        self.output_within(USUAL, command)
    }

    /// Runs a command to its end, with a deadline of its own.
    ///
    /// # Errors
    /// If it cannot be started or takes longer.
    pub fn output_within<S: AsRef<OsStr>>(&self, within: Duration, command: &[S]) -> Result<Output> {
        self.spawn(command)?.finish(within)
    }

    /// Runs a command that must succeed; what it wrote to standard output.
    ///
    /// # Errors
    /// If it fails; with its words.
    pub fn run<S: AsRef<OsStr>>(&self, command: &[S]) -> Result<String> {
        self.run_within(USUAL, command)
    }

    /// As [`Place::run`], with a deadline of its own.
    ///
    /// # Errors
    /// If it fails or takes longer.
    pub fn run_within<S: AsRef<OsStr>>(&self, within: Duration, command: &[S]) -> Result<String> {
        let output = self.output_within(within, command)?;
        ensure!(output.success, "{} in {}: {}", shown(command), self.name, output.summary());
        Ok(output.stdout)
    }

    /// The command as it is started: a process can give itself up to other mounts, but only a child of it can be in
    /// another process namespace.
    fn command<S: AsRef<OsStr>>(&self, command: &[S]) -> Command {
        let command: Vec<&OsStr> =
            self.under.iter().map(OsString::as_os_str).chain(command.iter().map(AsRef::as_ref)).collect();
        let Some(inmate) = self.inmate else {
            let mut child = Command::new(command[0]);
            child.args(&command[1..]);
            return child;
        };
        let mut child = Command::new("nsenter");
        child.args(["--mount", "--net", "--uts", "--ipc", "--pid", "--cgroup", "--target", &inmate.to_string(), "--"]);
        child.args(command);
        child
    }

    fn move_in(&self, child: &mut Command) -> Result<()> {
        let mut cgroups = Vec::new();
        for cgroup in std::iter::once(&self.cgroup).chain(&self.more_cgroups) {
            let procs = cgroup.join("cgroup.procs");
            let open = OpenOptions::new().write(true).open(&procs);
            cgroups.push(open.with_context(|| format!("opening {}", procs.display()))?);
        }
        let netns = Arc::clone(&self.netns);
        let prepare = move || {
            for cgroup in &cgroups {
                nix::unistd::write(cgroup.as_fd(), b"0")?;
            }
            setns(netns.as_fd(), CloneFlags::CLONE_NEWNET)?;
            // The kit blocks the signals that end it; the program is to have them.
            pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
            raise_open_files();
            Ok(())
        };
        #[expect(unsafe_code, reason = "a child must enter its namespace and cgroup between fork and exec")]
        // SAFETY: `prepare` only makes system calls on descriptors opened before the fork; it neither allocates nor locks.
        unsafe {
            child.pre_exec(prepare);
        }
        Ok(())
    }
}

/// A pod's programs may hold thousands of sockets; the shell that started the tests may not have foreseen that.
fn raise_open_files() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    const WANTED: u64 = 1 << 16;
    let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    let wanted = WANTED.max(hard);
    if setrlimit(Resource::RLIMIT_NOFILE, wanted, wanted).is_err() {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

fn shown<S: AsRef<OsStr>>(command: &[S]) -> String {
    command.iter().map(|word| word.as_ref().to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

//! Network namespaces: made by name, entered by a thread, set up with `ip`, gone when dropped.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use nix::sched::{CloneFlags, setns};

/// Where `ip netns` keeps the names.
const NAMES: &str = "/run/netns";

/// A network namespace of ours. Dropping it removes the name; the namespace lives on while a process is in it.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    handle: Arc<OwnedFd>,
}

impl Namespace {
    /// Makes a namespace with its loopback up and no other interface.
    ///
    /// # Errors
    /// If the kernel or `ip` refuses.
    pub fn create(name: &str) -> Result<Self> {
        command("ip", ["netns", "add", name])?;
        let handle = File::open(Path::new(NAMES).join(name)).with_context(|| format!("opening namespace {name}"))?;
        let namespace = Self { name: name.to_owned(), handle: Arc::new(handle.into()) };
        // Tentative addresses would refuse to be used for a second; there is nobody here to have the same one.
        namespace.sysctl("net/ipv6/conf/default/accept_dad", "0")?;
        namespace.sysctl("net/ipv6/conf/all/accept_dad", "0")?;
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    #[must_use]
    pub fn path(&self) -> PathBuf {
        Path::new(NAMES).join(&self.name)
    }

    /// A handle to enter it by, which outlives the name.
    #[must_use]
    pub fn handle(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.handle)
    }

    /// Runs lines of `ip` commands in it, all or none being the caller's concern: the first bad line ends the batch.
    ///
    /// # Errors
    /// With ip's own words.
    pub fn ip(&self, lines: &str) -> Result<()> {
        let mut ip = Command::new("ip")
            .args(["-n", &self.name, "-batch", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("running ip")?;
        ip.stdin.take().expect("stdin is piped").write_all(lines.as_bytes())?;
        let output = ip.wait_with_output()?;
        ensure!(
            output.status.success(),
            "ip in {}: {}\n{lines}",
            self.name,
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(())
    }

    /// Sets a value below `/proc/sys` as this namespace has it.
    ///
    /// # Errors
    /// If there is no such setting or the value is refused.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        let path = Path::new("/proc/sys").join(key);
        self.enter(|| fs::write(&path, value))?.with_context(|| format!("setting {key} in {}", self.name))
    }

    /// Runs code on a thread inside the namespace.
    ///
    /// # Errors
    /// If the namespace cannot be entered.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        enter(self.handle.as_fd(), work)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Gone already if the run was torn down before: that is fine.
        let _ = delete(&self.name);
    }
}

/// Runs code on a thread inside the network namespace behind a handle.
///
/// # Errors
/// If the namespace cannot be entered.
pub fn enter<T: Send>(namespace: BorrowedFd<'_>, work: impl FnOnce() -> T + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let inside = scope.spawn(|| -> Result<T> {
            setns(namespace, CloneFlags::CLONE_NEWNET).context("entering the network namespace")?;
            Ok(work())
        });
        inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// The names of all namespaces that begin with a prefix.
#[must_use]
pub fn with_prefix(prefix: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(NAMES) else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with(prefix))
        .collect()
}

/// Removes a namespace's name. Fine if there is none.
///
/// # Errors
/// If it will not go.
pub fn delete(name: &str) -> Result<()> {
    if !Path::new(NAMES).join(name).exists() {
        return Ok(());
    }
    command("ip", ["netns", "del", name])
}

fn command<'a>(program: &str, arguments: impl IntoIterator<Item = &'a str>) -> Result<()> {
    let arguments: Vec<&OsStr> = arguments.into_iter().map(OsStr::new).collect();
    let output = Command::new(program).args(&arguments).output().with_context(|| format!("running {program}"))?;
    ensure!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

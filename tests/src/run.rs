//! One run of the kit: its name, its folder, its own BPF file system, and the certainty that all of it goes again.
//!
//! Everything a run makes carries its name, so taking it down needs no list: kill and remove its cgroup tree, unmount
//! its BPF file system (the pins in it were the last to hold the kernel programs), delete its namespaces and its folder.
//! A run holds a lock on its folder while it lives; a folder without a lock is what a killed run left.

use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::{process, thread};

use anyhow::{Context, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask};

use crate::{cgroup, namespace};

/// Folder of all runs. Keys and sockets live here, so it is not for others to read.
const HOME: &str = "/run/weir-tests";
/// Where what is too much for memory goes: below, a folder for each run that has such things.
const BULK: &str = "/var/tmp/weir-tests";
/// The file in a run's folder that lists its cgroups outside version 2: their places are not known by the run's name.
const MORE_CGROUPS: &str = "cgroups";
/// Where the logs of failed runs are kept.
const KEPT_LOGS: &str = "/tmp/weir-tests-logs";

/// The runs of this process that are still up: what a signal has to take down.
static LIVE: Mutex<Vec<String>> = Mutex::new(Vec::new());
static NEXT: AtomicU32 = AtomicU32::new(0);

/// A run. Dropping it takes down everything that carries its name.
#[derive(Debug)]
pub struct Run {
    name: String,
    _lock: File,
}

impl Run {
    /// Starts a run: folder, lock, cgroup, BPF file system. `purpose` becomes part of its name.
    ///
    /// # Errors
    /// If the machine lacks something that every test needs; the message names it.
    pub fn start(purpose: &str) -> Result<Self> {
        let name = format!("weir-{purpose}{}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = Path::new(HOME).join(&name);
        let _no_scan_meanwhile = lock_home()?;
        fs::create_dir_all(folder.join("logs")).with_context(|| format!("creating {}", folder.display()))?;
        let lock = File::create(folder.join("lock"))?;
        lock.lock().context("locking the run's folder")?;
        fs::write(folder.join("pid"), process::id().to_string())?;
        LIVE.lock().expect("no holder panics").push(name.clone());
        let run = Self { name, _lock: lock };
        cgroup::create(&run.cgroup()?)?;
        fs::create_dir_all(run.bpf())?;
        mount(Some("bpf"), &run.bpf(), Some("bpf"), MsFlags::empty(), None::<&str>)
            .context("mounting a BPF file system")?;
        Ok(run)
    }

    /// Prefix of all that belongs to the run.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The run's folder: configuration, state, logs.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        Path::new(HOME).join(&self.name)
    }

    /// Where the output of the run's programs goes.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.folder().join("logs")
    }

    /// The run's own BPF file system: pins of other meshes on the machine are never near it.
    #[must_use]
    pub fn bpf(&self) -> PathBuf {
        self.folder().join("bpf")
    }

    /// The cgroup above all processes of the run.
    ///
    /// # Errors
    /// If no cgroup2 file system is mounted.
    pub fn cgroup(&self) -> Result<PathBuf> {
        Ok(cgroup::root()?.join(&self.name))
    }

    /// A folder on disk for what is too much for memory. It goes with the run.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn bulk(&self) -> Result<PathBuf> {
        let bulk = Path::new(BULK).join(&self.name);
        fs::create_dir_all(&bulk).with_context(|| format!("making {}", bulk.display()))?;
        Ok(bulk)
    }

    /// Makes a cgroup of version 1 that goes with the run, also if the run is killed.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn create_cgroup(&self, path: &Path) -> Result<()> {
        let mut list = File::options().create(true).append(true).open(self.folder().join(MORE_CGROUPS))?;
        writeln!(list, "{}", path.display())?;
        cgroup::create(path)
    }

    /// Copies the logs to where they outlive the run, and says where that is.
    ///
    /// # Errors
    /// If they cannot be copied.
    pub fn keep_logs(&self) -> Result<PathBuf> {
        let kept = Path::new(KEPT_LOGS).join(&self.name);
        fs::create_dir_all(&kept)?;
        for entry in fs::read_dir(self.logs())? {
            let entry = entry?;
            fs::copy(entry.path(), kept.join(entry.file_name()))?;
        }
        Ok(kept)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if let Err(error) = take_down(&self.name) {
            eprintln!("taking down {}: {error:#}", self.name);
        }
        LIVE.lock().expect("no holder panics").retain(|name| *name != self.name);
    }
}

/// Takes down what killed runs left behind; returns their names.
///
/// # Errors
/// If something of theirs will not go.
pub fn take_down_leftovers() -> Result<Vec<String>> {
    let _no_start_meanwhile = lock_home()?;
    let mut found = Vec::new();
    for (name, _) in runs()?.into_iter().filter(|(_, alive)| !alive) {
        take_down(&name)?;
        found.push(name);
    }
    Ok(found)
}

/// The process ids of living runs for a purpose, other than this process.
///
/// # Errors
/// If the folder of runs cannot be read.
pub fn living(purpose: &str) -> Result<Vec<i32>> {
    let prefix = format!("weir-{purpose}");
    let alive = runs()?.into_iter().filter(|(name, alive)| *alive && name.starts_with(&prefix));
    Ok(alive
        .filter_map(|(name, _)| fs::read_to_string(Path::new(HOME).join(name).join("pid")).ok()?.parse().ok())
        .collect())
}

/// Makes SIGINT, SIGTERM and SIGHUP take down this process's runs before it ends. To be called before any thread starts.
///
/// # Errors
/// If the signals cannot be blocked.
pub fn take_down_on_signal() -> Result<()> {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        signals.add(signal);
    }
    pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&signals), None).context("blocking signals")?;
    thread::spawn(move || {
        let signal = signals.wait();
        eprintln!("\ntaking everything down ({})", signal.map_or("signal", Signal::as_str));
        // Held until the end: no new run may start while the old ones go.
        let live = LIVE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for name in live.iter() {
            if let Err(error) = take_down(name) {
                eprintln!("taking down {name}: {error:#}");
            }
        }
        process::exit(130);
    });
    Ok(())
}

/// Keeps other processes from starting a run or looking for dead ones, until dropped.
fn lock_home() -> Result<File> {
    fs::create_dir_all(HOME).with_context(|| format!("creating {HOME} (the tests need root)"))?;
    let lock = File::create(Path::new(HOME).join(".lock"))?;
    lock.lock()?;
    Ok(lock)
}

/// All runs on the machine, and whether a process holds them.
fn runs() -> Result<Vec<(String, bool)>> {
    let Ok(entries) = fs::read_dir(HOME) else { return Ok(Vec::new()) };
    let mut runs = Vec::new();
    for entry in entries {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if !entry.file_type()?.is_dir() {
            continue;
        }
        let alive = match File::open(entry.path().join("lock")) {
            Ok(lock) => matches!(lock.try_lock(), Err(TryLockError::WouldBlock)),
            Err(_) => false,
        };
        runs.push((name, alive));
    }
    Ok(runs)
}

/// What is mounted below a folder: the BPF file system, and what tests mount.
fn mounts_below(folder: &Path) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let places = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    places.map(PathBuf::from).filter(|place| place.starts_with(folder)).collect()
}

/// Has every file system below a folder go on that stands still: what waits for it cannot be killed, nor can it go.
fn thaw_below(folder: &Path) {
    for mounted in mounts_below(folder) {
        // Fails where it does not stand still.
        let _ =
            process::Command::new("fsfreeze").arg("--unfreeze").arg(&mounted).stderr(process::Stdio::null()).status();
    }
}

fn take_down(name: &str) -> Result<()> {
    thaw_below(&Path::new(HOME).join(name));
    cgroup::remove(&cgroup::root()?.join(name))?;
    for namespace in namespace::with_prefix(&format!("{name}-")) {
        namespace::delete(&namespace)?;
    }
    let folder = Path::new(HOME).join(name);
    // The later of the list are below the earlier.
    for more in fs::read_to_string(folder.join(MORE_CGROUPS)).unwrap_or_default().lines().rev() {
        cgroup::remove_emptied(Path::new(more))?;
    }
    for mounted in mounts_below(&folder) {
        let _ = umount2(&mounted, MntFlags::MNT_DETACH);
    }
    for folder in [Path::new(BULK).join(name), folder] {
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
        }
    }
    Ok(())
}

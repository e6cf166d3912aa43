//! The first process of a room: control plane and nodes are each a mount, network, process, host name and cgroup
//! namespace of their own. It makes the mounts, says that it is ready, and then only buries the dead. When it ends, the
//! kernel ends everything else in the room.
//!
//! A program that starts clusters calls [`run_if_asked`] first of all: it is itself what runs in the rooms.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use nix::mount::{MsFlags, mount};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

use super::hierarchies::CONTROLLERS;
use super::mode::Mode;

/// The first argument of a program that is to be a room's first process.
pub const WORD: &str = "be-the-first-in-a-room";
/// What it says when all mounts are made.
pub const READY: &str = "ready";

/// Machine-wide settings that a kubelet writes, with what it wants to find: in a node they are files of the node's own.
const KUBELET_SETTINGS: [(&str, &str); 6] = [
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/keys/root_maxbytes", "25000000"),
];
/// Directories of which a node has its own view: what is written there stays in the node.
const OWN_VIEWS: [&str; 3] = ["/etc", "/opt", "/var/lib"];
/// Directories of a node that are on disk, and what they are called in the node's folder.
const ON_DISK: [(&str, &str); 5] = [
    ("/var/lib/containerd", "containerd"),
    ("/var/lib/kubelet", "kubelet"),
    ("/var/lib/cni", "cni"),
    ("/var/lib/weir", "weir"),
    ("/var/log", "log"),
];

/// Becomes a room's first process if the arguments say so; otherwise returns at once.
#[must_use]
pub fn run_if_asked() -> Option<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let made = match words.as_slice() {
        [WORD, "control-plane"] => Ok(()),
        [WORD, "node", name, mode, folder] => Mode::from_str(mode, false)
            .map_err(anyhow::Error::msg)
            .and_then(|mode| make_node(name, mode, Path::new(folder))),
        [WORD, ..] => Err(anyhow::anyhow!("a room is a control-plane or a node")),
        _ => return None,
    };
    if let Err(error) = made {
        eprintln!("{error:#}");
        return Some(ExitCode::FAILURE);
    }
    println!("{READY}");
    bury();
}

/// Reaps what becomes this process's child when its own parent ends; for ever.
fn bury() -> ! {
    let mut deaths = SigSet::empty();
    deaths.add(Signal::SIGCHLD);
    // Blocked before anybody looks, so that none is missed between a look and the next wait.
    deaths.thread_block().expect("SIGCHLD is a signal that can be blocked");
    loop {
        while matches!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Ok(status) if status != WaitStatus::StillAlive) {}
        let _ = deaths.wait();
    }
}

fn make_node(name: &str, mode: Mode, folder: &Path) -> Result<()> {
    put("proc", "/proc", "proc", None)?;
    fs::write("/proc/sys/kernel/hostname", name).context("setting the host name")?;
    put("sysfs", "/sys", "sysfs", None)?;
    put("bpf", "/sys/fs/bpf", "bpf", None)?;
    mount_cgroups(mode)?;
    put("tmpfs", "/run", "tmpfs", Some("mode=755"))?;
    for made in ["/run/containerd", "/run/netns", "/run/lock", "/run/weir"] {
        fs::create_dir_all(made).with_context(|| format!("making {made}"))?;
    }
    OWN_VIEWS.iter().try_for_each(|directory| own_view(directory))?;
    for (place, in_folder) in ON_DISK {
        let real = folder.join(in_folder);
        fs::create_dir_all(&real)?;
        fs::create_dir_all(place)?;
        bind(&real, Path::new(place))?;
    }
    for log in ["/var/log/pods", "/var/log/containers", "/etc/cni/net.d", "/opt/cni/bin"] {
        fs::create_dir_all(log)?;
    }
    write_resolver_configuration()?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_SHARED | MsFlags::MS_REC, None::<&str>)
        .context("sharing the node's mounts with its pods")?;
    for (setting, value) in KUBELET_SETTINGS {
        let private = folder.join(setting.replace('/', "."));
        fs::write(&private, format!("{value}\n"))?;
        bind(&private, &Path::new("/proc/sys").join(setting))?;
    }
    Ok(())
}

fn mount_cgroups(mode: Mode) -> Result<()> {
    if mode == Mode::Hybrid {
        put("tmpfs", "/sys/fs/cgroup", "tmpfs", Some("mode=755"))?;
        for controller in CONTROLLERS {
            let place = format!("/sys/fs/cgroup/{controller}");
            fs::create_dir(&place)?;
            put("cgroup", &place, "cgroup", Some(controller))?;
        }
        // No controller, but a kubelet wants to see it too.
        fs::create_dir("/sys/fs/cgroup/systemd")?;
        put("cgroup", "/sys/fs/cgroup/systemd", "cgroup", Some("none,name=systemd"))?;
        fs::create_dir(mode.cgroup2())?;
    }
    put("cgroup2", mode.cgroup2(), "cgroup2", None)
}

/// Lays a writable sheet over a directory, so that directories can be made below it that the machine does not have.
fn own_view(directory: &str) -> Result<()> {
    ensure!(Path::new(directory).is_dir(), "this machine has no {directory}");
    let name = directory.trim_start_matches('/').replace('/', ".");
    let [upper, work] = ["upper", "work"].map(|part| PathBuf::from(format!("/run/sheets/{name}/{part}")));
    for made in [&upper, &work] {
        fs::create_dir_all(made)?;
    }
    let options = format!("lowerdir={directory},upperdir={},workdir={}", upper.display(), work.display());
    put("overlay", directory, "overlay", Some(&options))
}

/// No name server is in reach of a node: pods alone ask the cluster's, if there is one, and the machine's own must not be asked.
fn write_resolver_configuration() -> Result<()> {
    let file = Path::new("/etc/resolv.conf");
    // Often a link to a file that the node does not see.
    match fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => bail!("removing {}: {error}", file.display()),
        _ => Ok(fs::write(file, "")?),
    }
}

fn put(source: &str, place: &str, kind: &str, options: Option<&str>) -> Result<()> {
    mount(Some(source), place, Some(kind), MsFlags::empty(), options)
        .with_context(|| format!("mounting {kind} at {place}"))
}

fn bind(real: &Path, place: &Path) -> Result<()> {
    mount(Some(real), place, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .with_context(|| format!("binding {} at {}", real.display(), place.display()))
}

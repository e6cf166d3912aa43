//! The root file system of the guests: busybox, Weir, its tests and the real programs they use, with the libraries of
//! this machine that these are linked to. Nothing else of this machine is in it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::tree::Tree;
use crate::{programs, setup, step};

/// What runs in every guest.
const INIT: &str = include_str!("init.sh");
/// Built here; without what only a debugger reads.
const OURS: &[&str] = &["weir", "weir-test-app", "weir-netns-tests"];
/// Real programs that tests run.
const THEIRS: &[&str] = &[
    "ip",
    "tc",
    "iptables",
    "iptables-save",
    "ip6tables-save",
    "nft",
    "tcpdump",
    "bpftool",
    "nginx",
    "curl",
    "iperf3",
    "wrk",
];
/// Users and groups that these programs become, and the one service they look up by name.
const USERS: &str = "root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\ntcpdump:x:100:100::/:/bin/sh\n";
const GROUPS: &str = "root:x:0:\nnogroup:x:65534:\ntcpdump:x:100:\n";
const SERVICES: &str = "http 80/tcp\n";
/// The system's own: another one may be a script that needs more than itself.
const PYTHON: &str = "/usr/bin/python3";
/// Parts of Python's library that are large and that no test uses.
const NOT_OF_PYTHON: &[&str] =
    &["__pycache__", "test", "idlelib", "lib2to3", "tkinter", "ensurepip", "dist-packages", "config-*"];

/// Writes the archive into a folder; where it is.
///
/// # Errors
/// If a program is missing or cannot be read.
pub(super) fn pack(folder: &Path) -> Result<PathBuf> {
    let root = Tree::new(folder.join("root"))?;
    for directory in ["/proc", "/sys", "/dev", "/run", "/tmp", "/var/lib"] {
        root.directory(directory, 0o755)?;
    }
    for (name, content) in [("passwd", USERS), ("group", GROUPS), ("services", SERVICES)] {
        root.text(&format!("/etc/{name}"), content)?;
    }
    root.text("/init", INIT)?;
    root.run_by_all("/init")?;
    root.file("/bin/busybox", &found("busybox")?)?;
    root.link("/bin/sh", "busybox")?;
    for name in OURS {
        root.program(&format!("/usr/local/bin/{name}"), &programs::stripped(&programs::release(name), "release")?)?;
    }
    for name in THEIRS {
        root.program(&format!("/usr/local/bin/{name}"), &found(name)?)?;
    }
    add_python(&root)?;
    let archive = folder.join("root.cpio");
    cpio(root.folder(), &archive)?;
    fs::remove_dir_all(root.folder())?;
    Ok(archive)
}

/// Adds Python and its library.
fn add_python(root: &Tree) -> Result<()> {
    root.program("/usr/local/bin/python3", Path::new(PYTHON))?;
    // Where it finds its library does not depend on where it is itself.
    root.link(PYTHON, "../local/bin/python3")?;
    let ask = "import sysconfig; print(sysconfig.get_path('stdlib'))";
    let library = step::output(Command::new(PYTHON).args(["-c", ask]))?;
    let mut tar = Command::new("tar");
    tar.args(["--create", "--dereference", "--ignore-failed-read", "--directory=/"]);
    tar.args(NOT_OF_PYTHON.iter().map(|name| format!("--exclude={name}"))).arg(library.trim().trim_start_matches('/'));
    let mut packed = tar.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().context("running tar")?;
    let mut unpack = Command::new("tar");
    unpack.arg("--extract").arg("--directory").arg(root.folder()).stdin(packed.stdout.take().context("it is piped")?);
    step::output(&mut unpack)?;
    packed.wait()?;
    Ok(())
}

fn found(program: &str) -> Result<PathBuf> {
    setup::in_path(program).with_context(|| format!("{program} is not here"))
}

/// Packs what a folder holds into the archive that a kernel unpacks into its first root file system. The kernel takes
/// several of them one after another.
pub(super) fn cpio(folder: &Path, archive: &Path) -> Result<()> {
    let mut pack = Command::new("sh");
    pack.args(["-c", "find . -mindepth 1 | LC_ALL=C sort | cpio --create --format=newc --owner=+0:+0 --quiet"]);
    let status = pack.current_dir(folder).stdout(File::create(archive)?).status().context("running cpio")?;
    ensure!(status.success(), "cpio cannot pack {}", folder.display());
    Ok(())
}

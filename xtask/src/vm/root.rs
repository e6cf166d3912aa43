//! The root file system of the guests: busybox, Weir, its tests and the real programs they use, with the libraries of
//! this machine that these are linked to. Nothing else of this machine is in it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::tree::Tree;
use crate::{programs, setup, step, workspace};

/// Built here; without what only a debugger reads.
const OURS: &[&str] = &["weir", "weir-test-app", "weir-netns-tests"];
/// Real programs that tests run.
const THEIRS: &str = "ip tc iptables iptables-save ip6tables-save nft tcpdump bpftool nginx curl iperf3 wrk";
/// Users and groups that these programs become, and the one service they look up by name.
const TEXTS: &[(&str, &str)] = &[
    ("/etc/passwd", "root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\ntcpdump:x:100:100::/:/bin/sh\n"),
    ("/etc/group", "root:x:0:\nnogroup:x:65534:\ntcpdump:x:100:\n"),
    ("/etc/services", "http 80/tcp\n"),
];
/// The system's own: another one may be a script that needs more than itself.
const PYTHON: &str = "/usr/bin/python3";
/// Copies Python's library, without large parts that no test uses, into the folder that is its argument.
const PYTHON_LIBRARY: &str = r#"
library=$(/usr/bin/python3 -c "import sysconfig; print(sysconfig.get_path('stdlib'))")
tar --create --dereference --ignore-failed-read --directory=/ --exclude=__pycache__ --exclude=test --exclude=idlelib \
    --exclude=lib2to3 --exclude=tkinter --exclude=ensurepip --exclude=dist-packages --exclude='config-*' "${library#/}" \
    2>/dev/null | tar --extract --directory="$1"
"#;

/// Writes the archive into a folder; where it is.
///
/// # Errors
/// If a program is missing or cannot be read.
pub(super) fn pack(folder: &Path) -> Result<PathBuf> {
    let root = Tree::new(folder.join("root"))?;
    for directory in ["/proc", "/sys", "/dev", "/run", "/tmp", "/var/lib"] {
        root.directory(directory, 0o755)?;
    }
    TEXTS.iter().try_for_each(|(path, content)| root.text(path, content))?;
    root.file("/init", &workspace::root().join("xtask/src/vm/init.sh"))?;
    let found = |program: &str| setup::in_path(program).with_context(|| format!("{program} is not here"));
    root.file("/bin/busybox", &found("busybox")?)?;
    root.link("/bin/sh", "busybox")?;
    for name in OURS {
        root.program(&format!("/usr/local/bin/{name}"), &programs::stripped(&programs::release(name), "release")?)?;
    }
    for name in THEIRS.split(' ') {
        root.program(&format!("/usr/local/bin/{name}"), &found(name)?)?;
    }
    root.program(PYTHON, Path::new(PYTHON))?;
    root.link("/usr/local/bin/python3", PYTHON)?;
    step::output(Command::new("sh").args(["-c", PYTHON_LIBRARY, "sh"]).arg(root.folder()))?;
    let archive = folder.join("root.cpio");
    File::create(&archive)?;
    append(root.folder(), ".", &archive)?;
    fs::remove_dir_all(root.folder())?;
    Ok(archive)
}

/// Packs a part of a folder for the kernel, which unpacks archives one after another into its first root file system, and
/// appends it to such archives.
pub(super) fn append(folder: &Path, part: &str, archives: &Path) -> Result<()> {
    let pack = "find \"$1\" | LC_ALL=C sort | cpio --create --format=newc --owner=+0:+0 --quiet >>\"$2\"";
    let mut shell = Command::new("sh");
    shell.current_dir(folder).args(["-c", pack, "sh", part]).arg(archives);
    step::output(&mut shell).context("packing by cpio").map(drop)
}

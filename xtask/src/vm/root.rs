//! The root file system of the guests: busybox, Weir, its tests and the real programs they use, with the libraries of
//! this machine that these are linked to. Nothing else of this machine is in it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::archive::Archive;
use crate::{setup, step, workspace};

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
const NOT_OF_PYTHON: &[&str] = &["__pycache__", "test", "idlelib", "lib2to3", "tkinter", "ensurepip", "dist-packages"];

/// Writes the archive into a folder; where it is.
///
/// # Errors
/// If a program is missing or cannot be read.
pub(super) fn pack(folder: &Path) -> Result<PathBuf> {
    let path = folder.join("root.cpio");
    let mut archive = Archive::new(BufWriter::new(File::create(&path)?));
    for directory in ["/proc", "/sys", "/dev", "/run", "/tmp", "/var/lib"] {
        archive.directory(directory)?;
    }
    for (name, content) in [("passwd", USERS), ("group", GROUPS), ("services", SERVICES)] {
        archive.file(&format!("/etc/{name}"), content.as_bytes())?;
    }
    archive.file("/init", INIT.as_bytes())?;
    archive.file("/bin/busybox", &fs::read(found("busybox")?)?)?;
    archive.link("/bin/sh", "busybox")?;
    let mut libraries = BTreeSet::new();
    for name in OURS {
        let built = workspace::target().join("release").join(name);
        let stripped = folder.join(name);
        step::output(Command::new("strip").arg("--strip-debug").arg("-o").arg(&stripped).arg(&built))?;
        archive.file(&format!("/usr/local/bin/{name}"), &fs::read(stripped)?)?;
        libraries.extend(linked(&built)?);
    }
    for name in THEIRS {
        let program = found(name)?;
        archive.file(&format!("/usr/local/bin/{name}"), &fs::read(&program)?)?;
        libraries.extend(linked(&program)?);
    }
    libraries.extend(add_python(&mut archive)?);
    for library in libraries {
        archive.file(&library, &fs::read(&library).with_context(|| format!("reading {library}"))?)?;
    }
    archive.finish()?.flush()?;
    Ok(path)
}

/// Adds Python and its library; the libraries it is linked to.
fn add_python(archive: &mut Archive<impl Write>) -> Result<Vec<String>> {
    archive.file("/usr/local/bin/python3", &fs::read(PYTHON).context("reading the system's Python")?)?;
    // Where it finds its library does not depend on where it is itself.
    archive.link(PYTHON, "../local/bin/python3")?;
    let ask = "import sysconfig; print(sysconfig.get_path('stdlib'))";
    let library = step::output(Command::new(PYTHON).args(["-c", ask]))?;
    add_tree(archive, Path::new(library.trim()))?;
    linked(Path::new(PYTHON))
}

fn add_tree(archive: &mut Archive<impl Write>, folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if NOT_OF_PYTHON.contains(&name) || name.starts_with("config-") {
            continue;
        }
        if path.is_dir() {
            add_tree(archive, &path)?;
        } else if path.is_file() {
            archive.file(path.to_str().context("a path is not text")?, &fs::read(&path)?)?;
        }
    }
    Ok(())
}

fn found(program: &str) -> Result<PathBuf> {
    setup::in_path(program).with_context(|| format!("{program} is not here"))
}

/// The shared libraries of a program, the loader with them; none if it has none.
fn linked(program: &Path) -> Result<Vec<String>> {
    let output = Command::new("ldd").arg(program).output().context("running ldd")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let words = text.split_whitespace().filter(|word| word.starts_with('/') && word.contains(".so"));
    Ok(words.map(str::to_owned).collect())
}

//! `cargo xtask setup`: finds or installs what the build and the tests need. It says what is missing and why it is
//! needed before it installs, and touches nothing that is already there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Result, ensure};

use crate::{step, workspace};

/// The version that reads what the compilers named below write.
const BPF_LINKER: &str = "0.13.0";
const LLVM: &str = "/usr/lib/llvm-22";

/// Debian's own Python has it.
const WEBSOCKETS: &str = "/usr/lib/python3/dist-packages/websockets/__init__.py";
const GUNICORN: &str = "/usr/lib/python3/dist-packages/gunicorn/__init__.py";
/// It brings no service that starts.
const TOMCAT: &str = "/usr/share/tomcat10/bin/catalina.sh";

/// Programs, or files by their whole path, the Debian packages that bring them, and why they are needed.
const PROGRAMS: &[(&str, &str, &str)] = &[
    ("cc", "build-essential", "the crypto library is C"),
    ("ip", "iproute2", "tests make network namespaces with it"),
    ("tc", "iproute2", "tests show that traffic control is left alone"),
    ("iptables-save", "iptables", "tests show that no rule is added"),
    ("nft", "nftables", "tests show that no rule is added"),
    ("tcpdump", "tcpdump", "tests show what goes over the wire"),
    ("bpftool", "bpftool", "tests show that no kernel program is left behind"),
    ("nsenter", "util-linux", "looking into a pod's namespace"),
    ("nginx", "nginx-light", "a real server for tests and demo"),
    ("python3", "python3", "a real server for tests"),
    ("curl", "curl", "a real client for tests and demo"),
    ("iperf3", "iperf3", "real bulk traffic"),
    ("wrk", "wrk", "real HTTP load"),
    ("h2load", "nghttp2-client", "real HTTP/2 load"),
    ("node", "nodejs", "Node's HTTP, as server and client"),
    ("redis-server", "redis-server", "the store of Envoy's rate limit server"),
    (WEBSOCKETS, "python3-websockets", "WebSockets, as server and client"),
    (TOMCAT, "tomcat10-common", "a server that reads paths as Java's do"),
    ("apache2", "apache2-bin", "a server that reads requests in its own way"),
    ("haproxy", "haproxy", "a server that reads requests in its own way"),
    ("h2o", "h2o", "a server that reads requests in its own way"),
    (GUNICORN, "python3-gunicorn", "a server that reads requests as Python's do"),
    ("setpriv", "util-linux", "Envoy runs without capabilities"),
    ("faketime", "faketime", "tests show what a clock that jumps does"),
    ("mkfs.ext4", "e2fsprogs", "tests show what a disk that stands still does"),
    ("fsfreeze", "util-linux", "tests show what a disk that stands still does"),
];

/// Installs packages. While it does, Debian's policy is that no service (nginx) starts; only what was put there is taken back.
const INSTALL: &str = r#"
set -e
policy=/usr/sbin/policy-rc.d
if ! [ -e $policy ]; then
    trap "rm -f $policy" EXIT
    trap "exit 1" INT TERM
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod 755 $policy
fi
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
apt-get -qq install --yes --no-install-recommends "$@" >/dev/null
"#;

/// Makes be there what builds and runs Weir.
pub(crate) fn run() -> Result<()> {
    programs(PROGRAMS)?;
    if !has_core_sources() {
        println!("the sources of core are missing: kernel programs are built for a target that has no ready-made one");
        install_packages(&["rustc-web", "cargo-web", "rust-web-src"])?;
        ensure!(has_core_sources(), "the sources of core are still missing after their packages were installed");
    }
    if !in_path("bpf-linker").is_some_and(|linker| starts(&linker)) {
        println!("bpf-linker is missing, or the LLVM it needs: it links the kernel programs");
        if !Path::new(LLVM).join("include/llvm").exists() {
            install_packages(&["llvm-22-dev"])?;
        }
        install_bpf_linker()?;
    }
    Ok(())
}

/// Makes these programs be there: each with its package and the reason for it.
pub(crate) fn programs(needed: &[(&str, &str, &str)]) -> Result<()> {
    let missing: Vec<_> = needed.iter().filter(|(program, ..)| in_path(program).is_none()).collect();
    missing.iter().for_each(|(program, _, why)| println!("{program} is missing: {why}"));
    let packages: Vec<&str> = missing.iter().map(|(_, package, _)| *package).collect();
    if !packages.is_empty() {
        install_packages(&packages)?;
    }
    for (program, package, _) in missing {
        ensure!(in_path(program).is_some(), "{program} is still missing after {package} was installed");
    }
    Ok(())
}

/// Whether a program starts at all: one whose libraries are gone does not.
pub(crate) fn starts(program: &Path) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

/// Installs Debian packages; their services do not start.
pub(crate) fn install_packages(packages: &[&str]) -> Result<()> {
    let here = in_path("apt-get").is_some();
    ensure!(here, "this is no Debian or Ubuntu: install by hand what the packages {packages:?} bring there");
    let mut install = workspace::as_root("sh");
    step::run(&format!("installing {}", packages.join(" ")), install.args(["-c", INSTALL, "sh"]).args(packages))
}

/// With Debian's cargo if it is there, whose LLVM is the one the linker must have; else with the one that runs us.
fn install_bpf_linker() -> Result<()> {
    let mut cargo =
        if Path::new("/usr/bin/cargo").exists() { Command::new("/usr/bin/cargo") } else { workspace::cargo() };
    if Path::new("/usr/bin/rustc").exists() {
        cargo.env("RUSTC", "/usr/bin/rustc");
    }
    cargo.env("LLVM_PREFIX", LLVM).env_remove("RUSTUP_TOOLCHAIN");
    // Outside the workspace: its settings are not for this.
    cargo.current_dir("/").args(["install", "--force", "--quiet", "bpf-linker", "--version", BPF_LINKER]);
    // The system's LLVM. By default the linker takes rustc's own, which leaves calls of memset in the programs.
    cargo.args(["--no-default-features", "--features", "llvm-22"]);
    step::run("building bpf-linker (about two minutes)", &mut cargo)
}

/// Makes a program of crates.io be there, which builds with the cargo that runs us.
pub(crate) fn cargo_program(name: &str, version: &str, why: &str) -> Result<()> {
    if in_path(name).is_some_and(|program| starts(&program)) {
        return Ok(());
    }
    println!("{name} is missing: {why}");
    let mut install = workspace::cargo();
    // Outside the workspace: its settings are not for this.
    install.current_dir("/").args(["install", "--locked", "--quiet", "--force", name, "--version", version]);
    step::run(&format!("building {name}"), &mut install)
}

/// True if rustup's nightly or the system's compiler can build core.
fn has_core_sources() -> bool {
    let mut rustup = Command::new("rustup");
    rustup.args(["run", "nightly", "rustc"]);
    [rustup, Command::new("/usr/bin/rustc")].into_iter().any(|mut rustc| {
        let printed = rustc.args(["--print", "sysroot"]).stderr(Stdio::null()).output();
        printed.is_ok_and(|printed| {
            let sysroot = PathBuf::from(String::from_utf8_lossy(&printed.stdout).trim());
            printed.status.success() && sysroot.join("lib/rustlib/src/rust/library/core").is_dir()
        })
    })
}

/// Where a program is, if it is there. One with a whole path is only looked for there.
pub(crate) fn in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Root's own programs are not in everyone's PATH; what cargo installs may not be either.
    let cargo = std::env::home_dir().map(|home| home.join(".cargo/bin"));
    let more = ["/usr/sbin", "/sbin"].into_iter().map(PathBuf::from).chain(cargo);
    let found = |directory: PathBuf| {
        Some(directory.join(program)).filter(|path| fs::metadata(path).is_ok_and(|file| file.is_file()))
    };
    std::env::split_paths(&path).chain(more).find_map(found)
}

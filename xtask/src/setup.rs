//! `cargo xtask setup`: finds or installs what the build and the tests need. It says what is missing and why it is
//! needed before it installs, and touches nothing that is already there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::{step, workspace};

/// The version that reads what the compilers named below write.
const BPF_LINKER: &str = "0.13.0";
const LLVM: &str = "/usr/lib/llvm-22";
/// Debian asks this program whether a package may start its service.
const MAY_START: &str = "/usr/sbin/policy-rc.d";

/// Something that must be there.
struct Need {
    what: &'static str,
    why: &'static str,
    is_there: fn() -> bool,
    /// Debian packages that bring it.
    packages: &'static [&'static str],
}

/// A program in PATH and the package that brings it.
macro_rules! program {
    ($name:literal, $package:literal, $why:literal) => {
        Need { what: $name, why: $why, is_there: || in_path($name).is_some(), packages: &[$package] }
    };
}

const NEEDS: &[Need] = &[
    Need {
        what: "a Rust toolchain with the sources of core",
        why: "kernel programs are built for a target that has no ready-made core library",
        is_there: has_core_sources,
        packages: &["rustc-web", "cargo-web", "rust-web-src"],
    },
    program!("cc", "build-essential", "the crypto library is C"),
    program!("ip", "iproute2", "tests make network namespaces with it"),
    program!("tc", "iproute2", "tests show that traffic control is left alone"),
    program!("iptables-save", "iptables", "tests show that no rule is added"),
    program!("nft", "nftables", "tests show that no rule is added"),
    program!("tcpdump", "tcpdump", "tests show what goes over the wire"),
    program!("bpftool", "bpftool", "tests show that no kernel program is left behind"),
    program!("nsenter", "util-linux", "looking into a pod's namespace"),
    program!("nginx", "nginx-light", "a real server for tests and demo"),
    program!("python3", "python3", "a real server for tests"),
    program!("curl", "curl", "a real client for tests and demo"),
    program!("iperf3", "iperf3", "real bulk traffic"),
    program!("wrk", "wrk", "real HTTP load"),
    program!("h2load", "nghttp2-client", "real HTTP/2 load"),
    program!("setpriv", "util-linux", "Envoy runs without capabilities"),
    program!("faketime", "faketime", "tests show what a clock that jumps does"),
];

/// Makes be there what builds and runs Weir.
pub(crate) fn run() -> Result<()> {
    let missing: Vec<&Need> = NEEDS.iter().filter(|need| !(need.is_there)()).collect();
    for need in &missing {
        println!("{} is missing: {}", need.what, need.why);
    }
    let mut packages: Vec<&str> = missing.iter().flat_map(|need| need.packages).copied().collect();
    let linker_missing = !in_path("bpf-linker").is_some_and(|linker| starts(&linker));
    if linker_missing {
        println!("bpf-linker is missing, or the LLVM it needs: it links the kernel programs");
        if !Path::new(LLVM).join("include/llvm").exists() {
            packages.push("llvm-22-dev");
        }
    }
    packages.sort_unstable();
    packages.dedup();
    if !packages.is_empty() {
        install_packages(&packages)?;
    }
    if linker_missing {
        install_bpf_linker()?;
    }
    for need in missing {
        ensure!(
            (need.is_there)(),
            "{} is still missing after its packages were installed: {:?}",
            need.what,
            need.packages
        );
    }
    Ok(())
}

/// Whether a program starts at all: one whose libraries are gone does not.
pub(crate) fn starts(program: &Path) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

/// Installs Debian packages; their services do not start.
pub(crate) fn install_packages(packages: &[&str]) -> Result<()> {
    if in_path("apt-get").is_none() {
        bail!(
            "this is no Debian or Ubuntu: please install what is missing by hand; the packages there are {packages:?}"
        );
    }
    let _no_service_starts = ForbidServices::begin()?;
    let apt = || {
        let mut apt = workspace::as_root("env");
        apt.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"]);
        apt
    };
    step::run("package lists", apt().arg("update"))?;
    let install = ["install", "--yes", "--no-install-recommends"];
    step::run(&format!("installing {}", packages.join(" ")), apt().args(install).args(packages).stdout(Stdio::null()))
}

/// While it lives, installing a package (nginx) does not start its service. Takes back only what it put there.
struct ForbidServices(bool);

impl ForbidServices {
    fn begin() -> Result<Self> {
        if Path::new(MAY_START).exists() {
            return Ok(Self(false));
        }
        let forbid = format!("printf '#!/bin/sh\\nexit 101\\n' > {MAY_START} && chmod 755 {MAY_START}");
        step::output(workspace::as_root("sh").args(["-c", &forbid]))
            .context("forbidding packages to start services")?;
        Ok(Self(true))
    }
}

impl Drop for ForbidServices {
    fn drop(&mut self) {
        if self.0 {
            let _ = workspace::as_root("rm").args(["-f", MAY_START]).status();
        }
    }
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

/// Where a program is, if it is there.
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

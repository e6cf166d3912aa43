//! Builds the `ebpf` package for the BPF target into `$OUT_DIR/kernel_programs.o`.
//!
//! That takes a toolchain that can build `core` (its sources, and unstable options) and bpf-linker. The nested cargo has
//! a target directory of its own: the outer one holds the lock of the other.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

const INSTALL: &str = "`cargo xtask setup` installs it. By hand, on Debian: \
    `apt-get install rustc-web cargo-web rust-web-src llvm-22-dev`, then \
    `LLVM_PREFIX=/usr/lib/llvm-22 cargo install bpf-linker --version 0.13.0 --no-default-features --features llvm-22`; \
    with rustup: `rustup toolchain install nightly --component rust-src`";

/// What decides the result besides the files below `ebpf` and `common`.
const INPUTS: &[&str] = &["ebpf", "common", "Cargo.toml", "Cargo.lock", ".cargo/config.toml"];

/// Set by the outer cargo and rustup for the outer build; the nested one must find its own.
const LEAKED: &[&str] = &[
    "CARGO",
    "CARGO_BUILD_TARGET",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_TARGET_DIR",
    "LD_LIBRARY_PATH",
    "RUSTC",
    "RUSTC_LINKER",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTDOC",
    "RUSTFLAGS",
    "RUSTUP_TOOLCHAIN",
];

/// A cargo and a rustc that can build `core`. `WEIR_BPF_TOOLCHAIN` chooses one: a name for rustup, or `system`.
enum Toolchain {
    /// A rustup toolchain by name.
    Rustup(String),
    /// The distribution's own, at fixed paths since rustup's come first in PATH.
    System,
}

const SYSTEM_RUSTC: &str = "/usr/bin/rustc";
const SYSTEM_CARGO: &str = "/usr/bin/cargo";

/// Builds the programs of the workspace at `root`.
///
/// # Errors
/// When a tool is missing (the message says how to get it) or the programs do not compile.
pub(crate) fn build(root: &Path) -> anyhow::Result<()> {
    for input in INPUTS {
        println!("cargo:rerun-if-changed={}", root.join(input).display());
    }
    for variable in ["WEIR_BPF_TOOLCHAIN", "CARGO_HOME"] {
        println!("cargo:rerun-if-env-changed={variable}");
    }
    let linker = find_linker()?;
    println!("cargo:rerun-if-changed={}", linker.display());
    let target = match env::var("CARGO_CFG_TARGET_ENDIAN")?.as_str() {
        "big" => "bpfeb-unknown-none",
        _ => "bpfel-unknown-none",
    };
    let out_dir = PathBuf::from(env::var_os("OUT_DIR").context("OUT_DIR is not set")?);
    let target_dir = out_dir.join("kernel_programs");
    let linker_variable = format!("CARGO_TARGET_{}_LINKER", target.to_uppercase().replace('-', "_"));

    let output = find_toolchain()?
        .cargo()
        .args(["build", "--release", "--locked", "--quiet", "--package=weir-ebpf", "--bin=weir", "-Zbuild-std=core"])
        .arg(format!("--target={target}"))
        .arg(format!("--target-dir={}", target_dir.display()))
        .env(linker_variable, &linker)
        .current_dir(root)
        .output()
        .context("cannot start cargo for the kernel programs")?;
    let messages = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("the kernel programs do not build:\n{messages}");
    }
    for line in messages.lines() {
        println!("cargo:warning={line}");
    }
    std::fs::copy(target_dir.join(target).join("release/weir"), out_dir.join("kernel_programs.o"))
        .context("the kernel programs are not where cargo puts them")?;
    Ok(())
}

fn find_linker() -> anyhow::Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let cargo_home = env::var_os("CARGO_HOME").map(|home| PathBuf::from(home).join("bin"));
    let default_home = env::home_dir().map(|home| home.join(".cargo/bin"));
    env::split_paths(&path)
        .chain(cargo_home)
        .chain(default_home)
        .map(|directory| directory.join("bpf-linker"))
        .find(|candidate| candidate.is_file())
        .with_context(|| format!("bpf-linker is missing, which links the kernel programs. {INSTALL}"))
}

fn find_toolchain() -> anyhow::Result<Toolchain> {
    if let Ok(name) = env::var("WEIR_BPF_TOOLCHAIN") {
        let chosen = if name == "system" { Toolchain::System } else { Toolchain::Rustup(name) };
        return if chosen.has_core_sources() {
            Ok(chosen)
        } else {
            bail!("the toolchain of WEIR_BPF_TOOLCHAIN is missing or lacks the sources of core. {INSTALL}")
        };
    }
    [Toolchain::Rustup("nightly".to_owned()), Toolchain::System]
        .into_iter()
        .find(Toolchain::has_core_sources)
        .with_context(|| {
            format!(
                "no toolchain can build core for the kernel programs: neither rustup's nightly (with rust-src) \
                 nor {SYSTEM_RUSTC} (with its sources). {INSTALL}"
            )
        })
}

impl Toolchain {
    fn has_core_sources(&self) -> bool {
        let sysroot = self.command("rustc", SYSTEM_RUSTC).args(["--print", "sysroot"]).stderr(Stdio::null()).output();
        sysroot.is_ok_and(|output| {
            let sysroot = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim_end());
            output.status.success() && sysroot.join("lib/rustlib/src/rust/library/core").is_dir()
        })
    }

    fn cargo(&self) -> Command {
        let mut command = self.command("cargo", SYSTEM_CARGO);
        // A stable compiler has the unstable options too, behind this variable.
        command.env("RUSTC_BOOTSTRAP", "1");
        if matches!(self, Self::System) {
            command.env("RUSTC", SYSTEM_RUSTC);
        }
        command
    }

    fn command(&self, tool: &str, system_path: &str) -> Command {
        let mut command = match self {
            Self::Rustup(name) => {
                let mut rustup = Command::new("rustup");
                rustup.args(["run", name, tool]);
                rustup
            }
            Self::System => Command::new(system_path),
        };
        for variable in LEAKED {
            command.env_remove(variable);
        }
        command
    }
}

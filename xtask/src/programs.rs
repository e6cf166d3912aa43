//! Builds the programs that run for real: Weir, its CNI plugin, those of the tests.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::{step, workspace};

/// Where the programs of the release profile are.
pub(crate) fn release(name: &str) -> PathBuf {
    workspace::target().join("release").join(name)
}

/// Builds what runs for real, in the release profile: Weir, its CNI plugin and the programs of the tests.
pub(crate) fn build_for_real() -> Result<()> {
    build_weir("release", &[])?;
    let built = build_cni_plugin(&[])?;
    // Beside Weir, where an agent that runs from there finds it. Not over the old one in place: cargo may have made it a
    // link to what it keeps.
    let beside = release("weir-cni");
    let new = beside.with_extension("new");
    std::fs::copy(&built, &new)
        .and_then(|_| std::fs::rename(&new, &beside))
        .with_context(|| format!("copying {} to {}", built.display(), beside.display()))
}

/// Builds Weir and its CNI plugin for an image; copies without debug information.
pub(crate) fn build_for_image(profile: &str) -> Result<[PathBuf; 2]> {
    let flags = if profile == "dist" { without_this_machine() } else { Vec::new() };
    let weir = build_weir(profile, &flags)?;
    Ok([stripped(&weir, profile)?, stripped(&build_cni_plugin(&flags)?, profile)?])
}

/// Builds Weir as it is in an image; with what a profiler wants, which the image leaves out.
pub(crate) fn build_as_shipped() -> Result<PathBuf> {
    build_weir("dist", &without_this_machine())
}

/// Builds Weir with a profile: `release`, which is quick to build after a small change, or another.
fn build_weir(profile: &str, flags: &[String]) -> Result<PathBuf> {
    let mut build = workspace::cargo();
    build.args(["build", "--locked", "--profile", profile, "--package", "weir"]);
    if profile == "release" {
        // With the tests: another choice of packages would be another choice of features, and all built anew.
        build.args(["--package", "weir-tests"]);
    }
    if !flags.is_empty() {
        // Paths may hold spaces, so not RUSTFLAGS.
        build.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    }
    step::run(&format!("build of weir ({})", profile), &mut build)?;
    Ok(workspace::target().join(profile).join("weir"))
}

/// Builds the CNI plugin as it is shipped: one small static program, since it runs on nodes with whatever libraries they
/// have. Also for tests, so that they run what is shipped.
fn build_cni_plugin(flags: &[String]) -> Result<PathBuf> {
    let version = step::output(Command::new("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc -vV names no host")?;
    let flags: Vec<&str> = flags.iter().map(String::as_str).chain(["-Ctarget-feature=+crt-static"]).collect();
    let mut build = workspace::cargo();
    build.args(["build", "--locked", "--package", "weir-cni", "--bin", "weir-cni", "--profile", "plugin"]);
    // Only with a target named do flags spare what runs during the build.
    build.args(["--target", host]).env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    step::run("static build of the CNI plugin", &mut build)?;
    Ok(workspace::target().join(host).join("plugin/weir-cni"))
}

/// Flags by which what is shipped does not tell in which folders it was built.
fn without_this_machine() -> Vec<String> {
    let home = std::env::home_dir().unwrap_or_default();
    let cargo = std::env::var_os("CARGO_HOME").map_or_else(|| home.join(".cargo"), PathBuf::from);
    let named = [(workspace::root(), "/weir"), (cargo, "/cargo")];
    named.iter().map(|(folder, name)| format!("--remap-path-prefix={}={name}", folder.display())).collect()
}

/// A copy of a program without debug information, in a folder of its own; the one that is there keeps what a debugger
/// wants.
pub(crate) fn stripped(program: &Path, folder: &str) -> Result<PathBuf> {
    let directory = workspace::target().join("stripped").join(folder);
    std::fs::create_dir_all(&directory).with_context(|| format!("creating {}", directory.display()))?;
    let copy = directory.join(program.file_name().context("a program has a name")?);
    step::output(Command::new("strip").arg("--strip-debug").arg("-o").arg(&copy).arg(program))
        .context("stripping debug information (package binutils)")?;
    Ok(copy)
}

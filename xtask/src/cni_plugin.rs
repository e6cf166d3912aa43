//! Builds the CNI plugin as it is shipped: one small static program, since it runs on nodes with whatever libraries
//! they have. Linked statically also for tests, so that they run what is shipped.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::{step, workspace};

/// Package and program.
const NAME: &str = "weir-cni";
/// See the workspace's Cargo.toml.
const PROFILE: &str = "plugin";

/// Builds it for this machine, with further flags for the compiler, and returns where it is.
pub(crate) fn build(mut flags: Vec<String>) -> Result<PathBuf> {
    let target = host()?;
    flags.push("-Ctarget-feature=+crt-static".to_owned());
    let mut build = workspace::cargo();
    build.args(["build", "--locked", "--package", NAME, "--bin", NAME, "--profile", PROFILE]);
    // Only with a target named do flags spare what runs during the build. Paths in them may hold spaces, so not RUSTFLAGS.
    build.args(["--target", &target]).env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    step::run("static build of the CNI plugin", &mut build)?;
    Ok(workspace::target().join(target).join(PROFILE).join(NAME))
}

/// Builds it and puts it beside the programs of the release profile, where an agent that runs from there finds it.
pub(crate) fn build_beside_weir() -> Result<PathBuf> {
    let built = build(Vec::new())?;
    let beside = workspace::target().join("release").join(NAME);
    // Not over the old one in place: cargo may have made it a link to what it keeps.
    let new = beside.with_extension("new");
    std::fs::copy(&built, &new)
        .and_then(|_| std::fs::rename(&new, &beside))
        .with_context(|| format!("copying {} to {}", built.display(), beside.display()))?;
    Ok(beside)
}

/// The target that cargo builds for by itself.
fn host() -> Result<String> {
    let version = step::output(Command::new("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_owned())
}

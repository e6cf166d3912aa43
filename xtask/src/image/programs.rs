//! Builds the programs of the image: Weir, and the CNI plugin where the workspace has it. Without debug information.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::{step, workspace};

/// With how much effort the programs are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Profile {
    /// What is shipped: smallest and fastest, slow to build.
    Dist,
    /// What tests run: quick to build after a small change.
    Release,
}

/// A program of the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Program {
    /// The package that it is built from.
    pub(crate) package: &'static str,
    /// Where it is in the image.
    pub(crate) path: &'static str,
    /// Where cargo left it, stripped.
    pub(crate) from: PathBuf,
}

impl Profile {
    /// As cargo calls it.
    fn name(self) -> &'static str {
        match self {
            Self::Dist => "dist",
            Self::Release => "release",
        }
    }
}

/// Builds them; the first is Weir.
pub(super) fn build(profile: Profile) -> Result<Vec<Program>> {
    let weir = built("weir", profile, None)?;
    let mut programs = vec![Program { package: "weir", path: "/usr/local/bin/weir", from: weir }];
    if workspace::root().join("cni/Cargo.toml").exists() {
        let plugin = built("weir-cni", profile, Some(&host()?))?;
        programs.push(Program { package: "weir-cni", path: "/usr/local/bin/weir-cni", from: plugin });
    }
    Ok(programs)
}

/// Builds a package's program of the same name. With a target it is linked statically: it runs on a node, beside
/// whatever libraries that has.
fn built(package: &str, profile: Profile, linked_statically_for: Option<&str>) -> Result<PathBuf> {
    let mut build = workspace::cargo();
    build.args(["build", "--locked", "--profile", profile.name(), "--package", package]);
    if profile == Profile::Release && linked_statically_for.is_none() {
        // As the tests build it: another choice of packages would be another choice of features, and all built anew.
        build.args(["--package", "weir-tests"]);
    }
    let mut flags = Vec::new();
    if profile == Profile::Dist {
        flags = without_this_machine();
    }
    let mut directory = workspace::target();
    if let Some(target) = linked_statically_for {
        // Only with a target named do flags spare what runs during the build.
        build.args(["--target", target]);
        flags.push("-Ctarget-feature=+crt-static".to_owned());
        directory.push(target);
    }
    if !flags.is_empty() {
        // Paths may hold spaces, so not RUSTFLAGS.
        build.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    }
    step::run(&format!("build of {package} ({})", profile.name()), &mut build)?;
    stripped(&directory.join(profile.name()).join(package), profile)
}

/// What is shipped does not tell in which folders it was built.
fn without_this_machine() -> Vec<String> {
    let home = std::env::home_dir().unwrap_or_default();
    let cargo = std::env::var_os("CARGO_HOME").map_or_else(|| home.join(".cargo"), PathBuf::from);
    let named = [(workspace::root(), "/weir"), (cargo, "/cargo")];
    named.iter().map(|(folder, name)| format!("--remap-path-prefix={}={name}", folder.display())).collect()
}

/// A copy of the program without debug information; the one that is there keeps what a debugger wants.
pub(crate) fn stripped(program: &Path, profile: Profile) -> Result<PathBuf> {
    let directory = workspace::target().join("image").join(profile.name());
    std::fs::create_dir_all(&directory).with_context(|| format!("creating {}", directory.display()))?;
    let copy = directory.join(program.file_name().context("a program has a name")?);
    let mut strip = std::process::Command::new("strip");
    step::output(strip.arg("--strip-debug").arg("-o").arg(&copy).arg(program))
        .context("stripping debug information (package binutils)")?;
    Ok(copy)
}

/// The target that cargo builds for by itself.
pub(super) fn host() -> Result<String> {
    let version = step::output(std::process::Command::new("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_owned())
}

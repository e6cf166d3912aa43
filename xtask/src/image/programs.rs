//! Builds the programs of the image: Weir and its CNI plugin. Without debug information.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::{cni_plugin, step, workspace};

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
    let flags = match profile {
        Profile::Dist => without_this_machine(),
        Profile::Release => Vec::new(),
    };
    let mut build = workspace::cargo();
    build.args(["build", "--locked", "--profile", profile.name(), "--package", "weir"]);
    if profile == Profile::Release {
        // As the tests build it: another choice of packages would be another choice of features, and all built anew.
        build.args(["--package", "weir-tests"]);
    }
    if !flags.is_empty() {
        // Paths may hold spaces, so not RUSTFLAGS.
        build.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    }
    step::run(&format!("build of weir ({})", profile.name()), &mut build)?;
    let weir = stripped(&workspace::target().join(profile.name()).join("weir"), profile)?;
    let plugin = stripped(&cni_plugin::build(flags)?, profile)?;
    Ok(vec![
        Program { package: "weir", path: "/usr/local/bin/weir", from: weir },
        Program { package: "weir-cni", path: "/usr/local/bin/weir-cni", from: plugin },
    ])
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

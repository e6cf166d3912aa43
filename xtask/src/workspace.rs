//! Where things are: the workspace's root, its target directory, the user's cache.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::step;

/// The workspace's root directory: of the clone that cargo runs us from. With a target directory that clones share, we may
/// have been built in another.
pub(crate) fn root() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Path::new(&package).parent().expect("xtask is a directory of the workspace").to_owned()
}

/// Where cargo puts what it builds.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |target| root().join(target))
}

/// Weir's folder in the user's cache; the same as where `.ci/run` builds.
pub(crate) fn cache() -> PathBuf {
    let user = std::env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty()).map(PathBuf::from);
    let user = user.or_else(|| std::env::home_dir().map(|home| home.join(".cache")));
    user.unwrap_or_else(target).join("weir")
}

/// The cargo that runs us.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root());
    cargo
}

/// Whether nobody is looking: what cannot be checked is a failure then.
pub(crate) fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| !value.is_empty() && value != "false")
}

/// A command that runs as root: itself, or through sudo.
pub(crate) fn as_root(program: impl AsRef<std::ffi::OsStr>) -> Command {
    if step::output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0") {
        return Command::new(program);
    }
    let mut sudo = Command::new("sudo");
    sudo.arg("--preserve-env=CI,RUST_BACKTRACE").arg(program);
    sudo
}

/// The files with these extensions that are, or are below, a path of the workspace.
pub(crate) fn files_below(root: &Path, path: &str, extensions: &[&str]) -> Result<Vec<PathBuf>> {
    let mut find = Command::new("find");
    find.current_dir(root).args([path, "-type", "d", "-name", "target*", "-prune", "-o", "-type", "f", "-regex"]);
    find.arg(format!(r".*\.\({}\)", extensions.join(r"\|"))).arg("-print");
    let found = step::output(&mut find)?;
    let mut files: Vec<PathBuf> = found.lines().map(|file| file.strip_prefix("./").unwrap_or(file).into()).collect();
    files.sort();
    Ok(files)
}

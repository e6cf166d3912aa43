//! Where the programs of this workspace are that tests run.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

/// A binary of this workspace, from the folder of the running one, or as `WEIR_BIN_DIR` says.
///
/// # Errors
/// If it was not built.
pub fn binary(name: &str) -> Result<PathBuf> {
    let folder = match std::env::var_os("WEIR_BIN_DIR") {
        Some(folder) => folder.into(),
        None => std::env::current_exe()?.parent().context("a program has a folder")?.to_owned(),
    };
    let path = folder.join(name);
    ensure!(path.exists(), "{} is not built (cargo build --release -p weir -p weir-tests)", path.display());
    Ok(path)
}

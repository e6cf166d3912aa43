//! The images that nodes are given: OCI archives that `cargo xtask test k8s` makes beside the programs of the tests.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use super::parts::beside;

/// What pods of tests run: busybox and `weir-test-app`.
pub const APP: &str = "weir.test/app:1";
/// Names the folder of the archives; without it they are looked for beside the programs' folder.
pub const VARIABLE: &str = "WEIR_K8S_IMAGES";

/// All archives there are.
///
/// # Errors
/// If there is none.
pub fn all() -> Result<Vec<PathBuf>> {
    let folder = match std::env::var_os(VARIABLE) {
        Some(path) => PathBuf::from(path),
        None => beside("../k8s")?,
    };
    let entries = fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()));
    let mut found = Vec::new();
    for entry in entries.context("`cargo xtask test k8s` makes the images")? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "tar") {
            found.push(fs::canonicalize(path)?);
        }
    }
    ensure!(!found.is_empty(), "there is no image in {}: `cargo xtask test k8s` makes them", folder.display());
    found.sort();
    Ok(found)
}

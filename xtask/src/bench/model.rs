//! `cargo xtask bench model`: the model's decisions alone, without root and without the kernel.

use anyhow::Result;

use crate::{step, workspace};

/// Runs the model's benches.
pub(crate) fn run() -> Result<()> {
    step::run("model", workspace::cargo().args(["bench", "--locked", "--package", "weir", "--bench", "model"]))
}

//! `cargo xtask ci`: what is checked before the tests run.

use anyhow::Result;

use crate::{audit, step, tidy, workspace};

/// Formatting, lints, tidy, audit. The first that fails ends it.
pub(crate) fn run() -> Result<()> {
    step::run("formatting", workspace::cargo().args(["fmt", "--all", "--check"]))?;
    step::run(
        "formatting of the fuzz targets",
        workspace::cargo().args(["fmt", "--manifest-path", "fuzz/Cargo.toml", "--check"]),
    )?;
    tidy::run()?;
    audit::run()?;
    step::run(
        "the fuzzer's way into a session",
        workspace::cargo()
            .args(["rustc", "--package", "weir", "--lib", "--locked", "--profile", "check"])
            .args(["--", "--cfg", "fuzzing"]),
    )?;
    step::run(
        "lints",
        workspace::cargo().args(["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]),
    )
}

//! `cargo xtask ci`: what is checked before the tests run.

use anyhow::{Result, ensure};

use crate::{audit, step, tidy, workspace};

/// Formatting, tidy, audit, lints: all of them, also after one that fails.
///
/// # Errors
/// Which checks failed; each has printed what it found.
pub(crate) fn run(commands: &[String]) -> Result<()> {
    let cargo = |what: &'static str, arguments: &[&str]| (what, step::run(what, workspace::cargo().args(arguments)));
    let checks = [
        cargo("formatting", &["fmt", "--all", "--check"]),
        cargo("formatting of the fuzz targets", &["fmt", "--manifest-path", "fuzz/Cargo.toml", "--check"]),
        ("tidy", tidy::run(commands)),
        ("audit", audit::run()),
        cargo(
            "the library as the fuzz targets need it",
            &["rustc", "--package", "weir", "--lib", "--locked", "--profile", "check", "--", "--cfg", "fuzzing"],
        ),
        cargo("lints", &["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]),
    ];
    let failed: Vec<_> = checks.into_iter().filter_map(|(what, outcome)| Some((what, outcome.err()?))).collect();
    failed.iter().for_each(|(what, error)| println!("FAILED  {what}: {error:#}"));
    ensure!(failed.is_empty(), "{} checks failed", failed.len());
    Ok(())
}

//! `cargo xtask fuzz`: builds the fuzz targets with cargo-fuzz and runs them one after the other, each for a time.
//!
//! No sanitizer: that would take a nightly compiler, and what is fuzzed is safe Rust, which panics instead. Debug
//! assertions and overflow checks are on. What the fuzzer learns stays in `target/fuzz`; what the repository keeps are
//! the few seeds in `fuzz/seeds`.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::{setup, step, workspace};

const CARGO_FUZZ: &str = "0.13.1";
/// Input longer than this finds little more, and slowly. One input may take this long by the clock on the wall, however busy
/// the machine is, and the process have so much memory.
const LIMITS: &[&str] = &["-max_len=8192", "-timeout=60", "-rss_limit_mb=2048"];

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Run only this target (hbone, h1, xds, authorize, objects, kernel, tokens, paths, requests).
    target: Option<String>,
    /// Seconds per target.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

/// Runs one target or all of them.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let why = "it builds programs with the fuzzer's instrumentation (about a minute)";
    setup::cargo_program("cargo-fuzz", CARGO_FUZZ, why)?;
    let all = step::output(workspace::cargo().args(["fuzz", "list", "--fuzz-dir", "fuzz"]))?;
    let wanted = |name: &&str| arguments.target.as_deref().is_none_or(|target| target == *name);
    let targets: Vec<&str> = all.lines().filter(wanted).collect();
    ensure!(!targets.is_empty(), "there is no such target; there are {}", all.trim().replace('\n', ", "));
    step::run("building the fuzz targets", &mut cargo_fuzz("build"))?;
    for target in targets {
        fuzz(target, arguments.seconds)?;
    }
    println!("no findings");
    Ok(())
}

fn cargo_fuzz(verb: &str) -> Command {
    let mut cargo = workspace::cargo();
    cargo.args(["fuzz", verb, "--fuzz-dir", "fuzz", "--sanitizer", "none", "--target-dir"]);
    cargo.arg(workspace::target().join("fuzz"));
    cargo
}

/// Runs a target. The fuzzer prints how far it is, and at the end its figures.
fn fuzz(target: &str, seconds: u64) -> Result<()> {
    let folder = workspace::target().join("fuzz");
    let [corpus, findings] = ["corpus", "findings"].map(|kind| folder.join(kind).join(target));
    fs::create_dir_all(&corpus)
        .and_then(|()| fs::create_dir_all(&findings))
        .context("making folders for the fuzzer")?;
    let mut command = cargo_fuzz("run");
    command.arg(target).arg(&corpus);
    command.args(Some(workspace::root().join("fuzz/seeds").join(target)).filter(|seeds| seeds.is_dir()));
    command.arg("--").args(LIMITS).arg("-print_final_stats=1");
    command.arg(format!("-max_total_time={seconds}")).arg(format!("-artifact_prefix={}/", findings.display()));
    step::run(target, &mut command).with_context(|| format!("a finding: the input is in {}", findings.display()))
}

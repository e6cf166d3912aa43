//! `cargo xtask fuzz`: builds the fuzz targets with cargo-fuzz and runs them one after the other, each for a time.
//!
//! No sanitizer: that would take a nightly compiler, and what is fuzzed is safe Rust, which panics instead. Debug
//! assertions and overflow checks are on. What the fuzzer learns stays in `target/fuzz`; what the repository keeps are
//! the few seeds in `fuzz/seeds`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::{pypi, setup, step, workspace};

const CARGO_FUZZ: &str = "0.13.1";
/// Input longer than this finds little more, and slowly. One input may take this long by the clock on the wall, however busy
/// the machine is, and the process have so much memory.
const LIMITS: &[&str] = &["-max_len=8192", "-timeout=60", "-rss_limit_mb=2048"];

/// The target that asks Google's RE2, and the package that brings it to Python 3.11 on 64-bit x86: pip takes nothing else.
const ORACLE_TARGET: &str = "re2";
const ORACLE_PACKAGE: &str = "google-re2";
const ORACLE_VERSION: &str = "1.1.20251105";
const ORACLE_SUM: &str = "03156291269f145eccddff63118f2df02d395792f51fc039f09955818943815a";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Run only this target (hbone, h1, hpack, versions, xds, objects, routes, re2, authorize, requests, tokens, paths, kernel).
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
        let oracle = if target == ORACLE_TARGET { Some(oracle()) } else { None };
        match oracle.transpose() {
            Ok(oracle) => fuzz(target, oracle.as_deref(), arguments.seconds)?,
            Err(error) if arguments.target.is_none() => println!("── the target {target} is left out: {error:#}"),
            Err(error) => return Err(error),
        }
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

/// Where Python finds RE2.
fn oracle() -> Result<PathBuf> {
    let folder = workspace::cache().join(format!("{ORACLE_PACKAGE}-{ORACLE_VERSION}"));
    if !folder.join("re2").is_dir() {
        let what = format!("fetching RE2 {ORACLE_VERSION} (from the Python package index) into {}", folder.display());
        pypi::unpack(&what, ORACLE_PACKAGE, ORACLE_VERSION, ORACLE_SUM, &folder).context("it needs Python 3.11")?;
    }
    Ok(folder)
}

/// Runs a target. The fuzzer prints how far it is, and at the end its figures. `modules`: what Python needs for it.
fn fuzz(target: &str, modules: Option<&Path>, seconds: u64) -> Result<()> {
    let folder = workspace::target().join("fuzz");
    let [corpus, findings] = ["corpus", "findings"].map(|kind| folder.join(kind).join(target));
    fs::create_dir_all(&corpus)
        .and_then(|()| fs::create_dir_all(&findings))
        .context("making folders for the fuzzer")?;
    let mut command = cargo_fuzz("run");
    command.envs(modules.map(|folder| ("PYTHONPATH", folder)));
    command.arg(target).arg(&corpus);
    command.args(Some(workspace::root().join("fuzz/seeds").join(target)).filter(|seeds| seeds.is_dir()));
    command.arg("--").args(LIMITS).arg("-print_final_stats=1");
    command.arg(format!("-max_total_time={seconds}")).arg(format!("-artifact_prefix={}/", findings.display()));
    step::run(target, &mut command).with_context(|| format!("a finding: the input is in {}", findings.display()))
}

//! `cargo xtask fuzz`: builds the fuzz targets with cargo-fuzz and runs them one after the other, each for a time.
//!
//! No sanitizer: that would take a nightly compiler, and what is fuzzed is safe Rust, which panics instead. Debug
//! assertions and overflow checks are on. What the fuzzer learns stays in `target/fuzz`; what the repository keeps are
//! the few seeds in `fuzz/seeds`.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::{setup, step, workspace};

const CARGO_FUZZ: &str = "0.13.1";
/// Every target, and what it is fed.
const TARGETS: &[(&str, &str)] = &[
    ("hbone", "what an authenticated peer sends"),
    ("xds", "what a control plane sends"),
    ("authorize", "policies and requests, against an oracle"),
    ("objects", "what a user writes"),
    ("kernel", "what the kernel hands over"),
];
/// Input longer than this finds little more, and slowly.
const MAX_INPUT_BYTES: u32 = 8192;
/// One input may take this long by the clock on the wall, however busy the machine is, and the process have so much memory.
const MAX_INPUT_SECONDS: u32 = 60;
const MAX_MEGABYTES: u32 = 2048;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Run only this target (hbone, xds, authorize, objects, kernel).
    target: Option<String>,
    /// Seconds per target.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

/// What a run reached, as the fuzzer prints it.
#[derive(Debug, Default)]
struct Figures {
    executions: u64,
    edges: u64,
    inputs: String,
}

/// Runs one target or all of them.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let wanted = |name: &str| arguments.target.as_deref().is_none_or(|target| target == name);
    let targets: Vec<_> = TARGETS.iter().filter(|(name, _)| wanted(name)).collect();
    ensure!(!targets.is_empty(), "there is no such target; there are {}", names().join(", "));
    setup::cargo_program(
        "cargo-fuzz",
        CARGO_FUZZ,
        "it builds programs with the fuzzer's instrumentation (about a minute)",
    )?;
    build()?;
    let mut summary = Vec::new();
    for (name, about) in targets {
        let start = Instant::now();
        let figures = step::announced(&format!("{name}: {about}"), || fuzz(name, arguments.seconds))?;
        let seconds = start.elapsed().as_secs_f64();
        let Figures { executions, edges, inputs } = figures;
        summary
            .push(format!("{name:<10} {seconds:5.0} s {executions:>12} executions {edges:>6} edges, {inputs} inputs"));
    }
    println!("no findings");
    summary.iter().for_each(|line| println!("{line}"));
    Ok(())
}

fn names() -> Vec<&'static str> {
    TARGETS.iter().map(|(name, _)| *name).collect()
}

/// The folder that git does not know, for what is built and learned.
fn folder() -> PathBuf {
    workspace::target().join("fuzz")
}

fn cargo_fuzz(verb: &str) -> Command {
    let mut cargo = workspace::cargo();
    cargo.args(["fuzz", verb, "--fuzz-dir", "fuzz", "--sanitizer", "none", "--target-dir"]).arg(folder());
    cargo
}

fn build() -> Result<()> {
    step::run("building the fuzz targets", &mut cargo_fuzz("build"))
}

fn fuzz(target: &str, seconds: u64) -> Result<Figures> {
    let corpus = folder().join("corpus").join(target);
    let findings = folder().join("findings").join(target);
    fs::create_dir_all(&corpus)?;
    fs::create_dir_all(&findings)?;
    let seeds = workspace::root().join("fuzz/seeds").join(target);
    let mut command = cargo_fuzz("run");
    command.arg(target).arg(&corpus);
    if seeds.is_dir() {
        command.arg(&seeds);
    }
    command.args([
        "--".to_owned(),
        format!("-max_total_time={seconds}"),
        format!("-max_len={MAX_INPUT_BYTES}"),
        format!("-timeout={MAX_INPUT_SECONDS}"),
        format!("-rss_limit_mb={MAX_MEGABYTES}"),
        format!("-artifact_prefix={}/", findings.display()),
        "-print_final_stats=1".to_owned(),
    ]);
    watch(&mut command, &findings)
}

/// Runs the fuzzer and reads its figures; it speaks on standard error.
fn watch(command: &mut Command, findings: &Path) -> Result<Figures> {
    let mut child = command.stderr(Stdio::piped()).spawn().with_context(|| format!("running {command:?}"))?;
    let mut figures = Figures::default();
    let mut last = Vec::new();
    for line in BufReader::new(child.stderr.take().expect("stderr is piped")).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        figures.read(&line);
        // What is known of a finding comes at the end.
        last.push(line);
        if last.len() > 200 {
            last.remove(0);
        }
    }
    if !child.wait()?.success() {
        last.iter().for_each(|line| eprintln!("{line}"));
        bail!("a finding: the input is in {}", findings.display());
    }
    Ok(figures)
}

impl Figures {
    /// Takes figures from a line: `#12 pulse cov: 34 ft: 56 corp: 7/8b …`, or `stat::number_of_executed_units: 12`.
    fn read(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        for pair in words.windows(2) {
            match pair[0] {
                "cov:" => self.edges = pair[1].parse().unwrap_or(self.edges),
                "corp:" => self.inputs = pair[1].split('/').next().unwrap_or_default().to_owned(),
                "stat::number_of_executed_units:" => self.executions = pair[1].parse().unwrap_or(self.executions),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_from_what_the_fuzzer_prints() {
        let mut figures = Figures::default();
        for line in [
            "INFO: seed corpus: files: 3 min: 1b max: 12b total: 20b rss: 40Mb",
            "#1024\tpulse  cov: 213 ft: 344 corp: 41/96b lim: 14 exec/s: 512 rss: 44Mb",
            "stat::number_of_executed_units: 2048",
        ] {
            figures.read(line);
        }
        assert_eq!((figures.executions, figures.edges, figures.inputs.as_str()), (2048, 213, "41"));
    }
}

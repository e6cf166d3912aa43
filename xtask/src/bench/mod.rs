//! `cargo xtask bench`: builds what is measured and what measures, and runs it as root. What the cases and subjects are
//! is in docs/bench.md.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::{setup, step, test, workspace};

mod model;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    other: Option<Other>,
    #[command(flatten)]
    bench: Bench,
}

/// What is measured without the kernel.
#[derive(Debug, Subcommand)]
enum Other {
    /// The model's decisions alone: nanoseconds each, by the size of the mesh.
    Model,
}

#[derive(Debug, Args)]
struct Bench {
    /// Within four minutes: fewer and shorter rounds.
    #[arg(long)]
    quick: bool,
    /// Only these cases (A,B): see docs/bench.md.
    #[arg(long, value_delimiter = ',')]
    case: Vec<String>,
    /// Only these subjects (A,B) beside no mesh: see docs/bench.md.
    #[arg(long, value_delimiter = ',')]
    subject: Vec<String>,
    /// Times that every subject of a case is measured.
    #[arg(long)]
    rounds: Option<u32>,
    /// Seconds of one measurement.
    #[arg(long)]
    seconds: Option<u32>,
    /// A build of `weir` in place of the workspace's own: NAME=PATH, or several of them beside each other.
    #[arg(long)]
    weir: Vec<String>,
    /// Another pair of proxies, brought up by a command: NAME=COMMAND.
    #[arg(long)]
    peer: Vec<String>,
}

/// Runs the bench, or the other one that was asked for.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    match arguments.other {
        Some(Other::Model) => model::run(),
        None => measure(&arguments.bench),
    }
}

fn measure(bench: &Bench) -> Result<()> {
    setup::run()?;
    test::build_for_real()?;
    let mut command = workspace::as_root(workspace::target().join("release/weir-bench"));
    command.args(bench.quick.then_some("--quick"));
    for (flag, values) in
        [("case", &bench.case), ("subject", &bench.subject), ("weir", &bench.weir), ("peer", &bench.peer)]
    {
        command.args(values.iter().map(|value| format!("--{flag}={value}")));
    }
    for (flag, value) in [("rounds", bench.rounds), ("seconds", bench.seconds)] {
        command.args(value.map(|value| format!("--{flag}={value}")));
    }
    if let Some(envoy) = envoy(bench) {
        command.arg(format!("--envoy={}", envoy.display()));
    }
    command.arg(format!("--out={}", workspace::target().join("bench").display()));
    command.arg(format!("--revision={}", revision()?));
    step::run("bench", &mut command)
}

/// Envoy, unless it is not to be measured; without one the others still are.
fn envoy(bench: &Bench) -> Option<PathBuf> {
    if !bench.subject.is_empty() && !bench.subject.iter().any(|name| name == "envoy") {
        return None;
    }
    match setup::envoy::fetch() {
        Ok(binary) => Some(binary),
        Err(error) => {
            println!("── Envoy will not be measured: {error:#}");
            None
        }
    }
}

/// The commit that was built, and whether something in it is changed.
fn revision() -> Result<String> {
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        step::output(git.current_dir(workspace::root()).args(arguments))
    };
    let commit = git(&["rev-parse", "--short", "HEAD"])?;
    let changed = !git(&["status", "--porcelain", "--untracked-files=no"])?.trim().is_empty();
    Ok(format!("{}{}", commit.trim(), if changed { " with changes" } else { "" }))
}

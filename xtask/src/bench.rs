//! `cargo xtask bench`: builds what is measured, as it is shipped, and what measures, and runs it as root. What the cases and subjects
//! are is in docs/bench.md. `cargo xtask bench model` measures the mesh model alone, which needs neither.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;
use clap::Args;

use crate::{envoy, programs, setup, step, workspace};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// With how much effort the Weir that is measured is built: `dist` is what images are made of, and slow to build; `release` is what the
    /// tests run. Stands before all that is passed on, and says nothing of builds that `--weir` names.
    #[arg(long, value_parser = ["dist", "release"], default_value = "dist")]
    build: String,
    /// `model` for the model's decisions alone, and of them those whose benchmarks' names contain a word behind it; `isolation` for what attacks do to bystanders, of which `--kind A,B` chooses
    /// some (docs/isolation.md). Anything else is passed on to `weir-bench`: `--quick`, `--case A,B`,
    /// `--subject A,B`, `--rounds N`, `--seconds N`, `--weir NAME=PATH`, `--peer NAME=COMMAND`; `-- --help` explains them.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    passed_on: Vec<String>,
}

/// Runs the bench, or that of the model.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if let [first, names @ ..] = &*arguments.passed_on
        && first == "model"
    {
        return model(names);
    }
    let isolation = arguments.passed_on.first().is_some_and(|first| first == "isolation");
    setup::run()?;
    programs::build_for_real()?;
    let mut command = workspace::as_root(programs::release("weir-bench"));
    command.args(&arguments.passed_on);
    if isolation {
        return step::run("isolation bench", &mut command);
    }
    if arguments.build == "dist" && !arguments.passed_on.iter().any(|argument| argument.starts_with("--weir")) {
        command.arg(format!("--weir=weir={}", programs::build_as_shipped()?.display()));
    }
    if let Some(envoy) = envoy_for(&arguments.passed_on) {
        command.arg(format!("--envoy={}", envoy.display()));
    }
    command.arg(format!("--out={}", workspace::target().join("bench").display()));
    command.arg(format!("--revision={}", revision()?));
    step::run("bench", &mut command)
}

/// The mesh model at scale: the program in `agent/benches/model` prints its figures with their bounds as a table and fails
/// if one is not met. See docs/model.md.
fn model(names: &[String]) -> Result<()> {
    let mut bench = workspace::cargo();
    bench.args(["bench", "--package", "weir", "--bench", "model", "--"]);
    // A figure is a median of many short runs; more of them would not change it.
    bench.args(["--warm-up-time", "0.5", "--measurement-time", "2"]).args(names);
    step::run("mesh model: 100,000 workloads, 10,000 services", &mut bench)
}

/// Envoy, unless it is not to be measured; without one the others still are.
fn envoy_for(arguments: &[String]) -> Option<PathBuf> {
    let chooses = arguments.iter().any(|argument| argument.starts_with("--subject"));
    if chooses && !arguments.iter().any(|argument| argument.contains("envoy")) {
        return None;
    }
    envoy::fetch().inspect_err(|error| println!("── Envoy will not be measured: {error:#}")).ok()
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

//! `cargo xtask test`: the units, then the behaviours on the real kernel, and one count over all.

use std::time::Instant;

use anyhow::{Result, ensure};
use clap::{Args, Subcommand};

use crate::count::Count;
use crate::{cni_plugin, k8s, setup, step, workspace};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    /// Run only tests whose name contains this.
    filter: Option<String>,
    #[command(subcommand)]
    on: Option<On>,
}

/// What tests run on, other than this machine's kernel alone.
#[derive(Debug, Subcommand)]
enum On {
    /// Two real Kubernetes nodes with istiod, on this machine: behaviours of what `daemonset.yaml` brings.
    K8s(k8s::Arguments),
}

/// Runs all tests whose name contains the filter, or those on a cluster.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    match &arguments.on {
        Some(On::K8s(arguments)) => k8s::run(arguments),
        None => run_here(arguments.filter.as_deref()),
    }
}

/// Runs all tests that need no cluster.
fn run_here(filter: Option<&str>) -> Result<()> {
    let start = Instant::now();
    setup::everything()?;
    let mut count = Count::default();
    let mut units = workspace::cargo();
    // The model's tests run as part of the agent's.
    units
        .args(["test", "--workspace", "--exclude=weir-model", "--locked", "--no-fail-fast", "--", "--quiet"])
        .args(filter);
    let units_ran = step::watched("unit tests", &mut units, |line| count.add(line))?;

    build_for_real()?;
    // By `env`: root's cache is another, and sudo passes no variable on.
    let mut behaviours = workspace::as_root("env");
    behaviours.arg(format!("{}={}", setup::envoy::VARIABLE, setup::envoy::binary().display()));
    behaviours.arg(workspace::target().join("release/weir-netns-tests")).args(filter);
    // The filter may be meant for a unit test.
    behaviours.arg("--may-match-none");
    let behaviours_ran = step::watched("behaviours on this kernel", &mut behaviours, |line| count.add(line))?;

    println!("── all tests: took {:.0} s", start.elapsed().as_secs_f64());
    count.print();
    ensure!(units_ran && behaviours_ran && count.failed == 0, "not all tests passed");
    ensure!(count.passed > 0 || filter.is_some(), "no test ran");
    Ok(())
}

/// Builds what is run for real, in the release profile: Weir, its CNI plugin and the programs of the tests.
pub(crate) fn build_for_real() -> Result<()> {
    let mut build = workspace::cargo();
    build.args(["build", "--release", "--locked", "--package", "weir", "--package", "weir-tests"]);
    step::run("release build", &mut build)?;
    cni_plugin::build_beside_weir().map(drop)
}

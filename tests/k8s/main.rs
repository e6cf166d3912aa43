//! Weir on a real Kubernetes cluster: the table of behaviours, and a cluster for developers.

use std::ops::ControlFlow;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use weir_tests::cluster::inside;
use weir_tests::cluster::mode::Mode;
use weir_tests::selection::Selection;
use weir_tests::table::Table;

mod absent;
mod arriving;
mod churn;
mod cluster;
mod cni;
mod crowd;
mod deleting;
mod deploying;
mod enrolling;
mod enrollment;
mod harness;
mod iptables;
mod istioctl;
mod istiod;
mod mesh;
mod nri;
mod pair;
mod probes;
mod processes;
mod prometheus;
mod reaching;
mod restarting;
mod rotating;
mod scale;
mod taken_down;
mod up;

use harness::{Case, Shared};

/// Every case, by file, in the order they run: those that share a cluster follow each other. What takes long, or is about
/// the cluster itself or ways of having one that are less usual, only if that is wanted.
fn table(long: bool) -> Vec<Case> {
    let files: &[(&[Case], &[Case])] = &[
        (cluster::CASES, cluster::LONG),
        (deploying::CASES, &[]),
        (mesh::CASES, &[]),
        (enrolling::CASES, enrolling::LONG),
        (&[], arriving::LONG),
        (enrollment::CASES, enrollment::LONG),
        (cni::CASES, &[]),
        (istioctl::CASES, &[]),
        (prometheus::CASES, &[]),
        (reaching::CASES, &[]),
        (probes::CASES, &[]),
        (restarting::CASES, restarting::LONG),
        (deleting::CASES, deleting::LONG),
        (&[], churn::LONG),
        (istiod::CASES, istiod::LONG),
        (absent::CASES, absent::LONG),
        (&[], cluster::OTHERWISE),
        (&[], nri::LONG),
        (&[], iptables::LONG),
        (&[], deploying::LONG),
        (&[], scale::LONG),
        (&[], crowd::LONG),
        (&[], churn::ALONE),
        (&[], rotating::LONG),
        (&[], taken_down::LONG),
    ];
    files.iter().flat_map(|(always, more)| always.iter().chain(more.iter().filter(|_| long))).copied().collect()
}

#[derive(Debug, Parser)]
#[command(about = "Weir on a real Kubernetes cluster", long_about = None)]
struct Arguments {
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Check the behaviours.
    Run(Run),
    /// Keep a cluster up in the foreground until Ctrl-C (or SIGTERM), for trying things by hand.
    Up(up::Up),
}

#[derive(Debug, Args)]
struct Run {
    #[command(flatten)]
    selection: Selection,
    /// How nodes see cgroups; given twice, one after the other.
    #[arg(long, value_enum, default_values_t = [Mode::V2])]
    mode: Vec<Mode>,
    /// Run everything: half an hour and more for each mode; names of what takes minutes say so.
    #[arg(long)]
    long: bool,
    /// Keep the cluster of a failed case up until Enter, to look at it.
    #[arg(long)]
    keep: bool,
}

fn main() -> ExitCode {
    if let Some(code) = inside::run_if_asked() {
        return code;
    }
    let outcome = match Arguments::parse().act {
        Act::Run(arguments) => run(&arguments),
        Act::Up(up) => up::keep(&up),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("{error:#}");
        ExitCode::FAILURE
    })
}

fn run(arguments: &Run) -> Result<ExitCode> {
    let cases = match arguments.selection.choose(table(arguments.long)) {
        ControlFlow::Continue(cases) => cases,
        ControlFlow::Break(code) => return Ok(code),
    };
    let mut table = Table::begin()?;
    for &mode in &arguments.mode {
        let missing = harness::missing_features(mode);
        table.run(&format!("{mode}: "), &cases, Shared::new(mode, arguments.keep), missing.as_deref());
    }
    Ok(table.finish())
}

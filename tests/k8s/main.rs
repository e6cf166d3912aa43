//! Weir on a real Kubernetes cluster: the table of behaviours, and a cluster for developers.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use weir_tests::cluster::inside;
use weir_tests::cluster::mode::Mode;
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
mod scale;
mod taken_down;
mod up;

use harness::{Case, Shared};

/// Every case, by file, in the order they run.
fn table() -> Vec<Case> {
    [
        cluster::CASES,
        deploying::CASES,
        mesh::CASES,
        istioctl::CASES,
        prometheus::CASES,
        enrolling::CASES,
        arriving::CASES,
        enrollment::CASES,
        cni::CASES,
        nri::CASES,
        reaching::CASES,
        iptables::CASES,
        probes::CASES,
        restarting::CASES,
        deleting::CASES,
        churn::CASES,
        istiod::CASES,
        absent::CASES,
        scale::CASES,
        taken_down::CASES,
    ]
    .concat()
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
    /// Run only the cases whose name contains this.
    filter: Option<String>,
    /// How nodes see cgroups: v2, hybrid, or both, one after the other.
    #[arg(long, default_value = "both")]
    mode: String,
    /// Print the names and run nothing.
    #[arg(long)]
    list: bool,
    /// Also run the long forms; the name of each says how long it takes.
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
    let filter = arguments.filter.as_deref().unwrap_or_default();
    let long = if arguments.long { [absent::LONG, crowd::LONG, churn::LONG].concat() } else { Vec::new() };
    let cases: Vec<Case> = table().into_iter().chain(long).filter(|case| case.name.contains(filter)).collect();
    if arguments.list {
        cases.iter().for_each(|case| println!("{}", case.name));
        return Ok(ExitCode::SUCCESS);
    }
    let modes = if arguments.mode == "both" { Mode::ALL.to_vec() } else { vec![arguments.mode.parse()?] };
    let mut table = Table::begin()?;
    for mode in modes {
        let missing = harness::missing_features(mode);
        table.run(&format!("{mode}: "), &cases, Shared::new(mode, arguments.keep), missing.as_deref());
    }
    Ok(table.finish())
}

//! Weir on a real Kubernetes cluster: the table of behaviours, the Gateway API's conformance suite, and a cluster for developers.

use std::ops::ControlFlow;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use weir_tests::cluster::inside;
use weir_tests::cluster::mode::Mode;
use weir_tests::selection::Selection;
use weir_tests::table::Table;

mod agent_replacement;
mod captured_pods;
mod churn;
mod cluster;
mod cni;
mod conformance;
mod deployment;
mod enrollment_under_load;
mod envoy;
mod harness;
mod http;
mod iptables;
mod istioctl;
mod istiod;
mod istiod_outage;
mod mesh;
mod nri;
mod overlays;
mod pair;
mod pod_startup;
mod policy;
mod probes;
mod processes;
mod prometheus;
mod reachability;
mod removal_under_load;
mod root_rotation;
mod scale;
mod teardown;
mod up;

use harness::{Case, Shared};

/// Every case, by file, in the order they run: those that share a cluster follow each other. What takes long, or is about
/// the cluster itself or ways of having one that are less usual, only if that is wanted.
fn table(long: bool) -> Vec<Case> {
    let (http, policy, scale) = (http::cases(), policy::cases(), scale::long());
    let files: &[(&[Case], &[Case])] = &[
        (cluster::CASES, cluster::LONG),
        (overlays::CASES, &[]),
        (deployment::CASES, &[]),
        (enrollment_under_load::CASES, enrollment_under_load::LONG),
        (&[], pod_startup::LONG),
        (captured_pods::CASES, captured_pods::LONG),
        (cni::CASES, &[]),
        (istioctl::CASES, &[]),
        (prometheus::CASES, &[]),
        (reachability::CASES, &[]),
        (&http, &[]),
        (&policy, &[]),
        (envoy::CASES, &[]),
        (probes::CASES, &[]),
        (agent_replacement::CASES, agent_replacement::LONG),
        (removal_under_load::CASES, removal_under_load::LONG),
        (&[], churn::LONG),
        (istiod::CASES, istiod::LONG),
        (istiod_outage::CASES, istiod_outage::LONG),
        (http::FROM_KUBERNETES, &[]),
        (http::RATE_LIMIT_STATUS, &[]),
        (&[], cluster::OTHERWISE),
        (&[], nri::LONG),
        (&[], iptables::LONG),
        (&[], overlays::LONG),
        (&[], &scale),
        (&[], churn::ALONE),
        (&[], root_rotation::LONG),
        (&[], teardown::LONG),
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
    /// Run the Gateway API's conformance suite for meshes.
    Conformance(conformance::Conformance),
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
        Act::Conformance(arguments) => conformance::check(&arguments),
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

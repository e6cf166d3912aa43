//! `weir-bench`: Weir beside no mesh, beside the fastest a pair of proxies can be, and beside other proxies, measured in
//! one run (docs/bench.md), and what attacks do to bystanders (docs/isolation.md).

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Parser;
use weir_tests::run;

mod arguments;
mod case;
mod cpu;
mod envoy;
mod haproxy;
mod identities;
mod isolation;
mod lineup;
mod load;
mod memory;
mod pair;
mod peer;
mod processors;
mod profile;
mod relay;
mod report;
mod rounds;
mod row;
mod stock;
mod subject;
mod testbed;
mod token_pods;
mod weir;

use arguments::{Arguments, Bench, Part};
use lineup::Lineup;
use processors::CpuGroup;
use rounds::{Outcome, Plan};

/// When a quick run begins no further rounds: what is under way then, and the report, fit into four minutes.
const QUICK: Duration = Duration::from_secs(200);

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    match arguments.part {
        Some(Part::Relay { ways }) => relay::serve(&ways)?,
        Some(Part::Rate(rate)) => rate.client()?,
        Some(Part::Hold { address, connections }) => load::hold::client(address, connections)?,
        Some(Part::Bystander(bystander)) => bystander.client()?,
        Some(Part::Isolation(isolation)) => return isolation::run(&isolation),
        None => return bench(&arguments.bench),
    }
    Ok(ExitCode::SUCCESS)
}

fn bench(bench: &Bench) -> Result<ExitCode> {
    ensure!(nix::unistd::geteuid().is_root(), "namespaces and kernel programs need root: run `cargo xtask bench`");
    run::take_down_on_signal()?;
    let cases = case::selected(&bench.cases)?;
    let (resident, loads): (Vec<_>, Vec<_>) = cases.into_iter().partition(case::Case::is_resident);
    let plan = Plan {
        rounds: bench.rounds.unwrap_or(if bench.quick { 3 } else { 5 }),
        seconds: bench.seconds.unwrap_or(if bench.quick { 1 } else { 3 }),
        until: bench.quick.then(|| Instant::now() + QUICK),
    };
    let cpu_group = CpuGroup::join()?;
    let header = report::header::write(bench, plan, cpu_group.as_ref())?;
    println!("{header}");
    let mut outcome = Outcome::default();
    if !resident.is_empty() {
        // Of its own: what has carried load before is not fresh.
        outcome.weigh(&resident, &Lineup::start(bench, &resident)?.subjects);
    }
    if !loads.is_empty() {
        let lineup = Lineup::start(bench, &loads)?;
        outcome.run(&loads, &lineup.subjects, plan);
        if bench.profile {
            profile(&loads, &lineup, plan.seconds)?;
        }
        outcome.failures.extend(lineup.bypassed(&loads)?);
    }
    let builds = bench.builds();
    let names: Vec<&str> = builds.iter().map(|(name, _)| *name).collect();
    report::publish(&header, &outcome, &names, &bench.out)?;
    Ok(if outcome.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Profiles the agents under each load, after all that is measured: sampling costs time.
fn profile(cases: &[case::Case], lineup: &Lineup, seconds: u32) -> Result<()> {
    for case in cases {
        for subject in lineup.subjects.iter().filter(|subject| subject.takes(case.load.way())) {
            print!("{}", profile::of(case, subject, seconds)?);
        }
    }
    Ok(())
}

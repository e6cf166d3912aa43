//! `weir-bench`: Weir beside no mesh, beside the fastest a pair of proxies can be, and beside other proxies, measured in
//! one run. What is measured and how to read it is in docs/bench.md.

use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::Parser;
use weir_tests::run;

mod arguments;
mod case;
mod cpu;
mod header;
mod load;
mod lineup;
mod relay;
mod rounds;
mod row;
mod stage;
mod stock;
mod subject;
mod table;
mod weir;

use arguments::{Arguments, Bench, Part};
use rounds::Plan;

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    match arguments.part {
        Some(Part::Relay { ways }) => relay::serve(&ways).map(|()| ExitCode::SUCCESS),
        None => bench(&arguments.bench),
    }
}

fn bench(bench: &Bench) -> Result<ExitCode> {
    ensure!(nix::unistd::geteuid().is_root(), "namespaces and kernel programs need root: run `cargo xtask bench`");
    run::take_down_on_signal()?;
    let cases = case::selected(&bench.cases)?;
    let plan = Plan {
        rounds: bench.rounds.unwrap_or(if bench.quick { 3 } else { 5 }),
        seconds: bench.seconds.unwrap_or(if bench.quick { 1 } else { 3 }),
    };
    println!("{}", header::write(bench, plan)?);
    let lineup = lineup::Lineup::start(bench)?;
    let outcome = rounds::run(&cases, &lineup.subjects, plan);
    lineup.was_captured()?;
    print!("{}", table::write(&row::rows(&outcome.samples)));
    outcome.failures.iter().for_each(|failure| println!("FAILED: {failure}"));
    Ok(if outcome.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

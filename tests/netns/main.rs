//! The table of behaviours on the real kernel. Each case is a name, which says what Weir promises, and a function that
//! checks it. `weir-netns-tests [WORD]…` runs those whose name contains every word.

use std::ops::ControlFlow;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use weir_tests::selection::Selection;

mod bulk;
mod capture;
mod certificates;
mod cni;
mod count;
mod delivery;
mod direct;
mod enrollment;
mod faults;
mod harness;
mod http;
mod identity;
mod inner;
mod input;
mod interfaces;
mod interop;
mod kit;
mod kubernetes;
mod late_plaintext;
mod leaks;
mod leave;
mod limits;
mod listening;
mod matrix;
mod outbound;
mod paused;
mod peers;
mod policy;
mod ports;
mod probes;
mod refusals;
mod resilience;
mod rollout;
mod services;
mod shares;
mod succession;
mod supervisor;
mod telemetry;
mod traffic;
mod trust;
mod very_many;
mod wire;

use harness::Case;

/// Every case, by file, in the order they run.
fn table() -> Vec<Case> {
    [
        [kit::CASES, capture::CASES, listening::CASES, traffic::CASES].concat(),
        [outbound::CASES, refusals::CASES, services::CASES, rollout::CASES, leave::CASES].concat(),
        [ports::CASES, wire::CASES, identity::CASES, trust::CASES, certificates::CASES].concat(),
        input::cases(),
        [policy::CASES, matrix::CASES, probes::CASES, interfaces::CASES, inner::CASES].concat(),
        [enrollment::CASES, cni::CASES, kubernetes::CASES].concat(),
        [delivery::CASES, telemetry::CASES, late_plaintext::CASES, bulk::CASES, paused::CASES, peers::CASES].concat(),
        direct::cases(),
        http::cases(),
        interop::cases(),
        [resilience::CASES, supervisor::CASES, succession::CASES].concat(),
        faults::cases(),
        [limits::CASES, shares::CASES, very_many::CASES].concat(),
        leaks::CASES.to_vec(),
    ]
    .concat()
}

#[derive(Debug, Parser)]
#[command(about = "Weir's behaviours on this kernel")]
struct Arguments {
    #[command(flatten)]
    selection: Selection,
    /// Also run the long forms; the name of each says how long it takes.
    #[arg(long)]
    long: bool,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let long = if arguments.long { [leaks::LONG.to_vec(), http::long()].concat() } else { Vec::new() };
    match arguments.selection.choose([table(), long].concat()) {
        ControlFlow::Continue(cases) => harness::run(&cases),
        ControlFlow::Break(code) => Ok(code),
    }
}

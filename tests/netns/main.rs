//! The table of behaviours on the real kernel. Each case is a name, which says what Weir promises, and a function that
//! checks it. `weir-netns-tests [WORD]…` runs those whose name contains every word, as many at once as there are processors.

use std::ops::ControlFlow;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use weir_tests::selection::Selection;
use weir_tests::workers::Jobs;

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
mod holdings;
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
mod names;
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

/// Every case, by file, in the order in which they begin.
fn table() -> Vec<Case> {
    [
        [kit::CASES, capture::CASES, listening::CASES, traffic::CASES].concat(),
        [outbound::CASES, refusals::CASES, services::CASES, names::CASES, rollout::CASES, leave::CASES].concat(),
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

/// Cases that need the machine to themselves: those that claim a rate or a time, or count what the whole machine has.
const ALONE: &[&str] = &[
    "http: an endpoint is killed under 2000 requests a second, and none fails",
    "http: routes change 100 times under 5000 requests a second: none fails, each counts within 100 ms",
    "policy: while policies change and very many connections are open new ones are served, and none is lost",
    "enrollment: a pod with very many addresses holds up its neighbour for no longer than another",
    "direct: what is open ends within a second when policy no longer allows it",
    "limits: a pod with more connections that wait than the kernel notes pushes out no other's",
];

#[derive(Debug, Parser)]
#[command(about = "Weir's behaviours on this kernel")]
struct Arguments {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    jobs: Jobs,
    /// Also run the long forms; the name of each says how long it takes.
    #[arg(long)]
    long: bool,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let long = if arguments.long { long() } else { Vec::new() };
    match arguments.selection.choose([table(), long].concat()) {
        ControlFlow::Continue(cases) => harness::run(&cases, ALONE, &arguments.jobs),
        ControlFlow::Break(code) => Ok(code),
    }
}

fn long() -> Vec<Case> {
    [leaks::LONG.to_vec(), http::long()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_case_has_a_name_of_its_own_and_each_that_runs_alone_is_there() {
        let mut names: Vec<&str> = [table(), long()].concat().iter().map(|case| case.name).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
        let unknown: Vec<&&str> = ALONE.iter().filter(|name| names.binary_search(name).is_err()).collect();
        assert_eq!(unknown, Vec::<&&str>::new());
    }
}

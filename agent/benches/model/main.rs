//! The mesh model and routes at the size of a large deployment: what they cost in memory and time, against fixed bounds.
//!
//! `cargo xtask bench model` runs it. Times are medians of criterion's samples; memory is what the program asked the
//! allocator for. Must not measure anything that needs a kernel, a network or another process.

use std::process::ExitCode;

use criterion::Criterion;

mod figures;
mod heap;
mod made_up;
mod memory;
mod policies;
mod rate_limits;
mod routes;
mod timings;
mod tokens;

#[global_allocator]
static ALLOCATOR: heap::Counting = heap::Counting;

fn main() -> ExitCode {
    let mut figures = figures::Figures::default();
    let wire = made_up::Wire::new(made_up::WORKLOADS, made_up::SERVICES);
    println!("{}", wire.describe());
    memory::measure(&wire, &mut figures);
    let mut criterion = Criterion::default().without_plots().configure_from_args();
    timings::measure(&mut criterion, &wire, &mut figures);
    policies::measure(&mut criterion, &mut figures);
    rate_limits::measure(&mut criterion, &mut figures);
    routes::measure(&mut criterion, &mut figures);
    tokens::measure(&mut figures);
    criterion.final_summary();
    print!("{figures}");
    if figures.all_met() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

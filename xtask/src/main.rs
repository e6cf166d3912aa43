//! Every command a developer of Weir needs. `cargo xtask --help` lists them; CI calls the same ones.

use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory, Parser, Subcommand};

mod audit;
mod bench;
mod ci;
mod conformance;
mod count;
mod demo;
mod envoy;
mod fuzz;
mod golang;
mod image;
mod k8s;
mod peers;
mod programs;
mod pypi;
mod setup;
mod stamp;
mod step;
mod test;
mod tidy;
mod tree;
mod vectors;
mod vm;
mod workspace;

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "Every command a developer of Weir needs")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show Weir at work: two nodes, real traffic, encryption and policy, in plain words and figures.
    Demo(demo::Arguments),
    /// Run all tests: the units, then every behaviour on the real kernel. Or, as `test k8s`, those on a real cluster. Needs
    /// root (asks sudo).
    Test(test::Arguments),
    /// Measure Weir beside no mesh, a plain relay and other proxies, in one run. Needs root (asks sudo).
    Bench(bench::Arguments),
    /// Find or install what the build and the tests need, and say what and why.
    Setup,
    /// Check what a compiler cannot: layers, which module may name which crate, file headers, sizes, names, documents.
    Tidy,
    /// Check dependencies: sources, licences, banned crates, crates that must not be there twice.
    Audit,
    /// Boot Debian's stock kernels, old and new, in emulated machines, and check behaviours on each.
    Vm(vm::Arguments),
    /// Build the image that the DaemonSet runs, without a container engine.
    Image(image::Arguments),
    /// Feed arbitrary input to the interfaces that read foreign bytes.
    Fuzz(fuzz::Arguments),
    /// What CI checks before the tests: formatting, lints, tidy, audit.
    Ci,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    match Arguments::parse().verb {
        Verb::Demo(arguments) => demo::run(&arguments),
        Verb::Bench(arguments) => bench::run(&arguments),
        Verb::Test(arguments) => test::run(&arguments),
        Verb::Setup => set_up(),
        Verb::Tidy => tidy::run(&commands()),
        Verb::Audit => audit::run(),
        Verb::Vm(arguments) => vm::run(&arguments),
        Verb::Image(arguments) => image::run(&arguments),
        Verb::Fuzz(arguments) => fuzz::run(&arguments),
        Verb::Ci => ci::run(&commands()),
    }
}

/// All that any command needs.
fn set_up() -> Result<()> {
    setup::run()?;
    envoy::fetch_if_possible();
    peers::build_if_possible();
    vectors::fetch_if_possible();
    audit::install()
}

/// The names of all commands.
fn commands() -> Vec<String> {
    Arguments::command().get_subcommands().map(|command| command.get_name().to_owned()).collect()
}

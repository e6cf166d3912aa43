//! Weir on a real Kubernetes cluster: the table of behaviours, and a cluster for developers.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use weir_tests::cluster::inside;

mod up;

#[derive(Debug, Parser)]
#[command(about = "Weir on a real Kubernetes cluster", long_about = None)]
struct Arguments {
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Keep a cluster up in the foreground until Ctrl-C (or SIGTERM), for trying things by hand.
    Up(up::Up),
}

fn main() -> ExitCode {
    if let Some(code) = inside::run_if_asked() {
        return code;
    }
    let outcome: Result<ExitCode> = match Arguments::parse().act {
        Act::Up(up) => up::keep(&up),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("{error:#}");
        ExitCode::FAILURE
    })
}

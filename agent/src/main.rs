//! The `weir` command: the agent, the control plane, and the commands that talk to a running agent.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use weir::app;
use weir::app::commands::{EnrollArgs, PodsArgs, StatusArgs, UnenrollArgs, UninstallArgs};
use weir::config::AgentConfig;
use weir::control_plane::ControlPlaneConfig;

#[path = "main/memory.rs"]
mod memory;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A service-mesh data plane for one node.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Weir {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Capture and proxy the traffic of this node's enrolled pods.
    Agent(Box<AgentConfig>),
    /// Serve Istio objects from YAML to many agents, with a built-in certificate authority.
    ControlPlane(Box<ControlPlaneConfig>),
    /// Enrol a pod: capture its traffic from now on.
    Enroll(EnrollArgs),
    /// End a pod's enrolment.
    Unenroll(UnenrollArgs),
    /// List the enrolled pods.
    Pods(PodsArgs),
    /// What this node does, in one screen.
    Status(StatusArgs),
    /// Remove everything Weir left on this node: programs, maps, pins, state. Stop the agent first.
    Uninstall(UninstallArgs),
}

/// Runs what runs for long.
fn serve(role: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    memory::keep_small()?;
    role()
}

fn main() -> ExitCode {
    if let Err(error) = memory::no_huge_pages() {
        eprintln!("weir: huge pages stay on: {error}");
    }
    let result = match Weir::parse().command {
        Command::Agent(config) => serve(|| app::run_agent(*config)),
        Command::ControlPlane(config) => serve(|| app::run_control_plane(*config)),
        Command::Enroll(args) => app::commands::enroll(args),
        Command::Unenroll(args) => app::commands::unenroll(args),
        Command::Pods(args) => app::commands::pods(&args),
        Command::Status(args) => app::commands::status(&args),
        Command::Uninstall(args) => app::commands::uninstall(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("weir: {error:#}");
            ExitCode::FAILURE
        }
    }
}

//! The `weir` command: the agent, the control plane, and the commands that talk to a running agent.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use nix::sys::prctl;
use weir::api::app;
use weir::api::cli::{self, EnrollArgs, PlaintextArgs, PodsArgs, StatusArgs, UnenrollArgs, UninstallArgs, WhyArgs};
use weir::api::config::AgentConfig;
use weir::api::control_plane::ControlPlaneConfig;
use weir::api::supervisor::SupervisorLink;

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
    /// What the agent would do with a request of a pod of this node, and why.
    Why(WhyArgs),
    /// List plaintext connections between pods of the mesh that were opened before the mesh knew both, or end them.
    Plaintext(PlaintextArgs),
    /// Remove everything Weir left on this node: programs, maps, pins, state. Stop the agent first.
    Uninstall(UninstallArgs),
}

/// Runs a process that runs for long.
fn serve(role: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    memory::keep_small()?;
    role()
}

/// The agent is two processes: the supervisor, and the worker that it starts.
fn agent(config: AgentConfig, is_small: bool) -> anyhow::Result<ExitCode> {
    if let Some(supervisor) = SupervisorLink::of_this_process()? {
        name_process();
        return serve(|| app::run_agent(config, supervisor, memory::release_idle_thread_memory))
            .map(|()| ExitCode::SUCCESS);
    }
    if !is_small {
        let error = memory::exec_again();
        eprintln!("weir: the supervisor is larger than necessary: {error}");
    }
    name_process();
    app::supervise_agent(&config, memory::release_start_up_memory)
}

/// A process that is started by way of `/proc/self/exe` is called `exe` in lists of processes.
fn name_process() {
    // Best effort: nothing depends on it.
    let _ = prctl::set_name(c"weir");
}

fn main() -> ExitCode {
    let is_small = memory::no_huge_pages().unwrap_or_else(|error| {
        eprintln!("weir: huge pages stay on: {error}");
        true
    });
    let result = match Weir::parse().command {
        Command::Agent(config) => return end(agent(*config, is_small)),
        Command::ControlPlane(config) => serve(|| app::run_control_plane(*config)),
        Command::Enroll(args) => cli::enroll(args),
        Command::Unenroll(args) => cli::unenroll(&args),
        Command::Pods(args) => cli::pods(&args),
        Command::Status(args) => cli::status(&args),
        Command::Why(args) => cli::why(&args),
        Command::Plaintext(args) => cli::plaintext(&args),
        Command::Uninstall(args) => cli::uninstall(&args),
    };
    end(result.map(|()| ExitCode::SUCCESS))
}

fn end(result: anyhow::Result<ExitCode>) -> ExitCode {
    result.unwrap_or_else(|error| {
        eprintln!("weir: {error:#}");
        ExitCode::FAILURE
    })
}

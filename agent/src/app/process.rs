//! Entry points of the processes that run for long: the supervisor, its worker, and the control plane.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, ensure};
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::{agent, istiod, settings};
use crate::config::AgentConfig;
use crate::control_plane::{self, ControlPlaneConfig};
use crate::enrollment::netns;
use crate::supervisor::{self, SupervisorLink, SupervisorOptions, WorkerProgram};
use crate::telemetry::log;

/// Descriptors that the worker's table has room for from the start: half a mebibyte of the kernel's memory.
const RESERVED_DESCRIPTORS: u64 = 65_536;
/// How long a thread for blocking work waits for more of it. The allocator's memory of a thread goes back when the thread ends, and one
/// that a rare task wakes again and again would keep for ever what start-up and large configurations needed.
const BLOCKING_THREAD_IDLE_TIME: Duration = Duration::from_secs(1);

/// Runs `weir agent` as the supervisor of its workers, and returns the exit code. `on_idle` is called whenever nothing is left
/// to do but to wait.
///
/// # Errors
/// When something is missing that no worker can do without, or the system gives no process.
pub fn supervise_agent(config: &AgentConfig, on_idle: fn()) -> anyhow::Result<ExitCode> {
    check_sources(config)?;
    make_directories(config)?;
    log::init_direct(settings::log_format(config.log.log_format)).context("log")?;
    let worker = WorkerProgram { path: "/proc/self/exe".into(), arguments: std::env::args_os().skip(1).collect() };
    let hang_limit = Duration::from_secs(config.proxy.hang_seconds);
    let options = SupervisorOptions { run_dir: config.directories.run_dir.clone(), worker, hang_limit, on_idle };
    let code = supervisor::run(options).context("supervisor")?;
    Ok(ExitCode::from(code))
}

/// Runs `weir agent` as a worker until a signal stops it. Its threads call `before_wait` whenever they have nothing to do.
///
/// # Errors
/// When something that the agent cannot do without fails at start; the message names it.
pub fn run_agent(config: AgentConfig, supervisor: SupervisorLink, before_wait: fn()) -> anyhow::Result<()> {
    netns::remember_own().context("the agent's own network namespace")?;
    raise_descriptor_limit().context("RLIMIT_NOFILE")?;
    leave_no_core().context("RLIMIT_CORE")?;
    reserve_descriptors(io::stderr().as_fd());
    let log = log::init(&config.log.log, settings::log_format(config.log.log_format)).context("--log")?;
    let config = istiod::with_environment(config);
    check_sources(&config)?;
    make_directories(&config)?;
    // Connections have threads of their own: see `proxy::workers`.
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(1).on_thread_park(before_wait).thread_keep_alive(BLOCKING_THREAD_IDLE_TIME);
    let runtime = runtime.enable_all().build()?;
    // On a thread of the runtime, since this one would wait without `before_wait`.
    let agent = runtime.spawn(agent::run(config, log.clone(), supervisor, before_wait));
    let ended = runtime.block_on(agent);
    log.flush();
    ended.context("the agent's own task")?
}

/// Runs `weir control-plane` until a signal stops it.
///
/// # Errors
/// When it cannot start.
pub fn run_control_plane(config: ControlPlaneConfig) -> anyhow::Result<()> {
    let _log = log::init(&config.log, settings::log_format(config.log_format)).context("--log")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(control_plane::run(config))
}

/// Every connection takes two descriptors: the soft limit that shells hand out (1024) is for programs with few.
fn raise_descriptor_limit() -> nix::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
}

/// Has a crash leave no core: it would hold the private keys of all pods of the node, and no connection is reset before it is written. A
/// limit of 1 also keeps it from a program that `kernel.core_pattern` names, which one of 0 does not (`do_coredump` in
/// fs/coredump.c).
fn leave_no_core() -> nix::Result<()> {
    setrlimit(Resource::RLIMIT_CORE, 1, 1)
}

/// Has the kernel make the table of descriptors large at once. It doubles the table whenever that is full, and in a process with several
/// threads the thread that opens the descriptor then waits for an RCU grace period (`expand_fdtable` in fs/file.c): 10 to 20 ms in
/// which a worker moves no byte of any pod, several times while one pod opens some thousand connections. `any` is
/// a descriptor that is open.
fn reserve_descriptors(any: BorrowedFd<'_>) {
    let Ok((limit, _)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    let last = i32::try_from(RESERVED_DESCRIPTORS.min(limit) - 1).unwrap_or(i32::MAX);
    // The table keeps its size when the descriptor is closed. Without room for it, it grows as it would have.
    let _ = fcntl(any, FcntlArg::F_DUPFD_CLOEXEC(last)).map(nix::unistd::close);
}

/// Refuses settings that name no source of the mesh, or none of certificates.
fn check_sources(config: &AgentConfig) -> anyhow::Result<()> {
    ensure!(
        config.files.config.is_some() || config.istiod.xds_address.is_some(),
        "nothing says what the mesh is: give --config PATH or --xds-address URL"
    );
    ensure!(
        config.files.config.is_none()
            || config.files.ca_dir.is_some()
            || config.files.certificates_dir.is_some()
            || config.istiod.ca_address.is_some(),
        "nothing gives certificates: with --config give --ca-dir, --certificates-dir or --ca-address"
    );
    Ok(())
}

fn make_directories(config: &AgentConfig) -> anyhow::Result<()> {
    for (directory, field) in
        [(&config.directories.run_dir, "--run-dir"), (&config.directories.state_dir, "--state-dir")]
    {
        std::fs::create_dir_all(directory).with_context(|| format!("{field} {}", directory.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_descriptors_has_room_before_they_are_opened() {
        let (limit, _) = getrlimit(Resource::RLIMIT_NOFILE).expect("every process has this limit");
        reserve_descriptors(io::stderr().as_fd());
        let status = std::fs::read_to_string("/proc/self/status").expect("/proc is mounted");
        let size = status.lines().find_map(|line| line.strip_prefix("FDSize:")?.trim().parse::<u64>().ok());
        assert!(size.expect("the kernel says it") >= RESERVED_DESCRIPTORS.min(limit), "{size:?}");
        assert!(!std::path::Path::new("/proc/self/fd").join((limit - 1).to_string()).exists(), "it is free again");
    }
}

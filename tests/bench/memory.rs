//! Resident memory of a subject's proxies, by node.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{Resource, getrlimit};
use weir_tests::{cgroup, wait};

use crate::subject::{Proxies, Subject};

/// Descriptors a process has besides those of connections.
const OTHER_DESCRIPTORS: u64 = 200;

/// How far apart two looks are that must agree for memory to count as settled, after how long they may do so at the earliest, and
/// how long that may take. An agent gives back what its start took during its first ten seconds.
const BETWEEN_LOOKS: Duration = Duration::from_secs(2);
const SETTLED_AFTER: Duration = Duration::from_secs(12);
const SETTLED_WITHIN: Duration = Duration::from_secs(28);

/// Resident memory (VmRSS) of the proxies in MiB once it does not change any more, the client's node first. What starting
/// took goes back to the kernel within seconds; what is held by doing nothing, or by open connections, is asked for here.
pub(crate) fn settled_mib(proxies: &Proxies) -> Result<Vec<f64>> {
    let started = Instant::now();
    let mut last = resident_mib(proxies)?;
    loop {
        wait::between_measurements(BETWEEN_LOOKS);
        let now = resident_mib(proxies)?;
        let settled = now.iter().zip(&last).all(|(now, last)| (now - last).abs() <= 0.02 * last);
        let waited = started.elapsed();
        if (settled && waited > SETTLED_AFTER) || waited > SETTLED_WITHIN {
            return Ok(now);
        }
        last = now;
    }
}

fn resident_mib(proxies: &Proxies) -> Result<Vec<f64>> {
    let nodes: Vec<Vec<u32>> = match proxies {
        Proxies::None => Vec::new(),
        Proxies::Cgroups(cgroups) => cgroups.iter().map(|path| of_cgroup(path)).collect(),
        Proxies::Processes(processes) => processes.clone(),
    };
    let of_node = |processes: &Vec<u32>| {
        ensure!(!processes.is_empty(), "a node has no proxy");
        processes.iter().map(|id| of_process(*id)).sum::<Result<f64>>()
    };
    nodes.iter().map(of_node).collect()
}

/// Why a subject cannot hold so many connections on this machine, if it cannot.
pub(crate) fn cannot_hold(subject: &Subject, connections: u32) -> Result<Option<String>> {
    let (_, limit) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let needed = u64::from(connections) * u64::from(subject.descriptors) + OTHER_DESCRIPTORS;
    Ok((needed > limit).then(|| format!("{needed} descriptors a process, of which this machine allows {limit}")))
}

fn of_cgroup(path: &std::path::Path) -> Vec<u32> {
    cgroup::processes(path).into_iter().filter_map(|id| id.try_into().ok()).collect()
}

fn of_process(id: u32) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{id}/status")).with_context(|| format!("process {id}"))?;
    let resident = text.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok());
    let kib: f64 = resident.with_context(|| format!("process {id} has no VmRSS"))?;
    Ok(kib / 1024.0)
}

//! What processors did. Of the whole machine by `/proc/stat`: everything that runs is in it, so nothing else should. Many
//! kernels fill it by looking, at every clock tick, at who runs: right on average under load, but wrong by any factor for
//! programs that do little and wake in step with the clock. For these there is the time of a cgroup, which is exact but
//! leaves out what the kernel does for it in threads of its own.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use nix::unistd::{SysconfVar, sysconf};

/// Busy time of all processors since the machine started, in seconds.
pub(crate) fn busy_seconds() -> Result<f64> {
    let text = fs::read_to_string("/proc/stat").context("reading /proc/stat")?;
    let ticks = busy_ticks(&text).context("the first line of /proc/stat is not of all processors")?;
    let per_second = sysconf(SysconfVar::CLK_TCK)?.context("the kernel has a clock tick")?;
    #[expect(clippy::cast_precision_loss, reason = "ticks of a machine's life fit a double's 53 bits")]
    Ok(ticks as f64 / per_second as f64)
}

/// Time that the processes of a cgroup and below have run, in seconds.
pub(crate) fn cgroup_seconds(cgroup: &Path) -> Result<f64> {
    let file = cgroup.join("cpu.stat");
    let text = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
    let microseconds = text.lines().find_map(|line| line.strip_prefix("usage_usec ")?.parse::<f64>().ok());
    Ok(microseconds.with_context(|| format!("{} has no usage_usec", file.display()))? / 1e6)
}

/// user, nice, system, irq and softirq; idle, iowait and steal (fields 4, 5 and 8) are not work.
fn busy_ticks(stat: &str) -> Option<u64> {
    let fields = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = fields.split_whitespace().map_while(|field| field.parse().ok()).collect();
    Some([0, 1, 2, 5, 6].iter().map(|index| ticks.get(*index).copied().unwrap_or(0)).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_and_stolen_time_is_not_work() {
        assert_eq!(busy_ticks("cpu  10 2 30 999 888 4 5 777 0 0\ncpu0 1 1 1\n"), Some(51));
        assert_eq!(busy_ticks("intr 1"), None);
    }
}

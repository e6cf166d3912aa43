//! What all processors did, by `/proc/stat`: everything that runs on the machine is in it, so nothing else should run.

use std::fs;

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

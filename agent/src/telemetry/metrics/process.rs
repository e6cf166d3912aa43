//! What the kernel says about this process. `None` where it does not say.

use std::fs;
use std::time::Duration;

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};
use nix::sys::time::TimeValLike;

/// Linux 6.2 and later say it as the size of the folder. To list the folder makes an inode for each descriptor: tens of
/// milliseconds of a processor with 10,000 connections.
pub(super) fn open_fds() -> Option<u64> {
    let said = fs::metadata("/proc/self/fd").ok()?.len();
    if said > 0 {
        return Some(said);
    }
    // One of them is the directory being listed.
    fs::read_dir("/proc/self/fd").ok().map(|fds| fds.count().saturating_sub(1) as u64)
}

pub(super) fn max_fds() -> Option<u64> {
    getrlimit(Resource::RLIMIT_NOFILE).ok().map(|(soft, _hard)| soft)
}

pub(super) fn resident_memory_bytes() -> Option<u64> {
    resident_bytes(&fs::read_to_string("/proc/self/status").ok()?)
}

fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

pub(super) fn threads() -> Option<u64> {
    fs::read_dir("/proc/self/task").ok().map(|threads| threads.count() as u64)
}

/// User and system time of all threads.
pub(super) fn cpu_time() -> Option<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
    let microseconds = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Some(Duration::from_micros(u64::try_from(microseconds).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read_from_status() {
        for (status, expected) in [
            ("Name:\tweir\nVmRSS:\t    1234 kB\nThreads:\t9\n", Some(1234 * 1024)),
            ("Name:\tweir\n", None),
            ("VmRSS:\t soon kB\n", None),
        ] {
            assert_eq!(resident_bytes(status), expected, "{status}");
        }
    }

    #[test]
    fn this_process_has_all_of_them() {
        assert!(open_fds() > Some(2));
        assert!(max_fds() >= open_fds());
        assert!(resident_memory_bytes() > Some(1024));
        assert!(threads() >= Some(1));
        assert!(cpu_time().is_some());
    }
}

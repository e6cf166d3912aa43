//! The ports on which a pod's applications listened before anybody counted: read once, when the pod is enrolled.

use std::fs;
use std::io;
use std::os::fd::BorrowedFd;
use std::thread;

use nix::sched::{CloneFlags, setns};

/// State LISTEN in the kernel's tables.
const LISTEN: &str = "0A";

/// Ports with a listener that can be reached from outside the namespace.
///
/// # Errors
/// When the namespace cannot be entered or /proc does not show it.
pub(super) fn ports(netns: BorrowedFd<'_>) -> io::Result<Vec<u16>> {
    // A thread of its own: its namespace is thrown away with it.
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            setns(netns, CloneFlags::CLONE_NEWNET)?;
            let mut ports = reachable(&fs::read_to_string("/proc/thread-self/net/tcp")?);
            // Without IPv6 there is no such table.
            ports.extend(reachable(&fs::read_to_string("/proc/thread-self/net/tcp6").unwrap_or_default()));
            Ok(ports)
        });
        reader.join().unwrap_or_else(|_| Err(io::Error::other("the reading thread panicked")))
    })
}

fn reachable(table: &str) -> Vec<u16> {
    let sockets = table.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let (ip, port) = fields.nth(1)?.split_once(':')?;
        (fields.nth(1)? == LISTEN && !is_loopback(ip)).then_some(port)
    });
    sockets.filter_map(|port| u16::from_str_radix(port, 16).ok()).collect()
}

/// The tables show addresses as words of the host's byte order, in hexadecimal.
fn is_loopback(ip: &str) -> bool {
    let words: Vec<u32> = (0..ip.len())
        .step_by(8)
        .filter_map(|start| u32::from_str_radix(ip.get(start..start + 8)?, 16).ok())
        .map(u32::from_be)
        .collect();
    match words[..] {
        [v4] | [0, 0, 0xffff, v4] => v4 >> 24 == 127,
        [0, 0, 0, last] => last == 1,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn listeners_count_unless_they_are_on_loopback() {
        let head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
        for (line, expected) in [
            ("0: 00000000:1F90 00000000:0000 0A 0 0", vec![8080]),
            ("0: 0200000A:0050 00000000:0000 0A 0 0", vec![80]),
            ("0: 0100007F:1F90 00000000:0000 0A 0 0", vec![]),
            ("0: 0200000A:1F90 0300000A:1234 01 0 0", vec![]),
            ("0: 00000000000000000000000000000000:1F91 00000000000000000000000000000000:0000 0A 0 0", vec![8081]),
            ("0: 00000000000000000000000001000000:1F91 00000000000000000000000000000000:0000 0A 0 0", vec![]),
            ("0: 0000000000000000FFFF00000100007F:1F91 00000000000000000000000000000000:0000 0A 0 0", vec![]),
            ("0: 000077FD000000000000000002000000:1F91 00000000000000000000000000000000:0000 0A 0 0", vec![8081]),
        ] {
            assert_eq!(reachable(&format!("{head}   {line}\n")), expected, "{line}");
        }
    }
}

//! Keeps the map of listening ports true and small. The kernel programs count listeners per port and never remove an entry,
//! because a removal could meet a count on another CPU and lose it. The agent removes what is at zero, and then asks the
//! kernel which sockets listen: whoever began to listen meanwhile, counted or not, is in the answer.
//!
//! While it does so, and where not all ports have room, the pod's ports all seem open: then the agent finds out for each
//! connection whether somebody listens. No port with a listener ever seems closed.

use std::os::fd::BorrowedFd;

use aya::maps::MapError;
use weir_common::{LISTENING_KNOWN, ListeningPod, MAX_LISTENING_PORTS_PER_POD};

use super::listening;
use super::maps::Maps;
use super::pod::NetnsCookie;

/// Entries of a pod from which on those of closed ports are removed.
const SWEEP_AT: u64 = 256;

/// The pods that have many entries, had no room for one, or whose listeners are not known.
pub(super) fn candidates(maps: &Maps) -> Vec<NetnsCookie> {
    let rooms = maps.rooms().into_iter();
    rooms.filter(|(cookie, room)| is_due(room) || !maps.is_listening_known(*cookie)).map(|(cookie, _)| cookie).collect()
}

fn is_due(room: &ListeningPod) -> bool {
    room.overflowed != 0 || room.entries >= SWEEP_AT
}

/// Removes a pod's entries without listeners, and notes the listeners that nobody counted.
pub(super) fn sweep(maps: &mut Maps, cookie: NetnsCookie, netns: BorrowedFd<'_>) -> Result<(), MapError> {
    maps.set_flag(cookie, LISTENING_KNOWN, false)?;
    let left = maps.remove_listening(cookie, |port, listeners| port.is_found() || listeners <= 0)?;
    maps.reset_room(cookie, left)?;
    look_for_listeners(maps, cookie, netns)
}

/// Notes the listeners that are there now, after which all are known. If they are too many, or the kernel does not say,
/// they stay unknown: that is no error.
pub(super) fn look_for_listeners(maps: &mut Maps, cookie: NetnsCookie, netns: BorrowedFd<'_>) -> Result<(), MapError> {
    let ports = match listening::ports(netns) {
        Ok(ports) => ports,
        Err(error) => {
            tracing::warn!(pod = %cookie, %error, "cannot tell which ports are listened on: all will seem open");
            return Ok(());
        }
    };
    if ports.len() as u64 > MAX_LISTENING_PORTS_PER_POD {
        tracing::debug!(pod = %cookie, ports = ports.len(), "it listens on too many ports: all will seem open");
        return Ok(());
    }
    match maps.add_listening(cookie, &ports) {
        Ok(()) => maps.set_flag(cookie, LISTENING_KNOWN, true),
        Err(error) if is_full(&error) => {
            tracing::warn!(pod = %cookie, "no room to note on which ports it listens: all will seem open");
            maps.remove_listening(cookie, |port, _| port.is_found()).map(drop)
        }
        Err(error) => Err(error),
    }
}

/// Whether the kernel has no room in a map for another entry.
fn is_full(error: &MapError) -> bool {
    matches!(error, MapError::SyscallError(error) if error.io_error.raw_os_error() == Some(libc::E2BIG))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_swept_when_it_takes_much_room_or_found_none() {
        for (entries, overflowed, due) in [(0, 0, false), (255, 0, false), (256, 0, true), (3, 1, true)] {
            assert_eq!(is_due(&ListeningPod { entries, overflowed }), due, "{entries} {overflowed}");
        }
    }
}

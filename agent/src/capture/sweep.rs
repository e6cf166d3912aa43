//! Keeps the map of listening ports true and small. The kernel programs count listeners per port and never remove an entry,
//! because a removal could meet a count on another CPU and lose it. The agent removes what is at zero, and then asks the
//! kernel which sockets listen: whoever began to listen meanwhile, counted or not, is in the answer.
//!
//! While it does so, and where not all ports have room, the pod's ports all seem open: then the agent finds out for each
//! connection whether somebody listens. No port with a listener ever seems closed.
//!
//! The kernel is asked while nothing is locked, and a pod that listens on too many ports is asked about ever more rarely.

use std::collections::{BTreeSet, HashMap};
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use aya::maps::MapError;
use weir_common::{LISTENING_KNOWN, ListeningPod};

use super::listening;
use super::maps::Maps;
use super::pod::NetnsCookie;

/// Entries of a pod beyond those that the last sweep left, from which on those of closed ports are removed.
const SWEEP_AT: u64 = 256;
/// First and longest pause after a look at a pod whose listeners could not be noted.
const PAUSE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(300));

/// What the last sweeps came to, of pods that may need another.
#[derive(Debug, Default)]
pub(super) struct Swept(HashMap<NetnsCookie, PodSweep>);

#[derive(Debug, Clone, Copy)]
struct PodSweep {
    /// Entries that were left.
    left: u64,
    /// The pod's listeners could not be noted: when to look again, and how long the pause is.
    again: Option<(Instant, Duration)>,
}

impl Swept {
    /// The pods that have many entries of closed ports, had no room for one, or whose listeners are not known.
    pub(super) fn candidates(&mut self, maps: &Maps, now: Instant) -> Vec<NetnsCookie> {
        let rooms = maps.rooms();
        self.0.retain(|cookie, _| rooms.iter().any(|(known, _)| known == cookie));
        let is_due = |(cookie, room): &(NetnsCookie, ListeningPod)| {
            self.is_due(*cookie, room, maps.is_listening_known(*cookie), now)
        };
        rooms.into_iter().filter(is_due).map(|(cookie, _)| cookie).collect()
    }

    fn is_due(&self, cookie: NetnsCookie, room: &ListeningPod, is_known: bool, now: Instant) -> bool {
        match self.0.get(&cookie) {
            Some(PodSweep { again: Some((at, _)), .. }) => now >= *at,
            Some(PodSweep { left, again: None }) => {
                !is_known || room.overflowed != 0 || room.entries >= left.saturating_add(SWEEP_AT)
            }
            None => !is_known || room.overflowed != 0 || room.entries >= SWEEP_AT,
        }
    }

    /// A sweep has left so many entries, and all listeners are known by it, or not.
    fn note(&mut self, cookie: NetnsCookie, left: u64, is_known: bool, now: Instant) {
        let former = self.0.get(&cookie).and_then(|outcome| outcome.again);
        let pause = former.map_or(PAUSE.0, |(_, pause)| (pause * 2).min(PAUSE.1));
        let again = (!is_known).then_some((now + pause, pause));
        self.0.insert(cookie, PodSweep { left, again });
    }
}

/// A pod whose entries of closed ports were removed, and whose listeners are to be looked for.
pub(super) struct Begun {
    cookie: NetnsCookie,
    left: u64,
}

/// Removes a pod's entries without listeners; from here on all its ports seem open.
pub(super) fn begin(maps: &mut Maps, cookie: NetnsCookie) -> Result<Begun, MapError> {
    maps.set_flag(cookie, LISTENING_KNOWN, false)?;
    let left = maps.remove_listening(cookie, |port, listeners| port.is_found() || listeners <= 0)?;
    maps.reset_room(cookie, left)?;
    Ok(Begun { cookie, left })
}

impl Begun {
    /// Notes the listeners that were there since [`begin`], as [`listeners`] found them.
    pub(super) fn finish(
        self,
        maps: &mut Maps,
        swept: &mut Swept,
        ports: Option<&BTreeSet<u16>>,
    ) -> Result<(), MapError> {
        let noted = note(maps, self.cookie, ports);
        swept.note(self.cookie, self.left, matches!(noted, Ok(true)), Instant::now());
        noted.map(drop)
    }
}

/// Notes the listeners of a pod, after which all are known; false where they stay unknown, which is no error.
pub(super) fn note(maps: &mut Maps, cookie: NetnsCookie, ports: Option<&BTreeSet<u16>>) -> Result<bool, MapError> {
    let Some(ports) = ports else { return Ok(false) };
    match maps.add_listening(cookie, ports) {
        Ok(()) => maps.set_flag(cookie, LISTENING_KNOWN, true).map(|()| true),
        Err(error) if is_full(&error) => {
            tracing::warn!(pod = %cookie, "no room to note on which ports it listens: all will seem open");
            maps.remove_listening(cookie, |port, _| port.is_found()).map(|_| false)
        }
        Err(error) => Err(error),
    }
}

/// The ports on which a pod listens now. `None` where they are too many, or the kernel does not say: that is no error. Asks the
/// kernel, and takes its time: call it while nothing is locked.
pub(super) fn listeners(cookie: NetnsCookie, netns: BorrowedFd<'_>) -> Option<BTreeSet<u16>> {
    match listening::ports(netns) {
        Ok(Some(ports)) => Some(ports),
        Ok(None) => {
            tracing::debug!(pod = %cookie, "it listens on too many ports, or with too many sockets: all ports will seem open");
            None
        }
        Err(error) => {
            tracing::warn!(pod = %cookie, %error, "cannot tell which ports are listened on: all will seem open");
            None
        }
    }
}

/// Whether the kernel has no room in a map for another entry.
fn is_full(error: &MapError) -> bool {
    matches!(error, MapError::SyscallError(error) if error.io_error.raw_os_error() == Some(libc::E2BIG))
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: NetnsCookie = NetnsCookie(1);

    #[test]
    fn a_pod_is_swept_when_it_takes_more_room_or_found_none() {
        let now = Instant::now();
        let due = |swept: &Swept, entries, overflowed, is_known| {
            swept.is_due(POD, &ListeningPod { entries, overflowed }, is_known, now)
        };
        let mut swept = Swept::default();
        for (entries, overflowed, is_known, expected) in
            [(0, 0, true, false), (255, 0, true, false), (256, 0, true, true), (3, 1, true, true), (3, 0, false, true)]
        {
            assert_eq!(due(&swept, entries, overflowed, is_known), expected, "{entries} {overflowed} {is_known}");
        }
        swept.note(POD, 300, true, now);
        assert!(!due(&swept, 300, 0, true), "these are listened on");
        assert!(due(&swept, 556, 0, true) && due(&swept, 300, 1, true));
    }

    #[test]
    fn a_pod_that_listens_on_too_many_ports_is_asked_about_ever_more_rarely() {
        let (mut swept, mut now) = (Swept::default(), Instant::now());
        let room = ListeningPod { entries: 1024, overflowed: 1 };
        let mut pauses = Vec::new();
        for _ in 0..8 {
            swept.note(POD, 0, false, now);
            let pause = (0..400).map(Duration::from_secs).find(|pause| swept.is_due(POD, &room, false, now + *pause));
            let pause = pause.expect("it is looked at again");
            now += pause;
            pauses.push(pause.as_secs());
        }
        assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 300, 300]);
    }
}

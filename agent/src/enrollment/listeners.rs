//! A pod's listeners: on their way to the proxy, and by the names under which the supervisor holds them.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use super::pod::EnrolledPod;
use crate::capture::PodListeners;
use crate::supervisor::HeldSockets;

/// The names of each pair of listeners, IPv4 and IPv6.
const OUTBOUND: [&str; 2] = ["outbound4", "outbound6"];
const PLAINTEXT: [&str; 2] = ["plaintext4", "plaintext6"];
const HBONE: [&str; 2] = ["hbone4", "hbone6"];

/// A pod that was enrolled, with the listeners that the proxy accepts on. (That it left shows in [`EnrolledPod::left`].)
#[derive(Debug)]
pub struct Enrolled {
    pub pod: Arc<EnrolledPod>,
    pub listeners: PodListeners,
}

/// The listeners with the names under which they are held.
pub(super) fn named(listeners: &PodListeners) -> Vec<(&'static str, BorrowedFd<'_>)> {
    let pairs =
        [(OUTBOUND, &listeners.outbound), (PLAINTEXT, &listeners.inbound_plaintext), (HBONE, &listeners.inbound_hbone)];
    pairs
        .into_iter()
        .flat_map(|([name4, name6], (v4, v6))| {
            std::iter::once((name4, v4.as_fd())).chain(v6.iter().map(move |v6| (name6, v6.as_fd())))
        })
        .collect()
}

/// The listeners among the sockets that are held; `None` if one is missing that every pod has.
pub(super) fn from_held(mut held: HeldSockets) -> Option<PodListeners> {
    let mut pair = |[v4, v6]: [&str; 2]| Some((held.remove(v4)?, held.remove(v6)));
    Some(PodListeners { outbound: pair(OUTBOUND)?, inbound_plaintext: pair(PLAINTEXT)?, inbound_hbone: pair(HBONE)? })
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::OwnedFd;

    use super::*;

    #[test]
    fn listeners_come_back_as_they_went_also_without_ipv6() {
        let open = || OwnedFd::from(File::open("/dev/null").expect("it is always there"));
        let all = || PodListeners {
            outbound: (open(), Some(open())),
            inbound_plaintext: (open(), None),
            inbound_hbone: (open(), Some(open())),
        };
        let names: Vec<_> = named(&all()).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["outbound4", "outbound6", "plaintext4", "hbone4", "hbone6"]);
        let held = || -> HeldSockets { names.iter().map(|name| ((*name).to_owned(), open())).collect() };
        let back = from_held(held()).expect("all are there");
        assert_eq!((back.outbound.1.is_some(), back.inbound_plaintext.1.is_some()), (true, false));
        let mut less = held();
        less.remove("hbone4");
        assert!(from_held(less).is_none());
    }
}

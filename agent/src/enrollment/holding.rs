//! A pod's listeners as the supervisor holds them: by name. Opens nothing.

use std::os::fd::{AsFd, BorrowedFd};

use crate::capture::PodListeners;
use crate::supervisor::HeldSockets;

const OUTBOUND: [&str; 2] = ["outbound4", "outbound6"];
const PLAINTEXT: [&str; 2] = ["plaintext4", "plaintext6"];
const HBONE: [&str; 2] = ["hbone4", "hbone6"];

/// The listeners with the names by which they are found again.
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

/// The listeners among what is held; `None` if one is missing that every pod has.
pub(super) fn listeners(mut held: HeldSockets) -> Option<PodListeners> {
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
        let back = listeners(held()).expect("all are there");
        assert_eq!((back.outbound.1.is_some(), back.inbound_plaintext.1.is_some()), (true, false));
        let mut less = held();
        less.remove("hbone4");
        assert!(listeners(less).is_none());
    }
}

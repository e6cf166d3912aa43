//! Which destinations of captured pods are known to refuse, before a connection to them is accepted. The SYN of such a
//! connection is refused, so that connect(2) fails with ECONNREFUSED, as it would without capture.
//!
//! The agent says what the mesh knows, see [`weir_common::Answer`]; of which ports the pods of this node listen on, the programs know
//! themselves. When in doubt the agent accepts, and the connection is reset once it has found out.

use weir_common::{Address, Answer, Counter, ELSEWHERE, HBONE_PORT};

use crate::listening;
use crate::maps::{DESTINATIONS, INBOUND_PODS, POD_ADDRESSES};

/// Why a connection to a destination is refused now, if it is.
#[inline(always)]
pub(crate) fn refusal(destination: Address) -> Option<Counter> {
    match answer(destination).or_else(|| answer(Address::new(destination.ip, 0))) {
        Some(known) if Answer::Refused.is(known) => Some(Counter::RefusedService),
        Some(known) if Answer::OpenPorts.is(known) && is_closed(destination) => Some(Counter::RefusedPodPort),
        Some(_) => None,
        None => {
            let elsewhere = answer(Address::new(ELSEWHERE.ip, destination.port)).or_else(|| answer(ELSEWHERE));
            elsewhere.filter(|known| Answer::Refused.is(*known)).map(|_| Counter::RefusedNotInRegistry)
        }
    }
}

#[inline(always)]
fn answer(key: Address) -> Option<u32> {
    // SAFETY: read at once.
    unsafe { DESTINATIONS.get(key) }.copied()
}

/// Whether the address is that of a captured pod of this node, and nobody listens on the port there.
#[inline(always)]
fn is_closed(destination: Address) -> bool {
    if destination.port == HBONE_PORT {
        return false;
    }
    // SAFETY: the agent replaces whole values only when a pod comes or goes.
    let Some(owner) = (unsafe { POD_ADDRESSES.get(destination.ip) }) else { return false };
    let netns_cookie = owner.netns_cookie;
    // SAFETY: as above.
    let Some(pod) = (unsafe { INBOUND_PODS.get(netns_cookie) }) else { return false };
    !listening::is_open(pod, netns_cookie, destination.port)
}

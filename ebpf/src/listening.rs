//! Which ports of a pod have a listener. `sock_ops` counts listeners and `sk_lookup` reads the counts, so that a SYN to a port
//! without one is refused as it would be without capture. When in doubt a port counts as open: the agent then connects to it
//! and learns.
//!
//! Listeners count that were made below the pods' cgroup, or that listened when the pod was enrolled. A SYN to any other port
//! is refused and never passed, since a listener that was not counted must not bypass policy.

use aya_ebpf::bindings::BPF_NOEXIST;
use weir_common::{Counter, InboundPod, LISTENING_KNOWN, ListeningPort, MAX_LISTENING_PORTS_PER_POD};

use crate::maps::{LISTENING, LISTENING_PODS, add};
use crate::verdict;

/// One more socket listens.
#[inline(always)]
pub(crate) fn begin(netns_cookie: u64, port: u16) {
    let key = ListeningPort::counted(netns_cookie, port);
    if let Some(count) = LISTENING.get_ptr_mut(key) {
        add(count, 1);
        return;
    }
    let Some(room) = LISTENING_PODS.get_ptr_mut(netns_cookie) else {
        // The pod is being enrolled: the agent looks for listeners after this.
        return;
    };
    // SAFETY: a live element; its fields are words that are read and written whole.
    let (entries, overflowed) = unsafe { (&raw mut (*room).entries, &raw mut (*room).overflowed) };
    // SAFETY: as above.
    let has_room = unsafe { entries.read_volatile() } < MAX_LISTENING_PORTS_PER_POD;
    if has_room && LISTENING.insert(key, 1, u64::from(BPF_NOEXIST)).is_ok() {
        add(entries, 1);
        return;
    }
    // Another CPU has inserted the element meanwhile, or there is no room: a pod may take a part of the map only.
    if let Some(count) = LISTENING.get_ptr_mut(key) {
        add(count, 1);
        return;
    }
    // SAFETY: as above; all programs write the same.
    unsafe { overflowed.write_volatile(1) };
    verdict::count(Counter::ListeningOverflowed);
    verdict::count_for_pod(netns_cookie, Counter::ListeningOverflowed);
}

/// One socket less listens.
#[inline(always)]
pub(crate) fn end(netns_cookie: u64, port: u16) {
    if let Some(count) = LISTENING.get_ptr_mut(ListeningPort::counted(netns_cookie, port)) {
        add(count, -1);
    }
}

/// Whether a SYN to the port may find a listener.
#[inline(always)]
pub(crate) fn is_open(pod: &InboundPod, netns_cookie: u64, port: u16) -> bool {
    pod.flags & LISTENING_KNOWN == 0
        || has_listener(ListeningPort::counted(netns_cookie, port))
        || has_listener(ListeningPort::found(netns_cookie, port))
        // SAFETY: read at once.
        || unsafe { LISTENING_PODS.get(netns_cookie) }.is_none_or(|room| room.overflowed != 0)
}

#[inline(always)]
fn has_listener(key: ListeningPort) -> bool {
    // SAFETY: read at once.
    unsafe { LISTENING.get(key) }.is_some_and(|&count| count.cast_signed() > 0)
}

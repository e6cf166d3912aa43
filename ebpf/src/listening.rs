//! Which ports of a pod have a listener. `sock_ops` counts listeners and `sk_lookup` reads the counts, so that a SYN to a port
//! without one is refused as it would be without capture. When in doubt a port counts as open: the agent then connects to it
//! and learns.
//!
//! Listeners count that were made below the pods' cgroup, or that listened when the pod was enrolled. A SYN to any other port
//! is refused and never passed, since a listener that was not counted must not bypass policy.

use core::arch::asm;

use aya_ebpf::bindings::BPF_NOEXIST;
use weir_common::{Counter, LISTENING_KNOWN, ListeningPort, PodAddress};

use crate::maps::{LISTENING, LISTENING_OVERFLOWED};
use crate::verdict;

/// One more socket listens.
#[inline(always)]
pub(crate) fn begin(netns_cookie: u64, port: u16) {
    let key = ListeningPort::counted(netns_cookie, port);
    if let Some(count) = LISTENING.get_ptr_mut(key) {
        add(count, 1);
        return;
    }
    if LISTENING.insert(key, 1, u64::from(BPF_NOEXIST)).is_ok() {
        return;
    }
    // Another CPU has inserted the element meanwhile, or the map is full.
    match LISTENING.get_ptr_mut(key) {
        Some(count) => add(count, 1),
        None => overflow(),
    }
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
pub(crate) fn is_open(pod: &PodAddress, port: u16) -> bool {
    pod.flags & LISTENING_KNOWN == 0
        || has_listener(ListeningPort::counted(pod.netns_cookie, port))
        || has_listener(ListeningPort::found(pod.netns_cookie, port))
        || LISTENING_OVERFLOWED.get(0).is_some_and(|&overflowed| overflowed != 0)
}

#[inline(always)]
fn has_listener(key: ListeningPort) -> bool {
    // SAFETY: read at once; entries are removed with their pod only.
    unsafe { LISTENING.get(key) }.is_some_and(|&count| count.cast_signed() > 0)
}

#[inline(always)]
fn overflow() {
    if let Some(overflowed) = LISTENING_OVERFLOWED.get_ptr_mut(0) {
        // SAFETY: a live element; all writers write the same.
        unsafe { *overflowed = 1 };
    }
    verdict::count(Counter::ListeningOverflowed);
}

/// Atomic. In assembler, because `core` has no atomic addition for this target.
#[inline(always)]
fn add(count: *mut u64, difference: i64) {
    // SAFETY: adds to a live, aligned element of a map, which all programs change in this way.
    unsafe {
        asm!("lock *(u64 *)({count} + 0) += {difference}", count = in(reg) count, difference = in(reg) difference);
    }
}

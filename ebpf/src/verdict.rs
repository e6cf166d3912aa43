//! Turns the reason of a hook into the kernel's verdict, and counts it: the only place that decides whether a connection passes.

use aya_ebpf::bindings::sk_action;
use weir_common::Counter;

use crate::maps::COUNTERS;

/// The system call of a cgroup hook proceeds.
pub(crate) const ALLOW: i32 = 1;
/// The system call fails with EPERM.
const DENY: i32 = 0;

/// Adds one; lost updates are impossible, since a counter belongs to one CPU and programs do not interrupt each other there.
#[inline(always)]
pub(crate) fn count(counter: Counter) {
    if let Some(value) = COUNTERS.get_ptr_mut(counter as u32) {
        // SAFETY: a live element of a per-CPU array, which nobody else on this CPU writes meanwhile.
        unsafe { *value += 1 };
    }
}

/// The verdict on a connect.
#[inline(always)]
pub(crate) fn connect(reason: Counter) -> i32 {
    count(reason);
    match reason {
        Counter::NoMemory => DENY,
        _ => ALLOW,
    }
}

/// The verdict on a SYN. A SYN that passes goes to the listener that was assigned, if one was.
#[inline(always)]
pub(crate) fn lookup(reason: Counter) -> u32 {
    count(reason);
    match reason {
        // No socket is found, so the kernel answers with RST, as for any closed port.
        Counter::RefusedWithoutAgent | Counter::RefusedClosedPort => sk_action::SK_DROP,
        _ => sk_action::SK_PASS,
    }
}

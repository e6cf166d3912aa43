//! From reason to action: the only place that decides whether a connection passes, and that counts.

use aya_ebpf::bindings::sk_action;
use weir_common::Counter;

use crate::maps::COUNTERS;

/// Lets a cgroup hook's system call go on.
pub(crate) const ALLOW: i32 = 1;
/// Fails it with EPERM.
const DENY: i32 = 0;

/// Adds one; lost updates are impossible, since a counter belongs to one CPU and programs do not interrupt each other there.
#[inline(always)]
pub(crate) fn count(counter: Counter) {
    if let Some(value) = COUNTERS.get_ptr_mut(counter as u32) {
        // SAFETY: a live element of a per-CPU array, which nobody else on this CPU writes meanwhile.
        unsafe { *value += 1 };
    }
}

/// What becomes of a connect.
#[inline(always)]
pub(crate) fn connect(reason: Counter) -> i32 {
    count(reason);
    match reason {
        Counter::NoMemory => DENY,
        _ => ALLOW,
    }
}

/// What becomes of a SYN. When a listener was assigned, passing means: to it.
#[inline(always)]
pub(crate) fn lookup(reason: Counter) -> u32 {
    count(reason);
    match reason {
        // No socket is found, so the kernel answers with RST, as for any closed port.
        Counter::RefusedWithoutAgent | Counter::RefusedClosedPort => sk_action::SK_DROP,
        _ => sk_action::SK_PASS,
    }
}

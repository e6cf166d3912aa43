//! Turns the reason of a hook into the kernel's verdict, and counts it: the only place that decides whether a connection passes.

use aya_ebpf::bindings::{BPF_NOEXIST, sk_action};
use weir_common::{Counter, PASS_UNCAPTURABLE, PodVerdict};

use crate::maps::{COUNTERS, POD_VERDICTS, PODS, SETTINGS, add};

/// The system call of a cgroup hook proceeds.
pub(crate) const ALLOW: i32 = 1;
/// The system call fails with EPERM.
pub(crate) const DENY: i32 = 0;

/// Adds one; lost updates are impossible, since a counter belongs to one CPU and programs do not interrupt each other there.
#[inline(always)]
pub(crate) fn count(counter: Counter) {
    if let Some(value) = COUNTERS.get_ptr_mut(counter as u32) {
        // SAFETY: a live element of a per-CPU array, which nobody else on this CPU writes meanwhile.
        unsafe { *value += 1 };
    }
}

/// Adds one to a verdict of interest to the owner of a pod, known by its namespace. A count may be lost when memory is
/// short: that of the node is kept in any case.
#[inline(always)]
pub(crate) fn count_for_pod(netns_cookie: u64, counter: Counter) {
    if PODS.get_ptr(netns_cookie).is_none() {
        return;
    }
    let key = PodVerdict::new(netns_cookie, counter);
    if POD_VERDICTS.get_ptr_mut(key).is_none() {
        // Another CPU may have been first.
        let _ = POD_VERDICTS.insert(key, 0, u64::from(BPF_NOEXIST));
    }
    if let Some(count) = POD_VERDICTS.get_ptr_mut(key) {
        add(count, 1);
    }
}

/// What becomes of a connect.
pub(crate) enum Connect {
    Proceed,
    /// With EPERM.
    Refuse,
    /// With ENETUNREACH, as in a pod without such an address.
    Unreachable,
}

/// What becomes of a connect in a namespace.
#[inline(always)]
pub(crate) fn connect(netns_cookie: u64, reason: Counter) -> Connect {
    count(reason);
    let refusal = match reason {
        Counter::NoMemory => return Connect::Refuse,
        Counter::ForeignSource | Counter::BoundToDevice => Connect::Refuse,
        Counter::NoSourceAddress | Counter::SourceUnavailable => Connect::Unreachable,
        _ => return Connect::Proceed,
    };
    count_for_pod(netns_cookie, reason);
    let passes = SETTINGS.get(0).is_some_and(|settings| settings.flags & PASS_UNCAPTURABLE != 0);
    if passes { Connect::Proceed } else { refusal }
}

/// The verdict on a SYN. A SYN that passes goes to the listener that was assigned, if one was.
#[inline(always)]
pub(crate) fn lookup(reason: Counter) -> u32 {
    count(reason);
    match reason {
        // No socket is found, so the kernel answers with RST, as for any closed port.
        Counter::RefusedWithoutAgent
        | Counter::RefusedClosedPort
        | Counter::RefusedService
        | Counter::RefusedNotInRegistry
        | Counter::RefusedPodPort
        | Counter::RefusedDirect => sk_action::SK_DROP,
        _ => sk_action::SK_PASS,
    }
}

//! `sk_lookup` in each captured pod's namespace: decides which listener is assigned to a SYN. One program serves all pods. The
//! kernel offers no netns cookie to it, so that it finds the pod by its address.

use aya_ebpf::macros::sk_lookup;
use aya_ebpf::programs::SkLookupContext;
use aya_log_ebpf::debug;
use weir_common::{
    Address, CLOSED_WITHOUT_AGENT, Counter, Flow, HBONE_PORT, Ip, ListenerKind, PodAddress, Role, excluded_port,
    listener_index,
};

use crate::maps::{EXCLUDED_PORTS, FLOWS, LISTENERS, POD_ADDRESSES};
use crate::{listening, probe, socket, verdict};

/// Flag of `bpf_sk_assign`: replaces the socket that another program selected.
const BPF_SK_LOOKUP_F_REPLACE: u64 = 1;

/// Entry at `sk_lookup`. Since 5.9. Runs for SYNs, and for packets that belong to no socket.
#[sk_lookup]
pub(crate) fn weir_sk_lookup(ctx: SkLookupContext) -> u32 {
    // SAFETY: fields of a valid context.
    let (protocol, family) = unsafe { ((*ctx.lookup).protocol, (*ctx.lookup).family) };
    if protocol != socket::IPPROTO_TCP {
        return aya_ebpf::bindings::sk_action::SK_PASS;
    }
    let is_v6 = family == socket::AF_INET6;
    let (local, remote) = ends(&ctx, is_v6);
    let reason = steer(&ctx, is_v6, local, remote);
    debug!(&ctx, "lookup of {:i} port {}: reason {}", local.ip.octets(), local.port, reason as u32);
    verdict::lookup(reason)
}

#[inline(always)]
fn steer(ctx: &SkLookupContext, is_v6: bool, local: Address, remote: Address) -> Counter {
    let is_self = local.ip == remote.ip;
    if is_self || local.ip.is_loopback() {
        return match redirected_by(local, remote) {
            Some(slot) if assign(ctx, listener_index(slot, ListenerKind::Outbound, is_v6)) => Counter::SteeredOutbound,
            Some(_) => Counter::RefusedWithoutAgent,
            None => Counter::LookupLoopback,
        };
    }
    // The agent's own connection to the application.
    if remote.ip.is_loopback() {
        return Counter::LookupLoopback;
    }
    // SAFETY: the agent replaces whole values only when a pod comes or goes.
    match unsafe { POD_ADDRESSES.get(local.ip) } {
        Some(pod) => steer_inbound(ctx, is_v6, pod, local, remote),
        None => Counter::LookupNotPod,
    }
}

#[inline(always)]
fn steer_inbound(ctx: &SkLookupContext, is_v6: bool, pod: &PodAddress, local: Address, remote: Address) -> Counter {
    let port = local.port;
    // SAFETY: the value is not read.
    if unsafe { EXCLUDED_PORTS.get(excluded_port(port, true)) }.is_some() {
        return Counter::LookupExcludedPort;
    }
    let is_hbone = port == HBONE_PORT;
    if !is_hbone && probe::is_expected(pod, local, remote) {
        return Counter::LookupProbe;
    }
    if !is_hbone && !listening::is_open(pod, port) {
        return Counter::RefusedClosedPort;
    }
    let kind = if is_hbone { ListenerKind::Hbone } else { ListenerKind::Plaintext };
    if assign(ctx, listener_index(pod.slot, kind, is_v6)) {
        return if is_hbone { Counter::SteeredHbone } else { Counter::SteeredPlaintext };
    }
    if is_hbone || pod.flags & CLOSED_WITHOUT_AGENT != 0 {
        Counter::RefusedWithoutAgent
    } else {
        Counter::LookupWithoutAgent
    }
}

/// The slot of the pod whose connect was redirected here.
#[inline(always)]
fn redirected_by(local: Address, remote: Address) -> Option<u32> {
    // The source of a redirected connection is the pod's own address, which identifies the namespace.
    // SAFETY: the agent replaces whole values only when a pod comes or goes.
    let pod = unsafe { POD_ADDRESSES.get(remote.ip) }?;
    let flow = Flow { client: remote, server: local, netns_cookie: pod.netns_cookie };
    // SAFETY: read at once; a flow is removed only when it is accepted or ends.
    let published = unsafe { FLOWS.get(&flow) }?;
    published.is(Role::OriginalDst).then_some(pod.slot)
}

/// False when there is no such listener.
#[inline(always)]
fn assign(ctx: &SkLookupContext, index: u32) -> bool {
    LISTENERS.redirect_sk_lookup(ctx, index, BPF_SK_LOOKUP_F_REPLACE).is_ok()
}

/// The local and the remote address.
#[inline(always)]
fn ends(ctx: &SkLookupContext, is_v6: bool) -> (Address, Address) {
    // SAFETY: fields of a valid context.
    unsafe {
        let lookup = ctx.lookup;
        let (local4, local6) =
            (socket::word(&raw const (*lookup).local_ip4), socket::ip6(&raw const (*lookup).local_ip6));
        let (remote4, remote6) =
            (socket::word(&raw const (*lookup).remote_ip4), socket::ip6(&raw const (*lookup).remote_ip6));
        let ips = if is_v6 { (local6, remote6) } else { (Ip::from_v4_word(local4), Ip::from_v4_word(remote4)) };
        (Address::new(ips.0, (*lookup).local_port as u16), Address::new(ips.1, u16::from_be((*lookup).remote_port)))
    }
}

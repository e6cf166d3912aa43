//! `sk_lookup` in each captured pod's namespace: decides which listener is assigned to a SYN, whatever address of the
//! namespace it came to: those of a second interface, of IPv6 link-local scope, and those that came later are the pod's too.
//!
//! The kernel offers no netns cookie to programs of this type, and an address does not identify a namespace: others may have
//! the same. Therefore each pod's namespace has a program of a few instructions (`agent/src/capture/netns_program.rs`)
//! that notes its namespace's cookie and tail-calls this one, which serves all pods.

use aya_ebpf::macros::sk_lookup;
use aya_ebpf::programs::SkLookupContext;
use aya_log_ebpf::debug;
use weir_common::{
    Address, CLOSED_WITHOUT_AGENT, Counter, Flow, HBONE_PORT, InboundPod, Ip, ListenerKind, Role, excluded_port,
    listener_index,
};

use crate::connect::REDIRECT_PORT;
use crate::maps::{EXCLUDED_PORTS, FLOWS, INBOUND_PODS, LISTENERS, LOOKUP_NETNS};
use crate::{destination, direct, listening, probe, socket, verdict};

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
    let Some(netns_cookie) = LOOKUP_NETNS.get(0) else { return Counter::RefusedWithoutAgent };
    // SAFETY: the agent replaces whole values only when a pod comes or goes.
    let Some(pod) = (unsafe { INBOUND_PODS.get(netns_cookie) }) else { return Counter::LookupNotPod };
    let arrival = Arrival { pod, netns_cookie: *netns_cookie, local, remote };
    if local.ip == remote.ip || local.ip.is_loopback() {
        return match arrival.original_destination() {
            Some(destination) => steer_outbound(ctx, is_v6, &arrival, destination),
            None => Counter::LookupLoopback,
        };
    }
    // The agent's own connection to the application.
    if remote.ip.is_loopback() {
        return Counter::LookupLoopback;
    }
    // From a namespace within the pod.
    if local.port == REDIRECT_PORT
        && let Some(destination) = arrival.original_destination()
    {
        return steer_outbound(ctx, is_v6, &arrival, destination);
    }
    steer_inbound(ctx, is_v6, &arrival)
}

/// A connection that the pod opened, unless its destination is known to refuse.
#[inline(always)]
fn steer_outbound(ctx: &SkLookupContext, is_v6: bool, arrival: &Arrival<'_>, destination: Address) -> Counter {
    if let Some(refusal) = destination::refusal(destination) {
        return refusal;
    }
    let is_assigned = assign(ctx, listener_index(arrival.pod.slot, ListenerKind::Outbound, is_v6));
    if is_assigned { Counter::SteeredOutbound } else { Counter::RefusedWithoutAgent }
}

/// A connection that arrives in a captured pod's namespace, at whatever address.
struct Arrival<'a> {
    pod: &'a InboundPod,
    netns_cookie: u64,
    local: Address,
    remote: Address,
}

impl Arrival<'_> {
    /// Where the application wanted to connect to, if it is a connect of the pod that `connect4` or `connect6` sent here.
    #[inline(always)]
    fn original_destination(&self) -> Option<Address> {
        let flow = Flow { client: self.remote, server: self.local, netns_cookie: self.netns_cookie };
        // SAFETY: read at once; a flow is removed only when it is accepted or ends.
        unsafe { FLOWS.get(&flow) }
            .filter(|published| published.is(Role::OriginalDst))
            .map(|published| published.address)
    }
}

#[inline(always)]
fn steer_inbound(ctx: &SkLookupContext, is_v6: bool, arrival: &Arrival<'_>) -> Counter {
    let &Arrival { pod, netns_cookie, local, remote } = arrival;
    let port = local.port;
    let is_hbone = port == HBONE_PORT;
    // Also at ports that are not captured: the client is cut off where its SYN is not noted to have arrived.
    if !is_hbone && let Some(reason) = direct::arrival(netns_cookie, local, remote) {
        return reason;
    }
    // SAFETY: the value is not read.
    if unsafe { EXCLUDED_PORTS.get(excluded_port(port, true)) }.is_some() {
        return Counter::LookupExcludedPort;
    }
    if !is_hbone && probe::is_expected(netns_cookie, local, remote) {
        return Counter::LookupProbe;
    }
    if !is_hbone && !listening::is_open(pod, netns_cookie, port) {
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

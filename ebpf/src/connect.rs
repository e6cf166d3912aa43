//! cgroup `connect4` and `connect6`: redirect the TCP connects of captured pods to the agent. The original destination is kept
//! in the socket's local storage. The rewritten destination is an address of the pod's own network namespace, where
//! `sk_lookup` assigns the agent's listener to the SYN.
//!
//! A connection to a pod of the same node that the agent has permitted is not redirected, see `direct.rs`.
//!
//! A connection that cannot go through the agent, because its socket is bound to a second interface or the pod has no
//! address to send from, is refused unless the settings let such connections leave as if there were no capture.
//!
//! Rewritten destinations are spread over many addresses or ports, so that the pod's ephemeral port range does not bound the
//! number of its connections.
//!
//! MPTCP sockets come here as their first subflow, which is TCP: they are captured and fall back to TCP. Their
//! getpeername, which is the outer socket's, then shows the rewritten destination.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::bpf_sock;
use aya_ebpf::helpers::{
    bpf_get_current_ancestor_cgroup_id, bpf_get_current_cgroup_id, bpf_get_netns_cookie, bpf_get_prandom_u32,
};
use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::maps::lpm_trie::Key;
use aya_ebpf::programs::SockAddrContext;
use aya_log_ebpf::debug;
use weir_common::{Address, Counter, EnrolledPod, Ip, Role, SocketAddress, excluded_port};

use crate::maps::{EXCLUDED_CIDRS, EXCLUDED_PORTS, POD_ADDRESSES, POD_CGROUPS, PODS};
use crate::verdict::Connect;
use crate::{direct, socket, verdict};

/// Port of rewritten IPv4 destinations, and of those that come from a namespace within the pod. No socket listens on it:
/// `sk_lookup` decides by the flow, not by the port.
pub(crate) const REDIRECT_PORT: u16 = 15001;
/// 127.128.0.0/9, of which the broadcast address is left out.
const REDIRECT_NET: u32 = 0x7f80_0000;
const REDIRECT_NET_SIZE: u32 = 0x007f_ffff;
/// IPv6 has one loopback address: its rewritten destinations vary by port, from this one on.
const FIRST_REDIRECT_PORT: u32 = 16_384;
/// How deep below the root of all cgroups a pod's is looked for. The kubelet makes it at level 3; a node that is a container
/// itself adds some.
const MAX_CGROUP_LEVEL: i32 = 12;

/// Entry at `cgroup/connect4`. Since 4.17; with `bpf_sk_storage_get` since 5.8.
#[cgroup_sock_addr(connect4)]
pub(crate) fn weir_connect4(ctx: SockAddrContext) -> i32 {
    // SAFETY: the kernel passes a valid context; these fields may be read at this hook.
    let (ip, port) = unsafe { ((*ctx.sock_addr).user_ip4, (*ctx.sock_addr).user_port) };
    connect::<false>(&ctx, Address::new(Ip::from_v4_word(ip), u16::from_be(port as u16)))
}

/// Entry at `cgroup/connect6`; sees IPv6 sockets, also when they connect to a v4-mapped address.
#[cgroup_sock_addr(connect6)]
pub(crate) fn weir_connect6(ctx: SockAddrContext) -> i32 {
    // SAFETY: as above.
    let (ip, port) = unsafe { (socket::ip6(&raw const (*ctx.sock_addr).user_ip6), (*ctx.sock_addr).user_port) };
    connect::<true>(&ctx, Address::new(ip, u16::from_be(port as u16)))
}

#[inline(always)]
fn connect<const V6: bool>(ctx: &SockAddrContext, destination: Address) -> i32 {
    // SAFETY: the context is valid; the value is read at once.
    let netns_cookie = unsafe { bpf_get_netns_cookie(ctx.as_ptr()) };
    let may_be_direct = direct::is_used();
    let reason = match try_connect::<V6>(ctx, netns_cookie, destination, may_be_direct) {
        Ok(()) => Counter::Redirected,
        Err(reason) => reason,
    };
    // The socket may have been redirected, or have been direct, on an earlier attempt.
    if !matches!(
        reason,
        Counter::Redirected | Counter::RedirectedInner | Counter::Direct | Counter::NotTcp | Counter::OfAgent
    ) {
        socket::forget_address(ctx);
    }
    if may_be_direct && !matches!(reason, Counter::Direct | Counter::NotTcp | Counter::OfAgent) {
        direct::forget(ctx);
    }
    debug!(ctx, "connect to {:i} port {}: reason {}", destination.ip.octets(), destination.port, reason as u32);
    match verdict::connect(netns_cookie, reason) {
        Connect::Proceed => verdict::ALLOW,
        Connect::Refuse => verdict::DENY,
        Connect::Unreachable => {
            socket::rewrite::<V6>(ctx, Address::new(unreachable(destination.ip), destination.port));
            verdict::ALLOW
        }
    }
}

/// An address of the same family that TCP answers with ENETUNREACH in every namespace: a multicast one (`tcp_v4_connect`
/// and `tcp_v6_connect` of the kernel refuse these). A program can choose an errno itself only since 5.18.
#[inline(always)]
fn unreachable(ip: Ip) -> Ip {
    if ip.v4_word().is_some() { Ip::ALL_HOSTS_V4 } else { Ip::ALL_NODES_V6 }
}

#[inline(always)]
fn try_connect<const V6: bool>(
    ctx: &SockAddrContext,
    netns_cookie: u64,
    destination: Address,
    may_be_direct: bool,
) -> Result<(), Counter> {
    // SAFETY: a field of a valid context.
    if unsafe { (*ctx.sock_addr).protocol } != socket::IPPROTO_TCP {
        return Err(Counter::NotTcp);
    }
    // SAFETY: no arguments.
    if socket::is_agent(unsafe { bpf_get_current_cgroup_id() }) {
        return Err(Counter::OfAgent);
    }
    // SAFETY: the agent replaces whole values only when a pod comes or goes.
    let Some(pod) = (unsafe { PODS.get(netns_cookie) }) else { return redirect_inner::<V6>(ctx, destination) };
    check_destination(netns_cookie, destination)?;
    if may_be_direct
        && let Ok(own) = source_address(pod, destination.ip)
        && direct::begin::<V6>(ctx, netns_cookie, own, destination)
    {
        return Err(Counter::Direct);
    }
    redirect::<V6>(ctx, netns_cookie, pod, destination)
}

/// For a socket in a namespace that is no captured pod's, but of a captured pod's cgroup, such as a container's in the
/// pod: the connection goes to an address of the pod, to which the namespace has a way if it has any out of it. Always errs,
/// for a reason that may be that it was redirected.
#[inline(always)]
fn redirect_inner<const V6: bool>(ctx: &SockAddrContext, destination: Address) -> Result<(), Counter> {
    let netns_cookie = pod_of_cgroup().ok_or(Counter::NotEnrolled)?;
    // SAFETY: the agent replaces whole values only when a pod comes or goes.
    let pod = unsafe { PODS.get(netns_cookie) }.ok_or(Counter::NotEnrolled)?;
    check_destination(netns_cookie, destination)?;
    let pod_ip = source_address(pod, destination.ip)?;
    // SAFETY: a field of a valid context; never null at this hook.
    let sk = unsafe { (*ctx.sock_addr).__bindgen_anon_1.sk };
    remember(sk, destination)?;
    if !socket::mark_inner(sk, netns_cookie) {
        return Err(Counter::NoMemory);
    }
    socket::rewrite::<V6>(ctx, Address::new(pod_ip, REDIRECT_PORT));
    Err(Counter::RedirectedInner)
}

/// The captured pod in whose cgroup, or below it, the current process is.
#[inline(always)]
fn pod_of_cgroup() -> Option<u64> {
    for level in 1..=MAX_CGROUP_LEVEL {
        // SAFETY: takes a number; 0 beyond the process' own level.
        let cgroup = unsafe { bpf_get_current_ancestor_cgroup_id(level) };
        if cgroup == 0 {
            return None;
        }
        // SAFETY: read at once.
        if let Some(&netns_cookie) = unsafe { POD_CGROUPS.get(cgroup) } {
            return Some(netns_cookie);
        }
    }
    None
}

/// The pod's address of the destination's family.
#[inline(always)]
fn source_address(pod: &EnrolledPod, destination: Ip) -> Result<Ip, Counter> {
    let ip = if destination.v4_word().is_some() { Ip::from_v4_word(pod.ip4) } else { pod.ip6 };
    if ip.is_unspecified() { Err(Counter::NoSourceAddress) } else { Ok(ip) }
}

/// `Err` with the reason for destinations that are never captured.
#[inline(always)]
fn check_destination(netns_cookie: u64, destination: Address) -> Result<(), Counter> {
    let ip = destination.ip;
    if ip.is_loopback() {
        return Err(Counter::ToLoopback);
    }
    if ip.is_unspecified() {
        return Err(Counter::ToUnspecified);
    }
    if ip.is_link_local() {
        return Err(Counter::ToLinkLocal);
    }
    if ip.is_multicast() {
        return Err(Counter::ToMulticast);
    }
    if ip.is_broadcast() {
        return Err(Counter::ToBroadcast);
    }
    if is_own(netns_cookie, ip) {
        return Err(Counter::ToOwnAddress);
    }
    // SAFETY: the value is not read.
    if unsafe { EXCLUDED_PORTS.get(excluded_port(destination.port, false)) }.is_some() {
        return Err(Counter::ToExcludedPort);
    }
    if EXCLUDED_CIDRS.get(Key::new(128, ip.octets())).is_some() {
        return Err(Counter::ToExcludedCidr);
    }
    Ok(())
}

/// How a redirected connection gets the pod's address as its source address, which it would have without capture.
enum Source {
    /// The application has bound the socket to it.
    Kept,
    /// This program binds the socket to it.
    Bound,
    /// The application has bound only a port, and a socket cannot be bound twice. The destination is rewritten to the pod's own
    /// address, for which the kernel selects that same source address.
    ByRoute,
}

#[inline(always)]
fn redirect<const V6: bool>(
    ctx: &SockAddrContext,
    netns_cookie: u64,
    pod: &EnrolledPod,
    destination: Address,
) -> Result<(), Counter> {
    let is_v4 = destination.ip.v4_word().is_some();
    let pod_ip = source_address(pod, destination.ip)?;
    // SAFETY: a field of a valid context; never null at this hook.
    let sk = unsafe { (*ctx.sock_addr).__bindgen_anon_1.sk };
    // SAFETY: the kernel checked `sk`; these fields of it may be read.
    let (bound_ip, bound_port, device) =
        unsafe { (socket::source_ip::<V6>(sk), (*sk).src_port as u16, (*sk).bound_dev_if) };
    let source = source(netns_cookie, bound_ip, bound_port)?;
    // What the agent sends for the pod leaves by the device of the pod's addresses, and by no other.
    if device != 0 && device != pod.device {
        return Err(Counter::BoundToDevice);
    }
    remember(sk, destination)?;
    if matches!(source, Source::Bound) && !socket::bind::<V6>(ctx, pod_ip) {
        return Err(Counter::SourceUnavailable);
    }
    if device != 0 && !socket::unbind_device(ctx) {
        return Err(Counter::BoundToDevice);
    }
    let target = match source {
        Source::ByRoute => Address::new(pod_ip, redirect_port(bound_port)),
        Source::Kept | Source::Bound if is_v4 => Address::new(redirect_ip(), REDIRECT_PORT),
        Source::Kept | Source::Bound => Address::new(Ip::LOOPBACK_V6, redirect_port(bound_port)),
    };
    socket::rewrite::<V6>(ctx, target);
    Ok(())
}

#[inline(always)]
fn source(netns_cookie: u64, bound_ip: Ip, bound_port: u16) -> Result<Source, Counter> {
    if !bound_ip.is_unspecified() {
        if is_own(netns_cookie, bound_ip) { Ok(Source::Kept) } else { Err(Counter::ForeignSource) }
    } else if bound_port != 0 {
        Ok(Source::ByRoute)
    } else {
        Ok(Source::Bound)
    }
}

#[inline(always)]
fn is_own(netns_cookie: u64, ip: Ip) -> bool {
    // SAFETY: the agent replaces whole values only when a pod comes or goes.
    unsafe { POD_ADDRESSES.get(ip) }.is_some_and(|owner| owner.netns_cookie == netns_cookie)
}

#[inline(always)]
fn remember(sk: *mut bpf_sock, destination: Address) -> Result<(), Counter> {
    let value = SocketAddress::new(destination, Role::OriginalDst);
    let stored = socket::address_slot(sk);
    if stored.is_null() {
        return Err(Counter::NoMemory);
    }
    // SAFETY: not null, so a live value of this socket's, which is being connected by this thread alone.
    unsafe { *stored = value };
    Ok(())
}

#[inline(always)]
fn redirect_ip() -> Ip {
    // SAFETY: no arguments.
    let random = unsafe { bpf_get_prandom_u32() };
    Ip::from_v4_word((REDIRECT_NET + random % REDIRECT_NET_SIZE).to_be())
}

/// Never the source port: with equal addresses and ports at both ends, TCP would connect the socket to itself.
#[inline(always)]
fn redirect_port(source_port: u16) -> u16 {
    // SAFETY: no arguments.
    let random = unsafe { bpf_get_prandom_u32() };
    let port = (FIRST_REDIRECT_PORT + random % (0xffff - FIRST_REDIRECT_PORT)) as u16;
    if port == source_port { port + 1 } else { port }
}

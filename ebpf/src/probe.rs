//! The kubelet's probes bypass capture. `connect4` and `connect6` at the kubelet's cgroup mark the sockets that the kubelet
//! itself connects to ports of captured pods that these pods' own probes and hooks name. `sock_ops` at that cgroup inserts the
//! exact 4-tuple into `PROBES` before the SYN is sent, and removes it when the socket closes, before its port can be reused.
//! `sk_lookup` looks the 4-tuple up.
//!
//! No source address bypasses capture: all other connections from the node, or through it, are plaintext like any other.

use core::ptr;

use aya_ebpf::bindings::{
    BPF_SK_STORAGE_GET_F_CREATE, BPF_SOCK_OPS_STATE_CB, BPF_SOCK_OPS_STATE_CB_FLAG, BPF_SOCK_OPS_TCP_CONNECT_CB,
    BPF_TCP_CLOSE, bpf_sock,
};
use aya_ebpf::helpers::{bpf_get_current_cgroup_id, bpf_get_current_comm, bpf_sk_storage_delete, bpf_sk_storage_get};
use aya_ebpf::macros::{cgroup_sock_addr, sock_ops};
use aya_ebpf::programs::{SockAddrContext, SockOpsContext};
use weir_common::{Address, Counter, Flow, Ip, ProbePort, ProbeSocket};

use crate::maps::{POD_ADDRESSES, PROBE_PORTS, PROBE_SOCKETS, PROBES, SETTINGS};
use crate::socket::{local, remote};
use crate::{socket, verdict};

/// Entry at `cgroup/connect4` of the kubelet's cgroup.
#[cgroup_sock_addr(connect4)]
pub(crate) fn weir_kubelet_connect4(ctx: SockAddrContext) -> i32 {
    // SAFETY: the kernel passes a valid context; these fields may be read at this hook.
    let (ip, port) = unsafe { ((*ctx.sock_addr).user_ip4, (*ctx.sock_addr).user_port) };
    mark(&ctx, Address::new(Ip::from_v4_word(ip), u16::from_be(port as u16)));
    verdict::ALLOW
}

/// Entry at `cgroup/connect6` of the kubelet's cgroup; sees IPv6 sockets, also when they connect to a v4-mapped address.
#[cgroup_sock_addr(connect6)]
pub(crate) fn weir_kubelet_connect6(ctx: SockAddrContext) -> i32 {
    // SAFETY: as above.
    let (ip, port) = unsafe { (socket::ip6(&raw const (*ctx.sock_addr).user_ip6), (*ctx.sock_addr).user_port) };
    mark(&ctx, Address::new(ip, u16::from_be(port as u16)));
    verdict::ALLOW
}

/// Entry at `cgroup/sock_ops` of the kubelet's cgroup.
#[sock_ops]
pub(crate) fn weir_kubelet_sock_ops(ctx: SockOpsContext) -> u32 {
    match ctx.op() {
        BPF_SOCK_OPS_TCP_CONNECT_CB => expect(&ctx),
        BPF_SOCK_OPS_STATE_CB if ctx.arg(1) == BPF_TCP_CLOSE => forget(&ctx),
        _ => {}
    }
    0
}

/// Whether a SYN belongs to a connection of the kubelet.
#[inline(always)]
pub(crate) fn is_expected(netns_cookie: u64, local: Address, remote: Address) -> bool {
    if SETTINGS.get(0).is_none_or(|settings| settings.kubelet_cgroup == 0) {
        return false;
    }
    let flow = Flow { client: remote, server: local, netns_cookie };
    // SAFETY: the value is not read.
    unsafe { PROBES.get(&flow) }.is_some()
}

#[inline(always)]
fn mark(ctx: &SockAddrContext, destination: Address) {
    // SAFETY: fields of a valid context; the socket is never null at this hook.
    let (protocol, sk) = unsafe { ((*ctx.sock_addr).protocol, (*ctx.sock_addr).__bindgen_anon_1.sk) };
    if protocol != socket::IPPROTO_TCP {
        return;
    }
    // SAFETY: the agent replaces whole values only when a pod comes or goes.
    let pod = if is_kubelet() { unsafe { POD_ADDRESSES.get(destination.ip) } } else { None };
    let Some(pod) = pod else {
        // An earlier connect of the same socket may have marked it.
        return unmark(sk);
    };
    // A probe may name another host than its own pod. What that host may be reached at, its own probes say.
    // SAFETY: the value is not read.
    if unsafe { PROBE_PORTS.get(ProbePort::new(pod.netns_cookie, destination.port)) }.is_none() {
        verdict::count(Counter::ProbePortNotNamed);
        return unmark(sk);
    }
    let marked = probe_socket(sk, u64::from(BPF_SK_STORAGE_GET_F_CREATE));
    if marked.is_null() {
        return verdict::count(Counter::ProbeNotExpected);
    }
    // SAFETY: not null, so a live value of this socket's, which is being connected by this thread alone.
    unsafe { (*marked).netns_cookie = pod.netns_cookie };
}

/// Whether this thread belongs to the kubelet: it is in the kubelet's cgroup, not in one below, and has the name of the
/// kubelet's threads, which other processes in that cgroup do not have.
#[inline(always)]
fn is_kubelet() -> bool {
    let Some(settings) = SETTINGS.get(0) else { return false };
    // SAFETY: no arguments.
    if settings.kubelet_cgroup != unsafe { bpf_get_current_cgroup_id() } {
        return false;
    }
    let [first, second] = settings.kubelet_name;
    if first == 0 {
        return true;
    }
    let Ok([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]) = bpf_get_current_comm() else { return false };
    u64::from_ne_bytes([a, b, c, d, e, f, g, h]) == first && u64::from_ne_bytes([i, j, k, l, m, n, o, p]) == second
}

#[inline(always)]
fn expect(ctx: &SockOpsContext) {
    let Some(flow) = probe(ctx) else { return };
    // First the callback that removes the 4-tuple: one that stayed would let the next owner of the port bypass capture.
    let watched = ctx.set_cb_flags((ctx.cb_flags() | BPF_SOCK_OPS_STATE_CB_FLAG) as i32);
    let is_expected = watched.is_ok() && PROBES.insert(&flow, 1, 0).is_ok();
    verdict::count(if is_expected { Counter::ProbeExpected } else { Counter::ProbeNotExpected });
}

#[inline(always)]
fn forget(ctx: &SockOpsContext) {
    if let Some(flow) = probe(ctx) {
        let _ = PROBES.remove(&flow);
    }
}

/// The connection of a marked socket, as the pod's namespace sees it.
#[inline(always)]
fn probe(ctx: &SockOpsContext) -> Option<Flow> {
    // SAFETY: a field of a valid context.
    let sk = unsafe { (*ctx.ops).__bindgen_anon_2.sk };
    if sk.is_null() {
        return None;
    }
    let marked = probe_socket(sk, 0);
    if marked.is_null() {
        return None;
    }
    // SAFETY: not null, so a live value of this socket's.
    let netns_cookie = unsafe { (*marked).netns_cookie };
    Some(Flow { client: local(ctx), server: remote(ctx), netns_cookie })
}

/// The mark of a socket, or null. `sk` must be a checked socket pointer of the running program.
#[inline(always)]
fn probe_socket(sk: *mut bpf_sock, flags: u64) -> *mut ProbeSocket {
    let map = ptr::from_ref(&PROBE_SOCKETS).cast_mut().cast();
    // SAFETY: the verifier accepts only a valid socket here.
    unsafe { bpf_sk_storage_get(map, sk.cast(), ptr::null_mut(), flags).cast() }
}

#[inline(always)]
fn unmark(sk: *mut bpf_sock) {
    let map = ptr::from_ref(&PROBE_SOCKETS).cast_mut().cast();
    // SAFETY: as above.
    unsafe { bpf_sk_storage_delete(map, sk.cast()) };
}

//! `sock_ops`: copies an address from the socket that connects to the socket that is accepted. Before its SYN is sent, a socket
//! with an address in its local storage publishes it under its flow. The accepted socket claims it when the handshake is
//! complete. Both connections use this: application to agent (original destination), agent to application (client).
//! It also counts on which ports the applications listen.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::{
    BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB, BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB, BPF_SOCK_OPS_STATE_CB,
    BPF_SOCK_OPS_STATE_CB_FLAG, BPF_SOCK_OPS_TCP_CONNECT_CB, BPF_SOCK_OPS_TCP_LISTEN_CB, BPF_TCP_CLOSE, BPF_TCP_LISTEN,
};
use aya_ebpf::helpers::bpf_get_netns_cookie;
use aya_ebpf::macros::sock_ops;
use aya_ebpf::programs::SockOpsContext;
use weir_common::{Address, Counter, Flow};

use crate::maps::{FLOWS, PODS};
use crate::socket::{local, remote};
use crate::{direct, listening, socket, verdict};

/// Entry at `cgroup/sock_ops`. Since 4.13; with the netns cookie since 5.15.
#[sock_ops]
pub(crate) fn weir_sock_ops(ctx: SockOpsContext) -> u32 {
    match ctx.op() {
        BPF_SOCK_OPS_TCP_CONNECT_CB => publish(&ctx),
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB => direct::connected(&ctx),
        BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB => claim(&ctx),
        BPF_SOCK_OPS_TCP_LISTEN_CB => begin_listening(&ctx),
        BPF_SOCK_OPS_STATE_CB if ctx.arg(0) == BPF_TCP_LISTEN => end_listening(&ctx),
        BPF_SOCK_OPS_STATE_CB if direct::changed(&ctx) => {}
        BPF_SOCK_OPS_STATE_CB if ctx.arg(1) == BPF_TCP_CLOSE => withdraw(&ctx),
        _ => {}
    }
    0
}

#[inline(always)]
fn publish(ctx: &SockOpsContext) {
    // SAFETY: a field of a valid context.
    let sk = unsafe { (*ctx.ops).__bindgen_anon_2.sk };
    if sk.is_null() {
        return;
    }
    if direct::publish(ctx) {
        return;
    }
    let carried = socket::address(sk);
    if carried.is_null() {
        return;
    }
    let Some(netns_cookie) = pod_cookie(ctx).or_else(|| socket::pod_of_inner(sk)) else { return };
    let flow = Flow { client: local(ctx), server: remote(ctx), netns_cookie };
    // SAFETY: not null, so a live value of this socket's.
    let published = FLOWS.insert(&flow, unsafe { &*carried }, 0);
    // A connect that fails removes its flow, see `withdraw`.
    watch_state(ctx);
    verdict::count(if published.is_ok() { Counter::FlowPublished } else { Counter::FlowNotPublished });
}

#[inline(always)]
fn claim(ctx: &SockOpsContext) {
    let Some(netns_cookie) = pod_cookie(ctx) else { return };
    if ctx.cb_flags() & BPF_SOCK_OPS_STATE_CB_FLAG != 0 {
        // Inherited from the listener.
        let _ = ctx.set_cb_flags((ctx.cb_flags() & !BPF_SOCK_OPS_STATE_CB_FLAG) as i32);
    }
    let flow = Flow { client: remote(ctx), server: local(ctx), netns_cookie };
    // SAFETY: a field of a valid context.
    let sk = unsafe { (*ctx.ops).__bindgen_anon_2.sk };
    if sk.is_null() {
        return;
    }
    // SAFETY: only the end of this connection would remove it, and only the LRU could reuse it.
    let Some(published) = (unsafe { FLOWS.get(&flow) }) else { return direct::accepted(ctx, &flow, sk) };
    let carried = socket::address_slot(sk);
    if carried.is_null() {
        verdict::count(Counter::FlowNotClaimed);
        return;
    }
    // SAFETY: not null, so a live value of this socket's, which no process has yet.
    unsafe { *carried = *published };
    let _ = FLOWS.remove(&flow);
    verdict::count(Counter::FlowClaimed);
}

/// Runs only for sockets that have published a flow.
#[inline(always)]
fn withdraw(ctx: &SockOpsContext) {
    // SAFETY: a field of a valid context.
    let sk = unsafe { (*ctx.ops).__bindgen_anon_2.sk };
    let inner = || if sk.is_null() { None } else { socket::pod_of_inner(sk) };
    let Some(netns_cookie) = pod_cookie(ctx).or_else(inner) else { return };
    let flow = Flow { client: local(ctx), server: remote(ctx), netns_cookie };
    if FLOWS.remove(&flow).is_ok() {
        verdict::count(Counter::FlowAbandoned);
    }
}

#[inline(always)]
fn begin_listening(ctx: &SockOpsContext) {
    if let Some((cookie, address)) = reachable_listener(ctx) {
        watch_state(ctx);
        listening::begin(cookie, address.port);
    }
}

/// Runs for sockets that `begin_listening` counted.
#[inline(always)]
fn end_listening(ctx: &SockOpsContext) {
    if let Some((cookie, address)) = reachable_listener(ctx) {
        listening::end(cookie, address.port);
    }
}

/// A listener's namespace and address; `None` for one on loopback, which cannot be reached from outside the pod.
#[inline(always)]
fn reachable_listener(ctx: &SockOpsContext) -> Option<(u64, Address)> {
    let address = local(ctx);
    if address.ip.is_loopback() { None } else { pod_cookie(ctx).map(|cookie| (cookie, address)) }
}

/// Enables the callback for the socket's changes of state. If the kernel refuses, the flow stays until the LRU evicts it.
#[inline(always)]
fn watch_state(ctx: &SockOpsContext) {
    let _ = ctx.set_cb_flags((ctx.cb_flags() | BPF_SOCK_OPS_STATE_CB_FLAG) as i32);
}

/// The cookie of the socket's namespace, if it is a captured pod's: on the agent's side most sockets are not.
#[inline(always)]
fn pod_cookie(ctx: &SockOpsContext) -> Option<u64> {
    // SAFETY: the context is valid.
    let cookie = unsafe { bpf_get_netns_cookie(ctx.as_ptr()) };
    PODS.get_ptr(cookie).map(|_| cookie)
}

//! The direct path: a connection between two captured pods of this node that the agent has permitted is not redirected.
//!
//! | where | what |
//! |---|---|
//! | `connect4`, `connect6` | chooses the endpoint among those that the agent named, and notes the connection under its socket's cookie |
//! | `sock_ops`, before the SYN is sent | publishes the exact 4-tuple for the server's namespace |
//! | `sk_lookup` in that namespace | admits this 4-tuple while the permit is there, and notes that it arrived |
//! | `sock_ops`, client connected | cuts off a connection whose SYN did not arrive there: the address may be somebody else's by now |
//! | `sock_ops`, server connected | uses the published 4-tuple up |
//! | `sock_ops`, an end closes | notes what it has received; once both are closed the agent is told |
//!
//! Who the two ends are is known by their namespaces, which the kernel says. A pod that sends packets of its own making gains nothing:
//! what is published is its own connection to where it may connect, once. A socket that is closed before it was connected stays noted and
//! published, since the server's kernel may have its SYN: a handshake that is completed without the socket is recognised, and cut off. The
//! agent has the server's kernel give up such a handshake, and removes the connection.
//!
//! No connection begins to be direct without an agent: the time until which that may be is renewed by the one that serves.

use core::ptr;

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::{
    BPF_NOEXIST, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP, BPF_SK_STORAGE_GET_F_CREATE, BPF_SOCK_OPS_STATE_CB_FLAG,
    BPF_TCP_CLOSE, BPF_TCP_CLOSE_WAIT, BPF_TCP_CLOSING, BPF_TCP_FIN_WAIT1, BPF_TCP_FIN_WAIT2, BPF_TCP_LAST_ACK,
    bpf_sock,
};
use aya_ebpf::helpers::{
    bpf_get_prandom_u32, bpf_get_socket_cookie, bpf_ktime_get_ns, bpf_setsockopt, bpf_sk_storage_delete,
    bpf_sk_storage_get,
};
use aya_ebpf::programs::{SockAddrContext, SockOpsContext};
use weir_common::{
    Address, Counter, DIRECT_ARRIVED, DIRECT_CLOSED, DIRECT_CLOSED_WAITING, DIRECT_CUT, DIRECT_ESTABLISHED,
    DIRECT_GOT_FIN, DIRECT_NEVER, DIRECT_OFF, DIRECT_SENT_FIN, DIRECT_TOLD, DirectConnection, DirectDestination,
    DirectEnded, DirectPair, DirectRoute, DirectSocket, Flow, Ip, MAX_DIRECT_CONNECTIONS_PER_POD, Role, SocketAddress,
};

use crate::maps::{
    DIRECT_CONNECTIONS, DIRECT_ENDED, DIRECT_FLOWS, DIRECT_PERMITS, DIRECT_ROOM, DIRECT_ROUTES, DIRECT_SOCKETS,
    DIRECT_UNTIL, POD_ADDRESSES, add,
};
use crate::socket::{local, remote};
use crate::{socket, verdict};

/// `BPF_RB_AVAIL_DATA`.
const AVAILABLE: u64 = 0;

/// Until when connections may begin to be direct, or why none may.
#[inline(always)]
fn until() -> u64 {
    DIRECT_UNTIL.get(0).copied().unwrap_or(DIRECT_NEVER)
}

/// Whether a connection may be, or have been, direct. Where not, this is all that the programs ask.
#[inline(always)]
pub(crate) fn is_used() -> bool {
    until() != DIRECT_NEVER
}

/// Lets a connect of a captured pod go directly, if it may; else nothing has changed that matters to one that is redirected. `own`: the
/// pod's address of the destination's family.
#[inline(always)]
pub(crate) fn begin<const V6: bool>(ctx: &SockAddrContext, netns_cookie: u64, own: Ip, dialled: Address) -> bool {
    let until = until();
    if until <= DIRECT_OFF {
        return false;
    }
    // SAFETY: no arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    if until < now {
        return false;
    }
    // SAFETY: the agent replaces whole values, and what is read of two of them is checked against the permit.
    let Some(route) = (unsafe { DIRECT_ROUTES.get(DirectDestination::new(netns_cookie, dialled)) }) else {
        return false;
    };
    let Some(endpoint) = draw(route) else { return false };
    let Some(pair) = permitted(netns_cookie, endpoint) else { return false };
    if endpoint.ip.v4_word().is_some() != dialled.ip.v4_word().is_some() || !has_room(netns_cookie) {
        return false;
    }
    bind::<V6>(ctx, own) && note::<V6>(ctx, pair, dialled, now)
}

/// One of the endpoints, by chance.
#[inline(always)]
fn draw(route: &DirectRoute) -> Option<Address> {
    let count = route.count;
    if count <= 1 {
        return (count == 1).then_some(route.endpoints[0]);
    }
    // SAFETY: no arguments.
    let drawn = unsafe { bpf_get_prandom_u32() } % count;
    route.endpoints.get(drawn as usize).copied()
}

/// The pair, where the pod may connect to the endpoint at whoever has its address now.
#[inline(always)]
fn permitted(source: u64, endpoint: Address) -> Option<DirectPair> {
    // SAFETY: the agent replaces whole values only when a pod comes or goes.
    let server = unsafe { POD_ADDRESSES.get(endpoint.ip) }?.netns_cookie;
    let pair = DirectPair::new(source, server, endpoint);
    is_permitted(&pair).then_some(pair)
}

#[inline(always)]
fn is_permitted(pair: &DirectPair) -> bool {
    // SAFETY: the value is not read.
    unsafe { DIRECT_PERMITS.get(pair) }.is_some()
}

#[inline(always)]
fn has_room(netns_cookie: u64) -> bool {
    // SAFETY: a word that is read whole.
    DIRECT_ROOM
        .get_ptr(netns_cookie)
        .is_some_and(|taken| unsafe { taken.read_volatile() }.cast_signed() < MAX_DIRECT_CONNECTIONS_PER_POD)
}

/// Gives the connection the pod's own address as its source, and no other: the permit is for it. False where it has another one, where only
/// a port is bound (the kernel would choose the address), and where a device is: such a socket could not be cut off, since only who may
/// use raw sockets can bind it to another one.
#[inline(always)]
fn bind<const V6: bool>(ctx: &SockAddrContext, own: Ip) -> bool {
    // SAFETY: a field of a valid context, never null at this hook; and fields of it that may be read.
    let (bound_ip, bound_port, device) = unsafe {
        let sk = (*ctx.sock_addr).__bindgen_anon_1.sk;
        (socket::source_ip::<V6>(sk), (*sk).src_port as u16, (*sk).bound_dev_if)
    };
    if device != 0 {
        return false;
    }
    if bound_ip.is_unspecified() { bound_port == 0 && socket::bind::<V6>(ctx, own) } else { bound_ip == own }
}

/// Notes the connection, and has the socket connect to the endpoint.
#[inline(always)]
fn note<const V6: bool>(ctx: &SockAddrContext, pair: DirectPair, dialled: Address, now: u64) -> bool {
    // SAFETY: a field of a valid context, never null at this hook; the helper takes the context.
    let (sk, key) = unsafe { ((*ctx.sock_addr).__bindgen_anon_1.sk, bpf_get_socket_cookie(ctx.as_ptr())) };
    // A socket that was connected before, and whose other end is still open, is noted already.
    let connection = DirectConnection::new(pair, dialled, now);
    if DIRECT_CONNECTIONS.insert(key, connection, u64::from(BPF_NOEXIST)).is_err() {
        return false;
    }
    if !mark(sk, key, false) {
        let _ = DIRECT_CONNECTIONS.remove(key);
        return false;
    }
    if dialled == pair.endpoint {
        // The socket may have been redirected on an earlier attempt.
        socket::forget_address(ctx);
    } else {
        let shown = socket::address_slot(sk);
        if shown.is_null() {
            let _ = DIRECT_CONNECTIONS.remove(key);
            return false;
        }
        // SAFETY: not null, so a live value of this socket's, which is being connected by this thread alone.
        unsafe { *shown = SocketAddress::new(dialled, Role::DirectDst) };
        socket::rewrite::<V6>(ctx, pair.endpoint);
    }
    if let Some(taken) = DIRECT_ROOM.get_ptr_mut(pair.source) {
        add(taken, 1);
    }
    true
}

/// Says that a socket belongs to a direct connection. False when memory is short.
#[inline(always)]
fn mark(sk: *mut bpf_sock, connection: u64, is_server: bool) -> bool {
    let marked = storage(sk, u64::from(BPF_SK_STORAGE_GET_F_CREATE));
    if marked.is_null() {
        return false;
    }
    // SAFETY: not null, so a live value of this socket's, which nobody else uses yet.
    unsafe { *marked = DirectSocket { connection, is_server: u64::from(is_server) } };
    true
}

/// Says that a socket belongs to none, whatever it did before.
#[inline(always)]
pub(crate) fn forget(ctx: &SockAddrContext) {
    let map = ptr::from_ref(&DIRECT_SOCKETS).cast_mut().cast();
    // SAFETY: the socket of a valid context.
    unsafe { bpf_sk_storage_delete(map, (*ctx.sock_addr).__bindgen_anon_1.sk.cast()) };
}

/// `sk` must be a checked socket pointer of the running program.
#[inline(always)]
fn storage(sk: *mut bpf_sock, flags: u64) -> *mut DirectSocket {
    let map = ptr::from_ref(&DIRECT_SOCKETS).cast_mut().cast();
    // SAFETY: the verifier accepts only a valid socket here.
    unsafe { bpf_sk_storage_get(map, sk.cast(), ptr::null_mut(), flags).cast() }
}

/// The direct connection of the socket of a `sock_ops` program, and which end of it the socket is.
#[inline(always)]
fn of_socket(ctx: &SockOpsContext) -> Option<DirectSocket> {
    // SAFETY: a field of a valid context.
    let sk = unsafe { (*ctx.ops).__bindgen_anon_2.sk };
    if sk.is_null() || !is_used() {
        return None;
    }
    let marked = storage(sk, 0);
    // SAFETY: not null, so a live value of this socket's.
    if marked.is_null() { None } else { Some(unsafe { *marked }) }
}

/// Before the SYN is sent: publishes the 4-tuple. False for a socket of no direct connection. Where it cannot be published, the SYN arrives
/// as plaintext of nobody, and the connection is cut off.
#[inline(always)]
pub(crate) fn publish(ctx: &SockOpsContext) -> bool {
    let Some(DirectSocket { connection: key, .. }) = of_socket(ctx) else { return false };
    let Some(connection) = DIRECT_CONNECTIONS.get_ptr_mut(key) else { return true };
    let client = local(ctx);
    // SAFETY: a live element, of a socket that nobody else changes now.
    let flow = unsafe {
        (*connection).client = client;
        Flow { client, server: (*connection).endpoint, netns_cookie: (*connection).server }
    };
    // First the callback that removes it.
    let watched = ctx.set_cb_flags((ctx.cb_flags() | BPF_SOCK_OPS_STATE_CB_FLAG) as i32);
    if watched.is_ok() && remote(ctx) == flow.server {
        let _ = DIRECT_FLOWS.insert(flow, key, 0);
    }
    true
}

/// In the server's namespace: whether a SYN belongs to a direct connection, and what becomes of it.
#[inline(always)]
pub(crate) fn arrival(netns_cookie: u64, local: Address, remote: Address) -> Option<Counter> {
    if !is_used() {
        return None;
    }
    let flow = Flow { client: remote, server: local, netns_cookie };
    // SAFETY: read at once.
    let key = *unsafe { DIRECT_FLOWS.get(flow) }?;
    let connection = DIRECT_CONNECTIONS.get_ptr_mut(key)?;
    // SAFETY: a live element; the flags are written for one socket only, and this comes before it is there.
    unsafe {
        if (&raw const (*connection).client_flags).read_volatile() & DIRECT_CLOSED != 0 {
            return None;
        }
        if !is_permitted(&(*connection).pair()) {
            return Some(Counter::RefusedDirect);
        }
        set(&raw mut (*connection).server_flags, DIRECT_ARRIVED);
    }
    Some(Counter::LookupDirect)
}

/// The client's end is connected.
#[inline(always)]
pub(crate) fn connected(ctx: &SockOpsContext) {
    let Some(DirectSocket { connection: key, .. }) = of_socket(ctx) else { return };
    // The agent forgets a connect whose SYN did not leave for long (TCP_FASTOPEN_CONNECT).
    let Some(connection) = DIRECT_CONNECTIONS.get_ptr_mut(key) else { return cut(ctx) };
    // SAFETY: a live element; the flags of this end are written by this socket only.
    unsafe {
        if (&raw const (*connection).server_flags).read_volatile() & DIRECT_ARRIVED == 0 {
            cut(ctx);
            set(&raw mut (*connection).client_flags, DIRECT_ESTABLISHED | DIRECT_CUT);
        } else {
            set(&raw mut (*connection).client_flags, DIRECT_ESTABLISHED);
        }
    }
}

/// The server's end is connected: uses the published 4-tuple up.
#[inline(always)]
pub(crate) fn accepted(ctx: &SockOpsContext, flow: &Flow, sk: *mut bpf_sock) {
    if !is_used() {
        return;
    }
    // SAFETY: read at once.
    let Some(&key) = (unsafe { DIRECT_FLOWS.get(flow) }) else { return };
    let _ = DIRECT_FLOWS.remove(flow);
    let Some(connection) = DIRECT_CONNECTIONS.get_ptr_mut(key) else { return cut(ctx) };
    // Without its mark nobody would learn of its end.
    if !mark(sk, key, true) || ctx.set_cb_flags((ctx.cb_flags() | BPF_SOCK_OPS_STATE_CB_FLAG) as i32).is_err() {
        return cut(ctx);
    }
    // SAFETY: a live element; the flags of this end are written by this socket only.
    unsafe {
        let client = (&raw const (*connection).client_flags).read_volatile();
        // Not the work of the socket that connected, where that is gone.
        let is_forged = client & DIRECT_CLOSED != 0 && client & DIRECT_ESTABLISHED == 0;
        if !is_forged && is_permitted(&(*connection).pair()) {
            set(&raw mut (*connection).server_flags, DIRECT_ESTABLISHED);
        } else {
            cut(ctx);
            set(&raw mut (*connection).server_flags, DIRECT_ESTABLISHED | DIRECT_CUT);
        }
    }
}

/// An end's state changes. False for a socket of no direct connection.
#[inline(always)]
pub(crate) fn changed(ctx: &SockOpsContext) -> bool {
    let Some(DirectSocket { connection: key, is_server }) = of_socket(ctx) else { return false };
    let Some(connection) = DIRECT_CONNECTIONS.get_ptr_mut(key) else { return true };
    let (from, to) = (ctx.arg(0), ctx.arg(1));
    let seen = match to {
        BPF_TCP_CLOSE_WAIT | BPF_TCP_CLOSING => DIRECT_GOT_FIN,
        BPF_TCP_FIN_WAIT1 | BPF_TCP_LAST_ACK => DIRECT_SENT_FIN,
        BPF_TCP_CLOSE if from == BPF_TCP_FIN_WAIT2 => DIRECT_CLOSED | DIRECT_CLOSED_WAITING,
        BPF_TCP_CLOSE => DIRECT_CLOSED,
        _ => return true,
    };
    // SAFETY: a live element; what is written is of this end alone, whose socket is locked. The flags come last: once both ends are
    // closed, the element is removed, and may become another connection's.
    unsafe {
        if to == BPF_TCP_CLOSE {
            let received = (*ctx.ops).bytes_received;
            if is_server != 0 {
                (&raw mut (*connection).to_server).write_volatile(received);
            } else {
                (&raw mut (*connection).to_client).write_volatile(received);
            }
            (&raw mut (*connection).ended).write_volatile(bpf_ktime_get_ns());
        }
        if is_server != 0 {
            set(&raw mut (*connection).server_flags, seen);
        } else {
            set(&raw mut (*connection).client_flags, seen);
        }
        if to == BPF_TCP_CLOSE {
            end(key, connection);
        }
    }
    true
}

/// Tells the agent, once, of a connection both of whose ends are closed, or whose client was never connected: that one stays. Where that
/// cannot be told, or both ends close at once, the agent finds it in the map.
///
/// # Safety
/// `connection` must be the live element with this key.
#[inline(always)]
unsafe fn end(key: u64, connection: *mut DirectConnection) {
    // SAFETY: promised by the caller.
    let (client, server) = unsafe {
        (
            (&raw const (*connection).client_flags).read_volatile(),
            (&raw const (*connection).server_flags).read_volatile(),
        )
    };
    let (is_server_closed, is_told) = (server & DIRECT_CLOSED != 0, client & DIRECT_TOLD != 0);
    let was_never_open = (client | server) & DIRECT_ESTABLISHED == 0;
    if client & DIRECT_CLOSED == 0 || !(is_server_closed || was_never_open) {
        return;
    }
    // SAFETY: promised by the caller.
    let source = unsafe { (*connection).source };
    let Some(mut entry) = DIRECT_ENDED.reserve::<DirectEnded>(0) else { return };
    // SAFETY: promised by the caller.
    entry.write(DirectEnded { key, connection: unsafe { *connection } });
    if !is_server_closed {
        // SAFETY: a live element; the flags of the client are written by its socket only, which is the one that closes.
        unsafe { set(&raw mut (*connection).client_flags, DIRECT_TOLD) };
    } else if DIRECT_CONNECTIONS.remove(key).is_err() {
        // The other end was first.
        return entry.discard(u64::from(BPF_RB_NO_WAKEUP));
    } else if let Some(taken) = DIRECT_ROOM.get_ptr_mut(source) {
        add(taken, -1);
    }
    if is_told {
        return entry.discard(u64::from(BPF_RB_NO_WAKEUP));
    }
    // The agent sleeps a while before it reads, and then reads all: it is woken for the first.
    let is_first = DIRECT_ENDED.query(AVAILABLE) <= size_of::<DirectEnded>() as u64 + 8;
    entry.submit(u64::from(if is_first { BPF_RB_FORCE_WAKEUP } else { BPF_RB_NO_WAKEUP }));
}

/// Binds a connected socket to loopback: what it sends finds no way, and what is sent to it finds no socket. The agent then ends it.
#[inline(always)]
fn cut(ctx: &SockOpsContext) {
    let mut name = [u32::from_ne_bytes(*b"lo\0\0"), 0, 0, 0];
    // SAFETY: the context is valid and the name outlives the call.
    unsafe {
        bpf_setsockopt(ctx.as_ptr(), socket::SOL_SOCKET, socket::SO_BINDTODEVICE, (&raw mut name).cast(), 16);
    }
    verdict::count(Counter::DirectCut);
}

/// # Safety
/// `flags` must point into a live element that only the caller changes.
#[inline(always)]
unsafe fn set(flags: *mut u32, more: u32) {
    // SAFETY: promised by the caller.
    unsafe { flags.write_volatile(flags.read_volatile() | more) };
}

//! Operations on sockets that several hooks need, with the kernel's calling conventions for them. No decisions.

use core::ptr;

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::{BPF_SK_STORAGE_GET_F_CREATE, bpf_sock};
use aya_ebpf::helpers::{bpf_bind, bpf_setsockopt, bpf_sk_storage_delete, bpf_sk_storage_get};
use aya_ebpf::programs::{SockAddrContext, SockOpsContext};
use weir_common::{Address, InnerSocket, Ip, SocketAddress};

use crate::maps::{INNER_SOCKETS, SETTINGS, SOCKET_ADDRESS};

pub(crate) const IPPROTO_TCP: u32 = 6;
pub(crate) const AF_INET: u32 = 2;
pub(crate) const AF_INET6: u32 = 10;
pub(crate) const SOL_SOCKET: i32 = 1;
pub(crate) const SO_BINDTODEVICE: i32 = 25;

/// Whether a cgroup is that of this agent or of a predecessor.
#[inline(always)]
pub(crate) fn is_agent(cgroup: u64) -> bool {
    SETTINGS.get(0).is_some_and(|settings| {
        let [a, b, c, d] = settings.agent_cgroups;
        cgroup == a || cgroup == b || cgroup == c || cgroup == d
    })
}

/// The address in a socket's local storage, or null. `sk` must be a checked socket pointer of the running program.
#[inline(always)]
pub(crate) fn address(sk: *mut bpf_sock) -> *mut SocketAddress {
    // SAFETY: the verifier accepts only a valid socket here.
    unsafe {
        bpf_sk_storage_get(ptr::from_ref(&SOCKET_ADDRESS).cast_mut().cast(), sk.cast(), ptr::null_mut(), 0).cast()
    }
}

/// A socket's local storage for its address, made as zeros if it has none; null when memory is short. `sk` as for [`address`].
#[inline(always)]
pub(crate) fn address_slot(sk: *mut bpf_sock) -> *mut SocketAddress {
    let map = ptr::from_ref(&SOCKET_ADDRESS).cast_mut().cast();
    // SAFETY: the verifier accepts only a valid socket here.
    unsafe { bpf_sk_storage_get(map, sk.cast(), ptr::null_mut(), u64::from(BPF_SK_STORAGE_GET_F_CREATE)).cast() }
}

/// Notes that a socket is in a namespace within a captured pod, whose own namespace has this cookie. False when memory is
/// short. `sk` as for [`address`].
#[inline(always)]
pub(crate) fn mark_inner(sk: *mut bpf_sock, netns_cookie: u64) -> bool {
    let marked = inner(sk, u64::from(BPF_SK_STORAGE_GET_F_CREATE));
    if marked.is_null() {
        return false;
    }
    // SAFETY: not null, so a live value of this socket's, which is being connected by this thread alone.
    unsafe { (*marked).netns_cookie = netns_cookie };
    true
}

/// What [`mark_inner`] noted. `sk` as for [`address`].
#[inline(always)]
pub(crate) fn pod_of_inner(sk: *mut bpf_sock) -> Option<u64> {
    let marked = inner(sk, 0);
    // SAFETY: not null, so a live value of this socket's.
    if marked.is_null() { None } else { Some(unsafe { (*marked).netns_cookie }) }
}

#[inline(always)]
fn inner(sk: *mut bpf_sock, flags: u64) -> *mut InnerSocket {
    let map = ptr::from_ref(&INNER_SOCKETS).cast_mut().cast();
    // SAFETY: the verifier accepts only a valid socket here.
    unsafe { bpf_sk_storage_get(map, sk.cast(), ptr::null_mut(), flags).cast() }
}

/// Removes the address from a socket's local storage; no error if there is none.
#[inline(always)]
pub(crate) fn forget_address(ctx: &SockAddrContext) {
    let map = ptr::from_ref(&SOCKET_ADDRESS).cast_mut().cast();
    // SAFETY: the socket of a valid context.
    unsafe { bpf_sk_storage_delete(map, (*ctx.sock_addr).__bindgen_anon_1.sk.cast()) };
}

/// Reads a field of a context or socket as the verifier wants it: word by word, at an offset it can see. Without
/// `volatile` the compiler joins two such reads into one at a computed offset.
///
/// # Safety
/// `field` must point into a valid context or checked socket.
#[inline(always)]
pub(crate) unsafe fn word(field: *const u32) -> u32 {
    // SAFETY: promised by the caller.
    unsafe { ptr::read_volatile(field) }
}

/// As [`word`], for the four words of an IPv6 address.
///
/// # Safety
/// As for [`word`].
#[inline(always)]
pub(crate) unsafe fn ip6(field: *const [u32; 4]) -> Ip {
    let field: *const u32 = field.cast();
    // SAFETY: promised by the caller.
    unsafe { Ip::from_words([word(field), word(field.add(1)), word(field.add(2)), word(field.add(3))]) }
}

/// The address a socket is bound to.
///
/// # Safety
/// `sk` must be a checked socket pointer of the running program, of the family that `V6` says.
#[inline(always)]
pub(crate) unsafe fn source_ip<const V6: bool>(sk: *mut bpf_sock) -> Ip {
    // SAFETY: promised by the caller.
    unsafe { if V6 { ip6(&raw const (*sk).src_ip6) } else { Ip::from_v4_word(word(&raw const (*sk).src_ip4)) } }
}

/// Rewrites the destination of connect(2). A `V6` context accepts v4-mapped addresses, the other only IPv4.
#[inline(always)]
pub(crate) fn rewrite<const V6: bool>(ctx: &SockAddrContext, to: Address) {
    let words = to.ip.words();
    // SAFETY: fields of a valid context that may be written at these hooks; word by word as in [`word`].
    unsafe {
        if V6 {
            let ip = &raw mut (*ctx.sock_addr).user_ip6;
            ptr::write_volatile(&raw mut (*ip)[0], words[0]);
            ptr::write_volatile(&raw mut (*ip)[1], words[1]);
            ptr::write_volatile(&raw mut (*ip)[2], words[2]);
            ptr::write_volatile(&raw mut (*ip)[3], words[3]);
        } else {
            (*ctx.sock_addr).user_ip4 = words[3];
        }
        (*ctx.sock_addr).user_port = u32::from(to.port.to_be());
    }
}

#[repr(C)]
struct SockaddrIn {
    family: u16,
    port: u16,
    address: u32,
    zero: [u32; 2],
}

#[repr(C)]
struct SockaddrIn6 {
    family: u16,
    port: u16,
    flow_info: u32,
    address: [u32; 4],
    scope_id: u32,
}

/// Binds the connecting socket to an address, leaving the port to the kernel. False when the kernel refuses.
#[inline(always)]
pub(crate) fn bind<const V6: bool>(ctx: &SockAddrContext, ip: Ip) -> bool {
    // SAFETY: the context is valid and the address outlives the call.
    unsafe {
        if V6 {
            let mut address =
                SockaddrIn6 { family: AF_INET6 as u16, port: 0, flow_info: 0, address: ip.words(), scope_id: 0 };
            bpf_bind(ctx.sock_addr, (&raw mut address).cast(), size_of::<SockaddrIn6>() as i32) == 0
        } else {
            let mut address = SockaddrIn { family: AF_INET as u16, port: 0, address: ip.words()[3], zero: [0; 2] };
            bpf_bind(ctx.sock_addr, (&raw mut address).cast(), size_of::<SockaddrIn>() as i32) == 0
        }
    }
}

/// Unbinds the connecting socket from its device, since replies over loopback do not reach a socket that is bound to another
/// device. False when the process lacks the capability for it.
#[inline(always)]
pub(crate) fn unbind_device(ctx: &SockAddrContext) -> bool {
    let mut no_name = [0_u32; 4];
    // SAFETY: the context is valid and the name outlives the call.
    unsafe { bpf_setsockopt(ctx.as_ptr(), SOL_SOCKET, SO_BINDTODEVICE, (&raw mut no_name).cast(), 16) == 0 }
}

/// The local address of the socket of a `sock_ops` program.
#[inline(always)]
pub(crate) fn local(ctx: &SockOpsContext) -> Address {
    // SAFETY: fields of a valid context.
    let (v4, v6) = unsafe { (word(&raw const (*ctx.ops).local_ip4), ip6(&raw const (*ctx.ops).local_ip6)) };
    Address::new(of_family(ctx, v4, v6), ctx.local_port() as u16)
}

/// Its remote address.
#[inline(always)]
pub(crate) fn remote(ctx: &SockOpsContext) -> Address {
    // SAFETY: fields of a valid context.
    let (v4, v6) = unsafe { (word(&raw const (*ctx.ops).remote_ip4), ip6(&raw const (*ctx.ops).remote_ip6)) };
    // The kernel shows the port in network order in the upper half of the word.
    Address::new(of_family(ctx, v4, v6), u32::from_be(ctx.remote_port()) as u16)
}

/// An IPv6 socket shows IPv4 addresses as v4-mapped.
#[inline(always)]
fn of_family(ctx: &SockOpsContext, v4: u32, v6: Ip) -> Ip {
    if ctx.family() == AF_INET6 { v6 } else { Ip::from_v4_word(v4) }
}

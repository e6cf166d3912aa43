//! cgroup `getpeername4` and `getpeername6`: show an application the original destination of its own connection, and the client
//! of an accepted one. They also change the address that accept(2) returns.

use aya_ebpf::helpers::bpf_get_current_cgroup_id;
use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;

use crate::{socket, verdict};

/// Entry at `cgroup/getpeername4`. Since 5.8.
#[cgroup_sock_addr(getpeername4)]
pub(crate) fn weir_getpeername4(ctx: SockAddrContext) -> i32 {
    show_peer::<false>(&ctx)
}

/// Entry at `cgroup/getpeername6`. Since 5.8.
#[cgroup_sock_addr(getpeername6)]
pub(crate) fn weir_getpeername6(ctx: SockAddrContext) -> i32 {
    show_peer::<true>(&ctx)
}

#[inline(always)]
fn show_peer<const V6: bool>(ctx: &SockAddrContext) -> i32 {
    // SAFETY: no arguments.
    if socket::is_agent(unsafe { bpf_get_current_cgroup_id() }) {
        return verdict::ALLOW;
    }
    // SAFETY: a field of a valid context.
    let carried = socket::address(unsafe { (*ctx.sock_addr).__bindgen_anon_1.sk });
    if !carried.is_null() {
        // SAFETY: not null, so a live value of this socket's.
        let address = unsafe { (*carried).address };
        // An IPv4 socket cannot show an IPv6 peer: it shows the real one.
        if V6 || address.ip.v4_word().is_some() {
            socket::rewrite::<V6>(ctx, address);
        }
    }
    verdict::ALLOW
}

//! The kernel programs. One file per hook; each decides in `try_…`, and `verdict.rs` turns the reason into an action.
//!
//! | hook | attached to | role | when something fails |
//! |---|---|---|---|
//! | `connect4`, `connect6` | pods' cgroup | redirect captured pods' connects to the agent, or let them go directly to a pod of the node | refuse; `--uncapturable-outbound=pass` lets pass what cannot be redirected, see `verdict.rs` |
//! | `getpeername4`, `getpeername6` | pods' cgroup | show applications the peer they expect | show the real one |
//! | `sock_ops` | pods' and agent's cgroup | copy addresses from connecting to accepted sockets; follow direct connections | the agent refuses |
//! | `kubelet_connect4`, `kubelet_connect6`, `kubelet_sock_ops` | kubelet's cgroup | identify its probes by their exact 4-tuple | probes count as plaintext |
//! | `sk_lookup` | each captured pod's namespace, through a program that says which | assign the agent's listeners to SYNs; refuse what is known to be refused | refuse, or pass if the pod is open |
//!
//! Oldest kernel: 5.15 (netns cookie in `sock_ops`).
#![cfg_attr(target_arch = "bpf", no_std, no_main, feature(asm_experimental_arch))]
#![cfg_attr(
    target_arch = "bpf",
    expect(unsafe_code, reason = "a kernel program is made of pointers the verifier checks")
)]

#[cfg(target_arch = "bpf")]
mod connect;
#[cfg(target_arch = "bpf")]
mod destination;
#[cfg(target_arch = "bpf")]
mod direct;
#[cfg(target_arch = "bpf")]
mod getpeername;
#[cfg(target_arch = "bpf")]
mod listening;
#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod probe;
#[cfg(target_arch = "bpf")]
mod sk_lookup;
#[cfg(target_arch = "bpf")]
mod sock_ops;
#[cfg(target_arch = "bpf")]
mod socket;
#[cfg(target_arch = "bpf")]
mod verdict;

/// The kernel offers several helpers to GPL-compatible programs only.
#[cfg(target_arch = "bpf")]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// Lets `cargo check --workspace` pass on the host, where there is nothing to run.
#[cfg(not(target_arch = "bpf"))]
fn main() {}

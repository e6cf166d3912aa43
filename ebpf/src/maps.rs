//! Every map, with its capacity and what it costs. Together below 70 MiB of kernel memory, of which `FLOWS` takes 8 at once, and
//! the maps of the direct path 4 where it may be used. Elsewhere the agent makes those as small as can be, see
//! `agent/src/capture/pinned_maps.rs`.

use core::arch::asm;

use aya_ebpf::btf_maps::SkStorage;
use aya_ebpf::macros::{btf_map, map};
use aya_ebpf::maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, ProgramArray, RingBuf, SockMap};
use weir_common::{
    Address, Counter, DIRECT_ENDED_BYTES, DirectConnection, DirectDestination, DirectPair, DirectRoute, DirectSocket,
    EnrolledPod, Flow, InboundPod, InnerSocket, Installed, Ip, LISTENERS_PER_POD, ListeningPod, ListeningPort,
    MAX_DESTINATIONS, MAX_DIRECT_CONNECTIONS, MAX_DIRECT_PERMITS, MAX_DIRECT_ROUTES, MAX_EXCLUDED_CIDRS,
    MAX_EXCLUDED_PORTS, MAX_FLOWS, MAX_LISTENING_PORTS, MAX_POD_ADDRESSES, MAX_POD_VERDICTS, MAX_PODS, MAX_PROBE_PORTS,
    MAX_PROBES, PodAddress, PodVerdict, ProbePort, ProbeSocket, Settings, SocketAddress,
};

/// `BPF_F_NO_PREALLOC`: memory is allocated per element, since few nodes come near the capacities.
const NO_PREALLOC: u32 = aya_ebpf::bindings::BPF_F_NO_PREALLOC;

/// Netns cookie → captured pod. Up to 90 KiB.
#[map]
pub(crate) static PODS: HashMap<u64, EnrolledPod> = HashMap::with_max_entries(MAX_PODS, NO_PREALLOC);

/// Cgroup → netns cookie of the captured pod whose cgroup it is. Up to 70 KiB.
#[map]
pub(crate) static POD_CGROUPS: HashMap<u64, u64> = HashMap::with_max_entries(MAX_PODS, NO_PREALLOC);

/// Netns cookie → captured pod, for what arrives there. Up to 70 KiB.
#[map]
pub(crate) static INBOUND_PODS: HashMap<u64, InboundPod> = HashMap::with_max_entries(MAX_PODS, NO_PREALLOC);

/// The cookie of the namespace whose lookup this CPU is at: written by the program at that namespace, read by
/// `weir_sk_lookup`, which that program calls.
#[map]
pub(crate) static LOOKUP_NETNS: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// Not read here: holds `weir_sk_lookup` for the programs at the pods' namespaces, which call it.
#[map]
pub(crate) static SK_LOOKUP: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// How often a verdict of interest to a pod's owner was given, by pod. Up to 640 KiB.
#[map]
pub(crate) static POD_VERDICTS: HashMap<PodVerdict, u64> = HashMap::with_max_entries(MAX_POD_VERDICTS, NO_PREALLOC);

/// Address → captured pod. Up to 330 KiB.
#[map]
pub(crate) static POD_ADDRESSES: HashMap<Ip, PodAddress> = HashMap::with_max_entries(MAX_POD_ADDRESSES, NO_PREALLOC);

#[map]
pub(crate) static SETTINGS: Array<Settings> = Array::with_max_entries(1, 0);

/// Not read by the programs: a later agent reads here what is installed.
#[map]
pub(crate) static INSTALLED: Array<Installed> = Array::with_max_entries(1, 0);

/// Destination blocks that are not captured. Up to 80 KiB.
#[map]
pub(crate) static EXCLUDED_CIDRS: LpmTrie<[u8; 16], u32> = LpmTrie::with_max_entries(MAX_EXCLUDED_CIDRS, NO_PREALLOC);

/// Ports that are not captured, see [`weir_common::excluded_port`]. Up to 70 KiB.
#[map]
pub(crate) static EXCLUDED_PORTS: HashMap<u32, u32> = HashMap::with_max_entries(MAX_EXCLUDED_PORTS, NO_PREALLOC);

/// Socket-local storage: the address that belongs to a socket. Freed with the socket, about 80 bytes each.
#[btf_map]
pub(crate) static SOCKET_ADDRESS: SkStorage<SocketAddress> = SkStorage::new();

/// Connections between SYN and acceptance. 8 MiB, allocated at once (as LRU maps are).
#[map]
pub(crate) static FLOWS: LruHashMap<Flow, SocketAddress> = LruHashMap::with_max_entries(MAX_FLOWS, 0);

/// Socket-local storage: marks sockets of namespaces within captured pods that connect. Freed with the socket.
#[btf_map]
pub(crate) static INNER_SOCKETS: SkStorage<InnerSocket> = SkStorage::new();

/// Socket-local storage: marks the kubelet's sockets that connect to captured pods. Freed with the socket.
#[btf_map]
pub(crate) static PROBE_SOCKETS: SkStorage<ProbeSocket> = SkStorage::new();

/// Open connections of the kubelet to captured pods; the namespace is the pod's. 1 MiB, allocated at once.
#[map]
pub(crate) static PROBES: LruHashMap<Flow, u32> = LruHashMap::with_max_entries(MAX_PROBES, 0);

/// Ports that the probes and hooks of captured pods name. Up to 1.3 MiB.
#[map]
pub(crate) static PROBE_PORTS: HashMap<ProbePort, u32> = HashMap::with_max_entries(MAX_PROBE_PORTS, NO_PREALLOC);

/// How many sockets listen on a port. Up to 6 MiB. An element stays when its count is 0, since count and
/// removal would not be one atomic operation: the agent removes it (`agent/src/capture/sweep.rs`).
#[map]
pub(crate) static LISTENING: HashMap<ListeningPort, u64> = HashMap::with_max_entries(MAX_LISTENING_PORTS, NO_PREALLOC);

/// Netns cookie → room that the pod has taken in `LISTENING`. Up to 80 KiB.
#[map]
pub(crate) static LISTENING_PODS: HashMap<u64, ListeningPod> = HashMap::with_max_entries(MAX_PODS, NO_PREALLOC);

/// What is known of destinations, as values of [`weir_common::Answer`]. Written by the agent alone. Up to 11 MiB, which only a large
/// mesh under REGISTRY_ONLY comes near.
#[map]
pub(crate) static DESTINATIONS: HashMap<Address, u32> = HashMap::with_max_entries(MAX_DESTINATIONS, NO_PREALLOC);

/// Nanoseconds of the monotonic clock until which connections may begin to be direct, or a value that says why none may
/// ([`weir_common::DIRECT_NEVER`], [`weir_common::DIRECT_OFF`]). Written by the agent that serves.
#[map]
pub(crate) static DIRECT_UNTIL: Array<u64> = Array::with_max_entries(1, 0);

/// Where pods may connect to directly. Written by the agent alone, which bounds it for each pod. Up to 3 MiB.
#[map]
pub(crate) static DIRECT_ROUTES: HashMap<DirectDestination, DirectRoute> =
    HashMap::with_max_entries(MAX_DIRECT_ROUTES, NO_PREALLOC);

/// Which pod may connect directly to which endpoint: a permit is in force as long as it is here. Written by the agent alone. Up to 8 MiB.
#[map]
pub(crate) static DIRECT_PERMITS: HashMap<DirectPair, u32> = HashMap::with_max_entries(MAX_DIRECT_PERMITS, NO_PREALLOC);

/// Direct connections, by the cookie of the socket that connects. Up to 14 MiB.
#[map]
pub(crate) static DIRECT_CONNECTIONS: HashMap<u64, DirectConnection> =
    HashMap::with_max_entries(MAX_DIRECT_CONNECTIONS, NO_PREALLOC);

/// Netns cookie → how many direct connections of the pod are noted. The agent makes the entry. Up to 80 KiB.
#[map]
pub(crate) static DIRECT_ROOM: HashMap<u64, u64> = HashMap::with_max_entries(MAX_PODS, NO_PREALLOC);

/// Direct connections between SYN and acceptance, and for a while those whose client was closed before: the key of each. Up to 8 MiB.
#[map]
pub(crate) static DIRECT_FLOWS: HashMap<Flow, u64> = HashMap::with_max_entries(MAX_DIRECT_CONNECTIONS, NO_PREALLOC);

/// Socket-local storage: which direct connection a socket belongs to. Freed with the socket.
#[btf_map]
pub(crate) static DIRECT_SOCKETS: SkStorage<DirectSocket> = SkStorage::new();

/// Direct connections that have ended, for the agent to read.
#[map]
pub(crate) static DIRECT_ENDED: RingBuf = RingBuf::with_byte_size(DIRECT_ENDED_BYTES, 0);

/// The agent's listeners, see [`weir_common::listener_index`]. The kernel removes an element with its socket. 48 KiB.
#[map]
pub(crate) static LISTENERS: SockMap = SockMap::with_max_entries(MAX_PODS * LISTENERS_PER_POD, 0);

/// By [`Counter`].
#[map]
pub(crate) static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(Counter::ALL.len() as u32, 0);

/// Atomic. In assembler, because `core` has no atomic addition for this target.
#[inline(always)]
pub(crate) fn add(count: *mut u64, difference: i64) {
    // SAFETY: adds to a live, aligned element of a map, which all programs change in this way.
    unsafe {
        asm!("lock *(u64 *)({count} + 0) += {difference}", count = in(reg) count, difference = in(reg) difference);
    }
}

//! Keys and values of the maps, and their capacities.

use crate::address::{Address, Flow, Ip};
use crate::direct::{
    DIRECT_ENDED_BYTES, DirectConnection, DirectDestination, DirectEnded, DirectPair, DirectRoute, DirectSocket,
    MAX_DIRECT_CONNECTIONS, MAX_DIRECT_PERMITS, MAX_DIRECT_ROUTES,
};

/// Pods captured at once on one node; the kubelet's default is 110.
pub const MAX_PODS: u32 = 1024;
/// Addresses of captured pods: a pod may have several of each family.
pub const MAX_POD_ADDRESSES: u32 = 4 * MAX_PODS;
/// Connections between SYN and accept. A full map evicts the least recently used one.
pub const MAX_FLOWS: u32 = 65_536;
pub const MAX_EXCLUDED_CIDRS: u32 = 1024;
pub const MAX_EXCLUDED_PORTS: u32 = 1024;
/// Connections of the kubelet to captured pods that are open at once: a few per pod. A full map evicts the
/// least recently used one.
pub const MAX_PROBES: u32 = 8192;
/// Ports on which applications listen or have listened, of all pods together, and those of one pod that are counted.
pub const MAX_LISTENING_PORTS: u32 = 65_536;
pub const MAX_LISTENING_PORTS_PER_POD: u64 = 1024;
/// Ports that probes and hooks of pods name, of one pod and of all pods together.
pub const MAX_PROBE_PORTS_PER_POD: usize = 64;
pub const MAX_PROBE_PORTS: u32 = 16 * MAX_PODS;
/// Kinds of verdicts that are counted for each pod, all pods together.
pub const MAX_POD_VERDICTS: u32 = 8 * MAX_PODS;
/// Destinations of which the agent has said what is known of them, see [`Answer`]. Where there are more, the agent decides about the
/// rest as it accepts.
pub const MAX_DESTINATIONS: u32 = 131_072;
/// Listeners of one pod: three kinds in two families.
pub const LISTENERS_PER_POD: u32 = 6;

/// Agents of a node that may run at once: one serves, others drain.
pub const MAX_AGENTS: usize = 4;

/// The settings of the agent that all programs read.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Settings {
    /// Cgroups of the agents, whose own connections are never captured: of the one that serves, then of those before
    /// it, which may still be draining. 0: none.
    pub agent_cgroups: [u64; MAX_AGENTS],
    /// Cgroup of the kubelet, whose own connections to captured pods bypass capture. 0: none.
    pub kubelet_cgroup: u64,
    /// The name of the kubelet's threads (`comm`), padded with zeros; 0: any name.
    pub kubelet_name: [u64; 2],
    /// [`PASS_UNCAPTURABLE`].
    pub flags: u64,
}

/// Flag of [`Settings`]: a captured pod's connection that cannot go through the agent leaves as if there were no capture.
/// Without the flag it is refused.
pub const PASS_UNCAPTURABLE: u64 = 1;

/// A socket of the kubelet that connects to a captured pod.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProbeSocket {
    /// The namespace that had the destination's address when the socket's `connect` was called.
    pub netns_cookie: u64,
}

/// A socket in a namespace within a captured pod, whose connect goes to the pod's agent.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct InnerSocket {
    /// The pod's namespace, not the socket's.
    pub netns_cookie: u64,
}

/// Which programs are installed. Written last, once all are in place, so that a later agent can rely on it.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Installed {
    /// [`LAYOUT`] of the maps.
    pub layout: u64,
    /// Hash of the object the programs come from; 0 while they are being changed.
    pub object: u64,
}

/// A captured pod, found by the cookie of its network namespace.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EnrolledPod {
    /// Index of the pod's listeners, see [`listener_index`].
    pub slot: u32,
    /// Its IPv4 source address in network order; 0 if it has none.
    pub ip4: u32,
    /// Its IPv6 source address; unspecified if it has none.
    pub ip6: Ip,
    /// Index of the interface that has these addresses; 0 if it is not known.
    pub device: u32,
}

/// What the programs need to know of a captured pod for connections that arrive in its network namespace.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InboundPod {
    /// Place of the pod's listeners, see [`listener_index`].
    pub slot: u32,
    /// [`CLOSED_WITHOUT_AGENT`], [`LISTENING_KNOWN`].
    pub flags: u32,
}

/// A captured pod, found by one of its addresses: for sockets that connect to it, never for what arrives.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PodAddress {
    pub netns_cookie: u64,
}

/// Flag of [`InboundPod`]: inbound plaintext is refused while no agent listens.
pub const CLOSED_WITHOUT_AGENT: u32 = 1;
/// Flag of [`InboundPod`]: every port on which the pod listens is in the map of [`ListeningPort`].
pub const LISTENING_KNOWN: u32 = 2;

/// Key of what happened to a pod's connections, for verdicts that concern its owner.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PodVerdict {
    pub netns_cookie: u64,
    /// A [`Counter`](crate::Counter) as number.
    pub counter: u32,
    padding: u32,
}

impl PodVerdict {
    #[inline(always)]
    #[must_use]
    pub const fn new(netns_cookie: u64, counter: crate::Counter) -> Self {
        Self { netns_cookie, counter: counter as u32, padding: 0 }
    }
}

/// A port on which applications of a pod listen, on other addresses than loopback.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ListeningPort {
    pub netns_cookie: u64,
    pub port: u16,
    is_found: u16,
    padding: u32,
}

impl ListeningPort {
    /// The key of the count that the kernel programs keep as sockets begin and cease to listen.
    #[inline(always)]
    #[must_use]
    pub const fn counted(netns_cookie: u64, port: u16) -> Self {
        Self { netns_cookie, port, is_found: 0, padding: 0 }
    }

    /// The key of a listener that the agent found when it enrolled the pod or swept its entries. A key of its own, since
    /// `sock_ops` may not have counted that socket.
    #[inline(always)]
    #[must_use]
    pub const fn found(netns_cookie: u64, port: u16) -> Self {
        Self { netns_cookie, port, is_found: 1, padding: 0 }
    }

    /// Whether the agent found it.
    #[must_use]
    pub const fn is_found(&self) -> bool {
        self.is_found != 0
    }
}

/// How much room a pod has taken in the map of [`ListeningPort`].
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ListeningPod {
    /// Entries that the kernel programs made since the agent last looked, and those it left then.
    pub entries: u64,
    /// Not 0 once a port of the pod found no room: then all ports of the pod seem open.
    pub overflowed: u64,
}

/// A port of a pod that its probes and hooks name: the kubelet's connections to it reach the application as they are.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProbePort {
    pub netns_cookie: u64,
    pub port: u16,
    padding: [u16; 3],
}

impl ProbePort {
    #[inline(always)]
    #[must_use]
    pub const fn new(netns_cookie: u64, port: u16) -> Self {
        Self { netns_cookie, port, padding: [0; 3] }
    }
}

/// The meaning of an address in a socket's local storage.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The address the application asked for: on its own socket and on the one the agent accepted.
    OriginalDst = 1,
    /// The client to show to the application: on the agent's socket and on the one the application accepted.
    Client = 2,
    /// The address the application asked for, on its socket of a direct connection.
    DirectDst = 3,
}

/// An address in a socket's local storage and, between the two ends of a connection, in the map of flows under its [`Flow`].
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SocketAddress {
    pub address: Address,
    /// A [`Role`] as number.
    pub role: u32,
}

impl SocketAddress {
    #[inline(always)]
    #[must_use]
    pub const fn new(address: Address, role: Role) -> Self {
        Self { address, role: role as u32 }
    }

    #[inline(always)]
    #[must_use]
    pub const fn is(&self, role: Role) -> bool {
        self.role == role as u32
    }
}

/// What is known of a destination before a connection to it is accepted. Its key is an [`Address`]: that of one port, else
/// with port 0 for every other port of the IP address, else that of the port at [`ELSEWHERE`]'s IP address, else [`ELSEWHERE`].
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Answer {
    /// Nothing: the agent accepts, and finds out.
    Unknown = 1,
    /// Every connection would be refused.
    Refused = 2,
    /// The address is a pod's and leads to that pod's own ports. Where a pod of this node has it, a port on which nobody
    /// listens refuses.
    OpenPorts = 3,
}

impl Answer {
    /// As the value of a map.
    #[inline(always)]
    #[must_use]
    pub const fn is(self, value: u32) -> bool {
        self as u32 == value
    }
}

/// Key of the [`Answer`] that holds for all IP addresses without one.
pub const ELSEWHERE: Address = Address::new(Ip::UNSPECIFIED, 0);

/// The listeners of a pod; the IPv6 one of each kind follows the IPv4 one.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenerKind {
    Outbound = 0,
    Plaintext = 2,
    Hbone = 4,
}

/// Index of a pod's listener in the map of listeners.
#[inline(always)]
#[must_use]
pub const fn listener_index(slot: u32, kind: ListenerKind, is_v6: bool) -> u32 {
    slot * LISTENERS_PER_POD + kind as u32 + is_v6 as u32
}

/// Key of the map of excluded ports.
#[inline(always)]
#[must_use]
pub const fn excluded_port(port: u16, is_inbound: bool) -> u32 {
    (is_inbound as u32) << 16 | port as u32
}

/// Identifies the layout of the maps: two versions share maps only if it is equal. It hashes the sizes; the first number is
/// raised by hand when a field changes its meaning but not its size.
pub const LAYOUT: u64 = {
    let parts = [
        4,
        size_of::<Settings>(),
        size_of::<ProbeSocket>(),
        size_of::<InnerSocket>(),
        size_of::<EnrolledPod>(),
        size_of::<InboundPod>(),
        size_of::<PodVerdict>(),
        size_of::<ProbePort>(),
        size_of::<PodAddress>(),
        size_of::<SocketAddress>(),
        size_of::<Flow>(),
        size_of::<ListeningPort>(),
        size_of::<ListeningPod>(),
        size_of::<DirectDestination>(),
        size_of::<DirectRoute>(),
        size_of::<DirectPair>(),
        size_of::<DirectConnection>(),
        size_of::<DirectSocket>(),
        size_of::<DirectEnded>(),
        MAX_DIRECT_ROUTES as usize,
        MAX_DIRECT_PERMITS as usize,
        MAX_DIRECT_CONNECTIONS as usize,
        DIRECT_ENDED_BYTES as usize,
        MAX_PODS as usize,
        MAX_POD_ADDRESSES as usize,
        MAX_POD_VERDICTS as usize,
        MAX_FLOWS as usize,
        MAX_PROBES as usize,
        MAX_PROBE_PORTS as usize,
        MAX_EXCLUDED_CIDRS as usize,
        MAX_EXCLUDED_PORTS as usize,
        MAX_LISTENING_PORTS as usize,
        MAX_DESTINATIONS as usize,
        LISTENERS_PER_POD as usize,
        crate::Counter::ALL.len(),
    ];
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut i = 0;
    while i < parts.len() {
        hash = (hash ^ parts[i] as u64).wrapping_mul(0x0100_0000_01b3);
        i += 1;
    }
    hash
};

const _: () = assert!(size_of::<Settings>() == 64);
const _: () = assert!(size_of::<ProbeSocket>() == 8);
const _: () = assert!(size_of::<InnerSocket>() == 8);
const _: () = assert!(size_of::<Installed>() == 16);
const _: () = assert!(size_of::<EnrolledPod>() == 28);
const _: () = assert!(size_of::<InboundPod>() == 8);
const _: () = assert!(size_of::<PodVerdict>() == 16);
const _: () = assert!(size_of::<ProbePort>() == 16);
const _: () = assert!(size_of::<PodAddress>() == 8);
const _: () = assert!(size_of::<SocketAddress>() == 24);
const _: () = assert!(size_of::<ListeningPort>() == 16);
const _: () = assert!(size_of::<ListeningPod>() == 16);

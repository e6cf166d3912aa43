//! Everything that crosses the boundary between the kernel programs and the agent: keys and values of maps, limits,
//! counters. Layout rules: `repr(C)`, padding spelled out, sizes asserted, no `bool`, `enum` or `Option` in a map.
//! No behaviour beyond conversions may live here.
#![cfg_attr(not(feature = "user"), no_std)]

mod address;
mod capture;
mod counter;
mod direct;
mod port;
#[cfg(feature = "user")]
mod user;

pub use address::{Address, Flow, Ip};
pub use capture::{
    Answer, CLOSED_WITHOUT_AGENT, ELSEWHERE, EnrolledPod, InboundPod, InnerSocket, Installed, LAYOUT,
    LISTENERS_PER_POD, LISTENING_KNOWN, ListenerKind, ListeningPod, ListeningPort, MAX_AGENTS, MAX_DESTINATIONS,
    MAX_EXCLUDED_CIDRS, MAX_EXCLUDED_PORTS, MAX_FLOWS, MAX_LISTENING_PORTS, MAX_LISTENING_PORTS_PER_POD,
    MAX_POD_ADDRESSES, MAX_POD_VERDICTS, MAX_PODS, MAX_PROBE_PORTS, MAX_PROBE_PORTS_PER_POD, MAX_PROBES,
    PASS_UNCAPTURABLE, PodAddress, PodVerdict, ProbePort, ProbeSocket, Role, Settings, SocketAddress, excluded_port,
    listener_index,
};
pub use counter::Counter;
pub use direct::{
    DIRECT_ARRIVED, DIRECT_CLOSED, DIRECT_CLOSED_WAITING, DIRECT_CUT, DIRECT_ENDED_BYTES, DIRECT_ESTABLISHED,
    DIRECT_GOT_FIN, DIRECT_NEVER, DIRECT_OFF, DIRECT_SENT_FIN, DIRECT_TOLD, DirectConnection, DirectDestination,
    DirectEnded, DirectPair, DirectRoute, DirectSocket, MAX_DIRECT_CONNECTIONS, MAX_DIRECT_CONNECTIONS_PER_POD,
    MAX_DIRECT_ENDPOINTS, MAX_DIRECT_PERMITS, MAX_DIRECT_ROUTES, got_fin,
};
pub use port::HBONE_PORT;

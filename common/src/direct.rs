//! Keys and values of the maps of the direct path: connections between two captured pods of one node that are not redirected.

use crate::address::Address;

/// Destinations to which pods may connect directly, of all pods together.
pub const MAX_DIRECT_ROUTES: u32 = 16_384;
/// Pairs of pod and endpoint, of all pods together: as many as that many destinations may need.
pub const MAX_DIRECT_PERMITS: u32 = 65_536;
/// Direct connections that are open or are being opened, of all pods together. Beyond, connections go by the agent.
pub const MAX_DIRECT_CONNECTIONS: u32 = 65_536;
/// The same of one pod that opens them.
pub const MAX_DIRECT_CONNECTIONS_PER_POD: i64 = 16_384;
/// Endpoints of this node that one destination leads to.
pub const MAX_DIRECT_ENDPOINTS: usize = 4;
/// Instead of the time until which connections may begin to be direct: none may, and none ever could on these maps. The programs
/// then look at nothing else.
pub const DIRECT_NEVER: u64 = 0;
/// None may, but some could before.
pub const DIRECT_OFF: u64 = 1;
/// Room for connections that have ended and that the agent has not read yet, in bytes.
pub const DIRECT_ENDED_BYTES: u32 = 512 * 1024;

/// Where a captured pod may connect to directly: the key of a [`DirectRoute`].
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DirectDestination {
    /// The namespace of the pod that connects.
    pub source: u64,
    /// The address that the application asks for.
    pub dialled: Address,
    padding: u32,
}

impl DirectDestination {
    #[inline(always)]
    #[must_use]
    pub const fn new(source: u64, dialled: Address) -> Self {
        Self { source, dialled, padding: 0 }
    }
}

/// Which endpoints a destination leads to, all of them of this node, with equal chances.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DirectRoute {
    pub endpoints: [Address; MAX_DIRECT_ENDPOINTS],
    /// How many of `endpoints` there are.
    pub count: u32,
}

/// A pod that may connect directly to an endpoint of another one: the key of a permit, whose presence is all that it says.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DirectPair {
    /// The namespace of the pod that connects.
    pub source: u64,
    /// The namespace of the pod that serves.
    pub server: u64,
    pub endpoint: Address,
    padding: u32,
}

impl DirectPair {
    #[inline(always)]
    #[must_use]
    pub const fn new(source: u64, server: u64, endpoint: Address) -> Self {
        Self { source, server, endpoint, padding: 0 }
    }
}

/// A direct connection, from the connect on. Its key is the cookie of the socket that connects, which the kernel never gives again.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DirectConnection {
    /// The namespace of the pod that connects.
    pub source: u64,
    /// The namespace of the pod that serves.
    pub server: u64,
    /// Nanoseconds of the kernel's monotonic clock.
    pub began: u64,
    /// The same, once an end is closed.
    pub ended: u64,
    /// Bytes that the server's socket has received, once it is closed. It counts a FIN as one more, see [`got_fin`].
    pub to_server: u64,
    /// Bytes that the client's socket has received, likewise.
    pub to_client: u64,
    /// Unspecified until the SYN is about to leave.
    pub client: Address,
    pub endpoint: Address,
    /// The address that the application asked for.
    pub dialled: Address,
    /// Flags of the client's socket. Each word is written for one socket only, which the kernel locks meanwhile.
    pub client_flags: u32,
    /// Flags of the server's socket.
    pub server_flags: u32,
    padding: u32,
}

impl DirectConnection {
    /// One that is about to be opened.
    #[inline(always)]
    #[must_use]
    pub const fn new(pair: DirectPair, dialled: Address, began: u64) -> Self {
        let DirectPair { source, server, endpoint, .. } = pair;
        Self {
            source,
            server,
            began,
            ended: 0,
            to_server: 0,
            to_client: 0,
            client: Address::new(crate::Ip::UNSPECIFIED, 0),
            endpoint,
            dialled,
            client_flags: 0,
            server_flags: 0,
            padding: 0,
        }
    }

    /// Who may connect to what.
    #[inline(always)]
    #[must_use]
    pub const fn pair(&self) -> DirectPair {
        DirectPair::new(self.source, self.server, self.endpoint)
    }
}

/// Flag of an end: its socket is connected.
pub const DIRECT_ESTABLISHED: u32 = 1;
/// Its socket is closed.
pub const DIRECT_CLOSED: u32 = 2;
/// It has got the other end's FIN.
pub const DIRECT_GOT_FIN: u32 = 4;
/// It has sent its FIN.
pub const DIRECT_SENT_FIN: u32 = 8;
/// It was closed in FIN_WAIT2: by the other end's FIN, or else by a reset.
pub const DIRECT_CLOSED_WAITING: u32 = 16;
/// The SYN has arrived in the server's namespace.
pub const DIRECT_ARRIVED: u32 = 32;
/// It was cut off: the connection does not lead to whom it was permitted to, or is no longer permitted.
pub const DIRECT_CUT: u32 = 64;
/// Of the client's end, which was never connected: the agent was told that it is closed.
pub const DIRECT_TOLD: u32 = 128;

/// Whether an end with the flags `own` has got the FIN of an end with the flags `other`. What its socket has received is then one byte less
/// than the kernel counts.
#[must_use]
pub const fn got_fin(own: u32, other: u32) -> bool {
    own & DIRECT_GOT_FIN != 0 || (own & DIRECT_CLOSED_WAITING != 0 && other & DIRECT_SENT_FIN != 0)
}

/// What is in a socket's local storage: to which direct connection it belongs.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DirectSocket {
    /// The key of the [`DirectConnection`].
    pub connection: u64,
    /// Not 0 at the server's end.
    pub is_server: u64,
}

/// A direct connection that has ended.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DirectEnded {
    /// The key of the [`DirectConnection`].
    pub key: u64,
    pub connection: DirectConnection,
}

const _: () = assert!(MAX_DIRECT_PERMITS as usize == MAX_DIRECT_ROUTES as usize * MAX_DIRECT_ENDPOINTS);
const _: () = assert!(size_of::<DirectDestination>() == 32);
const _: () = assert!(size_of::<DirectRoute>() == 84);
const _: () = assert!(size_of::<DirectPair>() == 40);
const _: () = assert!(size_of::<DirectConnection>() == 120);
const _: () = assert!(size_of::<DirectSocket>() == 16);
const _: () = assert!(size_of::<DirectEnded>() == 128);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fin_is_told_from_a_reset() {
        for (own, other, expected, how) in [
            (DIRECT_GOT_FIN | DIRECT_CLOSED, 0, true, "the other end has ended first"),
            (DIRECT_SENT_FIN | DIRECT_CLOSED_WAITING, DIRECT_SENT_FIN, true, "the other end has ended after it"),
            (DIRECT_SENT_FIN | DIRECT_CLOSED_WAITING, 0, false, "the other end was reset instead"),
            (DIRECT_CLOSED, DIRECT_SENT_FIN, false, "it was reset before the FIN came"),
        ] {
            assert_eq!(got_fin(own, other), expected, "{how}");
        }
    }
}

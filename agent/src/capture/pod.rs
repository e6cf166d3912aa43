//! What capture is told of a pod: its network namespace, its addresses, the sockets that its connections are steered to.

use std::fmt;
use std::net::IpAddr;
use std::os::fd::{BorrowedFd, OwnedFd};

/// What a network namespace is known by in the kernel programs (SO_NETNS_COOKIE). Never reused within a boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NetnsCookie(pub u64);

impl fmt::Display for NetnsCookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "netns {}", self.0)
    }
}

/// The sockets that capture steers a pod's connections to, all listening inside the pod's namespace on loopback.
/// The second of each pair is missing where the namespace has no IPv6.
#[derive(Debug)]
pub struct PodListeners {
    pub outbound: (OwnedFd, Option<OwnedFd>),
    pub inbound_plaintext: (OwnedFd, Option<OwnedFd>),
    pub inbound_hbone: (OwnedFd, Option<OwnedFd>),
}

/// One pod to capture.
#[derive(Debug)]
pub struct PodCapture<'a> {
    pub netns: BorrowedFd<'a>,
    pub cookie: NetnsCookie,
    pub addresses: &'a [IpAddr],
    pub listeners: &'a PodListeners,
    /// They are those that the pod's connections are steered to already: they outlived a former worker.
    pub listeners_in_place: bool,
    /// What happens to inbound plaintext while no agent runs: refused (true) or passed to the application.
    pub closed_without_agent: bool,
}

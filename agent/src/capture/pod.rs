//! A pod as capture knows it: its network namespace, its addresses, the sockets that its connections are steered to.

use std::net::IpAddr;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::{fmt, io};

/// The kernel's cookie of a network namespace (SO_NETNS_COOKIE). Never reused within a boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NetnsCookie(pub u64);

impl fmt::Display for NetnsCookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "netns {}", self.0)
    }
}

/// The cookie of the network namespace a socket belongs to.
///
/// # Errors
/// On kernels before 5.14, and when `socket` is not a socket.
pub fn netns_cookie(socket: BorrowedFd<'_>) -> io::Result<NetnsCookie> {
    let mut cookie = 0_u64;
    let mut length = libc::socklen_t::try_from(size_of::<u64>()).expect("8 fits");
    // SAFETY: both pointers are to live values, and the length is the value's.
    #[expect(unsafe_code, reason = "no safe wrapper knows this option")]
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if result == 0 { Ok(NetnsCookie(cookie)) } else { Err(io::Error::last_os_error()) }
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
    /// Index, within the namespace, of the interface that has the addresses; 0 if it is not known.
    pub device: u32,
    /// The pod's cgroup, if it is known.
    pub cgroup: Option<&'a Path>,
    /// Ports that its probes and hooks name.
    pub probe_ports: &'a [u16],
    pub listeners: &'a PodListeners,
    /// The listeners are in the map already: the supervisor held them for a former worker.
    pub listeners_in_place: bool,
    /// What happens to inbound plaintext while no agent runs: refused (true) or passed to the application.
    pub closed_without_agent: bool,
}

//! The addresses that sockets carry, by descriptor. On the path of every connection: one system call each.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use weir_common::{Address, Role, SocketAddress};

use super::kernel;
use super::pod::NetnsCookie;
use crate::model::address::{OriginalDst, canonical};

/// The map of addresses kept with sockets.
#[derive(Debug)]
pub(super) struct SocketAddresses {
    map: OwnedFd,
}

impl SocketAddresses {
    pub(super) fn new(map: OwnedFd) -> Self {
        Self { map }
    }

    /// The address the application asked for, when `accepted` is the other end of its connection.
    pub(super) fn original_dst(&self, accepted: BorrowedFd<'_>) -> io::Result<Option<OriginalDst>> {
        let carried: Option<SocketAddress> = kernel::lookup(self.map.as_fd(), &accepted.as_raw_fd())?;
        let original = carried.filter(|carried| carried.is(Role::OriginalDst));
        Ok(original.map(|carried| OriginalDst(carried.address.into())))
    }

    /// The client to show to the application that `connecting` will reach.
    pub(super) fn set_client(&self, connecting: BorrowedFd<'_>, client: SocketAddr) -> io::Result<()> {
        let value = SocketAddress::new(Address::from(canonical(client)), Role::Client);
        kernel::update(self.map.as_fd(), &connecting.as_raw_fd(), &value)
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

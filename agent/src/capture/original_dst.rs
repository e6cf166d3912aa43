//! The addresses in the local storage of sockets, by file descriptor. On the path of every connection: one system call each.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use weir_common::{Address, Role, SocketAddress};

use super::kernel;
use crate::model::address::{OriginalDst, canonical};

/// The map of socket-local storage that holds addresses.
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

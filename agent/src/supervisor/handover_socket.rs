//! The Unix socket in the run directory at which a supervisor's successor connects. Only root may.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, accept4, bind, connect, getsockopt, listen, socket,
};

use super::channel::{self, Channel, Packet};
use super::message::{ToPredecessor, ToSuccessor, VERSION};

/// Name of the socket, below the run directory. The agent of an earlier version looks for its successor under the same name.
pub const SOCKET_NAME: &str = "keeper.sock";
/// How long a supervisor may take to answer its successor's `Hello`. It does nothing else that takes time.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(2);

/// The socket of the supervisor that serves this node. Dropping it removes it, unless another supervisor's is in its place.
#[derive(Debug)]
pub(super) struct HandoverSocket {
    listener: OwnedFd,
    path: PathBuf,
    inode: u64,
}

impl HandoverSocket {
    /// Listens, in the place of whatever has the name: at every moment somebody listens there.
    ///
    /// # Errors
    /// When the run directory cannot be written to.
    pub(super) fn bind(run_dir: &Path) -> io::Result<Self> {
        let path = run_dir.join(SOCKET_NAME);
        let fresh = run_dir.join(format!("{SOCKET_NAME}.new"));
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let listener = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
        match fs::remove_file(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        bind(listener.as_raw_fd(), &UnixAddr::new(&fresh)?)?;
        fs::set_permissions(&fresh, Permissions::from_mode(0o600))?;
        listen(&listener, Backlog::new(8)?)?;
        let inode = fs::metadata(&fresh)?.ino();
        fs::rename(&fresh, &path)?;
        Ok(Self { listener, path, inode })
    }

    /// The next successor that has connected; `None` if there is none, or if it does not run as this process's user.
    ///
    /// # Errors
    /// Those of accept(2).
    pub(super) fn accept(&self) -> io::Result<Option<Channel>> {
        let accepted = match accept4(self.listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC) {
            Ok(accepted) => accepted,
            Err(nix::errno::Errno::EAGAIN) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // SAFETY: the kernel has just made this descriptor for us; nobody else knows it.
        #[expect(unsafe_code, reason = "accept4(2) gives a bare descriptor")]
        let accepted = unsafe { OwnedFd::from_raw_fd(accepted) };
        let uid = getsockopt(&accepted, PeerCredentials)?.uid();
        if uid != nix::unistd::geteuid().as_raw() {
            tracing::warn!(uid, "another user than root asked for this node's sockets");
            return Ok(None);
        }
        Channel::new(accepted).map(Some)
    }
}

impl AsFd for HandoverSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl Drop for HandoverSocket {
    fn drop(&mut self) {
        if fs::metadata(&self.path).is_ok_and(|found| found.ino() == self.inode) {
            // A file that stays refuses connections, and the next supervisor replaces it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Connects to the supervisor that serves this node, and gives its process id; `None` if there is none, or none that can be
/// succeeded.
pub(super) fn connect_to_predecessor(run_dir: &Path) -> Option<(Channel, i32)> {
    match say_hello(&run_dir.join(SOCKET_NAME)) {
        Ok(welcomed) => welcomed,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => None,
        Err(error) => {
            tracing::warn!(%error, "the supervisor that is there cannot be succeeded: its sockets are not taken over");
            None
        }
    }
}

fn say_hello(path: &Path) -> io::Result<Option<(Channel, i32)>> {
    let socket = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
    connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    channel::send(socket.as_fd(), &ToPredecessor::Hello { version: VERSION, network: own_network_namespace()? }, &[])?;
    let timeout = PollTimeout::try_from(WELCOME_TIMEOUT).expect("two seconds are few");
    if poll(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLIN)], timeout)? == 0 {
        return Err(io::ErrorKind::TimedOut.into());
    }
    let (answer, _): Packet<ToSuccessor> = channel::receive(socket.as_fd())?;
    match answer {
        ToSuccessor::Welcome { supervisor } => Ok(Some((Channel::new(socket)?, supervisor))),
        ToSuccessor::Refused { reason } => Err(io::Error::other(reason)),
        other => Err(io::Error::other(format!("unexpected answer {other:?}"))),
    }
}

/// Device and inode of this process's network namespace.
pub(super) fn own_network_namespace() -> io::Result<(u64, u64)> {
    let namespace = fs::metadata("/proc/self/ns/net")?;
    Ok((namespace.dev(), namespace.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_another_has_replaced_is_not_removed() {
        let dir = tempfile::tempdir().expect("a directory");
        assert!(connect_to_predecessor(dir.path()).is_none(), "nobody listens");
        let old = HandoverSocket::bind(dir.path()).expect("a socket");
        let new = HandoverSocket::bind(dir.path()).expect("another");
        drop(old);
        assert!(dir.path().join(SOCKET_NAME).exists());
        drop(new);
        assert!(!dir.path().join(SOCKET_NAME).exists());
    }
}

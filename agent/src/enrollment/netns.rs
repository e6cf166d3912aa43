//! A pod's network namespace, and the sockets that the agent opens inside it. The only place that calls setns(2).

use std::fs::{File, OpenOptions};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use nix::sched::{CloneFlags, setns};
use socket2::{Domain, Protocol, Socket, Type};

use super::interface_addresses::{self, InterfaceAddress};
use super::sock_bytes;
pub use super::sock_bytes::Received;
use super::sock_diag;
use crate::capture::{NetnsCookie, PodListeners, netns_cookie};

/// Ports on loopback that the agent listens on in a pod, where no process of the pod has them: those that Istio reserves in the
/// pods of a mesh, so that none is taken of which the kernel would give an application one.
const OUTBOUND_PORT: u16 = 15001;
const PLAINTEXT_PORT: u16 = 15006;
const HBONE_LISTENER_PORT: u16 = 15009;
/// Connections that may wait to be accepted, per listener; the kernel caps it at the namespace's somaxconn.
const BACKLOG: i32 = 4096;

/// Addresses that a pod is enrolled with where whoever enrols it names none.
const MAX_POD_ADDRESSES: usize = 64;

/// Why a path is not a usable network namespace.
#[derive(Debug, thiserror::Error)]
pub enum NetnsError {
    #[error("{path} cannot be opened: {source}")]
    Open { path: PathBuf, source: io::Error },
    #[error("{0} is not a network namespace file (expected something like /run/netns/NAME or /proc/PID/ns/net)")]
    NotANetns(PathBuf),
    #[error("{0} is the agent's own network namespace; host-network pods cannot be enrolled")]
    AgentsOwn(PathBuf),
    #[error("network namespace {path}: {what}: {source}")]
    Inside { path: PathBuf, what: &'static str, source: io::Error },
}

/// An open network namespace. It lives as long as this (and the sockets opened in it) do.
#[derive(Debug)]
pub struct Netns {
    file: File,
    path: PathBuf,
    /// Device and inode of the namespace: whether the path still leads to it.
    id: (u64, u64),
    cookie: NetnsCookie,
}

impl Netns {
    /// Opens the namespace that a path leads to.
    ///
    /// # Errors
    /// When the path is missing, is no network namespace, or is the one that the agent itself runs in.
    pub fn open(path: &Path) -> Result<Self, NetnsError> {
        // Whatever the path is: a pipe must not be waited for, a terminal not become ours.
        let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
        let opened = OpenOptions::new().read(true).custom_flags(flags).open(path);
        let file = opened.map_err(|source| NetnsError::Open { path: path.into(), source })?;
        if !is_network_namespace(&file) {
            return Err(NetnsError::NotANetns(path.into()));
        }
        let inside = |what, source| NetnsError::Inside { path: path.into(), what, source };
        let id = namespace_id(&file).map_err(|e| inside("stat", e))?;
        if id == namespace_id(own()).map_err(|e| inside("stat of the agent's namespace", e))? {
            return Err(NetnsError::AgentsOwn(path.into()));
        }
        let probe = run_in(&file, || Socket::new(Domain::IPV4, Type::DGRAM, None))
            .and_then(|socket| socket)
            .map_err(|e| inside("socket", e))?;
        let cookie = netns_cookie(probe.as_fd()).map_err(|e| inside("SO_NETNS_COOKIE", e))?;
        Ok(Self { file, path: path.into(), id, cookie })
    }

    pub fn cookie(&self) -> NetnsCookie {
        self.cookie
    }

    /// False once the path is gone or leads to another namespace: the pod is dead.
    pub fn is_alive(&self) -> bool {
        std::fs::metadata(&self.path).is_ok_and(|now| (now.dev(), now.ino()) == self.id)
    }

    /// A TCP socket that lives in this namespace, not yet bound or connected. With `SO_REUSEADDR`: an application that sets it,
    /// too, may bind the port that the socket comes to have.
    ///
    /// # Errors
    /// When the kernel refuses, mostly for want of file descriptors.
    pub fn tcp_socket(&self, family: IpAddr) -> io::Result<Socket> {
        let domain = if family.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
        let socket = run_in(&self.file, || Socket::new(domain, Type::STREAM.nonblocking(), Some(Protocol::TCP)))??;
        socket.set_reuse_address(true)?;
        Ok(socket)
    }

    /// A UDP socket that lives in this namespace, bound to a port that the kernel chooses.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn udp_socket(&self, local: IpAddr) -> io::Result<Socket> {
        let domain = if local.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
        let socket = run_in(&self.file, || Socket::new(domain, Type::DGRAM.nonblocking(), Some(Protocol::UDP)))??;
        socket.bind(&SocketAddr::new(local, 0).into())?;
        Ok(socket)
    }

    /// Whether a process has the TCP socket open that is bound to `local` and connected to `remote` in this namespace.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn has_open_socket(&self, local: SocketAddr, remote: SocketAddr) -> io::Result<bool> {
        run_in(&self.file, || sock_diag::is_open(local, remote))?
    }

    /// Ends the TCP socket that is bound to `local` and connected to `remote` in this namespace, whichever of these devices it is bound
    /// to, if any. False where there is none.
    ///
    /// # Errors
    /// When the kernel does not.
    pub fn end_socket(&self, local: SocketAddr, remote: SocketAddr, devices: &[u32]) -> io::Result<bool> {
        run_in(&self.file, || {
            for device in std::iter::once(&0).chain(devices) {
                if sock_diag::destroy(local, remote, *device)? {
                    return Ok(true);
                }
            }
            Ok(false)
        })?
    }

    /// What the open TCP connections in this namespace have received so far. Takes its time where there are many.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn received(&self) -> io::Result<Received> {
        let netlink = run_in(&self.file, sock_bytes::open)??;
        sock_bytes::received(&netlink)
    }

    /// The listeners that capture steers this pod's connections to, whatever port these are for. They are bound to loopback;
    /// IPv6 ones are missing where the namespace has no IPv6.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn listeners(&self) -> io::Result<PodListeners> {
        let pair = |port| -> io::Result<(OwnedFd, Option<OwnedFd>)> {
            let v4 = self.listener(Ipv4Addr::LOCALHOST.into(), port)?;
            let v6 = self.listener(Ipv6Addr::LOCALHOST.into(), port).ok();
            Ok((v4, v6))
        };
        Ok(PodListeners {
            outbound: pair(OUTBOUND_PORT)?,
            inbound_plaintext: pair(PLAINTEXT_PORT)?,
            inbound_hbone: pair(HBONE_LISTENER_PORT)?,
        })
    }

    /// A listener at a port, or at one that the kernel chooses where somebody has that one.
    fn listener(&self, ip: IpAddr, port: u16) -> io::Result<OwnedFd> {
        let listen = |port| -> io::Result<Socket> {
            let socket = self.tcp_socket(ip)?;
            socket.bind(&SocketAddr::new(ip, port).into())?;
            socket.listen(BACKLOG)?;
            Ok(socket)
        };
        let listening = match listen(port) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => listen(0),
            listening => listening,
        };
        listening.map(OwnedFd::from)
    }

    /// The addresses that a pod may be reached at: those of its interfaces, without loopback and link-local ones, each
    /// once.
    ///
    /// # Errors
    /// When they cannot be read, or are more than [`MAX_POD_ADDRESSES`].
    pub fn addresses(&self) -> io::Result<Vec<IpAddr>> {
        let mut addresses = Vec::new();
        let mut is_too_many = false;
        self.visit_addresses(|InterfaceAddress { ip, .. }| {
            // Short: its length is bounded.
            if is_pod_address(ip) && !addresses.contains(&ip) {
                is_too_many = addresses.len() == MAX_POD_ADDRESSES;
                addresses.push(ip);
            }
            if is_too_many { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        if is_too_many {
            return Err(io::Error::other(format!("more than {MAX_POD_ADDRESSES} addresses: name the pod's own")));
        }
        Ok(addresses)
    }

    /// The index of the interface that has an address; `None` where none has.
    ///
    /// # Errors
    /// When the addresses of the namespace cannot be read.
    pub fn device_of(&self, ip: IpAddr) -> io::Result<Option<u32>> {
        let mut found = None;
        self.visit_addresses(|address| {
            if address.ip == ip {
                found = Some(address.device);
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
        Ok(found)
    }

    /// The inode of this namespace's `/proc/PID/net/dev`: the same for each process in it, and another in any other
    /// namespace.
    ///
    /// # Errors
    /// When /proc is not mounted.
    pub fn proc_net(&self) -> io::Result<u64> {
        run_in(&self.file, || std::fs::metadata("/proc/thread-self/net/dev"))?.map(|metadata| metadata.ino())
    }

    /// Runs something on this thread inside the namespace. It must not wait.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub(super) fn run<T>(&self, act: impl FnOnce() -> T) -> io::Result<T> {
        run_in(&self.file, act)
    }

    fn visit_addresses(&self, visit: impl FnMut(InterfaceAddress) -> ControlFlow<()>) -> io::Result<()> {
        let socket = run_in(&self.file, interface_addresses::open)??;
        interface_addresses::visit(&socket, visit)
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Whether an address can be one that others reach a pod at.
pub(super) fn is_pod_address(ip: IpAddr) -> bool {
    !ip.is_loopback()
        && !ip.is_unspecified()
        && !ip.is_multicast()
        && match ip {
            IpAddr::V4(v4) => !v4.is_link_local() && !v4.is_broadcast(),
            IpAddr::V6(v6) => !v6.is_unicast_link_local(),
        }
}

/// Whether the kernel can end sockets, as [`Netns::end_socket`] has it do.
///
/// # Errors
/// Why it cannot.
pub fn can_end_sockets() -> io::Result<()> {
    sock_diag::can_destroy()
}

/// Remembers the namespace that the agent runs in. To be called once at start, before any thread enters another one.
///
/// # Errors
/// When /proc is not mounted.
pub fn remember_own() -> io::Result<()> {
    let file = File::open("/proc/thread-self/ns/net")?;
    OWN.get_or_init(|| file);
    Ok(())
}

static OWN: OnceLock<File> = OnceLock::new();

fn own() -> &'static File {
    OWN.get().expect("remember_own() is the first thing the agent does")
}

fn namespace_id(file: &File) -> io::Result<(u64, u64)> {
    let metadata = file.metadata()?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Runs something on this thread inside a namespace. Nothing in `act` may wait: the thread belongs to the runtime.
fn run_in<T>(namespace: &File, act: impl FnOnce() -> T) -> io::Result<T> {
    /// Puts the thread back, also when `act` panics.
    struct Home;
    impl Drop for Home {
        fn drop(&mut self) {
            if setns(own(), CloneFlags::CLONE_NEWNET).is_err() {
                // A thread lost in a pod's namespace would open other pods' sockets there: nothing is safer than an end.
                std::process::abort();
            }
        }
    }
    setns(namespace, CloneFlags::CLONE_NEWNET)?;
    let home = Home;
    let result = act();
    drop(home);
    Ok(result)
}

/// `NS_GET_NSTYPE` (ioctl_ns(2)) answers CLONE_NEWNET for network namespaces, and fails on other files.
fn is_network_namespace(file: &File) -> bool {
    const NS_GET_NSTYPE: libc::Ioctl = 0xb703;
    use std::os::fd::AsRawFd;
    #[expect(unsafe_code, reason = "ioctl_ns(2) has no safe wrapper")]
    // SAFETY: the descriptor is open for the whole call, and NS_GET_NSTYPE takes no argument that memory depends on.
    let kind = unsafe { libc::ioctl(file.as_raw_fd(), NS_GET_NSTYPE) };
    kind == libc::CLONE_NEWNET
}

//! Asks the kernel about one TCP socket of a pod (sock_diag(7)), or has it end one. A close sends the same FIN as the end of one direction does:
//! only the kernel of the socket knows whether a process still has it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

/// `SOCK_DIAG_BY_FAMILY` of linux/sock_diag.h.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// `SOCK_DESTROY` of the same.
const SOCK_DESTROY: u16 = 21;
/// `NLM_F_REQUEST` and `NLM_F_ACK` of linux/netlink.h.
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
/// Protocols and families as `struct inet_diag_req_v2` has them: in a byte.
const IPPROTO_TCP: u8 = 6;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// Identifies one socket to the kernel, as long as there is that one.
type Cookie = [u8; 8];
/// `INET_DIAG_NOCOOKIE` of linux/inet_diag.h: whichever has the addresses.
const ANY: Cookie = [u8::MAX; 8];
/// No socket's.
const NOBODY: Cookie = [0; 8];
/// Of a socket that is bound to no device.
const ANY_DEVICE: u32 = 0;
/// Bytes of `struct nlmsghdr`, and where `idiag_state`, `idiag_cookie` and `idiag_inode` stand in the answer behind it (`struct inet_diag_msg`).
const HEADER_BYTES: usize = 16;
const STATE_OFFSET: usize = HEADER_BYTES + 1;
const COOKIE_OFFSET: usize = HEADER_BYTES + 44;
const INODE_OFFSET: usize = HEADER_BYTES + 68;
/// `TCP_TIME_WAIT` and `TCP_LISTEN` of linux/tcp_states.h. Where there is no connection with the addresses that are asked for, the kernel goes on to
/// the listener that a SYN would come to.
const TIME_WAIT: u8 = 6;
const LISTEN: u8 = 10;

/// Whether a process has the TCP socket open that is bound to `local` and connected to `remote`, in the network namespace of
/// the calling thread.
///
/// # Errors
/// When the kernel does not tell: it may have been built without `CONFIG_INET_DIAG`.
pub(super) fn is_open(local: SocketAddr, remote: SocketAddr) -> io::Result<bool> {
    let found = find((local, remote), ANY_DEVICE)?;
    found.map_or(Ok(false), |answer| word(&answer, INODE_OFFSET).map(|inode| inode != 0).ok_or_else(too_short))
}

/// Ends the TCP socket that is bound to `local` and connected to `remote`, in the network namespace of the calling thread: its application
/// reads ECONNABORTED, and the other end is reset. `device`: the one that the socket is bound to, or 0. False where there is none.
///
/// # Errors
/// When the kernel does not: it may have been built without `CONFIG_INET_DIAG_DESTROY`.
pub(super) fn destroy(local: SocketAddr, remote: SocketAddr, device: u32) -> io::Result<bool> {
    let Some(found) = find((local, remote), device)? else { return Ok(false) };
    let cookie = found.get(COOKIE_OFFSET..).and_then(<[u8]>::first_chunk).ok_or_else(too_short)?;
    end((local, remote), device, *cookie)
}

/// Whether the kernel can end sockets. Ends none.
///
/// # Errors
/// Why it cannot.
pub(super) fn can_destroy() -> io::Result<()> {
    let nobody = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 1));
    end((nobody, nobody), ANY_DEVICE, NOBODY).map(drop)
}

/// The kernel's answer about the connection between two addresses that is open, or not over yet.
fn find(ends: (SocketAddr, SocketAddr), device: u32) -> io::Result<Option<Vec<u8>>> {
    let answer = ask(&request(SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, ends, device, ANY))?;
    let kind = answer.get(4..6).and_then(|bytes| Some(u16::from_ne_bytes(bytes.try_into().ok()?)));
    match kind {
        Some(SOCK_DIAG_BY_FAMILY) => {
            let state = *answer.get(STATE_OFFSET).ok_or_else(too_short)?;
            Ok(Some(answer).filter(|_| ![TIME_WAIT, LISTEN].contains(&state)))
        }
        Some(_) if is_there(&answer)? => Err(too_short()),
        Some(_) => Ok(None),
        None => Err(too_short()),
    }
}

/// Ends the socket with this cookie, if it is still there.
fn end(ends: (SocketAddr, SocketAddr), device: u32, cookie: Cookie) -> io::Result<bool> {
    is_there(&ask(&request(SOCK_DESTROY, NLM_F_REQUEST | NLM_F_ACK, ends, device, cookie))?)
}

/// What an acknowledgement says: whether there was such a socket.
fn is_there(answer: &[u8]) -> io::Result<bool> {
    match word(answer, HEADER_BYTES) {
        Some(0) => Ok(true),
        Some(error) => match Errno::from_raw(-error.cast_signed()) {
            Errno::ENOENT | Errno::ESTALE => Ok(false),
            error => Err(error.into()),
        },
        None => Err(too_short()),
    }
}

fn ask(question: &[u8]) -> io::Result<Vec<u8>> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let netlink = socket(AddressFamily::Netlink, SockType::Datagram, flags, SockProtocol::NetlinkSockDiag)?;
    send(netlink.as_raw_fd(), question, MsgFlags::empty())?;
    let mut answer = vec![0; 1024];
    // The kernel answers before send(2) returns.
    let length = recv(netlink.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    answer.truncate(length);
    Ok(answer)
}

/// The message that asks for one socket: `struct nlmsghdr`, then `struct inet_diag_req_v2`.
fn request(kind: u16, flags: u16, (local, remote): (SocketAddr, SocketAddr), device: u32, cookie: Cookie) -> Vec<u8> {
    let family = if local.is_ipv4() { AF_INET } else { AF_INET6 };
    let mut body = vec![family, IPPROTO_TCP, 0, 0];
    // Sockets in any state.
    body.extend(u32::MAX.to_ne_bytes());
    body.extend(local.port().to_be_bytes());
    body.extend(remote.port().to_be_bytes());
    body.extend(words(local.ip()));
    body.extend(words(remote.ip()));
    body.extend(device.to_ne_bytes());
    body.extend(cookie);
    let length = u32::try_from(HEADER_BYTES + body.len()).expect("a message has some dozens of bytes");
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    // Sequence number, and the port that the kernel fills in.
    message.extend([0; 8]);
    message.extend(body);
    message
}

/// An address in the four words that `struct inet_diag_sockid` has for one.
fn words(address: IpAddr) -> [u8; 16] {
    let mut words = [0; 16];
    match address {
        IpAddr::V4(v4) => words[..4].copy_from_slice(&v4.octets()),
        IpAddr::V6(v6) => words = v6.octets(),
    }
    words
}

fn word(answer: &[u8], at: usize) -> Option<u32> {
    answer.get(at..at + 4).and_then(|bytes| Some(u32::from_ne_bytes(bytes.try_into().ok()?)))
}

fn too_short() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the answer of sock_diag(7) is too short")
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::{Shutdown, TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_socket_is_open_until_it_is_closed_whatever_it_still_sends() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).expect("loopback is there");
            let client = TcpStream::connect(listener.local_addr().expect("it is bound")).expect("somebody listens");
            let (_accepted, local) = listener.accept().expect("somebody connects");
            let remote = client.peer_addr().expect("it is connected");
            let is_open = || is_open(local, remote).expect("the kernel tells");
            assert!(is_open(), "{address}: it is connected");
            client.shutdown(Shutdown::Write).expect("it is connected");
            assert!(is_open(), "{address}: one direction has ended");
            drop(client);
            assert!(!is_open(), "{address}: it is closed");
        }
    }

    #[test]
    fn a_socket_that_is_ended_is_gone_for_both_ends() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).expect("loopback is there");
            let mut client = TcpStream::connect(listener.local_addr().expect("it is bound")).expect("somebody listens");
            let (mut accepted, local) = listener.accept().expect("somebody connects");
            let remote = client.peer_addr().expect("it is connected");
            match destroy(local, remote, ANY_DEVICE) {
                // Whoever runs the tests may not, or the kernel cannot.
                Err(error) if matches!(error.raw_os_error(), Some(libc::EPERM | libc::EOPNOTSUPP)) => return,
                ended => assert!(ended.expect("the kernel tells"), "{address}"),
            }
            let kinds = [&mut client, &mut accepted].map(|end| end.read(&mut [0]).expect_err("it has ended").kind());
            assert_eq!(kinds, [io::ErrorKind::ConnectionAborted, io::ErrorKind::ConnectionReset], "{address}");
            for (local, remote) in [(local, remote), (remote, local)] {
                assert!(
                    !destroy(local, remote, ANY_DEVICE).expect("the kernel tells"),
                    "{address}: there is none any more"
                );
                assert!(!is_open(local, remote).expect("the kernel tells"), "{address}: nor is it open");
            }
            TcpStream::connect(remote).expect("the listener is not what was asked for");
            can_destroy().expect("it has ended one");
        }
    }
}

//! Asks the kernel what the TCP connections of a pod have received so far (sock_diag(7)).

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

use crate::model::address::canonical;

/// What each connection has received, by its own address and the other's, as an application dials them.
pub type Received = HashMap<(SocketAddr, SocketAddr), u64>;

/// `SOCK_DIAG_BY_FAMILY` of linux/sock_diag.h.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// `NLM_F_REQUEST` and `NLM_F_DUMP`, and the kinds `NLMSG_ERROR` and `NLMSG_DONE`, of linux/netlink.h.
const NLM_F_REQUEST_DUMP: u16 = 0x301;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// `INET_DIAG_INFO` of linux/inet_diag.h, as an attribute and as a bit of the request.
const INET_DIAG_INFO: u16 = 2;
const WANTS_INFO: u8 = 1 << (INET_DIAG_INFO - 1);
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IPPROTO_TCP: u8 = 6;
/// States of linux/tcp_states.h in which a connection may still receive, and those in which it has got a FIN, which the kernel counts as a byte.
const ESTABLISHED: u32 = 1;
const OPEN: [u32; 6] = [ESTABLISHED, 4, 5, 8, 9, 11];
const GOT_FIN: [u8; 3] = [8, 9, 11];
/// Bytes of `struct nlmsghdr` and `struct inet_diag_msg`, and where `tcpi_bytes_received` stands in `struct tcp_info`.
const HEADER_BYTES: usize = 16;
const MESSAGE_BYTES: usize = 72;
const BYTES_RECEIVED: usize = 128;
/// Room for what the kernel says at once.
const PART_BYTES: usize = 64 * 1024;

/// A socket to ask the network namespace of the calling thread with, from wherever.
pub(super) fn open() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(socket(AddressFamily::Netlink, SockType::Datagram, flags, SockProtocol::NetlinkSockDiag)?)
}

/// What the open connections of the socket's namespace have received.
///
/// # Errors
/// When the kernel does not tell.
pub(super) fn received(netlink: &OwnedFd) -> io::Result<Received> {
    let (mut received, mut part) = (Received::new(), vec![0; PART_BYTES]);
    for family in [AF_INET, AF_INET6] {
        send(netlink.as_raw_fd(), &request(family), MsgFlags::empty())?;
        // The kernel has the next part ready whenever it is asked.
        loop {
            let length = recv(netlink.as_raw_fd(), &mut part, MsgFlags::empty())?;
            if !take(&part[..length], &mut received)? {
                break;
            }
        }
    }
    Ok(received)
}

/// `struct nlmsghdr`, then `struct inet_diag_req_v2`, for all addresses.
fn request(family: u8) -> Vec<u8> {
    let states: u32 = OPEN.iter().map(|state| 1 << state).sum();
    let mut body = vec![family, IPPROTO_TCP, WANTS_INFO, 0];
    body.extend(states.to_ne_bytes());
    body.extend([0; 48]);
    let length = u32::try_from(HEADER_BYTES + body.len()).expect("a message has some dozens of bytes");
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    message.extend(NLM_F_REQUEST_DUMP.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    message
}

/// Takes the connections of a part. Returns whether more parts follow.
fn take(mut part: &[u8], received: &mut Received) -> io::Result<bool> {
    while part.len() >= HEADER_BYTES {
        let length = usize::try_from(word(part, 0)?).map_err(io::Error::other)?.max(HEADER_BYTES);
        let message = part.get(..length).ok_or_else(too_short)?;
        match half(message, 4)? {
            NLMSG_DONE => return Ok(false),
            NLMSG_ERROR => {
                let error = word(message, HEADER_BYTES)?.cast_signed();
                return Err(io::Error::from_raw_os_error(-error));
            }
            _ => {
                if let Some((ends, bytes)) = connection(&message[HEADER_BYTES..])? {
                    received.insert(ends, bytes);
                }
            }
        }
        part = part.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(true)
}

/// `struct inet_diag_msg` and its attributes.
fn connection(message: &[u8]) -> io::Result<Option<((SocketAddr, SocketAddr), u64)>> {
    let attributes = message.get(MESSAGE_BYTES..).ok_or_else(too_short)?;
    let (family, state) = (message[0], message[1]);
    let address = |ip: usize, port: usize| -> io::Result<SocketAddr> {
        let octets: [u8; 16] = message[ip..ip + 16].try_into().map_err(io::Error::other)?;
        let ip = match family {
            AF_INET => IpAddr::from(Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3])),
            _ => IpAddr::from(Ipv6Addr::from(octets)),
        };
        Ok(canonical(SocketAddr::new(ip, half(message, port)?.to_be())))
    };
    let Some(info) = attribute(attributes, INET_DIAG_INFO)? else { return Ok(None) };
    let bytes = info.get(BYTES_RECEIVED..BYTES_RECEIVED + 8).ok_or_else(too_short)?;
    let bytes = u64::from_ne_bytes(bytes.try_into().map_err(io::Error::other)?);
    let fin = u64::from(GOT_FIN.contains(&state));
    Ok(Some(((address(8, 4)?, address(24, 6)?), bytes.saturating_sub(fin))))
}

/// The content of an attribute (`struct rtattr`).
fn attribute(mut attributes: &[u8], wanted: u16) -> io::Result<Option<&[u8]>> {
    while attributes.len() >= 4 {
        let length = usize::from(half(attributes, 0)?).max(4);
        let content = attributes.get(4..length).ok_or_else(too_short)?;
        if half(attributes, 2)? == wanted {
            return Ok(Some(content));
        }
        attributes = attributes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(None)
}

fn half(bytes: &[u8], at: usize) -> io::Result<u16> {
    let half = bytes.get(at..at + 2).and_then(|half| half.try_into().ok());
    half.map(u16::from_ne_bytes).ok_or_else(too_short)
}

fn word(bytes: &[u8], at: usize) -> io::Result<u32> {
    let word = bytes.get(at..at + 4).and_then(|word| word.try_into().ok());
    word.map(u32::from_ne_bytes).ok_or_else(too_short)
}

fn too_short() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "what sock_diag(7) tells is too short")
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{Shutdown, TcpListener, TcpStream};

    use super::*;

    #[test]
    fn what_was_received_is_told_without_the_fin() {
        let netlink = open().expect("the kernel tells");
        for (listened, dialled) in [("127.0.0.1:0", "127.0.0.1"), ("[::1]:0", "::1"), ("[::]:0", "::ffff:127.0.0.1")] {
            let listener = TcpListener::bind(listened).expect("loopback is there");
            let port = listener.local_addr().expect("it is bound").port();
            let dialled: IpAddr = dialled.parse().expect("an address");
            let mut client = TcpStream::connect((dialled, port)).expect("somebody listens");
            let (mut server, _) = listener.accept().expect("somebody connects");
            client.write_all(b"hello").expect("it is open");
            server.read_exact(&mut [0; 5]).expect("it was sent");
            client.shutdown(Shutdown::Write).expect("it is open");
            server.read_to_end(&mut Vec::new()).expect("an end in order");
            let ends = (server.local_addr().expect("it is open"), server.peer_addr().expect("it is open"));
            let ends = (canonical(ends.0), canonical(ends.1));
            let told = received(&netlink).expect("the kernel tells");
            assert_eq!((told.get(&ends), told.get(&(ends.1, ends.0))), (Some(&5), Some(&0)), "{listened}");
        }
    }
}

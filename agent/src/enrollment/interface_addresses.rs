//! The addresses of a network namespace's interfaces, read from rtnetlink(7) one by one. Whoever may configure the
//! namespace may give it as many as he likes: reading them takes time in proportion and no memory, and ends somewhere.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::ControlFlow;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

/// Addresses of one namespace that are read at most.
const MAX_ADDRESSES_READ: usize = 1 << 18;
/// `RTM_NEWADDR` and `RTM_GETADDR` of linux/rtnetlink.h.
const NEW_ADDRESS: u16 = 20;
const GET_ADDRESSES: u16 = 22;
/// `IFA_ADDRESS` and `IFA_LOCAL` of linux/if_addr.h; the latter is the interface's own where a peer has the former.
const ATTRIBUTE_ADDRESS: u16 = 1;
const ATTRIBUTE_LOCAL: u16 = 2;
/// A netlink header, and an `ifaddrmsg` after it.
const HEADER: usize = 16;
const MESSAGE: usize = HEADER + 8;
const INDEX: usize = HEADER + 4;

/// An address and the index of the interface that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct InterfaceAddress {
    pub(super) ip: IpAddr,
    pub(super) device: u32,
}

/// A socket to ask on; it asks about the namespace in which it was made.
pub(super) fn open() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC;
    Ok(socket(AddressFamily::Netlink, SockType::Datagram, flags, SockProtocol::NetlinkRoute)?)
}

/// Gives the addresses of the socket's namespace to `visit`, one by one, until it breaks.
///
/// # Errors
/// When the kernel does not answer, or there are more than [`MAX_ADDRESSES_READ`].
pub(super) fn visit(socket: &OwnedFd, mut visit: impl FnMut(InterfaceAddress) -> ControlFlow<()>) -> io::Result<()> {
    send(socket.as_raw_fd(), &request(), MsgFlags::empty())?;
    let mut buffer = vec![0; 32 * 1024];
    let mut left = MAX_ADDRESSES_READ;
    loop {
        let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        if read_datagram(&buffer[..length], &mut left, &mut visit)?.is_break() {
            return Ok(());
        }
    }
}

fn request() -> [u8; MESSAGE] {
    let mut request = [0; MESSAGE];
    request[..4].copy_from_slice(&u32::try_from(MESSAGE).expect("24 fits").to_ne_bytes());
    request[4..6].copy_from_slice(&GET_ADDRESSES.to_ne_bytes());
    let flags = u16::try_from(libc::NLM_F_REQUEST | libc::NLM_F_DUMP).expect("netlink flags are 16 bits");
    request[6..8].copy_from_slice(&flags.to_ne_bytes());
    request
}

/// Breaks at the end of the kernel's answer, or where `visit` does.
fn read_datagram(
    mut datagram: &[u8],
    left: &mut usize,
    visit: &mut impl FnMut(InterfaceAddress) -> ControlFlow<()>,
) -> io::Result<ControlFlow<()>> {
    while let Some(header) = datagram.first_chunk::<HEADER>() {
        let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let message = datagram.get(..length).filter(|message| message.len() >= HEADER);
        let message = message.ok_or(io::ErrorKind::InvalidData)?;
        let kind = u16::from_ne_bytes([header[4], header[5]]);
        match i32::from(kind) {
            libc::NLMSG_DONE => return Ok(ControlFlow::Break(())),
            libc::NLMSG_ERROR => {
                let code = message.get(HEADER..).and_then(|body| body.first_chunk());
                let errno = code.and_then(|code| i32::from_ne_bytes(*code).checked_neg());
                return Err(io::Error::from_raw_os_error(errno.unwrap_or(libc::EIO)));
            }
            _ => {}
        }
        if kind == NEW_ADDRESS
            && let Some(address) = interface_address(message)
        {
            *left = left.checked_sub(1).ok_or_else(|| io::Error::other("the namespace has too many addresses"))?;
            if visit(address).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(ControlFlow::Continue(()))
}

fn interface_address(message: &[u8]) -> Option<InterfaceAddress> {
    let device = u32::from_ne_bytes(*message.get(INDEX..)?.first_chunk()?);
    let (mut address, mut local) = (None, None);
    let mut attributes = message.get(MESSAGE..)?;
    while let Some(header) = attributes.first_chunk::<4>() {
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let value = attributes.get(4..length)?;
        match u16::from_ne_bytes([header[2], header[3]]) {
            ATTRIBUTE_ADDRESS => address = ip(value),
            ATTRIBUTE_LOCAL => local = ip(value),
            _ => {}
        }
        attributes = attributes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    local.or(address).map(|ip| InterfaceAddress { ip, device })
}

fn ip(octets: &[u8]) -> Option<IpAddr> {
    let v4 = || <[u8; 4]>::try_from(octets).ok().map(|octets| IpAddr::from(Ipv4Addr::from(octets)));
    let v6 = || <[u8; 16]>::try_from(octets).ok().map(|octets| IpAddr::from(Ipv6Addr::from(octets)));
    v4().or_else(v6)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut message = u32::try_from(HEADER + body.len()).expect("small").to_ne_bytes().to_vec();
        message.extend(kind.to_ne_bytes());
        message.resize(HEADER, 0);
        message.extend(body);
        message
    }

    fn address(device: u32, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = vec![2, 24, 0, 0];
        body.extend(device.to_ne_bytes());
        for (kind, value) in attributes {
            body.extend(u16::try_from(4 + value.len()).expect("small").to_ne_bytes());
            body.extend(kind.to_ne_bytes());
            body.extend(*value);
        }
        message(NEW_ADDRESS, &body)
    }

    fn read(datagram: &[u8]) -> io::Result<(Vec<InterfaceAddress>, ControlFlow<()>)> {
        let mut seen = Vec::new();
        let end = read_datagram(datagram, &mut 2, &mut |address| {
            seen.push(address);
            ControlFlow::Continue(())
        })?;
        Ok((seen, end))
    }

    #[test]
    fn an_interface_s_own_address_is_told_from_its_peer_s() {
        let v6 = "fd00::1".parse::<Ipv6Addr>().expect("an address").octets();
        let datagram = [
            address(2, &[(ATTRIBUTE_ADDRESS, &[10, 0, 0, 9]), (ATTRIBUTE_LOCAL, &[10, 0, 0, 1]), (3, b"eth0")]),
            address(3, &[(ATTRIBUTE_ADDRESS, &v6)]),
            message(3, &[0; 4]),
        ];
        let (seen, end) = read(&datagram.concat()).expect("a valid answer");
        let seen: Vec<_> = seen.iter().map(|seen| (seen.ip.to_string(), seen.device)).collect();
        assert_eq!(seen, [("10.0.0.1".to_owned(), 2), ("fd00::1".to_owned(), 3)]);
        assert_eq!(end, ControlFlow::Break(()), "NLMSG_DONE ends the answer");
    }

    #[test]
    fn very_many_addresses_are_read_one_by_one() {
        let datagram = address(1, &[(ATTRIBUTE_LOCAL, &[10, 0, 0, 1])]).repeat(200);
        let (mut left, mut seen) = (MAX_ADDRESSES_READ, 0_u32);
        for _ in 0..1000 {
            let end = read_datagram(&datagram, &mut left, &mut |_| {
                seen += 1;
                ControlFlow::Continue(())
            });
            assert_eq!(end.expect("fewer than are read"), ControlFlow::Continue(()));
        }
        assert_eq!(seen, 200_000);
    }

    #[test]
    fn more_addresses_than_are_read_and_nonsense_are_errors() {
        let one = address(2, &[(ATTRIBUTE_LOCAL, &[10, 0, 0, 1])]);
        assert_eq!(read(&one.repeat(2)).expect("as many as are read").0.len(), 2);
        assert_eq!(read(&one.repeat(3)).expect_err("one too many").to_string(), "the namespace has too many addresses");
        assert_eq!(read(&[255; 20]).expect_err("nonsense").kind(), io::ErrorKind::InvalidData);
        let refused = message(2, &(-libc::EPERM).to_ne_bytes());
        assert_eq!(read(&refused).expect_err("refused").raw_os_error(), Some(libc::EPERM));
    }
}

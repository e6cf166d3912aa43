//! The ports on which a pod's applications listened before the kernel programs counted: read once, when the pod is enrolled, by
//! sock_diag(7), since reading /proc would walk every socket of the node.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::thread;

use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};
use weir_common::MAX_LISTENING_PORTS_PER_POD;

/// `SOCK_DIAG_BY_FAMILY` of linux/sock_diag.h.
const DIAG_BY_FAMILY: u16 = 20;
/// `TCP_LISTEN` as a bit of the wanted states.
const LISTEN: u32 = 1 << 10;
/// A netlink header; then, in an answer, an `inet_diag_msg` with family, port and address at these places.
const HEADER: usize = 16;
const FAMILY: usize = HEADER;
const PORT: usize = HEADER + 4;
const IP: usize = HEADER + 8;
/// Size of a request: header and `inet_diag_req_v2`.
const REQUEST: usize = HEADER + 56;

/// Sockets of one namespace that are looked at: many may listen on one port (SO_REUSEPORT).
const MAX_SOCKETS: usize = 65_536;

/// Ports with a listener that can be reached from outside the namespace; `None` where there are more than are counted for one
/// pod, or too many sockets to look at all of them.
///
/// # Errors
/// When the namespace cannot be entered, or the kernel does not support sock_diag.
pub(super) fn ports(netns: BorrowedFd<'_>) -> io::Result<Option<BTreeSet<u16>>> {
    // On a thread of its own, which ends with the namespace that it has entered.
    thread::scope(|scope| {
        let asker = scope.spawn(|| {
            setns(netns, CloneFlags::CLONE_NEWNET)?;
            let mut found = Found::default();
            for family in [libc::AF_INET, libc::AF_INET6] {
                if !ask(family, &mut found)? {
                    return Ok(None);
                }
            }
            Ok(Some(found.ports))
        });
        asker.join().unwrap_or_else(|_| Err(io::Error::other("the asking thread panicked")))
    })
}

/// Listeners that the kernel has told of.
#[derive(Debug, Default)]
struct Found {
    ports: BTreeSet<u16>,
    sockets: usize,
}

impl Found {
    /// Takes more of them; false once there are too many.
    fn take(&mut self, ports: &mut Vec<u16>) -> bool {
        self.sockets += ports.len();
        self.ports.extend(ports.drain(..));
        self.sockets <= MAX_SOCKETS && self.ports.len() as u64 <= MAX_LISTENING_PORTS_PER_POD
    }
}

/// Adds the listeners of a family; false where there are too many, and the rest was not read.
fn ask(family: i32, found: &mut Found) -> io::Result<bool> {
    let kernel =
        socket(AddressFamily::Netlink, SockType::Datagram, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkSockDiag)?;
    send(kernel.as_raw_fd(), &request(family), MsgFlags::empty())?;
    let mut ports = Vec::new();
    let mut buffer = vec![0; 32 * 1024];
    loop {
        let length = recv(kernel.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        let is_last = read_answer(&buffer[..length], &mut ports)?;
        if !found.take(&mut ports) {
            return Ok(false);
        }
        if is_last {
            return Ok(true);
        }
    }
}

fn request(family: i32) -> Vec<u8> {
    let flags = u16::try_from(libc::NLM_F_REQUEST | libc::NLM_F_DUMP).expect("netlink flags are 16 bits");
    let mut request = Vec::with_capacity(REQUEST);
    request.extend(u32::try_from(REQUEST).expect("72 fits").to_ne_bytes());
    request.extend(DIAG_BY_FAMILY.to_ne_bytes());
    request.extend(flags.to_ne_bytes());
    request.extend([0; 8]);
    request.push(u8::try_from(family).expect("address families are small"));
    request.push(u8::try_from(libc::IPPROTO_TCP).expect("6 fits"));
    request.extend([0; 2]);
    request.extend(LISTEN.to_ne_bytes());
    request.resize(REQUEST, 0);
    request
}

/// Takes ports out of one datagram of the kernel's answer; true when it was the last.
///
/// # Errors
/// When the kernel says so, or the datagram is not what it should be.
pub fn read_answer(mut datagram: &[u8], ports: &mut Vec<u16>) -> io::Result<bool> {
    while let Some(header) = datagram.first_chunk::<HEADER>() {
        let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let message = datagram.get(..length).filter(|message| message.len() >= HEADER);
        let message = message.ok_or(io::ErrorKind::InvalidData)?;
        match i32::from(u16::from_ne_bytes([header[4], header[5]])) {
            libc::NLMSG_DONE => return Ok(true),
            libc::NLMSG_ERROR => {
                let code = message.get(HEADER..).and_then(|body| body.first_chunk());
                // Errors are negative numbers; the least of them has no positive one.
                let errno = code.and_then(|code| i32::from_ne_bytes(*code).checked_neg());
                return Err(io::Error::from_raw_os_error(errno.unwrap_or(libc::EIO)));
            }
            _ => ports.extend(reachable_port(message)),
        }
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

fn reachable_port(message: &[u8]) -> Option<u16> {
    let port = u16::from_be_bytes(*message.get(PORT..)?.first_chunk()?);
    let ip = match i32::from(*message.get(FAMILY)?) {
        libc::AF_INET => IpAddr::from(Ipv4Addr::from(*message.get(IP..)?.first_chunk::<4>()?)),
        _ => IpAddr::from(Ipv6Addr::from(*message.get(IP..)?.first_chunk::<16>()?)).to_canonical(),
    };
    (!ip.is_loopback()).then_some(port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: i32, body: &[u8]) -> Vec<u8> {
        let mut message = u32::try_from(HEADER + body.len()).expect("small").to_ne_bytes().to_vec();
        message.extend(u16::try_from(kind).expect("small").to_ne_bytes());
        message.resize(HEADER, 0);
        message.extend(body);
        message
    }

    fn listener(ip: &str, port: u16) -> Vec<u8> {
        let (family, octets) = match ip.parse().expect("an address") {
            IpAddr::V4(v4) => (libc::AF_INET, v4.octets().to_vec()),
            IpAddr::V6(v6) => (libc::AF_INET6, v6.octets().to_vec()),
        };
        let mut body = vec![u8::try_from(family).expect("small"), 10, 0, 0];
        body.extend(port.to_be_bytes());
        body.extend([0; 2]);
        body.extend(octets);
        body.resize(72, 0);
        message(i32::from(DIAG_BY_FAMILY), &body)
    }

    #[test]
    fn listeners_count_unless_they_are_on_loopback() {
        for (ip, expected) in [
            ("0.0.0.0", vec![8080]),
            ("10.0.0.2", vec![8080]),
            ("127.0.0.1", vec![]),
            ("::", vec![8080]),
            ("fd00::2", vec![8080]),
            ("::1", vec![]),
            ("::ffff:127.0.0.1", vec![]),
        ] {
            let mut ports = Vec::new();
            assert!(!read_answer(&listener(ip, 8080), &mut ports).expect("a valid answer"));
            assert_eq!(ports, expected, "{ip}");
        }
    }

    #[test]
    fn an_answer_ends_where_it_says() {
        let mut ports = Vec::new();
        let datagram = [listener("::", 1), listener("::", 2), message(libc::NLMSG_DONE, &[0; 4])].concat();
        assert!(read_answer(&datagram, &mut ports).expect("a valid answer"));
        assert_eq!(ports, [1, 2]);
    }

    #[test]
    fn errors_and_nonsense_are_errors() {
        let refused = message(libc::NLMSG_ERROR, &(-libc::EPERM).to_ne_bytes());
        let error = read_answer(&refused, &mut Vec::new()).expect_err("an error message");
        assert_eq!(error.raw_os_error(), Some(libc::EPERM));
        for (body, errno) in [(&i32::MIN.to_ne_bytes()[..], libc::EIO), (&[1, 2], libc::EIO)] {
            let error = read_answer(&message(libc::NLMSG_ERROR, body), &mut Vec::new()).expect_err("an error message");
            assert_eq!(error.raw_os_error(), Some(errno), "{body:?}");
        }
        assert!(read_answer(&[0; 16], &mut Vec::new()).is_err());
        assert!(read_answer(&[255; 20], &mut Vec::new()).is_err());
    }

    #[test]
    fn no_pod_is_looked_at_without_end() {
        let mut found = Found::default();
        for _ in 0..64 {
            assert!(found.take(&mut vec![80; 1024]), "many sockets of one port");
        }
        assert!(!found.take(&mut vec![80]), "too many of them");
        let mut ports: Vec<u16> = (1..=1024).collect();
        let mut found = Found::default();
        assert!(found.take(&mut ports) && !found.take(&mut vec![2000]), "more ports than are counted");
    }

    #[test]
    fn a_request_has_the_size_it_names() {
        assert_eq!(request(libc::AF_INET).len(), REQUEST);
    }
}

//! What the kernel hands to the agent as bytes: answers of sock_diag(7), and values of the maps that programs share.
//!
//! Must hold: nothing panics, an answer is never read past its end, and the kernel side's classes of addresses are std's.
#![no_main]

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use libfuzzer_sys::fuzz_target;
use weir::api::capture::listening;
use weir_common::{Address, Ip};

fuzz_target!(|data: &[u8]| {
    let mut ports = Vec::new();
    if listening::read_answer(data, &mut ports).is_ok() {
        // A port takes a message, and a message at least a header.
        assert!(ports.len() <= data.len() / 16, "{} ports out of {} bytes", ports.len(), data.len());
    }
    if let Some((value, _)) = data.split_first_chunk::<18>() {
        let (octets, port) = value.split_first_chunk::<16>().expect("18 bytes were taken");
        check_address(*octets, u16::from_be_bytes([port[0], port[1]]));
    }
});

fn check_address(octets: [u8; 16], port: u16) {
    let word = |i: usize| u32::from_ne_bytes([octets[i], octets[i + 1], octets[i + 2], octets[i + 3]]);
    let ip = Ip::from_words([word(0), word(4), word(8), word(12)]);
    assert_eq!(ip.octets(), octets);
    let std = IpAddr::from(Ipv6Addr::from(octets)).to_canonical();
    assert_eq!(IpAddr::from(ip), std);
    assert_eq!(Ip::from(std), ip, "{std}");
    assert_eq!(SocketAddr::from(Address::new(ip, port)), SocketAddr::new(std, port));
    assert_eq!(ip.is_loopback(), std.is_loopback(), "{std}");
    assert_eq!(ip.is_unspecified(), std.is_unspecified(), "{std}");
    assert_eq!(ip.is_multicast(), std.is_multicast(), "{std}");
    let (link_local, broadcast) = match std {
        IpAddr::V4(v4) => (v4.is_link_local(), v4.is_broadcast()),
        IpAddr::V6(v6) => (v6.is_unicast_link_local(), false),
    };
    assert_eq!((ip.is_link_local(), ip.is_broadcast()), (link_local, broadcast), "{std}");
    assert_eq!(ip.v4_word().is_some(), std.is_ipv4());
}

//! Which addresses may be asked for keys. Whoever may write a RequestAuthentication names a URL that the agent asks from the node's own
//! network, and must not reach there what they could not reach themselves: cloud metadata, the kubelet, services of other tenants.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// Blocks of the registries of special-purpose addresses (RFC 6890) that are not globally reachable.
const BLOCKED_V4: [(Ipv4Addr, u8); 13] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    // Multicast, reserved, broadcast.
    (Ipv4Addr::new(224, 0, 0, 0), 3),
];
/// Of IPv6, only addresses in here are globally reachable at all.
const GLOBAL_V6: (Ipv6Addr, u8) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
/// Within it: special purposes, documentation, and 6to4, which leads to an address of IPv4.
const BLOCKED_V6: [(Ipv6Addr, u8); 3] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
];

/// Whether an address may be asked: one that everybody reaches, or one in a block of `allowed`.
pub(super) fn may_be_asked(address: IpAddr, allowed: &[IpNet]) -> bool {
    let address = address.to_canonical();
    is_global(address) || allowed.iter().any(|block| block.contains(&address))
}

fn is_global(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !BLOCKED_V4
            .iter()
            .any(|(network, length)| is_in(v4.to_bits().into(), network.to_bits().into(), 32 - length)),
        IpAddr::V6(v6) => {
            let is_within = |(network, length): &(Ipv6Addr, u8)| is_in(v6.to_bits(), network.to_bits(), 128 - length);
            is_within(&GLOBAL_V6) && !BLOCKED_V6.iter().any(is_within)
        }
    }
}

fn is_in(address: u128, network: u128, host_bits: u8) -> bool {
    address >> host_bits == network >> host_bits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_everybody_reaches_is_asked_unless_a_setting_says_otherwise() {
        let allowed: [IpNet; 2] = ["10.1.0.0/16".parse().unwrap(), "fd00:1::/64".parse().unwrap()];
        for (address, expected) in [
            ("8.8.8.8", [true, true]),
            ("192.0.3.1", [true, true]),
            ("2606:4700::1", [true, true]),
            ("10.1.2.3", [false, true]),
            ("::ffff:10.1.2.3", [false, true]),
            ("fd00:1::7", [false, true]),
            ("10.2.0.1", [false, false]),
            ("127.0.0.1", [false, false]),
            ("::1", [false, false]),
            ("::", [false, false]),
            ("0.0.0.0", [false, false]),
            ("169.254.169.254", [false, false]),
            ("::ffff:169.254.169.254", [false, false]),
            ("64:ff9b::a9fe:a9fe", [false, false]),
            ("fe80::1", [false, false]),
            ("fd00:ec2::254", [false, false]),
            ("100.100.100.200", [false, false]),
            ("172.31.255.255", [false, false]),
            ("172.32.0.1", [true, true]),
            ("192.168.1.1", [false, false]),
            ("224.0.0.1", [false, false]),
            ("255.255.255.255", [false, false]),
            ("2001:db8::1", [false, false]),
            ("2002:a9fe:a9fe::1", [false, false]),
        ] {
            let ip: IpAddr = address.parse().unwrap();
            assert_eq!([may_be_asked(ip, &[]), may_be_asked(ip, &allowed)], expected, "{address}");
        }
    }
}

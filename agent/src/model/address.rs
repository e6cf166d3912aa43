//! Kinds of addresses, and the canonical form in which addresses and blocks are compared.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// The address an application asked for, before capture rewrote it. v4-mapped IPv6 is already IPv4 here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct OriginalDst(pub SocketAddr);

/// An IP address within one Istio network; the same IP may exist in several networks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NetworkAddress {
    pub network: Arc<str>,
    pub ip: IpAddr,
}

/// Ranges of the addresses that a control plane gives to hosts which have none: istiod's defaults
/// (`PILOT_IP_AUTOALLOCATE_IPV4_PREFIX`, `…_IPV6_PREFIX`). Nobody but the mesh answers at them.
pub const ALLOCATED_V4: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(240, 240, 0, 0), 16);
pub const ALLOCATED_V6: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 0), 48);

/// Whether nobody but the mesh answers at an address.
#[must_use]
pub fn is_allocated(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ALLOCATED_V4.contains(&ip),
        IpAddr::V6(ip) => ALLOCATED_V6.contains(&ip),
    }
}

/// An IPv4-mapped IPv6 address (RFC 4291 §2.5.5.2) becomes the IPv4 address that it carries.
#[must_use]
pub fn canonical(address: SocketAddr) -> SocketAddr {
    match (address, address.ip().to_canonical()) {
        // A link-local address means nothing without its interface.
        (SocketAddr::V6(v6), IpAddr::V6(ip)) => SocketAddrV6::new(ip, v6.port(), 0, v6.scope_id()).into(),
        (_, ip) => SocketAddr::new(ip, address.port()),
    }
}

/// A block in the form [`canonical`] addresses compare with: without host bits, and IPv4 where it lies within `::ffff:0:0/96`.
#[must_use]
pub fn canonical_block(block: IpNet) -> IpNet {
    const MAPPED_PREFIX_BITS: u8 = 96;
    let block = block.trunc();
    let (IpAddr::V4(v4), Some(bits)) =
        (block.addr().to_canonical(), block.prefix_len().checked_sub(MAPPED_PREFIX_BITS))
    else {
        return block;
    };
    Ipv4Net::new(v4, bits).map_or(block, IpNet::V4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_canonical_when_they_lie_within_the_mapped_range() {
        for (block, expected) in [
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("10.1.2.3/32", "10.1.2.3/32"),
            ("::ffff:10.1.2.3/128", "10.1.2.3/32"),
            ("::ffff:10.1.2.3/104", "10.0.0.0/8"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("::/0", "::/0"),
            ("fd00::1/64", "fd00::/64"),
        ] {
            let block: IpNet = block.parse().unwrap();
            assert_eq!(canonical_block(block).to_string(), expected, "{block}");
        }
    }
}

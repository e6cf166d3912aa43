//! The agent's half: proof to aya that these types are plain data, and conversions from and to std's addresses.

use core::net::{IpAddr, SocketAddr};

use crate::{
    Address, DirectConnection, DirectDestination, DirectEnded, DirectPair, DirectRoute, EnrolledPod, Flow, InboundPod,
    Installed, Ip, ListeningPod, ListeningPort, PodAddress, PodVerdict, ProbePort, ProbeSocket, Settings,
    SocketAddress,
};

macro_rules! plain {
    ($($name:ty),+) => {
        $(
            // SAFETY: repr(C), made of integers only, without implicit padding (sizes are asserted beside the type).
            #[expect(unsafe_code, reason = "the promise aya asks for")]
            unsafe impl aya::Pod for $name {}
        )+
    };
}

plain!(
    Ip,
    Address,
    Flow,
    DirectConnection,
    DirectDestination,
    DirectEnded,
    DirectPair,
    DirectRoute,
    ListeningPod,
    ListeningPort,
    Settings,
    Installed,
    EnrolledPod,
    InboundPod,
    PodAddress,
    PodVerdict,
    ProbePort,
    ProbeSocket,
    SocketAddress
);

impl From<IpAddr> for Ip {
    fn from(ip: IpAddr) -> Self {
        let octets = match ip {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            IpAddr::V6(v6) => v6.octets(),
        };
        let word = |i: usize| u32::from_ne_bytes([octets[i], octets[i + 1], octets[i + 2], octets[i + 3]]);
        Self::from_words([word(0), word(4), word(8), word(12)])
    }
}

impl From<Ip> for IpAddr {
    /// v4-mapped becomes IPv4.
    fn from(ip: Ip) -> Self {
        Self::from(ip.octets()).to_canonical()
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::new(address.ip().into(), address.port())
    }
}

impl From<Address> for SocketAddr {
    fn from(address: Address) -> Self {
        Self::new(address.ip.into(), address.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_way_there_and_back() {
        for text in ["10.1.2.3:80", "[fd00::1]:443", "127.0.0.1:1"] {
            let address: SocketAddr = text.parse().expect("an address");
            assert_eq!(SocketAddr::from(Address::from(address)), address);
        }
    }

    #[test]
    fn a_mapped_address_comes_back_as_ipv4() {
        let mapped: SocketAddr = "[::ffff:10.1.2.3]:80".parse().expect("an address");
        assert_eq!(SocketAddr::from(Address::from(mapped)), "10.1.2.3:80".parse().expect("an address"));
    }
}

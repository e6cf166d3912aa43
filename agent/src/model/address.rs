//! Addresses as proof: a connection has several, and swapping them must not compile.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// The address an application asked for, before capture rewrote it. v4-mapped IPv6 is already IPv4 here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct OriginalDst(pub SocketAddr);

/// The address of the client end of a connection, as the network shows it. Never proof of identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SourceAddr(pub SocketAddr);

/// An IP address within one Istio network; the same IP may exist in several networks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NetworkAddress {
    pub network: Arc<str>,
    pub ip: IpAddr,
}

/// An IPv4 address in IPv6 clothes is the IPv4 address it carries (RFC 4291 §2.5.5.2).
#[must_use]
pub fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

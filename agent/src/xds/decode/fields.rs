//! Fields that several resources share: addresses, blocks, ports, names, gateways.

use std::net::IpAddr;

use ipnet::IpNet;

use weir_common::HBONE_PORT;

use super::malformed::{Flaw, Malformed};
use crate::model::address::NetworkAddress;
use crate::model::service::{GatewayAddress, GatewayDestination, ServiceKey};
use crate::proto::istio::workload as pb;

/// An IP address from its bytes; an IPv4-mapped IPv6 address comes out as IPv4.
pub(super) fn ip(field: &str, bytes: &[u8]) -> Result<IpAddr, Malformed> {
    Ok(raw_ip(field, bytes)?.to_canonical())
}

/// A block from its address and prefix length, host bits cleared. Without a length it is the single address.
pub(super) fn block(field: &str, bytes: &[u8], length: Option<u32>) -> Result<IpNet, Malformed> {
    /// Bits that precede the IPv4 address in an IPv6 one that carries it.
    const MAPPED_BITS: u32 = 96;
    let raw = raw_ip(field, bytes)?;
    let bits = if raw.is_ipv4() { 32 } else { 128 };
    let length = length.unwrap_or(bits);
    if length > bits {
        return Err(Malformed::new(field, Flaw::PrefixLength { length, bits: if bits == 32 { 32 } else { 128 } }));
    }
    let canonical = raw.to_canonical();
    let (address, length) = match length.checked_sub(MAPPED_BITS) {
        Some(rest) if raw != canonical => (canonical, rest),
        _ => (raw, length),
    };
    let length = u8::try_from(length).expect("a prefix length was just found to be at most 128");
    Ok(IpNet::new(address, length).expect("the prefix length was just found to fit the address").trunc())
}

fn raw_ip(field: &str, bytes: &[u8]) -> Result<IpAddr, Malformed> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Ok(v4.into());
    }
    let v6 = <[u8; 16]>::try_from(bytes).map_err(|_| Malformed::new(field, Flaw::AddressLength(bytes.len())))?;
    Ok(v6.into())
}

pub(super) fn port(field: &str, value: u32) -> Result<u16, Malformed> {
    u16::try_from(value).map_err(|_| Malformed::new(field, Flaw::Port(value)))
}

pub(super) fn not_empty(field: &str, text: &str) -> Result<(), Malformed> {
    if text.is_empty() { Err(Malformed::new(field, Flaw::Empty)) } else { Ok(()) }
}

/// An enum of the wire; a number that this version does not know is an error, never a default.
pub(super) fn known<E: TryFrom<i32>>(field: &str, value: i32) -> Result<E, Malformed> {
    E::try_from(value).map_err(|_| Malformed::new(field, Flaw::UnknownValue(value)))
}

/// A service key from `namespace/hostname`.
pub(super) fn service_key(field: &str, text: &str) -> Result<ServiceKey, Malformed> {
    match text.split_once('/') {
        Some((namespace, hostname)) if !hostname.is_empty() && !hostname.contains('/') => {
            Ok(ServiceKey::new(namespace, hostname))
        }
        _ => Err(Malformed::new(field, Flaw::NotNamespacedHostname(text.to_owned()))),
    }
}

pub(super) fn gateway(field: &str, wire: Option<pb::GatewayAddress>) -> Result<Option<GatewayAddress>, Malformed> {
    use pb::gateway_address::Destination;
    let Some(wire) = wire else { return Ok(None) };
    let destination = match wire.destination {
        Some(Destination::Hostname(name)) => {
            not_empty(&format!("{field}.hostname"), &name.hostname)?;
            GatewayDestination::Hostname(ServiceKey::new(&name.namespace, &name.hostname))
        }
        Some(Destination::Address(address)) => GatewayDestination::Address(NetworkAddress {
            ip: ip(&format!("{field}.address"), &address.address)?,
            network: address.network.into(),
        }),
        None => return Err(Malformed::new(format!("{field}.destination"), Flaw::Missing)),
    };
    let hbone_mtls_port = match port(&format!("{field}.hbone_mtls_port"), wire.hbone_mtls_port)? {
        0 => HBONE_PORT,
        port => port,
    };
    Ok(Some(GatewayAddress { destination, hbone_mtls_port }))
}

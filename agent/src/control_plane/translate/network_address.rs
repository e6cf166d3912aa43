//! IP addresses and blocks as the workload API writes them.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::proto::istio::workload::NetworkAddress;

/// An address or block in a network. Only a real block has a length on the wire.
pub(super) fn network_address(network: &str, block: IpNet) -> NetworkAddress {
    let is_block = block.prefix_len() != block.max_prefix_len();
    NetworkAddress {
        network: network.to_owned(),
        address: octets(block.addr()),
        length: is_block.then(|| u32::from(block.prefix_len())),
    }
}

/// The bytes of an address, 4 or 16.
pub(super) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

//! The version of a resource, as istiod computes it.

use prost::Message;
use xxhash_rust::xxh64::xxh64;

use crate::proto::istio::workload::Address;

/// Hash of the serialized address in hexadecimal, without leading zeros. The same address has the same version wherever
/// it is computed, so a client that reconnects is only sent what differs.
#[must_use]
pub fn version(address: &Address) -> String {
    format!("{:x}", xxh64(&address.encode_to_vec(), 0))
}

//! One endpoint for all connections of a client, without state: rendezvous hashing.
//!
//! Each endpoint has a score for each client, and the greatest wins. Where endpoints come, only clients for which a new one
//! scores highest move to it; where one goes, only its own clients move. All agents choose alike, and so does the next agent
//! after an upgrade. Clients spread in proportion to the endpoints' weights.

use std::net::IpAddr;

use crate::model::workload::Workload;

/// A client as its affinity sees it: the first address of the source, whichever family it connects over; or what a request has
/// in common with others that are to go to the same endpoint.
#[derive(Debug, Clone, Copy)]
pub(in crate::model) struct Client(u64);

impl Client {
    /// A client that is known by a hash, of whatever.
    pub(in crate::model) fn of_hash(hash: u64) -> Self {
        Self(mixed(hash))
    }

    pub(super) fn of(source: &Workload) -> Self {
        let hash = match source.addresses.first() {
            Some(IpAddr::V4(ip)) => fnv(&ip.octets()),
            Some(IpAddr::V6(ip)) => fnv(&ip.octets()),
            None => fnv(source.uid.as_bytes()),
        };
        Self(hash)
    }

    /// The score of an endpoint. With a uniform `u`, -weight / ln(u) is greatest with a probability in proportion to the weight.
    pub(super) fn score(self, endpoint: &Workload, weight: u64) -> f64 {
        let hash = mixed(self.0 ^ mixed(fnv(endpoint.uid.as_bytes())));
        // 52 bits and a half, so that it is neither 0 nor 1.
        let uniform = ((hash >> 12) as f64 + 0.5) / (1_u64 << 52) as f64;
        -(weight as f64) / uniform.ln()
    }
}

/// FNV-1a of 64 bits: the same in every version of this program.
pub(in crate::model) fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The finalizer of SplitMix64: every bit of the result depends on every bit of the input.
pub(in crate::model) fn mixed(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

//! A collection in parts. A hash table that grows moves all it holds at once; in parts, no update of a large mesh moves
//! more than a small share of it. Must not decide anything: a part is chosen by the key's bytes alone.

use std::net::IpAddr;

/// So many that a part of a mesh of a million workloads moves well within a millisecond.
const PARTS: usize = 256;

/// Parts of one collection, each holding the keys that [`Self::of`] sends there.
#[derive(Debug)]
pub(super) struct Shards<C>(Box<[C]>);

impl<C: Default> Default for Shards<C> {
    fn default() -> Self {
        Self((0..PARTS).map(|_| C::default()).collect())
    }
}

impl<C> Shards<C> {
    pub(super) fn of(&self, key: &(impl Key + ?Sized)) -> &C {
        &self.0[key.part()]
    }

    pub(super) fn of_mut(&mut self, key: &(impl Key + ?Sized)) -> &mut C {
        &mut self.0[key.part()]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &C> {
        self.0.iter()
    }
}

/// What can be spread over parts.
pub(super) trait Key {
    fn part(&self) -> usize;
}

impl Key for str {
    fn part(&self) -> usize {
        part_of(self.as_bytes())
    }
}

impl Key for IpAddr {
    fn part(&self) -> usize {
        match self {
            Self::V4(v4) => part_of(&v4.octets()),
            Self::V6(v6) => part_of(&v6.octets()),
        }
    }
}

/// Every byte counts: hostnames end alike and uids begin alike.
fn part_of(bytes: &[u8]) -> usize {
    let mut mixed = 0_u64;
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        // The top bits of a product with an odd constant depend on every bit below them.
        mixed = (mixed.rotate_left(5) ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
    usize::from((mixed >> 56) as u8)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn names_and_addresses_spread_evenly() {
        let pods = (0..100_000_u32).map(|n| format!("Kubernetes//Pod/team/cart-{:08x}", n.wrapping_mul(0x9e37_79b9)));
        let addresses = (0..100_000_u32).map(|n| IpAddr::from(Ipv4Addr::from_bits(0x0a00_0000 + n)));
        let spread = |parts: &mut dyn Iterator<Item = usize>| {
            let mut counts = [0; PARTS];
            parts.for_each(|part| counts[part] += 1);
            counts.into_iter().max().unwrap()
        };
        let hosts = (0..100_000_u32).map(|n| format!("cart-{n:05}.team.svc.cluster.local"));
        let even = 100_000 / PARTS;
        assert!(spread(&mut hosts.map(|name| name.part())) < 2 * even);
        assert!(spread(&mut pods.map(|name| name.part())) < 2 * even);
        assert!(spread(&mut addresses.map(|ip| ip.part())) < 2 * even);
    }
}

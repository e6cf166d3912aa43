//! What came of a lookup, and for how long that counts.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

/// For how long an answer is used at least, whatever its TTL: connections ask for a name once a second at most.
const MIN_TTL: Duration = Duration::from_secs(1);
/// For how long at most: a name that had a TTL of a day when it had to be moved is followed within minutes.
const MAX_TTL: Duration = Duration::from_secs(300);
/// For how long it is remembered at most that a name has no address. Somebody waits for those that are about to have one.
const MAX_NEGATIVE_TTL: Duration = Duration::from_secs(30);
/// For how long a failure is remembered, and that a name has no address where the server does not say for how long.
pub(super) const FAILURE_TTL: Duration = Duration::from_secs(1);
/// For how long the addresses of `/etc/hosts` are used until it is read again.
pub(super) const HOSTS_TTL: Duration = Duration::from_secs(5);
/// Addresses of one name that are used; RFC 8305 tries them one after the other.
const MAX_ADDRESSES_PER_NAME: usize = 16;

/// Why a name has no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::proxy) enum LookupError {
    #[error("{0}")]
    Failed(Arc<str>),
    #[error("DNS has none for it")]
    NoAddress,
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
}

pub(super) type Answer = Result<Arc<[IpAddr]>, LookupError>;

/// What came of a lookup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) answer: Answer,
    pub(super) until: Instant,
}

impl Known {
    /// Addresses in order of preference, and their least TTL. Where they are too many, neither family takes the other's place.
    pub(super) fn found(v6: Vec<IpAddr>, v4: Vec<IpAddr>, ttl: Duration) -> Self {
        let room_of_v6 = MAX_ADDRESSES_PER_NAME - v4.len().min(MAX_ADDRESSES_PER_NAME / 2);
        let addresses: Arc<[IpAddr]> = v6.into_iter().take(room_of_v6).chain(v4).take(MAX_ADDRESSES_PER_NAME).collect();
        if addresses.is_empty() {
            return Self::no_address(None);
        }
        Self::new(Ok(addresses), ttl.clamp(MIN_TTL, MAX_TTL))
    }

    /// The name has no address, for as long as the SOA record says that came with this.
    pub(super) fn no_address(ttl: Option<Duration>) -> Self {
        let ttl = ttl.map_or(FAILURE_TTL, |ttl| ttl.clamp(FAILURE_TTL, MAX_NEGATIVE_TTL));
        Self::new(Err(LookupError::NoAddress), ttl)
    }

    /// Nobody says whether the name has an address.
    pub(super) fn failed(why: &str) -> Self {
        Self::new(Err(LookupError::Failed(why.into())), FAILURE_TTL)
    }

    fn new(answer: Answer, ttl: Duration) -> Self {
        Self { answer, until: Instant::now() + ttl }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_ttl_is_honoured_within_bounds() {
        let ip: IpAddr = "192.0.2.1".parse().expect("an address");
        let seconds = Duration::from_secs;
        let lasts = |known: Known| (known.until - Instant::now()).as_secs();
        for (ttl, positive, negative) in [(0, 1, 1), (1, 1, 1), (20, 20, 20), (60, 60, 30), (86400, 300, 30)] {
            assert_eq!(lasts(Known::found(Vec::new(), vec![ip], seconds(ttl))), positive, "{ttl}");
            assert_eq!(lasts(Known::no_address(Some(seconds(ttl)))), negative, "{ttl}");
        }
        assert_eq!(lasts(Known::no_address(None)), 1);
        assert_eq!(lasts(Known::failed("it")), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn each_family_keeps_some_of_the_room() {
        let v6 = |count: u16| -> Vec<IpAddr> { (0..count).map(|n| [0x2001, 0xdb8, 0, 0, 0, 0, 0, n].into()).collect() };
        let v4 = |count: u8| -> Vec<IpAddr> { (0..count).map(|n| [192, 0, 2, n].into()).collect() };
        for (sixes, fours, used) in
            [(1, 2, (1, 2)), (20, 0, (16, 0)), (0, 20, (0, 16)), (20, 20, (8, 8)), (20, 3, (13, 3)), (3, 20, (3, 13))]
        {
            let found = Known::found(v6(sixes), v4(fours), MIN_TTL).answer.expect("addresses");
            let count = found.iter().filter(|ip| ip.is_ipv6()).count();
            assert_eq!((count, found.len() - count), used, "{sixes} and {fours}");
            assert!(found.is_sorted_by_key(|ip| ip.is_ipv4()), "{found:?}");
        }
        assert_eq!(Known::found(Vec::new(), Vec::new(), MAX_TTL), Known::no_address(None));
    }
}

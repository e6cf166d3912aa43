//! How old an HBONE connection gets. Both sides prove who they are in its handshake and never again: one that is never idle
//! would outlive the certificates, and the roots and trust domains by which they were accepted. So at a certain age it takes no
//! further streams (GOAWAY), and the next streams prove the identities again on another connection. The same when the peer's
//! certificate expires, or when what is trusted changes so that the peer would be refused, if that is sooner. A connection whose
//! peer's certificate is revoked ends at once, with all its streams.

use std::time::{Duration, SystemTime};

use tokio::time::{Instant, sleep_until};

use crate::tls::trust::LivePeer;

/// Connections end up to this part of the limit earlier: those that began together do not end together.
const JITTER_PARTS: u32 = 10;

/// How old a connection gets.
#[derive(Debug, Clone, Copy)]
pub struct AgeLimit {
    /// The age at which it takes no further streams, at most.
    pub max: Duration,
    /// How long the streams may take from then on that it has.
    pub drain: Duration,
}

/// When a connection ends that has begun.
#[derive(Debug)]
pub(crate) struct Lifetime {
    span: Span,
    drain: Duration,
    peer: LivePeer,
}

/// When a connection ends by its age.
#[derive(Debug, Clone, Copy)]
struct Span {
    retires_at: Instant,
    ends_at: Instant,
}

impl AgeLimit {
    /// The lifetime of a connection with this peer that begins now. `peer_expires`: when the certificate does that it has shown.
    pub(crate) fn begin(self, peer: LivePeer, peer_expires: SystemTime) -> Lifetime {
        let valid_for = peer_expires.duration_since(SystemTime::now()).unwrap_or_default();
        Lifetime { span: self.begin_at(Instant::now(), valid_for, rand::random()), drain: self.drain, peer }
    }

    /// `random` must be uniform.
    fn begin_at(self, now: Instant, valid_for: Duration, random: u32) -> Span {
        let earlier = self.max / JITTER_PARTS * (random >> 16) / (1 << 16);
        let retires_at = now + (self.max - earlier).min(valid_for);
        Span { retires_at, ends_at: retires_at + self.drain }
    }
}

impl Lifetime {
    /// Resolves when the connection is to take no further streams.
    pub(crate) async fn retires(&self) {
        tokio::select! {
            () = sleep_until(self.span.retires_at) => {}
            () = self.peer.distrusted() => {}
        }
    }

    /// Resolves when the streams that it still has are to be ended. Asked for after it has retired.
    pub(crate) async fn ends(&self) {
        let ends_at = self.peer.ends_at(self.drain).map_or(self.span.ends_at, |at| at.min(self.span.ends_at));
        tokio::select! {
            () = sleep_until(ends_at) => {}
            () = self.peer.revoked() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_retires_within_the_last_tenth_of_its_age_or_with_the_peers_certificate() {
        let limit = AgeLimit { max: Duration::from_secs(1000), drain: Duration::from_secs(30) };
        let now = Instant::now();
        for (valid_for, random, retires, ends) in [
            (5000, 0, 1000, 1030),
            (5000, 1 << 31, 950, 980),
            (5000, u32::MAX, 900, 930),
            (910, 0, 910, 940),
            (910, u32::MAX, 900, 930),
            (0, 0, 0, 30),
        ] {
            let Span { retires_at, ends_at } = limit.begin_at(now, Duration::from_secs(valid_for), random);
            let seconds = |at: Instant| at.duration_since(now).as_secs_f64().round() as u64;
            assert_eq!((seconds(retires_at), seconds(ends_at)), (retires, ends), "valid for {valid_for} s, {random}");
        }
    }
}

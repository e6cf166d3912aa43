//! The set of response flags of one request, as metrics and logs write it.

use std::fmt;

use super::local_reply::HttpResponseFlag;

/// Every flag with its short name, in the order in which Envoy writes several (`stream_info/utility.h`).
const IN_ORDER: [(HttpResponseFlag, &str); 19] = [
    (HttpResponseFlag::NoHealthyUpstream, "UH"),
    (HttpResponseFlag::UpstreamRequestTimeout, "UT"),
    (HttpResponseFlag::LocalReset, "LR"),
    (HttpResponseFlag::UpstreamRemoteReset, "UR"),
    (HttpResponseFlag::UpstreamConnectionFailure, "UF"),
    (HttpResponseFlag::UpstreamConnectionTermination, "UC"),
    (HttpResponseFlag::UpstreamOverflow, "UO"),
    (HttpResponseFlag::NoRoute, "NR"),
    (HttpResponseFlag::DelayInjected, "DI"),
    (HttpResponseFlag::FaultInjected, "FI"),
    (HttpResponseFlag::RateLimited, "RL"),
    (HttpResponseFlag::UnauthorizedExternalService, "UAEX"),
    (HttpResponseFlag::RateLimitServiceError, "RLSE"),
    (HttpResponseFlag::DownstreamConnectionTermination, "DC"),
    (HttpResponseFlag::UpstreamRetryLimitExceeded, "URX"),
    (HttpResponseFlag::StreamIdleTimeout, "SI"),
    (HttpResponseFlag::DownstreamProtocolError, "DPE"),
    (HttpResponseFlag::UpstreamProtocolError, "UPE"),
    (HttpResponseFlag::NoCluster, "NC"),
];

/// The bits that Envoy's attribute `response.flags` has for the same flags, in the same order (`stream_info.h`).
const ENVOY_BITS: [u32; 19] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 18, 23, 24];

/// The flags of one request: Envoy's `%RESPONSE_FLAGS%`, such as `UF,URX`, and `-` where there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ResponseFlags(u32);

impl ResponseFlags {
    /// Adds a flag.
    pub fn insert(&mut self, flag: HttpResponseFlag) {
        self.0 |= bit(flag);
    }

    #[must_use]
    pub fn contains(self, flag: HttpResponseFlag) -> bool {
        self.0 & bit(flag) != 0
    }

    /// As Envoy's attribute `response.flags` has them.
    #[must_use]
    pub fn envoy_bits(self) -> i64 {
        let flags = IN_ORDER.iter().zip(ENVOY_BITS).filter(|((flag, _), _)| self.contains(*flag));
        flags.map(|(_, bit)| 1 << bit).sum()
    }

    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

fn bit(flag: HttpResponseFlag) -> u32 {
    1 << flag as u32
}

impl From<HttpResponseFlag> for ResponseFlags {
    fn from(flag: HttpResponseFlag) -> Self {
        Self(bit(flag))
    }
}

impl fmt::Display for ResponseFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("-");
        }
        let names = IN_ORDER.iter().filter(|(flag, _)| self.contains(*flag)).map(|(_, name)| *name);
        for (position, name) in names.enumerate() {
            let separator = if position == 0 { "" } else { "," };
            write!(f, "{separator}{name}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_written_in_envoys_order() {
        use HttpResponseFlag as Flag;
        for (flags, expected) in [
            (&[][..], "-"),
            (&[Flag::NoRoute], "NR"),
            (&[Flag::UpstreamRetryLimitExceeded, Flag::UpstreamConnectionFailure], "UF,URX"),
            (&[Flag::DownstreamConnectionTermination, Flag::DelayInjected, Flag::DelayInjected], "DI,DC"),
        ] {
            let mut all = ResponseFlags::default();
            flags.iter().for_each(|flag| all.insert(*flag));
            assert_eq!(all.to_string(), expected);
        }
    }

    #[test]
    fn every_flag_has_a_name_and_a_bit_of_its_own() {
        let mut all = ResponseFlags::default();
        for (flag, name) in IN_ORDER {
            assert!(!all.contains(flag), "{name}");
            all.insert(flag);
            assert_eq!(ResponseFlags::from(flag).to_string(), name);
        }
        assert_eq!(all.0.count_ones() as usize, IN_ORDER.len());
    }
}

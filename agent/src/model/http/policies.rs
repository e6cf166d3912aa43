//! What a rule adds to the way of a request besides where it goes: faults, cross-origin answers, retries.

use std::fmt;
use std::time::Duration;

use super::pattern::TextMatch;

/// A share of all requests, in millionths: Envoy's fractional percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u32);

impl Share {
    pub const ALL: Self = Self(1_000_000);
    pub const NONE: Self = Self(0);

    /// From a percentage, as Istio's objects have it: 0 to 100, finer than a ten-thousandth is lost.
    #[must_use]
    pub fn of_percent(percent: f64) -> Self {
        let millionths = (percent * 10_000.0).clamp(0.0, 1_000_000.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is clamped to a range of u32")]
        Self(millionths as u32)
    }

    /// A fraction; all where the denominator is 0 or less than the numerator.
    #[must_use]
    pub fn of_fraction(numerator: u32, denominator: u32) -> Self {
        if numerator >= denominator {
            return Self::ALL;
        }
        let millionths = u64::from(numerator) * 1_000_000 / u64::from(denominator);
        Self(u32::try_from(millionths).expect("less than a million"))
    }

    /// Whether a request is among them, for a uniform `random`.
    #[must_use]
    pub fn takes(self, random: u64) -> bool {
        (u128::from(random) * 1_000_000) >> 64 < u128::from(self.0)
    }
}

/// In percent: `12.5 %`.
impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", f64::from(self.0) / 10_000.0)
    }
}

/// Errors that are made on purpose. Delay and abort are drawn independently; the delay comes first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fault {
    pub delay: Option<(Share, Duration)>,
    pub abort: Option<(Share, Abort)>,
}

impl Fault {
    /// How long a request waits before anything else happens to it, for a uniform `random`.
    #[must_use]
    pub fn delay(&self, random: u64) -> Option<Duration> {
        self.delay.filter(|(share, _)| share.takes(random)).map(|(_, delay)| delay)
    }

    /// What a request is answered with instead, after the delay, for another uniform `random`.
    #[must_use]
    pub fn abort(&self, random: u64) -> Option<Abort> {
        self.abort.filter(|(share, _)| share.takes(random)).map(|(_, abort)| abort)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Abort {
    /// A status of HTTP, 200 to 599.
    Http(u16),
    /// A status of gRPC.
    Grpc(u16),
}

/// Cross-origin resource sharing, as Envoy's filter answers for the application.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cors {
    pub allow_origins: Vec<TextMatch>,
    /// The values of the fields of a preflight's answer, joined by `,`; empty ones are not sent.
    pub allow_methods: Box<str>,
    pub allow_headers: Box<str>,
    pub expose_headers: Box<str>,
    pub max_age: Option<Duration>,
    pub allow_credentials: bool,
    /// A preflight from an origin that is not allowed goes to the application; else it is answered without permission.
    pub forwards_unmatched_preflights: bool,
}

/// What may be tried again after a failure, and how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts after the first, at least 1.
    pub attempts: u32,
    pub per_try_timeout: Option<Duration>,
    pub on: RetryOn,
    /// Statuses that are tried again where [`RetryOn::RETRIABLE_STATUS_CODES`] is set.
    pub codes: Vec<u16>,
    pub back_off: BackOff,
    /// Another endpoint is preferred for each attempt.
    pub avoids_tried_endpoints: bool,
}

/// Conditions of a retry, as a set: Envoy's `x-envoy-retry-on` and `x-envoy-retry-grpc-on`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RetryOn(u16);

impl RetryOn {
    pub const FIVE_XX: Self = Self(1);
    pub const GATEWAY_ERROR: Self = Self(1 << 1);
    pub const RESET: Self = Self(1 << 2);
    pub const RESET_BEFORE_REQUEST: Self = Self(1 << 3);
    pub const CONNECT_FAILURE: Self = Self(1 << 4);
    pub const ENVOY_RATELIMITED: Self = Self(1 << 5);
    pub const RETRIABLE_4XX: Self = Self(1 << 6);
    pub const REFUSED_STREAM: Self = Self(1 << 7);
    pub const RETRIABLE_STATUS_CODES: Self = Self(1 << 8);
    pub const CANCELLED: Self = Self(1 << 9);
    pub const DEADLINE_EXCEEDED: Self = Self(1 << 10);
    pub const INTERNAL: Self = Self(1 << 11);
    pub const RESOURCE_EXHAUSTED: Self = Self(1 << 12);
    pub const UNAVAILABLE: Self = Self(1 << 13);

    /// The conditions by their names.
    pub const NAMES: [(&str, Self); 14] = [
        ("5xx", Self::FIVE_XX),
        ("gateway-error", Self::GATEWAY_ERROR),
        ("reset", Self::RESET),
        ("reset-before-request", Self::RESET_BEFORE_REQUEST),
        ("connect-failure", Self::CONNECT_FAILURE),
        ("envoy-ratelimited", Self::ENVOY_RATELIMITED),
        ("retriable-4xx", Self::RETRIABLE_4XX),
        ("refused-stream", Self::REFUSED_STREAM),
        ("retriable-status-codes", Self::RETRIABLE_STATUS_CODES),
        ("cancelled", Self::CANCELLED),
        ("deadline-exceeded", Self::DEADLINE_EXCEEDED),
        ("internal", Self::INTERNAL),
        ("resource-exhausted", Self::RESOURCE_EXHAUSTED),
        ("unavailable", Self::UNAVAILABLE),
    ];

    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    #[must_use]
    pub const fn has(self, condition: Self) -> bool {
        self.0 & condition.0 != 0
    }
}

/// Envoy's names, separated by commas.
impl fmt::Display for RetryOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named: Vec<&str> = Self::NAMES.iter().filter(|(_, one)| self.has(*one)).map(|(name, _)| *name).collect();
        f.write_str(&named.join(", "))
    }
}

/// How long an attempt waits: exponential, with full jitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackOff {
    pub base: Duration,
    pub max: Duration,
}

impl Default for BackOff {
    fn default() -> Self {
        Self::from_base(Duration::from_millis(25))
    }
}

impl BackOff {
    /// As Envoy has it where nothing says a maximum: ten times the base.
    #[must_use]
    pub fn from_base(base: Duration) -> Self {
        Self { base, max: base.saturating_mul(10) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_takes_its_part_of_all_requests() {
        for (share, expected) in [
            (Share::of_percent(0.0), 0),
            (Share::of_percent(5.0), 50),
            (Share::of_percent(0.1), 1),
            (Share::of_percent(100.0), 1000),
            (Share::of_percent(250.0), 1000),
            (Share::of_percent(-1.0), 0),
            (Share::of_fraction(1, 4), 250),
            (Share::of_fraction(0, 4), 0),
            (Share::of_fraction(0, 0), 1000),
            (Share::of_fraction(7, 4), 1000),
            (Share::ALL, 1000),
            (Share::NONE, 0),
        ] {
            let draws = (0..1000_u64).map(|draw| u64::MAX / 1000 * draw + u64::MAX / 2000);
            assert_eq!(draws.filter(|draw| share.takes(*draw)).count(), expected, "{share:?}");
        }
        assert!(Share::ALL.takes(u64::MAX) && !Share::NONE.takes(0));
    }

    #[test]
    fn delay_and_abort_are_drawn_apart() {
        let half = Share::of_percent(50.0);
        let second = Duration::from_secs(1);
        let fault = Fault { delay: Some((half, second)), abort: Some((half, Abort::Http(503))) };
        assert_eq!((fault.delay(0), fault.delay(u64::MAX)), (Some(second), None));
        assert_eq!((fault.abort(0), fault.abort(u64::MAX)), (Some(Abort::Http(503)), None));
        assert_eq!((Fault::default().delay(0), Fault::default().abort(0)), (None, None));
    }
}

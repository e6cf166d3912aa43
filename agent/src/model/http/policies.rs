//! What a rule adds to the way of a request besides where it goes: faults, cross-origin answers, retries.

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

/// Errors that are made on purpose. Delay and abort are drawn independently; the delay comes first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fault {
    pub delay: Option<(Share, Duration)>,
    pub abort: Option<(Share, Abort)>,
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

    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    #[must_use]
    pub const fn has(self, condition: Self) -> bool {
        self.0 & condition.0 != 0
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

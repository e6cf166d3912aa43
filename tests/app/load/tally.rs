//! What a load saw: how connections went, how long exchanges took, and the longest time without a new connection.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How many failures are told one by one.
const TOLD: usize = 200;

/// How an attempt went wrong. Kinds are what Kubernetes people ask for: refused means that nobody listened, reset and eof
/// that somebody hung up, timeout that nobody answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Refused,
    Reset,
    Eof,
    Timeout,
    WrongBytes,
    Other,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Reset => "reset",
            Self::Eof => "eof",
            Self::Timeout => "timeout",
            Self::WrongBytes => "wrong_bytes",
            Self::Other => "other",
        }
    }
}

impl From<&io::Error> for Kind {
    fn from(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted => {
                Self::Reset
            }
            io::ErrorKind::UnexpectedEof => Self::Eof,
            io::ErrorKind::TimedOut => Self::Timeout,
            io::ErrorKind::InvalidData => Self::WrongBytes,
            _ => Self::Other,
        }
    }
}

/// Everything about connections of one sort.
#[derive(Debug)]
pub(super) struct Tally {
    start: Instant,
    ok: u64,
    kinds: BTreeMap<Kind, u64>,
    failures: Vec<Value>,
    latencies: Vec<Duration>,
    last_ok: Instant,
    longest_gap: Duration,
    gap_began: Duration,
}

impl Tally {
    pub(super) fn new(start: Instant) -> Self {
        Self {
            start,
            ok: 0,
            kinds: BTreeMap::new(),
            failures: Vec::new(),
            latencies: Vec::new(),
            last_ok: start,
            longest_gap: Duration::ZERO,
            gap_began: Duration::ZERO,
        }
    }

    /// Something went well that began then.
    pub(super) fn ok(&mut self, began: Instant) {
        self.ok += 1;
        self.latencies.push(began.elapsed());
        self.close_gap(Instant::now());
    }

    /// Something went wrong that began then; `more` says which and what.
    pub(super) fn failed(&mut self, error: &io::Error, began: Instant, more: Value) {
        let kind = Kind::from(error);
        *self.kinds.entry(kind).or_default() += 1;
        if self.failures.len() < TOLD {
            let mut failure = json!({
                "kind": kind.word(), "error": error.to_string(), "at_ms": ms(self.start.elapsed()),
                "after_ms": ms(began.elapsed()),
            });
            for (name, value) in more.as_object().into_iter().flatten() {
                failure[name] = value.clone();
            }
            self.failures.push(failure);
        }
    }

    /// How many went well, and how many badly.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.ok, self.kinds.values().sum())
    }

    /// Everything, as one object. The time without success until now counts as a gap.
    pub(super) fn report(&mut self) -> Value {
        self.close_gap(Instant::now());
        self.latencies.sort_unstable();
        let percentile = |part: f64| {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index within the list")]
            #[expect(clippy::cast_precision_loss, reason = "no list is that long")]
            let index = (self.latencies.len().saturating_sub(1) as f64 * part).round() as usize;
            self.latencies.get(index).map(|latency| ms(*latency))
        };
        let mut report = json!({
            "ok": self.ok,
            "failed": self.counts().1,
            "longest_gap_ms": ms(self.longest_gap),
            "gap_began_ms": ms(self.gap_began),
            "latency_ms": {
                "p50": percentile(0.5), "p90": percentile(0.9), "p99": percentile(0.99), "max": percentile(1.0),
            },
            "failures": self.failures,
        });
        for kind in [Kind::Refused, Kind::Reset, Kind::Eof, Kind::Timeout, Kind::WrongBytes, Kind::Other] {
            report[kind.word()] = json!(self.kinds.get(&kind).copied().unwrap_or_default());
        }
        report
    }

    fn close_gap(&mut self, now: Instant) {
        let gap = now.duration_since(self.last_ok);
        if gap > self.longest_gap {
            self.longest_gap = gap;
            self.gap_began = self.last_ok.duration_since(self.start);
        }
        self.last_ok = now;
    }
}

fn ms(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10_000.0).round() / 10.0
}

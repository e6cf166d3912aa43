//! The targets, what was reached, and whether that is enough.

use std::fmt::Write as _;

use super::table::{figures, shown};
use crate::row::{Pair, Row};
use crate::subject::{NO_TOKENS, UNROUTED};

/// A target of Weir beside another subject, or of Weir alone where there is none.
struct Target {
    /// Case and figure.
    name: &'static str,
    /// Another subject; [`UNROUTED`] and [`NO_TOKENS`] are the build's own.
    beside: Option<&'static str>,
    bound: Bound,
}

/// What is enough.
#[derive(Clone, Copy)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

/// Beside the plain relay, for requests and new connections beside other proxies, and memory. "Ahead of Envoy" is a target of every other row.
const TARGETS: &[Target] = &[
    Target { name: "bulk1", beside: Some("relay"), bound: Bound::AtLeast(0.75) },
    Target { name: "keepalive16", beside: Some("relay"), bound: Bound::AtLeast(0.8) },
    Target { name: "newconn16", beside: Some("relay"), bound: Bound::AtLeast(0.75) },
    Target { name: "rate2000-p99", beside: Some("relay"), bound: Bound::AtMost(1.5) },
    Target { name: "http16", beside: Some(UNROUTED), bound: Bound::AtLeast(0.85) },
    Target { name: "http16-cpu", beside: Some(UNROUTED), bound: Bound::AtMost(1.2) },
    Target { name: "http-rate2000-p99", beside: Some(UNROUTED), bound: Bound::AtMost(1.15) },
    Target { name: "jwt-rate1000-cpu", beside: Some(NO_TOKENS), bound: Bound::AtMost(1.1) },
    Target { name: "http16", beside: Some(ENVOY), bound: Bound::AtLeast(4.0) },
    Target { name: "http16", beside: Some("haproxy"), bound: Bound::AtLeast(1.5) },
    Target { name: "newconn1", beside: Some(ENVOY), bound: Bound::AtLeast(4.0) },
    Target { name: "newconn16", beside: Some(ENVOY), bound: Bound::AtLeast(4.0) },
    Target { name: "resident0", beside: None, bound: Bound::AtMost(16.0) },
    Target { name: "resident1000", beside: None, bound: Bound::AtMost(24.0) },
];
const ENVOY: &str = "envoy";

impl Bound {
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bound) => value >= bound,
            Self::AtMost(bound) => value <= bound,
        }
    }

    fn shown(self) -> String {
        match self {
            Self::AtLeast(bound) => format!("≥ {bound}"),
            Self::AtMost(bound) => format!("≤ {bound}"),
        }
    }
}

/// A table for each build.
pub(super) fn write(rows: &[Row], pairs: &[Pair], builds: &[&str]) -> String {
    let mut text = String::new();
    for build in builds {
        let _ = writeln!(text, "targets of {build:<38} {:<10} {:<24} met", "target", "reached [min..max]");
        for target in TARGETS {
            text += &line(target, rows, pairs, build);
        }
        // A case's memory is that of the larger node; that each node's is less says no more.
        let counts = |pair: &&Pair| pair.figure.unit != "MiB" || pair.figure.suffix.is_empty();
        for pair in pairs.iter().filter(|pair| pair.of == *build && pair.to == ENVOY).filter(counts) {
            if TARGETS.iter().all(|target| target.beside != Some(ENVOY) || target.name != pair.name()) {
                let bound = if pair.figure.more { Bound::AtLeast(1.0) } else { Bound::AtMost(1.0) };
                let what = format!("{} of {ENVOY}", described(&pair.name(), pair.figure.unit));
                text += &target_row(&what, bound, Some((pair.ratio.median, shown(&pair.ratio))));
            }
        }
    }
    text
}

fn line(target: &Target, rows: &[Row], pairs: &[Pair], build: &str) -> String {
    let Some(beside) = target.beside else {
        let row = rows.iter().find(|row| row.subject == build && row.name() == target.name);
        let what = format!("{}, MiB", target.name);
        return target_row(&what, target.bound, row.map(|row| (row.value, figures(row.value))));
    };
    let own = format!("{build}{beside}");
    let beside = if [UNROUTED, NO_TOKENS].contains(&beside) { own.as_str() } else { beside };
    let pair = pairs.iter().find(|pair| pair.of == build && pair.to == beside && pair.name() == target.name);
    let what = format!("{} of {beside}", described(target.name, pair.map_or("", |pair| pair.figure.unit)));
    target_row(&what, target.bound, pair.map(|pair| (pair.ratio.median, shown(&pair.ratio))))
}

/// A row's name and what is counted, unless the name says so.
fn described(name: &str, unit: &str) -> String {
    if unit.is_empty() { name.to_owned() } else { format!("{name}, {unit}") }
}

fn target_row(what: &str, bound: Bound, reached: Option<(f64, String)>) -> String {
    let (reached, met) = match reached {
        Some((value, shown)) => (shown, if bound.is_met(value) { "yes" } else { "NO" }),
        None => ("not measured".to_owned(), "-"),
    };
    format!("  {what:<47} {:<10} {reached:<24} {met}\n", bound.shown())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_met_at_the_bound() {
        assert!(Bound::AtLeast(0.75).is_met(0.75) && !Bound::AtLeast(0.75).is_met(0.74));
        assert!(Bound::AtMost(1.5).is_met(1.5) && !Bound::AtMost(1.5).is_met(1.51));
    }

    #[test]
    fn what_was_not_measured_is_not_met() {
        let text = write(&[], &[], &["weir"]);
        assert_eq!(text.matches("not measured").count(), TARGETS.len());
        assert!(!text.contains("yes"));
    }
}

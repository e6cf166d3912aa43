//! The targets, what was reached, and whether that is enough.

use std::fmt::Write as _;

use super::table::{figures, shown};
use crate::row::{Pair, Row};
use crate::subject::{NO_LOG, NO_LOG_SAME_NODE, NO_TOKENS, UNROUTED};

/// A target of a build of Weir.
struct Target {
    /// Case and figure.
    name: &'static str,
    /// What the name of the build's subject ends with that is to reach it.
    of: &'static str,
    beside: Beside,
    bound: Bound,
}

/// What the figure is compared with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Beside {
    /// Nothing: it counts itself.
    Nothing,
    /// No mesh, on the same way.
    NoMesh,
    /// Another subject of the same build, by what its name ends with.
    Own(&'static str),
    Other(&'static str),
}

/// What is enough.
#[derive(Clone, Copy)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

const fn target(name: &'static str, beside: Beside, bound: Bound) -> Target {
    Target { name, of: "", beside, bound }
}

/// A target of requests, for agents that write no access log: neither do those that are beside them for each request.
const fn unlogged(name: &'static str, beside: Beside, bound: Bound) -> Target {
    Target { name, of: NO_LOG, beside, bound }
}

/// The same on one node.
const fn unlogged_same_node(name: &'static str, bound: Bound) -> Target {
    Target { name, of: NO_LOG_SAME_NODE, beside: Beside::NoMesh, bound }
}

const RELAY: Beside = Beside::Other("relay");
const ENVOY: &str = "envoy";
const BESIDE_ENVOY: Beside = Beside::Other(ENVOY);

/// Beside the plain relay, for requests and new connections beside other proxies, and memory. "Ahead of Envoy" is a target of every other row.
const TARGETS: &[Target] = &[
    target("bulk1", RELAY, Bound::AtLeast(0.75)),
    target("keepalive16", RELAY, Bound::AtLeast(0.8)),
    target("newconn16", RELAY, Bound::AtLeast(0.75)),
    target("rate2000-p99", RELAY, Bound::AtMost(1.5)),
    unlogged("http16", Beside::NoMesh, Bound::AtLeast(0.3)),
    unlogged("http16", Beside::Own(UNROUTED), Bound::AtLeast(0.85)),
    unlogged("http16-cpu", Beside::Own(UNROUTED), Bound::AtMost(1.2)),
    unlogged("http-rate2000-p99", Beside::Own(UNROUTED), Bound::AtMost(1.15)),
    unlogged("http16", BESIDE_ENVOY, Bound::AtLeast(4.0)),
    unlogged("http16", Beside::Other("haproxy"), Bound::AtLeast(1.5)),
    unlogged_same_node("http16", Bound::AtLeast(0.5)),
    unlogged_same_node("http16-cpu", Bound::AtMost(1.8)),
    target("jwt-rate1000-cpu", Beside::Own(NO_TOKENS), Bound::AtMost(1.1)),
    target("newconn1", BESIDE_ENVOY, Bound::AtLeast(4.0)),
    target("newconn16", BESIDE_ENVOY, Bound::AtLeast(4.0)),
    target("resident0", Beside::Nothing, Bound::AtMost(16.0)),
    target("resident1000", Beside::Nothing, Bound::AtMost(24.0)),
];

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
        let _ = writeln!(text, "targets of {build:<49} {:<10} {:<24} met", "target", "reached [min..max]");
        for target in TARGETS {
            text += &line(target, rows, pairs, build);
        }
        // A case's memory is that of the larger node; that each node's is less says no more.
        let counts = |pair: &&Pair| pair.figure.unit != "MiB" || pair.figure.suffix.is_empty();
        for pair in pairs.iter().filter(|pair| pair.of == *build && pair.to == ENVOY).filter(counts) {
            if TARGETS.iter().all(|target| target.beside != BESIDE_ENVOY || target.name != pair.name()) {
                let bound = if pair.figure.more { Bound::AtLeast(1.0) } else { Bound::AtMost(1.0) };
                let what = format!("{} of {ENVOY}", described(&pair.name(), pair.figure.unit));
                text += &target_row(&what, bound, Some((pair.ratio.median, shown(&pair.ratio))));
            }
        }
    }
    text
}

fn line(target: &Target, rows: &[Row], pairs: &[Pair], build: &str) -> String {
    let of = format!("{build}{}", target.of);
    let row = rows.iter().find(|row| row.subject == of && row.name() == target.name);
    let beside = match target.beside {
        Beside::Nothing => {
            let what = format!("{}, MiB", target.name);
            return target_row(&what, target.bound, row.map(|row| (row.value, figures(row.value))));
        }
        Beside::NoMesh => "no mesh".to_owned(),
        Beside::Own(end) => format!("{build}{end}"),
        Beside::Other(other) => other.to_owned(),
    };
    let ratio = match target.beside {
        Beside::NoMesh => row.and_then(|row| row.ratio),
        _ => {
            let is_it = |pair: &&Pair| pair.of == of && pair.to == beside && pair.name() == target.name;
            pairs.iter().find(is_it).map(|pair| pair.ratio)
        }
    };
    let reaching = if target.of.is_empty() { String::new() } else { format!("{of}: ") };
    let what = format!("{reaching}{} of {beside}", described(target.name, row.map_or("", |row| row.figure.unit)));
    target_row(&what, target.bound, ratio.map(|ratio| (ratio.median, shown(&ratio))))
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
    format!("  {what:<58} {:<10} {reached:<24} {met}\n", bound.shown())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::CASES;
    use crate::rounds::Sample;
    use crate::row;

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

    #[test]
    fn targets_of_requests_are_those_of_agents_without_an_access_log() {
        let case = *CASES.iter().find(|case| case.name == "http16").expect("it is one of them");
        let of = |(subject, baseline, requests): (&str, &'static str, f64)| {
            let subject = subject.to_owned();
            Sample { case, subject, baseline, round: 0, values: vec![requests, 1.0, 1.0, 100.0 / requests] }
        };
        let samples: Vec<Sample> = [
            ("direct", "direct", 100.0),
            ("weir", "direct", 10.0),
            ("weir-no-log", "direct", 45.0),
            ("weir-l4", "direct", 50.0),
            ("direct-same-node", "direct-same-node", 100.0),
            ("weir-no-log-same-node", "direct-same-node", 60.0),
        ]
        .into_iter()
        .map(of)
        .collect();
        let text = write(&row::rows(&samples), &row::pairs(&samples, &["weir", "weir-no-log"]), &["weir"]);
        let reached = |what: &str| {
            let line = text.lines().find(|line| line.contains(what)).unwrap_or_else(|| panic!("{what}:\n{text}"));
            line[what.len() + 2..].split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ")
        };
        for (what, expected) in [
            ("weir-no-log: http16, requests/s of no mesh", "≥ 0.3 0.45 [0.45..0.45] yes"),
            ("weir-no-log: http16, requests/s of weir-l4", "≥ 0.85 0.90 [0.90..0.90] yes"),
            ("weir-no-log: http16-cpu, CPU s/100k of weir-l4", "≤ 1.2 1.11 [1.11..1.11] yes"),
            ("weir-no-log-same-node: http16, requests/s of no mesh", "≥ 0.5 0.60 [0.60..0.60] yes"),
            ("weir-no-log-same-node: http16-cpu, CPU s/100k of no mesh", "≤ 1.8 1.67 [1.67..1.67] yes"),
        ] {
            assert_eq!(reached(what), expected, "{what}");
        }
    }
}

//! The table: what each attack did to its bystander and to the agents, beside the targets.

use std::time::Duration;

use anyhow::Result;

use super::kinds::Kind;
use super::stage::Cores;
use crate::row::Ratio;

/// The most that an attack may move the bystander's p99 by, and in the kind that is about new connections alone.
const RATIO: f64 = 1.5;
const RATIO_OF_CHANGES: f64 = 1.1;
/// The most that an agent may grow by, in MiB.
const GROWTH_MIB: u64 = 64;

/// What was seen of one kind.
#[derive(Debug)]
pub(crate) struct Seen {
    /// p99 in microseconds of each round: without the attack, with it.
    pub(crate) kept_p99: Vec<(f64, f64)>,
    pub(crate) new_p99: Vec<(f64, f64)>,
    /// Who ran in each round: without the attack, with it.
    pub(crate) cores: Vec<(Cores, Cores)>,
    pub(crate) requests: usize,
    pub(crate) failed: Vec<String>,
    /// What the agent that grew most grew by.
    pub(crate) grown_bytes: u64,
    /// The most descriptors that an agent had more than before, and how long it took until they were back.
    pub(crate) most_descriptors: usize,
    pub(crate) back: Option<Duration>,
}

/// What was said of all kinds so far.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    missed: Vec<String>,
    failed: Vec<String>,
}

/// Above the table.
pub(crate) fn heading(kinds: &[&Kind], rounds: u32, seconds: u32) -> String {
    let kinds: String = kinds.iter().map(|kind| format!("{:<17} {}\n", kind.name, kind.about)).collect();
    format!(
        "{kinds}\n{rounds} rounds of {seconds} s without and {seconds} s with each attack; p99 of the bystander's requests with the attack \
         as a multiple\nof that without: the median of the rounds [min..max]. Targets: p99 ≤ {RATIO}, 0 failed, growth ≤ {GROWTH_MIB} \
         MiB, descriptors back within 60 s.\n\n{:<17} {:<24} {:<24} {:>13} {:>13} {:>13} {:>10} {:>18}  met",
        "attack",
        "p99, kept connections",
        "p99, new connections",
        "agents' CPU",
        "pods' CPU",
        "failed",
        "agent MiB",
        "descriptors, back"
    )
}

impl Verdict {
    /// A line of the table.
    pub(crate) fn line(&mut self, kind: &Kind, seen: &Result<Seen>) -> String {
        let seen = match seen {
            Ok(seen) => seen,
            Err(error) => {
                self.failed.push(format!("{}: not measured: {error:#}", kind.name));
                return format!("{:<17} not measured", kind.name);
            }
        };
        let (kept, new) = (ratio(&seen.kept_p99), ratio(&seen.new_p99));
        let target = if kind.counts_kept() { RATIO } else { RATIO_OF_CHANGES };
        let (before_missed, before_failed) = (self.missed.len(), self.failed.len());
        if kind.has_targets && kind.counts_kept() && !is_met(kept, RATIO) {
            self.missed.push(format!("{}: p99 on kept connections is {}, target {RATIO}", kind.name, shown(kept)));
        }
        if kind.has_targets && !is_met(new, target) {
            self.missed.push(format!("{}: p99 on new connections is {}, target {target}", kind.name, shown(new)));
        }
        if let Some(first) = seen.failed.first() {
            self.failed.push(format!("{}: {} requests failed, the first: {first}", kind.name, seen.failed.len()));
        }
        let grown_mib = seen.grown_bytes >> 20;
        if grown_mib > GROWTH_MIB {
            self.failed.push(format!("{}: an agent grew by {grown_mib} MiB", kind.name));
        }
        if seen.back.is_none() {
            self.failed.push(format!("{}: descriptors are not back after 60 s", kind.name));
        }
        let back = seen.back.map_or("never".to_owned(), |back| format!("{:.1} s", back.as_secs_f64()));
        let met = match (self.failed.len() > before_failed, self.missed.len() > before_missed) {
            (true, _) => "FAILED",
            (false, true) => "NO",
            (false, false) if !kind.has_targets => "-",
            (false, false) => "yes",
        };
        format!(
            "{:<17} {:<24} {:<24} {:>13} {:>13} {:>13} {:>10} {:>18}  {met}",
            kind.name,
            shown(kept),
            shown(new),
            cores(&seen.cores, |of| of.agents),
            cores(&seen.cores, |of| of.pods),
            format!("{} of {}", seen.failed.len(), seen.requests),
            grown_mib,
            format!("+{}, {back}", seen.most_descriptors),
        )
    }

    /// What is below the table.
    pub(crate) fn end(&self) -> String {
        let missed = self.missed.iter().map(|text| format!("missed: {text}\n"));
        let failed = self.failed.iter().map(|text| format!("FAILED: {text}\n"));
        missed.chain(failed).collect()
    }

    /// Whether something failed that no noise of the machine explains.
    pub(crate) fn failed(&self) -> bool {
        !self.failed.is_empty()
    }
}

fn is_met(ratio: Option<Ratio>, target: f64) -> bool {
    ratio.is_some_and(|ratio| ratio.median <= target)
}

fn shown(ratio: Option<Ratio>) -> String {
    ratio.map_or("-".to_owned(), |ratio| format!("{:.2} [{:.2}..{:.2}]", ratio.median, ratio.min, ratio.max))
}

/// Processors that were busy with one party, without the attack and with it: means over the rounds.
fn cores(rounds: &[(Cores, Cores)], party: impl Fn(&Cores) -> f64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a few rounds")]
    let count = rounds.len() as f64;
    let mean = |sum: f64| sum / count;
    let quiet = mean(rounds.iter().map(|(quiet, _)| party(quiet)).sum());
    let attack = mean(rounds.iter().map(|(_, attack)| party(attack)).sum());
    format!("{quiet:.2} > {attack:.2}")
}

/// The ratios of rounds; none if a window had no request that was answered.
fn ratio(rounds: &[(f64, f64)]) -> Option<Ratio> {
    let mut ratios: Vec<f64> = rounds.iter().map(|(quiet, attack)| attack / quiet).collect();
    ratios.sort_unstable_by(f64::total_cmp);
    let (min, max) = (*ratios.first()?, *ratios.last()?);
    let median = ratios[ratios.len() / 2];
    max.is_finite().then_some(Ratio { median, min, max, rounds: ratios.len() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_round_counts_and_a_window_without_answers_is_no_ratio() {
        let seen =
            ratio(&[(100.0, 900.0), (100.0, 120.0), (200.0, 200.0)]).map(|seen| (seen.median, seen.min, seen.max));
        assert_eq!(seen, Some((1.2, 1.0, 9.0)));
        assert_eq!(ratio(&[(100.0, 120.0), (100.0, f64::NAN)]), None);
        assert!(!is_met(None, 1.5));
    }
}

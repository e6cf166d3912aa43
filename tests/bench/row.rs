//! What is told of the samples: medians, and medians of ratios within a round with their spread.

use crate::load::Figure;
use crate::rounds::Sample;
use crate::subject::DIRECT;

/// A ratio over several rounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Ratio {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) rounds: usize,
}

/// One figure of one subject in one case.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) case: &'static str,
    pub(crate) about: &'static str,
    pub(crate) figure: Figure,
    pub(crate) subject: String,
    /// Median over the rounds.
    pub(crate) value: f64,
    pub(crate) rounds: usize,
    /// To no mesh.
    pub(crate) ratio: Option<Ratio>,
}

impl Row {
    /// Case and figure in one word.
    pub(crate) fn name(&self) -> String {
        name(self.case, self.figure.suffix)
    }
}

/// How a build of Weir does beside another proxy.
#[derive(Debug, Clone)]
pub(crate) struct Pair {
    pub(crate) case: &'static str,
    pub(crate) figure: Figure,
    pub(crate) of: String,
    pub(crate) to: String,
    pub(crate) ratio: Ratio,
}

impl Pair {
    /// Case and figure in one word.
    pub(crate) fn name(&self) -> String {
        name(self.case, self.figure.suffix)
    }

    /// Both subjects.
    pub(crate) fn shown(&self) -> String {
        format!("{} / {}", self.of, self.to)
    }
}

/// `case`, or `case-suffix`.
fn name(case: &str, suffix: &str) -> String {
    if suffix.is_empty() { case.to_owned() } else { format!("{case}-{suffix}") }
}

/// All rows, in the order in which cases, figures and subjects first appear.
pub(crate) fn rows(samples: &[Sample]) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut seen = Vec::new();
    for first in samples {
        if seen.contains(&(first.case.name, &first.subject)) {
            continue;
        }
        seen.push((first.case.name, &first.subject));
        for (index, figure) in first.case.load.figures().iter().enumerate() {
            let mut values = series(samples, first.case.name, &first.subject, index);
            rows.push(Row {
                case: first.case.name,
                about: first.case.about,
                figure: *figure,
                subject: first.subject.clone(),
                rounds: values.len(),
                value: median(&mut values).expect("there is the first sample"),
                ratio: ratio(samples, first.case.name, index, &first.subject, first.baseline),
            });
        }
    }
    rows
}

/// Every build beside every other subject across nodes that is not no mesh, other builds included.
pub(crate) fn pairs(samples: &[Sample], builds: &[&str]) -> Vec<Pair> {
    let mut pairs: Vec<Pair> = Vec::new();
    for first in samples.iter().filter(|sample| sample.baseline == DIRECT && sample.subject != DIRECT) {
        let figures = first.case.load.figures();
        for build in builds.iter().filter(|build| **build != first.subject) {
            let known = |pair: &Pair| pair.case == first.case.name && pair.of == *build && pair.to == first.subject;
            if pairs.iter().any(known) {
                continue;
            }
            for (index, figure) in figures.iter().enumerate() {
                let Some(ratio) = ratio(samples, first.case.name, index, build, &first.subject) else { continue };
                let (of, to) = ((*build).to_owned(), first.subject.clone());
                pairs.push(Pair { case: first.case.name, figure: *figure, of, to, ratio });
            }
        }
    }
    pairs
}

/// The ratio of a figure (by its index in the case) between two subjects, of the rounds in which both were measured.
pub(crate) fn ratio(samples: &[Sample], case: &str, figure: usize, of: &str, to: &str) -> Option<Ratio> {
    let of_case = |subject: &str| {
        let subject = subject.to_owned();
        samples.iter().filter(move |sample| sample.case.name == case && sample.subject == subject)
    };
    let mut ratios: Vec<f64> = of_case(of)
        .filter_map(|sample| {
            let other = of_case(to).find(|other| other.round == sample.round)?;
            Some(sample.values.get(figure)? / other.values.get(figure)?)
        })
        .filter(|ratio| ratio.is_finite())
        .collect();
    let median = median(&mut ratios)?;
    Some(Ratio { median, min: ratios[0], max: ratios[ratios.len() - 1], rounds: ratios.len() })
}

fn series(samples: &[Sample], case: &str, subject: &str, figure: usize) -> Vec<f64> {
    let of_both = samples.iter().filter(|sample| sample.case.name == case && sample.subject == subject);
    of_both.filter_map(|sample| sample.values.get(figure).copied()).collect()
}

/// Sorts the values; the mean of the middle two if there is no middle one.
fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        even if even % 2 == 0 => Some(f64::midpoint(values[middle - 1], values[middle])),
        _ => Some(values[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::{CASES, Case};

    fn bulk() -> Case {
        *CASES.iter().find(|case| case.name == "bulk1").unwrap()
    }

    fn sample(subject: &str, round: u32, value: f64) -> Sample {
        Sample { case: bulk(), subject: subject.into(), baseline: "direct", round, values: vec![value, 1.0] }
    }

    #[test]
    fn ratios_are_of_one_round_and_rounds_that_lack_one_side_do_not_count() {
        let samples = [
            sample("direct", 0, 10.0),
            sample("direct", 1, 20.0),
            sample("direct", 2, 40.0),
            sample("weir", 0, 5.0),
            sample("weir", 2, 10.0),
            sample("weir", 3, 1.0),
        ];
        let seen = ratio(&samples, "bulk1", 0, "weir", "direct").unwrap();
        assert_eq!(seen, Ratio { median: 0.375, min: 0.25, max: 0.5, rounds: 2 });
        assert_eq!(ratio(&samples, "bulk1", 0, "weir", "relay"), None);
    }

    #[test]
    fn a_row_is_the_median_of_its_own_rounds() {
        let samples = [sample("direct", 0, 3.0), sample("direct", 1, 1.0), sample("direct", 2, 2.0)];
        let rows = rows(&samples);
        assert_eq!((rows[0].name().as_str(), rows[0].value, rows[0].rounds), ("bulk1", 2.0, 3));
        assert_eq!(rows[1].name(), "bulk1-cpu");
    }
}

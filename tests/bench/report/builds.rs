//! Builds of Weir that were measured in one run: how each does beside the first, row by row, memory among them, and
//! whether any row has become worse.

use std::fmt::Write as _;

use super::table::{figures, shown};
use crate::rounds::Sample;
use crate::row::{self, Ratio, Row};
use crate::subject::{NO_LOG, NO_LOG_SAME_NODE, SAME_NODE};

/// The subjects of a build that are compared: what their names end with, and what their rows are called behind the case.
const SUBJECTS: [(&str, &str); 4] =
    [("", ""), (SAME_NODE, ", same node"), (NO_LOG, ", no log"), (NO_LOG_SAME_NODE, ", no log, same node")];

/// A row is worse if its median is below this share of the first build's; what differs less is noise of a busy machine.
const LEAST_SHARE: f64 = 0.97;

/// One row of a build beside the same row of the first build.
struct Line<'a> {
    row: &'a Row,
    first: f64,
    /// How good it is: above one is better than the first build, whether more or less of the figure is better.
    share: Ratio,
}

impl Line<'_> {
    fn is_worse(&self) -> bool {
        self.share.median < LEAST_SHARE
    }
}

/// A table for each build after the first; nothing if there is one only.
pub(super) fn write(rows: &[Row], samples: &[Sample], builds: &[&str]) -> String {
    let Some((first, others)) = builds.split_first() else { return String::new() };
    others.iter().map(|build| beside(rows, samples, first, build)).collect()
}

fn beside(rows: &[Row], samples: &[Sample], first: &str, build: &str) -> String {
    let lines: Vec<Line<'_>> =
        rows.iter().filter_map(|row| line(row, rows, samples, &first_subject(&row.subject, first, build)?)).collect();
    let heading = format!("{build} beside {first}");
    let mut text = format!("{heading:<36} {first:>10} {build:>10}  {:<24} not worse\n", "above 1 is better");
    for line in &lines {
        let way = subject_of(&line.row.subject, build).map_or("", |(_, way)| way);
        let what = format!("{}{way}, {}", line.row.name(), line.row.figure.unit);
        let verdict = if line.is_worse() { "NO" } else { "yes" };
        let (old, new, share) = (figures(line.first), figures(line.row.value), shown(&line.share));
        let _ = writeln!(text, "  {what:<34} {old:>10} {new:>10}  {share:<24} {verdict}");
    }
    let worse = lines.iter().filter(|line| line.is_worse()).count();
    let _ = match worse {
        _ if lines.is_empty() => writeln!(text, "no row was measured of both"),
        0 => writeln!(text, "no row of {build} is worse than {LEAST_SHARE} of {first}, of {} rows", lines.len()),
        _ => writeln!(text, "{worse} of {} rows of {build} are worse than {LEAST_SHARE} of {first}", lines.len()),
    };
    text
}

/// The first build's subject that takes the same way as a subject of another build, if it is one of that build.
fn first_subject(subject: &str, first: &str, build: &str) -> Option<String> {
    subject_of(subject, build).map(|(end, _)| format!("{first}{end}"))
}

/// Which of a build's subjects it is, if it is one that is compared.
fn subject_of(subject: &str, build: &str) -> Option<(&'static str, &'static str)> {
    let end = subject.strip_prefix(build)?;
    SUBJECTS.into_iter().find(|(known, _)| *known == end)
}

fn line<'a>(row: &'a Row, rows: &[Row], samples: &[Sample], first: &str) -> Option<Line<'a>> {
    let before = rows.iter().find(|other| other.subject == first && other.name() == row.name())?;
    let sample = samples.iter().find(|sample| sample.case.name == row.case)?;
    let index = sample.case.load.figures().iter().position(|figure| *figure == row.figure)?;
    let (of, to) = if row.figure.more { (&*row.subject, first) } else { (first, &*row.subject) };
    Some(Line { row, first: before.value, share: row::ratio(samples, row.case, index, of, to)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::CASES;

    /// Throughput and CPU time of two builds over three rounds of one case.
    fn samples(new: [f64; 2]) -> Vec<Sample> {
        let case = *CASES.iter().find(|case| case.name == "bulk1").unwrap();
        let sample = |subject: &str, round, values: [f64; 2]| {
            let (subject, values) = (subject.to_owned(), values.to_vec());
            Sample { case, subject, baseline: "direct", round, values }
        };
        (0..3).flat_map(|round| [sample("old", round, [10.0, 2.0]), sample("new", round, new)]).collect()
    }

    fn text(new: [f64; 2]) -> String {
        let samples = samples(new);
        write(&row::rows(&samples), &samples, &["old", "new"])
    }

    #[test]
    fn more_throughput_and_less_cpu_time_are_better() {
        for (new, verdict) in [
            ([10.0, 2.0], "no row of new is worse than 0.97 of old, of 2 rows"),
            ([9.8, 2.05], "no row of new is worse than 0.97 of old, of 2 rows"),
            ([20.0, 1.0], "no row of new is worse than 0.97 of old, of 2 rows"),
            ([9.6, 2.0], "1 of 2 rows of new are worse than 0.97 of old"),
            ([10.0, 2.1], "1 of 2 rows of new are worse than 0.97 of old"),
            ([9.0, 3.0], "2 of 2 rows of new are worse than 0.97 of old"),
        ] {
            let text = text(new);
            assert_eq!(text.lines().last(), Some(verdict), "{text}");
        }
    }

    #[test]
    fn each_row_shows_both_builds() {
        let text = text([5.0, 4.0]);
        let rows: Vec<Vec<&str>> =
            text.lines().skip(1).take(2).map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
        assert_eq!(rows[0], ["bulk1,", "Gbit/s", "10.0", "5.00", "0.50", "[0.50..0.50]", "NO"]);
        assert_eq!(rows[1], ["bulk1-cpu,", "CPU", "s/GB", "2.00", "4.00", "0.50", "[0.50..0.50]", "NO"]);
    }

    #[test]
    fn one_build_is_beside_nobody() {
        let samples = samples([1.0, 1.0]);
        assert_eq!(write(&row::rows(&samples), &samples, &["old"]), "");
    }

    #[test]
    fn subjects_of_the_same_way_are_compared() {
        assert_eq!(first_subject("new", "old", "new").as_deref(), Some("old"));
        assert_eq!(first_subject("new-same-node", "old", "new").as_deref(), Some("old-same-node"));
        assert_eq!(first_subject("new-no-log", "old", "new").as_deref(), Some("old-no-log"));
        assert_eq!(first_subject("newer", "old", "new"), None);
        assert_eq!(first_subject("relay", "old", "new"), None);
    }
}

//! The table on standard output: a block for each case, a line for each subject, a pair of columns for each figure.

use std::fmt::Write as _;

use crate::row::{Pair, Ratio, Row};

/// All cases.
pub(super) fn write(rows: &[Row], pairs: &[Pair]) -> String {
    let mut text = String::new();
    for (index, first) in rows.iter().enumerate() {
        if rows[..index].iter().all(|row| row.case != first.case) {
            let of_case: Vec<&Row> = rows.iter().filter(|row| row.case == first.case).collect();
            let of_pairs: Vec<&Pair> = pairs.iter().filter(|pair| pair.case == first.case).collect();
            text += &block(&of_case, &of_pairs);
        }
    }
    text
}

fn block(rows: &[&Row], pairs: &[&Pair]) -> String {
    let mut text = format!("\n{}: {}\n{:<22}", rows[0].case, rows[0].about, "");
    for row in rows.iter().filter(|row| row.subject == rows[0].subject) {
        let heading = format!("{} {}", row.figure.suffix, row.figure.unit);
        let _ = write!(text, " {:>14}  {:<21}", heading.trim(), "of no mesh [min..max]");
    }
    let mut subjects: Vec<&str> = rows.iter().map(|row| row.subject.as_str()).collect();
    subjects.dedup();
    for subject in subjects {
        let _ = write!(text, "\n  {subject:<20}");
        for row in rows.iter().filter(|row| row.subject == subject) {
            let ratio = row.ratio.map(|ratio| shown(&ratio)).unwrap_or_default();
            let _ = write!(text, " {:>14}  {ratio:<21}", figures(row.value));
        }
    }
    let mut both: Vec<String> = pairs.iter().map(|pair| pair.shown()).collect();
    both.dedup();
    for names in both {
        let _ = write!(text, "\n  {names:<20}");
        for pair in pairs.iter().filter(|pair| pair.shown() == names) {
            let _ = write!(text, " {:>14}  {:<21}", "", shown(&pair.ratio));
        }
    }
    text.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// A ratio with its spread.
pub(super) fn shown(ratio: &Ratio) -> String {
    format!("{} [{}..{}]", figures(ratio.median), figures(ratio.min), figures(ratio.max))
}

/// A number to three figures, and none of a whole number lost.
pub(super) fn figures(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

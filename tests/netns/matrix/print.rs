//! The matrix as text: ways down, policies across.

use super::columns::COLUMNS;
use super::ways::{Expected, Outcome, WAYS, Way};

/// All cells and the legend; `seen` has a list for each policy, with one outcome for each way.
pub(super) fn table(seen: &[Vec<Outcome>]) -> String {
    let head = [String::new()].into_iter().chain(COLUMNS.iter().map(|column| column.name.to_owned()));
    let rows = WAYS.iter().enumerate().map(|(row, way)| {
        let cells = seen.iter().enumerate().map(|(column, outcomes)| cell(way.expected[column], &outcomes[row]));
        [way.name.to_owned()].into_iter().chain(cells).collect::<Vec<_>>()
    });
    let mut text = aligned(&[head.collect()].into_iter().chain(rows).collect::<Vec<_>>());
    for column in &COLUMNS {
        text.push_str(&format!("{:>12}: {}\n", column.name, column.meaning));
    }
    text + "        past: served, whatever policy says, as docs/capture.md states and `weir status` tells\n"
}

/// A line for each cell that is not as expected, with the reason of the expectation.
pub(super) fn differences(seen: &[Vec<Outcome>]) -> Vec<String> {
    let cells = seen.iter().zip(&COLUMNS).enumerate().flat_map(|(number, (outcomes, column))| {
        outcomes.iter().zip(WAYS).map(move |(outcome, way)| (way, column.name, way.expected[number], outcome))
    });
    let differs = |(way, column, expected, outcome): (&Way, &str, Expected, &Outcome)| {
        let reason = if way.why.is_empty() { String::new() } else { format!(" ({})", way.why) };
        (!outcome.is(expected)).then(|| format!("{} under {column}: {}{reason}", way.name, cell(expected, outcome)))
    };
    cells.filter_map(differs).collect()
}

fn cell(expected: Expected, outcome: &Outcome) -> String {
    let wanted = match expected {
        Expected::Served => "served",
        Expected::Refused => "refused",
        Expected::Past => "past",
    };
    if outcome.is(expected) {
        return wanted.to_owned();
    }
    match outcome {
        Outcome::Served => format!("expected {wanted}, SEEN served"),
        Outcome::Refused => format!("expected {wanted}, SEEN refused"),
        Outcome::Neither(seen) => format!("expected {wanted}, SEEN {seen}"),
    }
}

fn aligned(rows: &[Vec<String>]) -> String {
    let mut widths = vec![0; COLUMNS.len() + 1];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.len().max(*width);
        }
    }
    let line = |row: &Vec<String>| {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}", width = *width)).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

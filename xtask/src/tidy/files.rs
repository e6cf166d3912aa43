//! Rules for every Rust file: its first lines, its size, its name, what must not be in it; and how large the agent's files
//! are as a whole.

use std::path::Path;

use super::rules::Rules;

/// A file longer than this before its tests is two files.
const LINES: usize = 400;
/// A file longer than this in all keeps its tests beside it.
const LINES_WITH_TESTS: usize = 600;
/// Half of the agent's files are at most so long.
const MEDIAN_LINES: usize = 150;
/// Files shorter than this make a reader jump; of the agent's, so many are too many.
const SHORT: usize = 40;
const TOO_MANY_SHORT: usize = 25;

/// Faults of one file, of whose lines so many are tests.
pub(super) fn faults(file: &Path, text: &str, test_lines: usize, rules: &Rules) -> Vec<String> {
    let mut faults = Vec::new();
    let mut fault = |line: usize, what: &str| faults.push(format!("{}:{line}: {what}", file.display()));
    // `tests.rs` beside what it tests, or a file of such a directory; not the package of that name.
    let is_tests = file.with_extension("").iter().skip(1).any(|part| part == "tests");
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    if rules.vague.iter().any(|vague| *vague == stem) {
        fault(1, &format!("a module named {stem} collects anything: name what it is"));
    }
    let lines = text.lines().count();
    if !is_tests && !text.starts_with("//!") {
        fault(1, "a file begins with //! and says what it is for");
    }
    if !is_tests && lines.saturating_sub(test_lines) > LINES {
        fault(LINES, &format!("{} lines before the tests, at most {LINES}", lines - test_lines));
    } else if !is_tests && lines > LINES_WITH_TESTS {
        fault(LINES_WITH_TESTS, &format!("{lines} lines in all: move the tests to a sibling tests.rs"));
    }
    for (number, line) in (1..).zip(text.lines()) {
        for (leftover, why) in rules.leftovers.iter().filter(|(leftover, _)| line.contains(*leftover)) {
            fault(number, &format!("{leftover}: {why}"));
        }
    }
    faults
}

/// How large the agent's files are, by the lines of each that are no tests; and what is wrong with it.
pub(super) fn sizes(mut lines: Vec<usize>) -> (String, Vec<String>) {
    lines.sort_unstable();
    let median = lines.get(lines.len() / 2).copied().unwrap_or_default();
    let longest = lines.last().copied().unwrap_or_default();
    let short = lines.iter().filter(|lines| **lines < SHORT).count();
    let count = lines.len();
    let figures = format!("{count} files, median {median} lines, longest {longest}, {short} below {SHORT}");
    let mut faults = Vec::new();
    if median > MEDIAN_LINES {
        faults.push(format!("agent/src: half of the files are longer than {median} lines, at most {MEDIAN_LINES}"));
    }
    if short >= TOO_MANY_SHORT {
        faults.push(format!("agent/src: {short} files are shorter than {SHORT} lines, fewer than {TOO_MANY_SHORT}"));
    }
    (figures, faults)
}

//! Rules for every Rust file of ours: its first lines, its size, its name, what must not be in it.

use super::Source;
use super::layers::code;

/// A file longer than this before its tests is two files, unless it says why not.
const LINES: usize = 400;
/// A file longer than this in all keeps its tests beside it.
const LINES_WITH_TESTS: usize = 600;
/// How a file excuses its length.
const EXCUSE: &str = "//! Over 400 lines because ";

/// Names that say nothing.
const VAGUE: &[&str] = &["utils", "util", "helpers", "helper", "types", "common", "misc"];

/// What nobody may leave in product code, and why.
const LEFTOVERS: &[(&str, &str)] = &[
    (concat!("TO", "DO"), "finish it, or write down why it is as it is"),
    (concat!("FIX", "ME"), "fix it"),
    (concat!("unimplemented", "!("), "what is not there must not look as if it were"),
    (concat!("feature = \"", "test"), "product code has no test helpers"),
    (concat!("#[ign", "ore"), "a test that does not run proves nothing"),
];

/// Faults of one file.
pub(super) fn faults(source: &Source) -> Vec<String> {
    let mut faults = Vec::new();
    if !source.text.starts_with("//!") && !source.is_tests() {
        faults.push(source.fault(1, "a file begins with //! and says what it is and must not do"));
    }
    let stem = source.path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    if VAGUE.contains(&stem) {
        faults.push(source.fault(1, format_args!("a module named {stem} collects anything: name what it is")));
    }
    faults.extend(length_fault(source));
    for (number, line) in (1..).zip(source.text.lines()) {
        let found = LEFTOVERS.iter().filter(|(leftover, _)| line.contains(leftover));
        faults.extend(found.map(|(leftover, reason)| source.fault(number, format_args!("{leftover}: {reason}"))));
    }
    for (number, line) in source.product_lines() {
        if code(line).contains("std::thread::sleep") && source.path.starts_with("tests/netns") {
            faults.push(source.fault(number, "a test waits for what it needs to see, not for a time"));
        }
    }
    faults
}

fn length_fault(source: &Source) -> Option<String> {
    let excused = source.text.lines().any(|line| line.starts_with(EXCUSE));
    let (product, all) = (source.product_lines().count(), source.text.lines().count());
    if excused || source.is_tests() {
        None
    } else if product > LINES {
        Some(source.fault(LINES, format_args!("{product} lines before the tests, at most {LINES} (or `{EXCUSE}…`)")))
    } else if all > LINES_WITH_TESTS {
        Some(source.fault(LINES_WITH_TESTS, format_args!("{all} lines in all: move the tests to a sibling tests.rs")))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(path: &str, text: &str) -> usize {
        faults(&Source { path: path.into(), text: text.to_owned() }).len()
    }

    #[test]
    fn each_rule_finds_what_it_forbids() {
        let long = "x;\n".repeat(LINES + 1);
        let long_tests = format!("//! x\n#[cfg(test)]\n{}", "x;\n".repeat(LINES_WITH_TESTS));
        for (path, text, expected) in [
            ("agent/src/a.rs", "//! What it is.\n", 0),
            ("agent/src/a.rs", "use x;\n", 1),
            ("agent/src/a/tests.rs", "use x;\n", 0),
            ("agent/src/utils.rs", "//! What it is.\n", 1),
            ("agent/src/a.rs", concat!("//! x\n// TO", "DO\n"), 1),
            ("agent/src/a.rs", concat!("//! x\nunimplemented", "!()\n"), 1),
            ("agent/src/a.rs", &format!("//! x\n{long}"), 1),
            ("agent/src/a.rs", &format!("//! x\n//! Over 400 lines because it is a table.\n{long}"), 0),
            ("agent/src/a.rs", &long_tests, 1),
            ("agent/src/a/tests.rs", &format!("//! x\n{long}"), 0),
        ] {
            assert_eq!(count(path, text), expected, "{path}: {}", &text[..text.len().min(40)]);
        }
    }
}

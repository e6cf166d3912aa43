//! Rules for every Rust file of ours: its first lines, its size, its name, what must not be in it; and how large the
//! agent's files are as a whole.

use std::path::Path;

use super::rust::{Crate, Target};

/// A file longer than this before its tests is two files.
const LINES: usize = 400;
/// A file longer than this in all keeps its tests beside it.
const LINES_WITH_TESTS: usize = 600;
/// Half of the agent's files are at most so long.
const MEDIAN_LINES: usize = 150;
/// Files shorter than this make a reader jump; of the agent's, so many are too many.
const SHORT: usize = 40;
const TOO_MANY_SHORT: usize = 25;

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

/// Functions that let time pass, and where in `tests/` they may be called: the loop that waits with a deadline, and the
/// programs that send traffic at a pace or hold it back.
const SLEEPS: &[&str] = &["std::thread::sleep", "tokio::time::sleep", "tokio::time::sleep_until"];
const MAY_SLEEP: &[&str] = &["tests/src/wait.rs", "tests/app", "tests/bench/load"];

/// A file of nothing but unit tests: `tests.rs` beside what it tests, or a file of such a directory.
fn is_tests(file: &Path) -> bool {
    file.components().skip(1).any(|part| matches!(part.as_os_str().to_str(), Some("tests.rs" | "tests")))
}

/// Faults of one file, of whose lines so many are tests.
pub(super) fn faults(file: &Path, text: &str, test_lines: usize) -> Vec<String> {
    let fault = |line: usize, what: String| format!("{}:{line}: {what}", file.display());
    let mut faults = Vec::new();
    if !text.starts_with("//!") && !is_tests(file) {
        faults.push(fault(1, "a file begins with //! and says what it is for".to_owned()));
    }
    let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    if VAGUE.contains(&stem) {
        faults.push(fault(1, format!("a module named {stem} collects anything: name what it is")));
    }
    let lines = text.lines().count();
    if !is_tests(file) && lines - test_lines.min(lines) > LINES {
        faults.push(fault(LINES, format!("{} lines before the tests, at most {LINES}", lines - test_lines)));
    } else if !is_tests(file) && lines > LINES_WITH_TESTS {
        faults.push(fault(LINES_WITH_TESTS, format!("{lines} lines in all: move the tests to a sibling tests.rs")));
    }
    for (number, line) in (1..).zip(text.lines()) {
        let found = LEFTOVERS.iter().filter(|(leftover, _)| line.contains(leftover));
        faults.extend(found.map(|(leftover, reason)| fault(number, format!("{leftover}: {reason}"))));
    }
    faults
}

/// Tests that wait for a time and not for what they need to see.
pub(super) fn sleep_faults(krate: &Crate) -> Vec<String> {
    let mut faults = Vec::new();
    for (index, module) in krate.modules.iter().enumerate() {
        let file = &module.file;
        if !file.starts_with("tests") || MAY_SLEEP.iter().any(|place| file.starts_with(place)) {
            continue;
        }
        for (target, line) in krate.named(index) {
            if matches!(target, Target::Foreign(_)) && SLEEPS.contains(&krate.path_of(&target).as_str()) {
                faults
                    .push(format!("{}:{line}: a test waits for what it needs to see, not for a time", file.display()));
            }
        }
    }
    faults.dedup();
    faults
}

/// How large the agent's files are, by the lines of each that are no tests; and what is wrong with it.
pub(super) fn sizes(files: &[(&Path, usize)]) -> (String, Vec<String>) {
    let mut lines: Vec<usize> = files.iter().map(|(_, lines)| *lines).collect();
    lines.sort_unstable();
    let median = lines.get(lines.len() / 2).copied().unwrap_or_default();
    let longest = lines.last().copied().unwrap_or_default();
    let short = lines.iter().filter(|lines| **lines < SHORT).count();
    let figures = format!(
        "{} files, median {median} lines, longest {longest}, {short} below {SHORT}, fewer than {TOO_MANY_SHORT}",
        files.len()
    );
    let mut faults = Vec::new();
    if median > MEDIAN_LINES {
        faults.push(format!("agent/src: half of the files are longer than {median} lines, at most {MEDIAN_LINES}"));
    }
    if short >= TOO_MANY_SHORT {
        faults.push(format!("agent/src: {short} files are shorter than {SHORT} lines, fewer than {TOO_MANY_SHORT}"));
    }
    (figures, faults)
}

#[cfg(test)]
mod tests {
    use super::super::tests::crate_of;
    use super::*;

    #[test]
    fn each_rule_finds_what_it_forbids() {
        let long = "x;\n".repeat(LINES + 1);
        let tests = "x;\n".repeat(LINES_WITH_TESTS);
        for (path, text, test_lines, expected) in [
            ("agent/src/a.rs", "//! What it is.\n", 0, 0),
            ("agent/src/a.rs", "use x;\n", 0, 1),
            ("agent/src/a/tests.rs", "use x;\n", 0, 0),
            ("agent/src/utils.rs", "//! What it is.\n", 0, 1),
            ("agent/src/a.rs", concat!("//! x\n// TO", "DO\n"), 0, 1),
            ("agent/src/a.rs", concat!("//! x\nunimplemented", "!()\n"), 0, 1),
            ("agent/src/a.rs", &format!("//! x\n{long}"), 0, 1),
            ("agent/src/a.rs", &format!("//! x\n{long}"), 10, 0),
            ("agent/src/a.rs", &format!("//! x\n{tests}"), LINES_WITH_TESTS, 1),
            ("agent/src/a/tests.rs", &format!("//! x\n{long}"), 0, 0),
        ] {
            let found = faults(Path::new(path), text, test_lines);
            assert_eq!(found.len(), expected, "{path}: {}: {found:?}", &text[..text.len().min(40)]);
        }
    }

    #[test]
    fn only_the_waiting_loop_sleeps() {
        for (text, expected) in [
            ("use std::thread; fn f() { thread::sleep(x) }", 1),
            ("async fn f() { tokio::select! { () = tokio::time::sleep(x) => {} } }", 1),
            ("fn f() { wait::until(x) } // thread::sleep", 0),
        ] {
            let mut krate = crate_of(&[("a.rs", text)]);
            for (folder, expected) in [("tests/netns", expected), ("tests/app", 0), ("agent/src", 0)] {
                krate.modules.iter_mut().for_each(|module| module.file = Path::new(folder).join("a.rs"));
                assert_eq!(sleep_faults(&krate).len(), expected, "{folder}: {text}");
            }
        }
    }

    #[test]
    fn the_median_and_the_short_ones_count_every_file_a_mod_rs_too() {
        let files = [("a.rs", 200), ("b.rs", 10), ("c.rs", 160), ("d.rs", 170), ("m/mod.rs", 5)];
        let (figures, faults) = sizes(&files.map(|(file, lines)| (Path::new(file), lines)));
        assert_eq!(figures, "5 files, median 160 lines, longest 200, 2 below 40, fewer than 25");
        assert_eq!(faults.len(), 1);
        assert_eq!(sizes(&[(Path::new("m/mod.rs"), 30); 25]).1.len(), 1);
        assert_eq!(sizes(&[(Path::new("m/mod.rs"), 30); 24]).1.len(), 0);
    }
}

//! What the Gateway API's conformance suite says: how its tests went, as Go's `testing` prints it, and what of its report falls
//! short of a full success.

use std::fmt;

/// How a test went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Passed,
    Failed,
    Skipped,
}

/// A test of the suite that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub verdict: Verdict,
    pub name: String,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.verdict {
            Verdict::Passed => "ok",
            Verdict::Failed => "FAILED",
            Verdict::Skipped => "SKIPPED",
        };
        write!(f, "{word:<7}  {}", self.name)
    }
}

/// The outcome of a test that a line tells of. Parts of tests have lines of their own, which are none, as the line of the one Go
/// test that has all others.
#[must_use]
pub fn outcome(line: &str) -> Option<Outcome> {
    // A control character precedes what a program may read; parts of tests are indented.
    let (verdict, rest) = line.trim_start_matches(['\u{16}', ' ']).strip_prefix("--- ")?.split_once(": ")?;
    let verdict = match verdict {
        "PASS" => Verdict::Passed,
        "FAIL" => Verdict::Failed,
        "SKIP" => Verdict::Skipped,
        _ => return None,
    };
    // The time leaves out what of a test runs in parallel.
    let (name, _) = rest.rsplit_once(" (")?;
    let (_, name) = name.split_once('/')?;
    (!name.contains('/')).then(|| Outcome { verdict, name: name.to_owned() })
}

/// True for a line about an answer that was not the one that a test wanted: it asks again then.
#[must_use]
pub fn is_another_answer(line: &str) -> bool {
    line.contains("Response expectation failed for request")
}

/// Why a report is not one of a full success: results that are another, tests that were skipped, features that were not claimed.
#[must_use]
pub fn shortcomings(report: &str) -> Vec<String> {
    let lines = || report.lines().map(|line| line.trim().trim_start_matches("- "));
    let results: Vec<&str> = lines().filter_map(|line| line.strip_prefix("result: ")).collect();
    let mut found = Vec::new();
    if results.is_empty() {
        found.push("the report has no result".to_owned());
    }
    found.extend(results.iter().filter(|&&result| result != "success").map(|result| format!("a result is {result}")));
    for list in ["skippedTests:", "failedTests:", "unsupportedFeatures:", "skippedProvisionalTests:"] {
        if lines().any(|line| line == list) {
            found.push(format!("the report has {}", list.trim_end_matches(':')));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_of_whole_tests_are_outcomes() {
        let is = |verdict, name: &str| Some(Outcome { verdict, name: name.to_owned() });
        for (line, expected) in [
            ("\u{16}    --- PASS: TestConformance/MeshBasic (1.25s)", is(Verdict::Passed, "MeshBasic")),
            ("    --- FAIL: TestConformance/MeshPorts (60.00s)", is(Verdict::Failed, "MeshPorts")),
            ("--- SKIP: TestConformance/GatewayInfrastructure (0.00s)", is(Verdict::Skipped, "GatewayInfrastructure")),
            ("\u{16}        --- PASS: TestConformance/MeshBasic/from_v1 (0.30s)", None),
            ("\u{16}--- PASS: TestConformance (200.10s)", None),
            ("=== RUN   TestConformance/MeshBasic", None),
            ("    conformance.go:74: --- PASS", None),
        ] {
            assert_eq!(outcome(line), expected, "{line}");
        }
    }

    #[test]
    fn a_report_is_whole_when_every_result_is_a_success_of_all_that_there_is() {
        let report = |core: &str, extended: &str| {
            format!(
                "kind: ConformanceReport\nprofiles:\n- core:\n    result: {core}\n  extended:\n{extended}    result: success\n"
            )
        };
        for (report, expected) in [
            (report("success", ""), &[][..]),
            (report("failure", ""), &["a result is failure"]),
            (report("success", "    skippedTests:\n    - MeshPorts\n"), &["the report has skippedTests"]),
            (report("success", "    unsupportedFeatures:\n    - X\n"), &["the report has unsupportedFeatures"]),
            (String::new(), &["the report has no result"]),
        ] {
            assert_eq!(shortcomings(&report), expected, "{report}");
        }
    }
}

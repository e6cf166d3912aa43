//! Passed, failed and skipped tests, added up from the summary lines of the programs that ran them.

/// Passed, failed and skipped tests.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) passed: u32,
    pub(crate) failed: u32,
    pub(crate) skipped: u32,
}

impl Count {
    /// Prints itself as a summary line.
    pub(crate) fn print(self) {
        println!("{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped);
    }

    /// Adds a summary line: cargo's (`test result: ok. 3 passed; 0 failed; 1 ignored; …`) or the behaviours'
    /// (`3 passed, 0 failed, 1 skipped`). Other lines count nothing.
    pub(crate) fn add(&mut self, line: &str) {
        let summary =
            line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". ")).map_or(line, |(_, rest)| rest);
        let words: Vec<&str> = summary.split([' ', ',', ';']).filter(|word| !word.is_empty()).collect();
        if let [passed, "passed", failed, "failed", skipped, "ignored" | "skipped", ..] = words[..]
            && let (Ok(passed), Ok(failed), Ok(skipped)) =
                (passed.parse::<u32>(), failed.parse::<u32>(), skipped.parse::<u32>())
        {
            self.passed += passed;
            self.failed += failed;
            self.skipped += skipped;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_summary_count_and_nothing_else() {
        let mut count = Count::default();
        for line in [
            "running 12 tests",
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.01s",
            "test result: FAILED. 4 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "ok        1.21 s  kit: 8 passed the bridge, 0 failed",
            "8 passed, 1 failed, 2 skipped",
        ] {
            count.add(line);
        }
        assert_eq!(count, Count { passed: 24, failed: 3, skipped: 3 });
    }
}

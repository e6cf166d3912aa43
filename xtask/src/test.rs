//! `cargo xtask test`: the units, then the behaviours on the real kernel, and one count over all.

use std::time::Instant;

use anyhow::{Result, ensure};

use crate::{cni_plugin, setup, step, workspace};

/// Passed, failed and skipped tests.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Count {
    passed: u32,
    failed: u32,
    skipped: u32,
}

/// Runs all tests whose name contains the filter.
pub(crate) fn run(filter: Option<&str>) -> Result<()> {
    let start = Instant::now();
    setup::everything()?;
    let mut count = Count::default();
    let mut units = workspace::cargo();
    units.args(["test", "--workspace", "--locked", "--no-fail-fast", "--", "--quiet"]).args(filter);
    let units_ran = step::watched("unit tests", &mut units, |line| count.add(line))?;

    build_for_real()?;
    // By `env`: root's cache is another, and sudo passes no variable on.
    let mut behaviours = workspace::as_root("env");
    behaviours.arg(format!("{}={}", setup::envoy::VARIABLE, setup::envoy::binary().display()));
    behaviours.arg(workspace::target().join("release/weir-netns-tests")).args(filter);
    let behaviours_ran = step::watched("behaviours on this kernel", &mut behaviours, |line| count.add(line))?;

    println!("── all tests: took {:.0} s", start.elapsed().as_secs_f64());
    println!("{} passed, {} failed, {} skipped", count.passed, count.failed, count.skipped);
    ensure!(units_ran && behaviours_ran && count.failed == 0, "not all tests passed");
    ensure!(count.passed > 0 || filter.is_some(), "no test ran");
    Ok(())
}

/// Builds what is run for real, in the release profile: Weir, its CNI plugin and the programs of the tests.
pub(crate) fn build_for_real() -> Result<()> {
    let mut build = workspace::cargo();
    build.args(["build", "--release", "--locked", "--package", "weir", "--package", "weir-tests"]);
    step::run("release build", &mut build)?;
    cni_plugin::build_beside_weir().map(drop)
}

impl Count {
    /// Adds a summary line: cargo's (`test result: ok. 3 passed; 0 failed; 1 ignored; …`) or the behaviours'
    /// (`3 passed, 0 failed, 1 skipped`). Other lines count nothing.
    fn add(&mut self, line: &str) {
        let summary =
            line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". ")).map_or(line, |(_, rest)| rest);
        let mut figures = summary.split([',', ';']).map(|part| {
            let mut words = part.split_whitespace();
            (words.next().and_then(|number| number.parse::<u32>().ok()), words.next())
        });
        if let (
            Some((Some(passed), Some("passed"))),
            Some((Some(failed), Some("failed"))),
            Some((Some(skipped), Some("ignored" | "skipped"))),
        ) = (figures.next(), figures.next(), figures.next())
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

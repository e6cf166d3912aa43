//! A table of behaviours: cases are run on a fixture that they may share, printed line by line, and counted. Here they run one after
//! another; [`crate::workers`] runs them side by side.
//!
//! A case has one try: one that fails is a failure, whoever looks. A case that needs what this machine lacks is skipped,
//! loudly; where `CI` is set, a skip is a failure. What cases measured is printed below their lines, and all together at the
//! end: figures are for the reader and for the bench, no case passes or fails by a machine's speed.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, anyhow};
use serde::{Deserialize, Serialize};

use crate::run;

/// A behaviour and how it is checked.
#[derive(Debug, Clone, Copy)]
pub struct Case<C> {
    pub name: &'static str,
    pub check: C,
}

/// What checks happen on: makes what a check needs, and keeps what others can share.
pub trait Fixture {
    /// What a check needs, and the check.
    type Check: Copy;

    /// Runs a check.
    ///
    /// # Errors
    /// What the check found, or why what it needs could not be made.
    fn check(&mut self, check: Self::Check) -> Result<()>;

    /// A case failed and nothing is known of what is shared: the next gets a new one.
    fn abandon(&mut self);
}

/// This machine lacks something: the case cannot be checked here.
#[derive(Debug)]
pub struct Skip(pub String);

impl std::fmt::Display for Skip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cannot be checked here: {}", self.0)
    }
}

impl std::error::Error for Skip {}

/// What is shown of a line of a failure; the logs that are kept have all of it.
const LINE: usize = 600;

thread_local! {
    static NOTES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Prints a measured figure below the line of the running case, and among all figures at the end.
pub fn note(text: impl Into<String>) {
    NOTES.with_borrow_mut(|notes| notes.push(text.into()));
}

/// How a case went.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Ran {
    pub(crate) outcome: Outcome,
    pub(crate) seconds: f64,
    /// What it measured.
    pub(crate) notes: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Outcome {
    Passed,
    /// With what is missing.
    Skipped(String),
    /// With what was found.
    Failed(String),
}

/// How the cases went so far.
#[derive(Debug)]
pub struct Table {
    passed: u32,
    failed: u32,
    skipped: u32,
    /// A skip is a failure.
    strict: bool,
    /// What cases measured, each with the case's name.
    figures: Vec<(String, String)>,
}

impl Table {
    /// Begins a table, once what killed runs left is gone. To be called before any thread starts.
    ///
    /// # Errors
    /// If signals cannot be taken care of, or something of a killed run will not go.
    pub fn begin() -> Result<Self> {
        run::take_down_on_signal()?;
        let gone = run::take_down_leftovers()?;
        if !gone.is_empty() {
            println!("took down what killed runs left: {}", gone.join(" "));
        }
        Ok(Self::empty(is_strict()))
    }

    fn empty(strict: bool) -> Self {
        Self { passed: 0, failed: 0, skipped: 0, strict, figures: Vec::new() }
    }

    /// Runs cases on a fixture, one after another. `prefix` goes before their names; `missing` is what all of them need and this
    /// machine lacks, if anything.
    pub fn run<F: Fixture>(&mut self, prefix: &str, cases: &[Case<F::Check>], mut fixture: F, missing: Option<&str>) {
        for case in cases {
            let ran = run_one(case, &mut fixture, missing, self.strict);
            self.add(&format!("{prefix}{}", case.name), ran);
        }
    }

    /// Counts and prints how a case went.
    pub(crate) fn add(&mut self, name: &str, Ran { outcome, seconds, notes }: Ran) {
        match outcome {
            Outcome::Passed => {
                self.passed += 1;
                println!("ok      {seconds:6.2} s  {name}");
            }
            Outcome::Skipped(missing) => {
                self.skipped += 1;
                println!("SKIPPED {seconds:6.2} s  {name}: {missing}");
            }
            Outcome::Failed(found) => {
                self.failed += 1;
                println!("FAILED  {seconds:6.2} s  {name}\n{}", indented(&found));
            }
        }
        for note in notes {
            println!("                  {note}");
            self.figures.push((name.to_owned(), note));
        }
    }

    /// Prints what was measured and the counts; the exit code says whether nothing failed.
    #[must_use]
    pub fn finish(self) -> ExitCode {
        if !self.figures.is_empty() {
            println!("figures");
            self.figures.iter().for_each(|(name, figure)| println!("  {name}: {figure}"));
        }
        println!("{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped);
        if self.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// True where what cannot be checked is red: where `CI` is set.
pub(crate) fn is_strict() -> bool {
    std::env::var("CI").is_ok_and(|value| !value.is_empty() && value != "false")
}

/// Runs a case; the fixture is given up if it fails.
pub(crate) fn run_one<F: Fixture>(case: &Case<F::Check>, fixture: &mut F, missing: Option<&str>, strict: bool) -> Ran {
    let start = Instant::now();
    let outcome = match attempt(case, fixture, missing) {
        Ok(()) => Outcome::Passed,
        Err(error) if error.is::<Skip>() && !strict => Outcome::Skipped(format!("{error:#}")),
        Err(error) => {
            fixture.abandon();
            Outcome::Failed(format!("{error:#}"))
        }
    };
    Ran { outcome, seconds: start.elapsed().as_secs_f64(), notes: NOTES.take() }
}

fn attempt<F: Fixture>(case: &Case<F::Check>, fixture: &mut F, missing: Option<&str>) -> Result<()> {
    match missing {
        Some(feature) => Err(Skip(feature.to_owned()).into()),
        None => catch_unwind(AssertUnwindSafe(|| fixture.check(case.check)))
            .unwrap_or_else(|panic| Err(anyhow!("panicked: {}", message(&*panic)))),
    }
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}

fn indented(text: &str) -> String {
    let cut = |line: &str| line.chars().take(LINE).collect::<String>();
    text.lines().map(|line| format!("        {}", cut(line))).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts how often it was used, and how often it was given up.
    #[derive(Debug, Default)]
    struct Counted {
        checks: u32,
        abandoned: u32,
    }

    impl Fixture for &mut Counted {
        /// Given how many checks were before it.
        type Check = fn(u32) -> Result<()>;

        fn check(&mut self, check: Self::Check) -> Result<()> {
            self.checks += 1;
            check(self.checks - 1)
        }

        fn abandon(&mut self) {
            self.abandoned += 1;
        }
    }

    type Check = fn(u32) -> Result<()>;

    fn case(check: Check) -> Case<Check> {
        Case { name: "kind: a case", check }
    }

    /// What a table says of cases: passed, failed, skipped; then how often they were tried, and their fixture given up; and the exit
    /// code.
    fn told(strict: bool, missing: Option<&str>, cases: &[Case<Check>]) -> ([u32; 3], [u32; 2], String) {
        let (mut table, mut fixture) = (Table::empty(strict), Counted::default());
        table.run("", cases, &mut fixture, missing);
        let counts = [table.passed, table.failed, table.skipped];
        (counts, [fixture.checks, fixture.abandoned], format!("{:?}", table.finish()))
    }

    fn code(code: ExitCode) -> String {
        format!("{code:?}")
    }

    #[test]
    fn a_case_that_fails_once_is_red_though_it_would_pass_a_second_try() {
        fn fails_at_first(before: u32) -> Result<()> {
            if before == 0 { Err(anyhow!("at first")) } else { Ok(()) }
        }
        fn panics_at_first(before: u32) -> Result<()> {
            assert!(before > 0, "at first");
            Ok(())
        }
        for check in [fails_at_first, panics_at_first] {
            assert_eq!(told(false, None, &[case(check)]), ([0, 1, 0], [1, 1], code(ExitCode::FAILURE)));
            // Nor does a good case after it make up for it; that one gets a fixture of which nothing bad is known.
            assert_eq!(told(false, None, &[case(check); 2]), ([1, 1, 0], [2, 1], code(ExitCode::FAILURE)));
        }
        assert_eq!(told(false, None, &[case(|_| Ok(())); 2]), ([2, 0, 0], [2, 0], code(ExitCode::SUCCESS)));
    }

    #[test]
    fn what_cannot_be_checked_here_is_red_where_all_must_be() {
        let skips: fn(u32) -> Result<()> = |_| Err(Skip("nothing here".to_owned()).into());
        for (missing, check, tries) in [(None, skips, 1), (Some("a kernel"), (|_| Ok(())) as fn(u32) -> _, 0)] {
            assert_eq!(told(false, missing, &[case(check)]), ([0, 0, 1], [tries, 0], code(ExitCode::SUCCESS)));
            assert_eq!(told(true, missing, &[case(check)]), ([0, 1, 0], [tries, 1], code(ExitCode::FAILURE)));
        }
    }
}

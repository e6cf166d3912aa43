//! Interleaved rounds: each round of a case measures every subject once, in an order that moves on by one from round to
//! round. What the machine does to all of them for a while so falls on all of them, and ratios are of one round.

use std::time::Instant;

use anyhow::Result;

use crate::case::Case;
use crate::load::Load;
use crate::memory;
use crate::subject::{DIRECT, Proxies, Subject};

/// What one subject did in one round of a case; values are in the order of the load's figures.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) case: Case,
    pub(crate) subject: String,
    pub(crate) baseline: &'static str,
    pub(crate) round: u32,
    pub(crate) values: Vec<f64>,
}

/// How long and how often.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) rounds: u32,
    pub(crate) seconds: u32,
    /// No round but a case's first begins after this.
    pub(crate) until: Option<Instant>,
}

/// All that was seen; in words, what failed and what this machine cannot measure.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) samples: Vec<Sample>,
    pub(crate) failures: Vec<String>,
    pub(crate) notes: Vec<String>,
}

impl Outcome {
    /// Reads memory, once for each case: subjects must be fresh, and cases go from few connections to many.
    pub(crate) fn weigh(&mut self, cases: &[Case], subjects: &[Subject]) {
        for case in cases {
            let across = subjects.iter().filter(|subject| subject.baseline == DIRECT && subject.takes(case.load.way()));
            for subject in across.filter(|subject| !matches!(subject.proxies, Proxies::None)) {
                self.measure(*case, subject, 0, 0);
            }
            eprintln!("  {}", case.name);
        }
    }

    /// Runs all rounds of all cases.
    pub(crate) fn run(&mut self, cases: &[Case], subjects: &[Subject], plan: Plan) {
        for case in cases {
            let subjects: Vec<&Subject> = subjects.iter().filter(|subject| subject.takes(case.load.way())).collect();
            let start = Instant::now();
            let mut rounds = 0;
            while rounds < plan.rounds && (rounds == 0 || plan.until.is_none_or(|until| Instant::now() < until)) {
                for index in 0..subjects.len() {
                    let subject = subjects[(index + rounds as usize) % subjects.len()];
                    self.measure(*case, subject, rounds, plan.seconds);
                }
                rounds += 1;
            }
            eprintln!("  {:<12} {rounds} rounds, {:.0} s", case.name, start.elapsed().as_secs_f64());
            if rounds < plan.rounds {
                self.notes.push(format!("{}: {} rounds, for time was up", case.name, plan.rounds - rounds));
            }
        }
    }

    /// A failure costs this sample and is told at the end: what else was measured stays worth having.
    fn measure(&mut self, case: Case, subject: &Subject, round: u32, seconds: u32) {
        match self.sample(case, subject, seconds) {
            Ok(Some(values)) => {
                let (subject, baseline) = (subject.name.clone(), subject.baseline);
                self.samples.push(Sample { case, subject, baseline, round, values });
            }
            Ok(None) => {}
            Err(error) => {
                let text = format!("{} of {}, round {round}: {error:#}", case.name, subject.name);
                eprintln!("  FAILED: {text}");
                self.failures.push(text);
            }
        }
    }

    fn sample(&mut self, case: Case, subject: &Subject, seconds: u32) -> Result<Option<Vec<f64>>> {
        if let Load::Resident(connections) = case.load
            && let Some(reason) = memory::cannot_hold(subject, connections)?
        {
            self.notes.push(format!("{} of {}: it needs {reason}", case.name, subject.name));
            return Ok(None);
        }
        case.load.measure(subject, seconds).map(Some)
    }
}

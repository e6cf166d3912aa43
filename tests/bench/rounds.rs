//! Interleaved rounds: each round of a case measures every subject once, in an order that moves on by one from round to
//! round. What the machine does to all of them for a while so falls on all of them, and ratios are of one round.

use std::time::Instant;

use crate::case::Case;
use crate::subject::Subject;

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
}

/// All that was seen, and all that failed, in words.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) samples: Vec<Sample>,
    pub(crate) failures: Vec<String>,
}

/// Runs all rounds of all cases.
pub(crate) fn run(cases: &[Case], subjects: &[Subject], plan: Plan) -> Outcome {
    let mut outcome = Outcome::default();
    for case in cases {
        let start = Instant::now();
        for round in 0..plan.rounds {
            for index in 0..subjects.len() {
                let subject = &subjects[(index + round as usize) % subjects.len()];
                outcome.measure(*case, subject, round, plan.seconds);
            }
        }
        eprintln!("  {:<12} {} rounds, {:.0} s", case.name, plan.rounds, start.elapsed().as_secs_f64());
    }
    outcome
}

impl Outcome {
    /// A failure costs this sample and is told at the end: what else was measured stays worth having.
    fn measure(&mut self, case: Case, subject: &Subject, round: u32, seconds: u32) {
        match case.load.measure(subject, seconds) {
            Ok(values) => self.samples.push(Sample {
                case,
                subject: subject.name.clone(),
                baseline: subject.baseline,
                round,
                values,
            }),
            Err(error) => {
                let text = format!("{} of {}, round {round}: {error:#}", case.name, subject.name);
                eprintln!("  FAILED: {text}");
                self.failures.push(text);
            }
        }
    }
}

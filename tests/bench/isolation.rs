//! `weir-bench isolation`: one hostile pod or peer of each kind beside a bystander. What is measured and how to read it is in
//! docs/isolation.md.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use weir_tests::{run, wait};

mod attacker;
pub(crate) mod bystander;
mod kinds;
mod stage;
mod verdict;

use bystander::{On, Request, now_us};
use kinds::{KINDS, Kind};
use stage::{Cores, Held, Stage};
use verdict::{Seen, Verdict};

use crate::processors::CpuGroup;

/// Between two looks at what agents hold.
const LOOK: Duration = Duration::from_millis(100);
/// How long a bystander asks before anything is measured.
const WARM_UP: Duration = Duration::from_secs(1);
/// How long a quiet window waits at most for what the attack before it has left: as long as a connect may take.
const BETWEEN_ROUNDS: Duration = Duration::from_secs(10);
/// How soon descriptors must be back after the last attack, and how many may come and go with a few HBONE connections.
const BACK_WITHIN: Duration = Duration::from_secs(60);
const OTHER_DESCRIPTORS: usize = 12;

/// The command line.
#[derive(Debug, clap::Args)]
pub(crate) struct Isolation {
    /// Kinds of attacks; all if none is given.
    #[arg(long = "kind", value_delimiter = ',')]
    kinds: Vec<String>,
    /// Times that a quiet window and an attack follow each other.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Seconds of a window.
    #[arg(long, default_value_t = 4)]
    seconds: u32,
}

/// What was seen in one round.
#[derive(Debug, Clone, Copy)]
struct Round {
    quiet: Window,
    attack: Window,
}

/// When a window began and ended, in microseconds since 1970, and who ran meanwhile.
#[derive(Debug, Clone, Copy)]
struct Window {
    from: u64,
    until: u64,
    cores: Cores,
}

impl Window {
    /// Lasts as long as `act` does.
    fn around(stage: &Stage, act: impl FnOnce() -> Result<()>) -> Result<Self> {
        let (from, begun, before) = (now_us(), Instant::now(), stage.spent()?);
        act()?;
        let cores = stage.spent()?.since(before, begun.elapsed().as_secs_f64());
        Ok(Self { from, until: now_us(), cores })
    }
}

/// Runs all kinds that were asked for and prints the table.
pub(crate) fn run(isolation: &Isolation) -> Result<ExitCode> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "namespaces and kernel programs need root: run `cargo xtask bench isolation`"
    );
    run::take_down_on_signal()?;
    let cpu_group = CpuGroup::join()?;
    for name in &isolation.kinds {
        let known = || KINDS.iter().map(|kind| kind.name).collect::<Vec<_>>().join(", ");
        ensure!(KINDS.iter().any(|kind| kind.name == name), "no attack is called {name:?}; there are {}", known());
    }
    let chosen = |kind: &&Kind| isolation.kinds.is_empty() || isolation.kinds.iter().any(|name| name == kind.name);
    let mut verdict = Verdict::default();
    let kinds: Vec<&Kind> = KINDS.iter().filter(chosen).collect();
    println!("{}\n", CpuGroup::told(cpu_group.as_ref()));
    println!("{}", verdict::heading(&kinds, isolation.rounds, isolation.seconds));
    for kind in kinds {
        let seen = measure(kind, isolation);
        println!("{}", verdict.line(kind, &seen));
    }
    print!("{}", verdict.end());
    Ok(if verdict.failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Measures one kind on a mesh of its own: no agent has anything left of another attack.
fn measure(kind: &Kind, isolation: &Isolation) -> Result<Seen> {
    let stage = Stage::set_up(kind.flags)?;
    let _prepared = (kind.prepare)(&stage).context("preparing the attack")?;
    let mut bystander = kind.bystander.load(&stage)?;
    wait::between_measurements(WARM_UP);
    let window = Duration::from_secs(u64::from(isolation.seconds));
    let before = stage.held()?;
    let mut watched = Watched { before, grown_bytes: 0, most_descriptors: 0, back: None };
    let mut rounds = Vec::new();
    for round in 1..=isolation.rounds {
        let quiet = Window::around(&stage, || {
            wait::between_measurements(window);
            Ok(())
        })?;
        let mut attackers = (kind.begin)(&stage).with_context(|| stage.mesh.logs())?;
        watched.look(&stage)?;
        let attack = Window::around(&stage, || {
            let height = Instant::now();
            while height.elapsed() < window {
                watched.look(&stage)?;
                wait::between_measurements(LOOK.min(window.saturating_sub(height.elapsed())));
            }
            Ok(())
        })?;
        rounds.push(Round { quiet, attack });
        attackers.iter_mut().try_for_each(attacker::Attacker::goes_on)?;
        bystander.goes_on()?;
        drop(attackers);
        let within = if round < isolation.rounds { BETWEEN_ROUNDS } else { BACK_WITHIN };
        watched.back = watched.descriptors_are_back(&stage, within)?;
    }
    Ok(watched.seen(&rounds, &bystander.end()?))
}

/// What agents held before, and the most they have held since.
struct Watched {
    before: Vec<Held>,
    grown_bytes: u64,
    most_descriptors: usize,
    back: Option<Duration>,
}

impl Watched {
    /// Descriptors of the agent that has most more than before.
    fn look(&mut self, stage: &Stage) -> Result<usize> {
        let mut more = 0;
        for (now, before) in stage.held()?.iter().zip(&self.before) {
            self.grown_bytes = self.grown_bytes.max(now.bytes.saturating_sub(before.bytes));
            more = more.max(now.descriptors.saturating_sub(before.descriptors));
        }
        self.most_descriptors = self.most_descriptors.max(more);
        Ok(more)
    }

    /// How long it took until there were as few descriptors as before, if they are in time.
    fn descriptors_are_back(&mut self, stage: &Stage, within: Duration) -> Result<Option<Duration>> {
        let end = Instant::now();
        while self.look(stage)? > OTHER_DESCRIPTORS {
            if end.elapsed() > within {
                return Ok(None);
            }
            wait::between_measurements(LOOK);
        }
        Ok(Some(end.elapsed()))
    }

    fn seen(self, rounds: &[Round], requests: &[Request]) -> Seen {
        let p99 = |on: On, Window { from, until, .. }: Window| {
            let within = requests.iter().filter(|request| request.on == on && (from..until).contains(&request.due_us));
            let mut latencies: Vec<f64> = within.filter_map(|request| request.outcome.as_ref().ok().copied()).collect();
            latencies.sort_unstable_by(f64::total_cmp);
            latencies.get(latencies.len() * 99 / 100).or(latencies.last()).copied().unwrap_or(f64::NAN)
        };
        let of = |on| rounds.iter().map(|round| (p99(on, round.quiet), p99(on, round.attack))).collect();
        let failed = requests.iter().filter_map(|request| request.outcome.as_ref().err().cloned());
        Seen {
            kept_p99: of(On::Kept),
            new_p99: of(On::New),
            cores: rounds.iter().map(|round| (round.quiet.cores, round.attack.cores)).collect(),
            requests: requests.len(),
            failed: failed.collect(),
            grown_bytes: self.grown_bytes,
            most_descriptors: self.most_descriptors,
            back: self.back,
        }
    }
}

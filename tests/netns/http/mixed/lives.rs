//! Agents that are replaced by successors and whose workers are killed, in turn.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weir_tests::agent::Agent;
use weir_tests::load::{Kill, Moment, moment, moment_of};
use weir_tests::wait;
use weir_tests::world::{N1, N2};

use super::stage::{DRAIN, Stage};

/// How long a replaced agent may take to end once its drain is over.
const ENDS_WITHIN: Duration = Duration::from_secs(15);

#[derive(Debug, Clone, Copy)]
enum Event {
    Upgrade,
    Kill,
}

/// What happens to the agents, in turn.
const EVENTS: [(Event, usize); 4] = [(Event::Upgrade, N2), (Event::Kill, N1), (Event::Upgrade, N1), (Event::Kill, N2)];

/// What has happened to them.
#[derive(Debug, Default)]
pub(super) struct Lives {
    pub(super) kills: Vec<Kill>,
    pub(super) upgrades: usize,
    /// When the drain of each replaced agent was over.
    pub(super) drained: Vec<Moment>,
    /// Replaced agents that may still drain, and when that is over.
    draining: Vec<(Agent, Moment)>,
    next: usize,
}

impl Lives {
    /// Has the next thing happen.
    pub(super) fn step(&mut self, stage: &mut Stage<'_>) -> Result<()> {
        let (event, node) = EVENTS[self.next % EVENTS.len()];
        self.next += 1;
        let over = moment();
        self.end(|drained| drained <= over)?;
        let agent = &mut stage.mesh.agents[node];
        match event {
            Event::Upgrade => {
                let (old, serves) = agent.replace()?;
                let drained = moment_of(serves) + u64::try_from(DRAIN.as_millis())?;
                self.drained.push(drained);
                self.draining.push((old, drained));
                self.upgrades += 1;
            }
            Event::Kill => {
                let killed = agent.id()?;
                let before = moment();
                agent.kill_worker()?;
                self.kills.push(Kill { before, after: moment() });
                wait::until("another worker serves", Duration::from_secs(20), || {
                    ensure!(agent.id()? != killed, "the same");
                    agent.metrics().map(drop)
                })
                .with_context(|| agent.tail())?;
            }
        }
        Ok(())
    }

    /// Waits until every replaced agent has ended.
    pub(super) fn drain(&mut self) -> Result<()> {
        self.end(|_| true)
    }

    fn end(&mut self, is_due: impl Fn(Moment) -> bool) -> Result<()> {
        for (mut agent, _) in self.draining.extract_if(.., |(_, drained)| is_due(*drained)) {
            let ended = agent.finish(DRAIN + ENDS_WITHIN)?;
            ensure!(ended.success, "a replaced agent ends when its drain is over: {}", ended.summary());
        }
        Ok(())
    }
}

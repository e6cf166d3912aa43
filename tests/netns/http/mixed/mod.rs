//! Every kind of request at once, for a while or an hour, as routes, policies and endpoints change and agents are replaced and killed.
//! Each byte is compared. No answer may come by a route or a policy that was not in force at some time of its request; nothing may be lost
//! but what was under way at a kill, and what outlives a drain; and in the end the agents hold what they held before.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use weir_tests::http_mesh::HttpMesh;

use crate::harness::{Case, Check, note};
use crate::holdings::{as_before, settled};

mod changes;
mod endpoint;
mod judge;
mod lives;
mod load;
mod stage;

use changes::Changes;
use endpoint::Endpoint;
use judge::Figures;
use lives::Lives;
use load::Load;
use stage::Stage;

pub(crate) const CASES: &[Case] = &[Case {
    name: "http: mixed requests as routes, policies and endpoints change and agents are upgraded and killed: every byte, route and denial is right",
    check: Check::OwnHttp(|mesh| mixed(mesh, &SHORT)),
}];

/// Forms that take minutes; each says how many.
pub(crate) const LONG: &[Case] = &[Case {
    name: "http: mixed requests as routes, policies and endpoints change and agents are upgraded and killed: every byte, route and denial is right (long: an hour)",
    check: Check::OwnHttp(|mesh| mixed(mesh, &HOUR)),
}];

/// How long each part takes: one with upgrades and kills, and one without, in which the same processes must get by with what they have.
struct Form {
    busy: Duration,
    calm: Duration,
    /// What is held is counted between the two, too, and agents write no access log: there would be gigabytes of it.
    is_long: bool,
}

const SHORT: Form = Form { busy: Duration::from_secs(30), calm: Duration::from_secs(10), is_long: false };
const HOUR: Form = Form { busy: Duration::from_secs(2300), calm: Duration::from_secs(1100), is_long: true };
/// The agents' log in the long form.
const NO_ACCESS_LOG: &str = "--log=info,kube_client=off,hickory=off,access=off";

/// What resident memory may grow by: the allocator keeps freed pages, and endpoints that were there have left counters.
const MEMORY_MIB: f64 = 24.0;
/// How long what is gone may linger: connections without requests are kept for a minute, and what they go over for a little longer.
const SETTLES: Duration = Duration::from_secs(100);
/// How long requests go on between two rounds of changes.
const BETWEEN_CHANGES: Duration = Duration::from_millis(700);
/// One in so many rounds has an upgrade or a kill.
const ROUNDS_PER_LIFE: usize = 4;

fn mixed(mesh: &mut HttpMesh, form: &Form) -> Result<()> {
    let log = form.is_long.then(|| NO_ACCESS_LOG.to_owned());
    let mut stage = Stage::set_up(mesh, log)?;
    let mut course = Course::default();
    course.endpoint.visit(&stage)?;
    let mut held = vec![settled(&stage.mesh.agents, SETTLES)?];
    course.part(&mut stage, form.busy, true)?;
    if form.is_long {
        held.push(as_before(&stage.mesh.agents, &held[0], MEMORY_MIB, SETTLES)?);
    }
    let counted = Requests::counted(&stage)?;
    let calm = course.part(&mut stage, form.calm, false)?;
    Requests::counted(&stage)?.have_grown(&counted, &calm)?;
    held.push(as_before(&stage.mesh.agents, &held[0], MEMORY_MIB, SETTLES)?);
    // These processes may be younger than the first ones, and have grown by more than it seems.
    if let [.., before, after] = &held[..] {
        let grown: Vec<f64> =
            before.iter().zip(after).map(|(before, after)| after.resident_mib - before.resident_mib).collect();
        ensure!(
            grown.iter().all(|mib| *mib < MEMORY_MIB),
            "without upgrades and kills, agents have grown by {grown:.1?} MiB"
        );
    }
    let mib = held
        .iter()
        .map(|agents| agents.iter().map(|held| format!("{:.0}", held.resident_mib)).collect::<Vec<_>>().join("+"));
    note(format!("{}; the agents held {} MiB", course.summary(), mib.collect::<Vec<_>>().join(", then ")));
    ensure!(!course.lives.kills.is_empty() && course.lives.upgrades > 0, "nobody was killed, or upgraded");
    Ok(())
}

/// What has happened, and what became of the requests.
#[derive(Debug, Default)]
struct Course {
    changes: Changes,
    endpoint: Endpoint,
    lives: Lives,
    figures: Figures,
}

impl Course {
    /// Requests for a time, as all of it changes, with upgrades and kills or without; what became of the requests.
    fn part(&mut self, stage: &mut Stage<'_>, lasting: Duration, has_lives: bool) -> Result<Figures> {
        self.changes.write(stage)?;
        self.changes.count(stage)?;
        let mut load = Load::start(stage)?;
        let start = Instant::now();
        for round in 1.. {
            self.changes.write(stage)?;
            self.endpoint.step(stage)?;
            if has_lives && round % ROUNDS_PER_LIFE == 0 {
                self.lives.step(stage)?;
            }
            self.changes.count(stage)?;
            load.goes_on(BETWEEN_CHANGES)?;
            if start.elapsed() >= lasting {
                break;
            }
        }
        self.endpoint.leave(stage)?;
        self.lives.drain()?;
        let figures = load.end()?.judge(&self.changes, &self.lives)?;
        self.figures.add(&figures);
        Ok(figures)
    }

    fn summary(&self) -> String {
        let Self { changes, endpoint, lives, figures } = self;
        format!(
            "{}; {} changes of the route and of the policy, {} endpoints came and went, {} upgrades, {} kills",
            figures.summary(),
            changes.versions(),
            endpoint.servers,
            lives.upgrades,
            lives.kills.len()
        )
    }
}

/// Requests that the agents have counted: that of the client's node as their source, and both as their destination.
struct Requests {
    sent: f64,
    received: f64,
}

impl Requests {
    fn counted(stage: &Stage<'_>) -> Result<Self> {
        let [near, far] = [stage.mesh.agents[0].metrics()?, stage.mesh.agents[1].metrics()?];
        let (name, destination) = ("istio_requests_total", [("reporter", "destination")]);
        Ok(Self {
            sent: near.sum(name, &[("reporter", "source")]),
            received: near.sum(name, &destination) + far.sum(name, &destination),
        })
    }

    /// At least those that were answered meanwhile have been counted.
    fn have_grown(&self, before: &Self, figures: &Figures) -> Result<()> {
        let [sent, received] = [self.sent - before.sent, self.received - before.received];
        let (answered, by_pods) = (figures.answered as f64, figures.by_pods as f64);
        note(format!("without kills: {answered} answers, the source has counted {sent}, destinations {received}"));
        ensure!(sent >= answered && received >= by_pods, "{sent} sent, {received} received: {figures:?}");
        Ok(())
    }
}

//! Pods come and go all the time, each talks in its first instruction, and addresses pass from one to another: who is seen
//! is who it is, nobody's first connection fails, and nothing is left of those that are gone.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weir_tests::cluster::Cluster;
use weir_tests::table::note;
use weir_tests::wait;

use crate::harness::{Case, Check};
use crate::mesh;
use crate::pair::{IN_MESH, Pair};

mod addresses;
mod coming;
mod holdings;
mod witness;

use addresses::FewAddresses;
use coming::{Account, Coming};
use holdings::Holdings;

pub(crate) const CASES: &[Case] =
    &[Case { name: "churn: pods come and go under load for half a minute", check: Check::Mesh(shortly) }];

pub(crate) const LONG: &[Case] = &[Case {
    name: "churn: pods come and go under load for ten minutes, in 12 minutes",
    check: Check::OwnMesh(for_long),
}];

/// For how long they come and go before anything is counted: what is made once and kept is no leak.
const BEFORE: Duration = Duration::from_secs(10);
/// The load meanwhile: connections that are kept, and new ones a second. Lighter than elsewhere, since starting pods takes
/// most of what a small machine has.
const KEPT: u64 = 16;
const RATE: u64 = 50;
/// What an agent may hold in memory that it did not before: what the allocator keeps, not a pod's worth for each.
const GROWTH_MB: f64 = 4.0;
/// What load outlasts the pods by.
const AFTER: Duration = Duration::from_secs(3);

fn shortly(cluster: &mut Cluster) -> Result<()> {
    churn(cluster, Duration::from_secs(30))
}

fn for_long(cluster: &mut Cluster) -> Result<()> {
    churn(cluster, Duration::from_secs(600))
}

fn churn(cluster: &Cluster, lasting: Duration) -> Result<()> {
    let pair = Pair::create(cluster, "churn", &[IN_MESH])?;
    pair.is_meshed()?;
    let accounts = coming::accounts(&pair)?;
    let _few = cluster.nodes.iter().map(FewAddresses::of).collect::<Result<Vec<_>>>()?;
    under_load(&pair, &accounts, "before", BEFORE)?;
    let before = holdings::at_rest(cluster)?;

    let agents = mesh::agents(cluster)?;
    let agent = agents.iter().find(|agent| agent.node == pair.server.node).context("the node has an agent")?;
    let said = mesh::follow(cluster, agent)?;
    let told = under_load(&pair, &accounts, "then", lasting)?;
    #[expect(clippy::cast_precision_loss, reason = "a few thousand pods")]
    let rate = told.len() as f64 / lasting.as_secs_f64();
    note(format!("{} pods came and went, {rate:.1} a second", told.len()));
    witness::nobody_failed(&told)?;
    wait::until("the server's agent has told of all of them", Duration::from_secs(20), || {
        witness::was_seen(said.log(), &told).map(note)
    })?;
    drop(said);
    as_before(cluster, &before)
}

/// Has pods come and go while load runs, none of which may fail; what those pods told.
fn under_load(
    pair: &Pair<'_>,
    accounts: &[Account],
    round: &'static str,
    lasting: Duration,
) -> Result<Vec<coming::Told>> {
    let load = pair.begin(&pair.echo(), KEPT, RATE, (lasting + AFTER).as_secs())?;
    let mut coming = Coming::new(pair, accounts, round);
    wait::throughout("pods come and go", lasting, || coming.step())?;
    let told = coming.finish()?;
    let report = load.report(lasting + Duration::from_secs(60))?;
    ["new", "kept"].into_iter().for_each(|sort| note(report.line(sort)));
    report.none_failed("new").and_then(|()| report.none_failed("kept"))?;
    Ok(told)
}

/// Waits until the agents hold no more than before.
fn as_before(cluster: &Cluster, before: &[Holdings]) -> Result<()> {
    for (node, before) in cluster.nodes.iter().zip(before) {
        let name = node.name();
        let after = wait::until("nothing more is held than before", Duration::from_secs(60), || {
            let now = Holdings::of(cluster, node)?;
            let more = now.more_than(before);
            ensure!(more.is_empty(), "the agent of {name} holds {more:#?}");
            Ok(now)
        })?;
        note(format!("{name}: {}", after.line()));
        note(format!("{name}: {:.1} MB resident before, {:.1} after", before.resident_mb, after.resident_mb));
        ensure!(after.resident_mb <= before.resident_mb + GROWTH_MB, "the agent of {name} has grown too much");
    }
    Ok(())
}

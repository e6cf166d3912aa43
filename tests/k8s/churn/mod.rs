//! Pods come and go all the time, each talks in its first instruction, and addresses pass from one to another: who is seen
//! is who it is, nobody's first connection fails, and nothing is left of those that are gone.

use std::time::Duration;

use anyhow::{Result, ensure};
use weir_tests::cluster::Cluster;
use weir_tests::program::Program;
use weir_tests::table::note;
use weir_tests::wait;

use crate::harness::{Case, Check};
use crate::mesh;
use crate::pair::{ECHO, IN_MESH, Load, Pair};

mod agent_resources;
mod bare_pods;
mod few_addresses;
mod identities_seen;
mod kubelet_pods;

use agent_resources::Holdings;
use bare_pods::Bare;
use few_addresses::FewAddresses;
use kubelet_pods::{Account, Coming, FirstDial};

pub(crate) const LONG: &[Case] =
    &[Case { name: "churn: pods come and go under load for half a minute", check: Check::Mesh(shortly) }];

pub(crate) const ALONE: &[Case] = &[
    Case { name: "churn: pods come and go under load for ten minutes, in 12 minutes", check: Check::OwnMesh(for_long) },
    Case {
        name: "churn: five pods a second come and go under load for ten minutes, in 12 minutes",
        check: Check::OwnMesh(five_a_second),
    },
];

/// For how long they come and go before anything is counted: what is made once and kept is no leak.
const BEFORE: Duration = Duration::from_secs(10);
/// The load meanwhile: connections that are kept, and new ones a second. Lighter than elsewhere, since starting pods takes
/// most of what a small machine has.
const KEPT: u64 = 16;
const RATE: u64 = 50;
/// Pods a second where no kubelet makes them, but for the last that is under way.
const FIVE: f64 = 4.9;
/// What an agent's resident memory may become a multiple of by the coming and going of pods. How much it grows is told: an
/// allocator keeps pages, so a little growth is no leak, and what is held is counted exactly besides.
const GROWTH: f64 = 1.5;
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
    let accounts = kubelet_pods::accounts(&pair)?;
    let _few = cluster.nodes.iter().map(FewAddresses::of).collect::<Result<Vec<_>>>()?;
    under_load(&pair, &accounts, "before", BEFORE)?;
    let before = agent_resources::at_rest(cluster)?;
    let said = server_agent(&pair)?;
    let dials = under_load(&pair, &accounts, "then", lasting)?;
    were_seen(&dials, &said, lasting)?;
    drop(said);
    as_before(cluster, &before)
}

/// More than kubelets make on a small machine: the client's node goes without, see [`bare_pods`].
fn five_a_second(cluster: &mut Cluster) -> Result<()> {
    let lasting = Duration::from_secs(600);
    let pair = Pair::create(cluster, "churn", &[IN_MESH])?;
    pair.is_meshed()?;
    let client = format!("{}:{ECHO}", pair.namespace.ready("client")?.address);
    let accounts = kubelet_pods::accounts(&pair)?;
    under_load(&pair, &accounts, "before", BEFORE)?;
    let before = agent_resources::at_rest(cluster)?;
    let said = server_agent(&pair)?;
    // The other way round: nobody can be told to begin anything in a pod of a node that has no kubelet.
    let load = pair.begin_from("server", &client, KEPT, RATE, (lasting + AFTER).as_secs())?;
    let mut bare = Bare::begin(&pair, &accounts)?;
    wait::throughout("pods come and go", lasting, || bare.step())?;
    let (dials, _kubelet) = bare.end()?;
    nothing_failed(load, lasting)?;
    were_seen(&dials, &said, lasting)?;
    drop(said);
    let rate = pods_a_second(&dials, lasting);
    ensure!(rate >= FIVE, "only {rate:.1} pods came a second");
    as_before(cluster, &before)
}

/// What the agent of the server's node says from now on.
fn server_agent(pair: &Pair<'_>) -> Result<Program> {
    let agent = mesh::agent_of(pair.cluster, &pair.server.node)?;
    mesh::follow(pair.cluster, &agent)
}

/// None of their connections failed, and each was seen as who it is.
fn were_seen(dials: &[FirstDial], said: &Program, lasting: Duration) -> Result<()> {
    note(format!("{} pods came and went, {:.1} a second", dials.len(), pods_a_second(dials, lasting)));
    identities_seen::nobody_failed(dials)?;
    wait::until("the server's agent has logged all of them", Duration::from_secs(20), || {
        identities_seen::was_seen(said.log(), dials).map(note)
    })
}

#[expect(clippy::cast_precision_loss, reason = "a few thousand pods")]
fn pods_a_second(dials: &[FirstDial], lasting: Duration) -> f64 {
    dials.len() as f64 / lasting.as_secs_f64()
}

/// Has pods come and go while load runs, none of which may fail; what those pods reported.
fn under_load(pair: &Pair<'_>, accounts: &[Account], round: &'static str, lasting: Duration) -> Result<Vec<FirstDial>> {
    let load = pair.begin(&pair.echo(), KEPT, RATE, (lasting + AFTER).as_secs())?;
    let mut coming = Coming::new(pair, accounts, round);
    wait::throughout("pods come and go", lasting, || coming.step())?;
    let dials = coming.finish()?;
    nothing_failed(load, lasting)?;
    Ok(dials)
}

fn nothing_failed(load: Load, lasting: Duration) -> Result<()> {
    let report = load.report(lasting + Duration::from_secs(60))?;
    ["new", "kept"].into_iter().for_each(|sort| note(report.line(sort)));
    report.none_failed("new").and_then(|()| report.none_failed("kept"))
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
        ensure!(after.resident_mb <= before.resident_mb * GROWTH, "the agent of {name} has grown to a multiple");
    }
    Ok(())
}

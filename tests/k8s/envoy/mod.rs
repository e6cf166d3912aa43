//! The same answers as Envoy: the same objects, compiled by a real istiod for a sidecar, which a real Envoy is, and by Weir; the same
//! requests to both. What `weir_tests::answers` makes of objects and requests is sent here and compared.
//!
//! `sidecar` is the Envoy; `stage` the pods and objects, whose logs `logs` reads; `verdict` compares.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weir_tests::answers::Seen;
use weir_tests::cluster::Cluster;
use weir_tests::table::Skip;
use weir_tests::{envoy, wait};

use crate::harness::{Case, Check};

mod logs;
mod sidecar;
mod stage;
mod verdict;

use stage::{SEED, Side, Stage};

pub(crate) const CASES: &[Case] = &[
    Case { name: "envoy: the same routes and requests have the same answers", check: Check::Mesh(routes) },
    Case { name: "envoy: the same policies and requests have the same answers", check: Check::Mesh(policies) },
];

/// How many requests there are at least.
const OF_ROUTES: usize = 2000;
const OF_POLICIES: usize = 700;
/// How long objects may take to count: kubectl, what istiod waits for before it pushes, the agents, on a busy machine.
const COUNTING: Duration = Duration::from_secs(60);
/// For how long they must go on to count: longer than istiod waits for further changes before it pushes.
const SETTLING: Duration = Duration::from_secs(1);
/// Pause between two looks: each is a kubectl.
const PAUSE: Duration = Duration::from_millis(200);
/// How long all requests of a side may take.
const WITHIN: Duration = Duration::from_secs(400);

fn routes(cluster: &mut Cluster) -> Result<()> {
    has_envoy()?;
    same_answers(&Stage::of_routes(cluster)?, OF_ROUTES)
}

fn policies(cluster: &mut Cluster) -> Result<()> {
    has_envoy()?;
    same_answers(&Stage::of_policies(cluster)?, OF_POLICIES)
}

fn has_envoy() -> Result<()> {
    envoy::binary().map_err(|error| Skip(format!("{error:#}")))?;
    Ok(())
}

fn same_answers(stage: &Stage<'_>, count: usize) -> Result<()> {
    for side in &stage.sides {
        let ready = wait::until_every(PAUSE, "the objects count", COUNTING, || {
            is_ready(stage, side)?;
            wait::throughout("they go on to", SETTLING, || is_ready(stage, side))
        });
        ready.with_context(|| format!("for {}; Envoy said {}", side.name, stage.sidecar.words()))?;
    }
    let [of_envoy, of_weir] = &stage.sides;
    let (of_envoy, of_weir) = (asked(stage, of_envoy, count)?, asked(stage, of_weir, count)?);
    verdict::compare(stage, count, &of_envoy, &of_weir)
}

/// Whether all objects count for a side.
fn is_ready(stage: &Stage<'_>, side: &Side) -> Result<()> {
    for seen in answers(stage, side, &format!("ready-{}", side.name), &["--count=0", "--ready"])? {
        ensure!(stage.subject.is_ready(&seen), "{seen:?}");
    }
    Ok(())
}

/// Sends all requests of a side.
fn asked(stage: &Stage<'_>, side: &Side, count: usize) -> Result<Vec<Seen>> {
    let mut seen = answers(stage, side, side.name, &[&*format!("--count={count}")])?;
    seen.sort_by_key(|seen| seen.number);
    Ok(seen)
}

/// `mark` begins what logs and servers call the requests.
fn answers(stage: &Stage<'_>, side: &Side, mark: &str, more: &[&str]) -> Result<Vec<Seen>> {
    let mut command = vec!["weir-test-app".to_owned(), "answers".to_owned(), stage.subject.to_string()];
    command.extend([format!("--side={mark}"), format!("--seed={SEED}")]);
    command.extend(side.to.iter().map(|to| format!("--to={to}")));
    command.extend(stage.tokens.iter().map(|(name, token)| format!("--token={name}={token}")));
    command.extend(more.iter().map(|&word| word.to_owned()));
    let output = stage.namespace.kubectl.exec_output(WITHIN, &stage.namespace.name, side.client, &command)?;
    ensure!(output.success, "{}: {} {}", side.name, output.status, output.stderr);
    output.stdout.lines().map(|line| serde_json::from_str(line).context("a line tells an answer")).collect()
}

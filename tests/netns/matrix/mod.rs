//! The policy matrix: every way into a pod, under every kind of policy. What is expected of each is a table in `ways.rs`;
//! what was seen is printed as one, with each difference. `cargo xtask test policy` runs it alone.

mod columns;
mod ground;
mod print;
mod ways;

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use weir_tests::mesh::{Mesh, NAMESPACE};
use weir_tests::objects::authorization_policy;
use weir_tests::test_app::{self, ECHO, WATCH};
use weir_tests::wait;

use crate::harness::{Case, Check, note};
use columns::{COLUMNS, Column};
use ground::{Dial, Ground};
use ways::{Outcome, WAYS};

pub(crate) const CASES: &[Case] = &[Case {
    name: "policy matrix: every way into a pod is served or refused as each policy says",
    check: Check::OwnMesh(matrix),
}];

/// By when a change of the objects must be in force, on however busy a machine.
const IN_FORCE_WITHIN: Duration = Duration::from_secs(10);
/// How many connections are tried at once: what is served is watched for a moment, which costs no processor time.
const AT_ONCE: usize = 8;

fn matrix(mesh: &mut Mesh) -> Result<()> {
    let ground = Ground::prepare(mesh)?;
    let dials = WAYS.iter().map(|way| ground.dial(way.from, way.to)).collect::<Result<Vec<_>>>()?;
    let mut seen = Vec::new();
    for (number, column) in COLUMNS.iter().enumerate() {
        put_in_force(&ground, number, column).with_context(|| format!("under {}", column.name))?;
        seen.push(attempts(&dials, column)?);
    }
    println!("{}", print::table(&seen));
    let differences = print::differences(&seen);
    ensure!(differences.is_empty(), "{} cells differ:\n{}", differences.len(), differences.join("\n"));
    note(format!("{} ways under {} policies, each as expected", WAYS.len(), COLUMNS.len()));
    ground.forwarding_is_told()
}

/// Replaces the policy of the column before. A second policy comes with it, for another pod of the same agent and in the
/// same file: once that is in force, so is the column's.
fn put_in_force(ground: &Ground<'_>, number: usize, column: &Column) -> Result<()> {
    let (closed, open) = if number.is_multiple_of(2) { (ECHO, WATCH) } else { (WATCH, ECHO) };
    let rules = format!("[{{to: [{{operation: {{ports: [\"{closed}\"]}}}}]}}]");
    let witness = authorization_policy("witness", NAMESPACE, ground.witness.name(), "DENY", &rules);
    ground.mesh.control_plane.objects.put("case", &format!("{}---\n{witness}", (column.object)()))?;
    wait::until("the policy that came with it is in force", IN_FORCE_WITHIN, || {
        let ask = |port| test_app::probe(&ground.mesh.outsider.place, ground.witness.ipv4(), port, "witness");
        let (refused, served) = (ask(closed)?, ask(open)?);
        ensure!(refused.refused() && served.received == "witness", "{refused:?} {served:?}");
        Ok(())
    })
}

/// Tries every way once.
fn attempts(dials: &[Dial], column: &Column) -> Result<Vec<Outcome>> {
    let mut outcomes = Vec::new();
    for some in dials.chunks(AT_ONCE) {
        let results: Vec<Result<Outcome>> = thread::scope(|scope| {
            let attempt = |dial: &Dial| {
                let sent = format!("{} under {}", dial.address, column.name);
                dial.attempt(&sent).map(|seen| Outcome::of(&seen, &sent))
            };
            let running: Vec<_> = some.iter().map(|dial| scope.spawn(move || attempt(dial))).collect();
            running.into_iter().map(|thread| thread.join().unwrap_or_else(|_| bail!("an attempt panicked"))).collect()
        });
        for result in results {
            outcomes.push(result?);
        }
    }
    Ok(outcomes)
}

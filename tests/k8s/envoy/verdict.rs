//! Compares what both sides came to, request by request, and says what differs and is not known to. All that differs is written to a
//! log of the run, a line of JSON for each request.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use anyhow::{Result, ensure};
use serde_json::json;
use weir_tests::answers::differences::{explanation, of_subject};
use weir_tests::answers::{Ask, Aspects, Seen, aspects, mismatches};
use weir_tests::table::note;

use super::logs::witnesses;
use super::stage::{SEED, Stage};

/// How many of what is not known are shown.
const SHOWN: usize = 30;

/// What is compared, counted.
#[derive(Debug, Default)]
struct Counted {
    /// Requests with the same status from the same server.
    same: usize,
    /// Requests by the known difference, and those of each group.
    known: BTreeMap<&'static str, usize>,
    groups: BTreeMap<&'static str, usize>,
    /// By aspect.
    unknown: BTreeMap<String, usize>,
}

/// Compares all requests. A known difference that is not seen any more is a failure, too.
pub(super) fn compare(stage: &Stage<'_>, count: usize, envoy: &[Seen], weir: &[Seen]) -> Result<()> {
    let (asks, witnesses) = (Ask::generated(stage.subject, SEED, count), witnesses(stage)?);
    ensure!(envoy.len() == asks.len() && weir.len() == asks.len(), "not all of {} were asked", asks.len());
    let (mut counted, mut report) = (Counted::default(), String::new());
    let mut faults = Vec::new();
    for (ask, (envoy, weir)) in asks.iter().zip(envoy.iter().zip(weir)) {
        let [envoy, weir] = [("envoy", envoy), ("weir", weir)].map(|(side, seen)| {
            let witnessed = witnesses.get(&ask.id(side)).cloned().unwrap_or_default();
            aspects(ask, seen, &witnessed)
        });
        *counted.groups.entry(ask.group().name).or_default() += 1;
        let unknown = judge(ask, &envoy, &weir, &mut counted);
        if envoy != weir {
            let line = json!({"asked": ask.to_string(), "unknown": unknown, "envoy": envoy, "weir": weir});
            let _ = writeln!(report, "{line}");
        }
        if !unknown.is_empty() {
            faults.push(format!("{ask}{unknown}"));
        }
    }
    let file = format!("{}-answered-differently.log", stage.subject);
    fs::write(stage.cluster.run().logs().join(file), report)?;
    tell(&counted, asks.len());
    let gone = of_subject(stage.subject).map(|one| one.name).filter(|name| !counted.known.contains_key(name));
    let gone: Vec<_> = gone.collect();
    let count = faults.len();
    faults.truncate(SHOWN);
    let Counted { unknown, .. } = &counted;
    ensure!(count == 0, "{count} answers differ, in {unknown:?}:\n{}", faults.join("\n"));
    ensure!(gone.is_empty(), "no longer seen, so to be taken off the list of differences: {}", gone.join("; "));
    Ok(())
}

/// Lines for what differs of a request and is not known to.
fn judge(ask: &Ask, envoy: &Aspects, weir: &Aspects, counted: &mut Counted) -> String {
    let found = mismatches(ask, envoy, weir);
    counted.same += usize::from(found.iter().all(|mismatch| mismatch.aspect != "answer"));
    let mut unknown = String::new();
    let mut known = Vec::new();
    for mismatch in found {
        if let Some(name) = explanation(&mismatch) {
            known.push(name);
            continue;
        }
        *counted.unknown.entry(mismatch.aspect.to_owned()).or_default() += 1;
        let _ = write!(unknown, "\n  {}: Envoy {:?}, Weir {:?}", mismatch.aspect, mismatch.envoy, mismatch.weir);
    }
    known.sort_unstable();
    known.dedup();
    known.into_iter().for_each(|name| *counted.known.entry(name).or_default() += 1);
    unknown
}

fn tell(counted: &Counted, all: usize) {
    let listed = |counts: &BTreeMap<&'static str, usize>, join: &str| {
        counts.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(join)
    };
    note(format!("{all} requests to both: {}", listed(&counted.groups, ", ")));
    note(format!("{} have the same status, from the same server", counted.same));
    note(format!("known differences, by requests: {}", listed(&counted.known, "; ")));
}

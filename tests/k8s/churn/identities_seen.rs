//! Whom the server's agent saw, against who it was.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use weir_tests::table::note;

use super::kubelet_pods::FirstDial;

/// How many of those that went wrong are told of.
const SHOWN: usize = 10;

/// Whom an access log has as the source of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Source {
    identity: Option<String>,
    /// Unknown while the control plane has not told of the pod.
    workload: Option<String>,
}

/// Every pod's first connection was answered, at its first attempt.
pub(super) fn nobody_failed(dials: &[FirstDial]) -> Result<()> {
    let failed: Vec<String> =
        dials.iter().filter_map(|one| Some(format!("{}: {}", one.name, one.failure.as_ref()?))).collect();
    let mut times: Vec<f64> = dials.iter().map(|one| one.ms).collect();
    times.sort_by(f64::total_cmp);
    let (median, most) =
        (times.get(times.len() / 2).context("no pod dialled")?, times.last().context("no pod dialled")?);
    note(format!(
        "their first connections: {} failed; answered after {median:.0} ms median, {most:.0} most",
        failed.len()
    ));
    let (many, shown) = (failed.len(), first(&failed));
    ensure!(failed.is_empty(), "{many} of {} pods' first connections failed: {shown:?}", dials.len());
    Ok(())
}

/// Every pod was seen as who it is, whoever had its address before; tells how many, in a line.
///
/// # Errors
/// If one was seen as another, or has not been seen.
pub(super) fn was_seen(log: &Path, dials: &[FirstDial]) -> Result<String> {
    let seen = sources(log)?;
    let mut users: HashMap<&str, HashSet<&str>> = HashMap::new();
    let (mut unseen, mut wrong, mut unnamed) = (Vec::new(), Vec::new(), 0);
    for one in dials {
        let address = one.local.rsplit_once(':').map(|(address, _)| address).unwrap_or_default();
        users.entry(address).or_default().insert(one.account());
        let suffix = format!("/sa/{}", one.account());
        let Some(sources) = seen.get(&one.local) else {
            unseen.push(&one.name);
            continue;
        };
        let is_it = |source: &&Source| {
            let named = source.workload.as_ref().is_none_or(|workload| *workload == one.name);
            named && source.identity.as_ref().is_some_and(|identity| identity.ends_with(&suffix))
        };
        match sources.iter().find(is_it) {
            None => wrong.push(format!("{one:?} was seen as {sources:?}")),
            Some(source) => unnamed += usize::from(source.workload.is_none()),
        }
    }
    ensure!(wrong.is_empty(), "{} of {} were seen as others: {:#?}", wrong.len(), dials.len(), first(&wrong));
    ensure!(unseen.is_empty(), "{} of {} were not seen: {:?}", unseen.len(), dials.len(), first(&unseen));
    let both = users.values().filter(|accounts| accounts.len() > 1).count();
    ensure!(both > 0, "no address passed from one service account to another");
    Ok(format!(
        "all were seen as who they are, {unnamed} of them by their identity only; {} addresses, {both} of them had by both \
         service accounts",
        users.len()
    ))
}

/// The first few of many.
fn first<T>(all: &[T]) -> &[T] {
    &all[..all.len().min(SHOWN)]
}

/// Sources of inbound connections by their address.
fn sources(log: &Path) -> Result<HashMap<String, Vec<Source>>> {
    let mut seen: HashMap<String, Vec<Source>> = HashMap::new();
    for line in BufReader::new(File::open(log)?).lines() {
        let line = line?;
        if !line.contains("direction=\"inbound\"") {
            continue;
        }
        let Some(address) = field(&line, "src.addr=") else { continue };
        let source = Source { identity: field(&line, "src.identity="), workload: field(&line, "src.workload=") };
        seen.entry(address).or_default().push(source);
    }
    Ok(seen)
}

fn field(line: &str, name: &str) -> Option<String> {
    let (_, rest) = line.split_once(name)?;
    Some(rest.split_whitespace().next()?.trim_matches('"').to_owned())
}

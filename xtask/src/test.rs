//! `cargo xtask test`: the units, then the behaviours on the real kernel, and one count over all.

use std::time::Instant;

use anyhow::{Result, ensure};
use clap::{Args, Subcommand};

use crate::count::Count;
use crate::{conformance, envoy, k8s, peers, programs, setup, step, vectors, workspace};

/// The model's tests run as part of the agent's.
const UNITS: &[&str] = &["test", "--workspace", "--exclude=weir-model", "--locked"];
/// What the name of the policy matrix begins with.
const POLICY_MATRIX: &str = "policy matrix:";

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    /// Run only tests whose name contains each of these words, in upper or lower case. `policy` alone: the policy matrix,
    /// which is every way into a pod under every kind of policy, as a table.
    filter: Vec<String>,
    /// Also run the long forms of behaviours; the name of each says how many minutes it takes.
    #[arg(long)]
    long: bool,
    #[command(subcommand)]
    on: Option<On>,
}

/// What tests run on, other than this machine's kernel alone.
#[derive(Debug, Subcommand)]
enum On {
    /// Two real Kubernetes nodes with istiod, on this machine: behaviours of what `daemonset.yaml` brings.
    K8s(k8s::Arguments),
    /// The Gateway API's own conformance suite for meshes, on the same two nodes.
    Conformance(conformance::Arguments),
}

/// Runs all tests whose name matches the filter, or those on a cluster.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    match &arguments.on {
        Some(On::K8s(arguments)) => return k8s::run(arguments),
        Some(On::Conformance(arguments)) => return conformance::run(arguments),
        None => {}
    }
    let start = Instant::now();
    setup::run()?;
    let (mut count, filter, long) = (Count::default(), &arguments.filter[..], arguments.long);
    let passed = if filter.is_empty() {
        let passed = units(&[], &mut count)?;
        behaviours(&[], long, &mut count)? && passed
    } else if filter == ["policy"] {
        behaviours(&[POLICY_MATRIX.to_owned()], long, &mut count)?
    } else {
        run_some(filter, long, &mut count)?
    };
    println!("── all tests: took {:.0} s", start.elapsed().as_secs_f64());
    count.print();
    ensure!(passed && count.failed == 0, "not all tests passed");
    ensure!(count.passed + count.skipped > 0, "no test ran");
    Ok(())
}

/// Runs those that match. Which ones do is asked first, of quick builds: what has none of them is not built for real.
fn run_some(filter: &[String], long: bool, count: &mut Count) -> Result<bool> {
    let mut list = workspace::cargo();
    list.args(["run", "--quiet", "--locked", "--package", "weir-tests", "--bin", "weir-netns-tests", "--", "--list"]);
    list.args(long.then_some("--long"));
    let behaviours_chosen = step::output(list.args(filter))?.lines().count();
    let mut list = workspace::cargo();
    list.args(UNITS).args(["--quiet", "--", "--list"]);
    let listed = step::announced("finding unit tests", || step::output(&mut list))?;
    let (chosen, words) = (matching(&listed, filter), filter.join(" "));
    println!("── {words:?} is in the names of {} unit tests and {behaviours_chosen} behaviours", chosen.len());
    ensure!(behaviours_chosen > 0 || !chosen.is_empty(), "no test has {words:?} in its name");
    let passed = chosen.is_empty() || units(&chosen, count)?;
    Ok((behaviours_chosen == 0 || behaviours(filter, long, count)?) && passed)
}

/// Names of unit tests, as libtest lists them, that contain each word.
fn matching<'l>(listed: &'l str, filter: &[String]) -> Vec<&'l str> {
    let words: Vec<String> = filter.iter().flat_map(|words| words.split_whitespace()).map(str::to_lowercase).collect();
    let names = listed.lines().filter_map(|line| line.strip_suffix(": test"));
    names.filter(|name| words.iter().all(|word| name.to_lowercase().contains(word))).collect()
}

/// Runs unit tests: those with these names, or all. Whether they passed.
fn units(names: &[&str], count: &mut Count) -> Result<bool> {
    vectors::fetch_if_possible();
    let mut units = workspace::cargo();
    units.env(vectors::VARIABLE, vectors::folder());
    units.args(UNITS).args(["--no-fail-fast", "--", "--quiet"]);
    units.args((!names.is_empty()).then_some("--exact")).args(names);
    step::watched("unit tests", &mut units, |line| count.add(line))
}

/// Builds what runs for real and runs behaviours on it. Whether they passed.
fn behaviours(filter: &[String], long: bool, count: &mut Count) -> Result<bool> {
    envoy::fetch_if_possible();
    let parts = k8s::prometheus_if_possible();
    peers::build_if_possible();
    programs::build_for_real()?;
    // By `env`: root's cache is another, and sudo passes no variable on.
    let mut behaviours = workspace::as_root("env");
    behaviours.arg(format!("{}={}", envoy::VARIABLE, envoy::binary().display()));
    behaviours.arg(format!("{}={}", k8s::PARTS, parts.display()));
    behaviours.arg(format!("{}={}", peers::VARIABLE, peers::folder().display()));
    behaviours.arg(programs::release("weir-netns-tests")).args(long.then_some("--long")).args(filter);
    step::watched("behaviours on this kernel", &mut behaviours, |line| count.add(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_test_is_found_by_any_words_of_its_name() {
        let listed = "model::resolve::tests::a_vip_leads_to_an_endpoint: test\nxds::tests::DENY_wins: test\n\n2 tests, 0 benchmarks\n";
        for (filter, expected) in [
            (&["resolve"][..], "model::resolve::tests::a_vip_leads_to_an_endpoint"),
            (&["VIP endpoint"], "model::resolve::tests::a_vip_leads_to_an_endpoint"),
            (&["deny", "xds"], "xds::tests::DENY_wins"),
            (&["deny", "vip"], ""),
            (&["benchmarks"], ""),
        ] {
            let filter: Vec<String> = filter.iter().map(|word| (*word).to_owned()).collect();
            assert_eq!(matching(listed, &filter).join(" "), expected, "{filter:?}");
        }
    }
}

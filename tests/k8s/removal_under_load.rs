//! What is deleted under load: all of Weir, and the pod of one agent.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use weir_tests::cluster::kubectl::Pod;
use weir_tests::cluster::{CLIENT_NODE, Cluster};
use weir_tests::program::Program;
use weir_tests::table::note;
use weir_tests::wait;

use crate::harness::{Case, Check};
use crate::mesh;
use crate::pair::{IN_MESH, KEPT, Load, Pair, Report, now, since, time_of};

pub(crate) const CASES: &[Case] = &[Case {
    name: "removal under load: all of Weir is deleted, pods talk plainly and nodes are clean",
    check: Check::Mesh(everything),
}];

pub(crate) const LONG: &[Case] = &[
    Case { name: "removal under load: an agent's pod is deleted", check: Check::Mesh(pod) },
    Case { name: "removal under load: an agent's pod is deleted by force", check: Check::Mesh(pod_by_force) },
];

/// The longest time without a new connection that taking Weir out may cause.
const GAP_MS: f64 = 2000.0;
/// And when pods have to talk plainly.
const PLAIN_MS: u64 = 2000;
const HOUR_MS: u64 = 3_600_000;
/// What kept connections have until they are ended, where that is waited for.
const DRAIN: Duration = Duration::from_secs(5);
const NAMESPACE: &str = "istio-system";

fn everything(cluster: &mut Cluster) -> Result<()> {
    mesh::set_drain(cluster, DRAIN)?;
    let pair = Pair::create(cluster, "deleted", &[IN_MESH])?;
    pair.is_meshed()?;
    // What agents say goes with their pods; whoever asks why something failed finds it among the logs.
    let words = mesh::agents(cluster)?.iter().map(|agent| mesh::follow(cluster, agent)).collect::<Result<Vec<_>>>()?;
    let load = pair.load(16)?;
    let (start, moment) = (Instant::now(), now());
    let deleting = mesh::delete(cluster)?;
    wait::until("nothing captures on either node", Duration::from_secs(10), || {
        let pins = |path: &str| cluster.nodes.iter().any(|node| node.room().path(path).exists());
        ensure!(!pins("/sys/fs/bpf/weir"), "programs are pinned");
        Ok(())
    })?;
    let clean = start.elapsed();
    let output = deleting.finish(Duration::from_secs(30))?;
    ensure!(output.success, "{}", output.summary());
    let report = load.report(Duration::from_secs(40))?;
    let plain = last_encrypted(&words, moment).context("no access log tells of a connection")?;
    note(format!("the last new connection over mutual TLS began {plain} ms after kubectl did"));
    note(format!("nothing captures on either node {} ms after kubectl began", clean.as_millis()));
    ["new", "kept"].into_iter().for_each(|sort| note(report.line(sort)));
    note(format!("longest time without a new connection: {:.0} ms", report.gap()));
    note(format!("kept connections that ended, of {KEPT}, at a drain of {} s: {}", DRAIN.as_secs(), report.ends()));
    ensure!(plain <= PLAIN_MS, "that took too long");
    ensure!(report.gap() <= GAP_MS, "that is too long");
    report.none_failed("new")?;
    nodes_are_clean(cluster)?;
    pair.echoes()?;
    mesh::install(cluster)
}

/// When the last connection over mutual TLS began, after a moment, in milliseconds.
fn last_encrypted(words: &[Program], moment: u64) -> Option<u64> {
    let began = |line: &str| {
        let duration = line.split_once(" duration=")?.1.split_once("ms")?.0.parse::<u64>().ok()?;
        // What was over before seems to be of the next day.
        since(moment, time_of(line)?).checked_sub(duration).filter(|ms| *ms < HOUR_MS)
    };
    let logs: Vec<String> = words.iter().map(Program::stdout).collect();
    let lines = logs.iter().flat_map(|log| log.lines());
    lines.filter(|line| line.contains("src.identity=")).filter_map(began).max()
}

fn nodes_are_clean(cluster: &Cluster) -> Result<()> {
    let look = "find /sys/fs/bpf /run/weir /var/lib/weir /opt/cni/bin/weir* -mindepth 0 2>/dev/null; \
                grep -l weir /etc/cni/net.d/* /dev/null";
    // The last two are the kernel's own, in every file system of this kind.
    let roots = ["/sys/fs/bpf", "/run/weir", "/var/lib/weir", "/sys/fs/bpf/progs.debug", "/sys/fs/bpf/maps.debug"];
    for node in &cluster.nodes {
        wait::until(&format!("{} is clean", node.name()), Duration::from_secs(20), || {
            let found = node.place().output(&["sh", "-c", look])?.stdout;
            let left: Vec<&str> = found.lines().filter(|line| !roots.contains(line)).collect();
            // Container runtimes take down with it the sandboxes that were made with it.
            ensure!(left == ["/opt/cni/bin/weir-cni"], "left over: {left:?}");
            Ok(())
        })?;
    }
    Ok(())
}

/// A DaemonSet that may surge gets another pod at once; the deleted one serves until that does.
fn pod(cluster: &mut Cluster) -> Result<()> {
    let pair = Pair::create(cluster, "pod-deleted", &[IN_MESH])?;
    pair.is_meshed()?;
    let agent = mesh::agent_of(cluster, CLIENT_NODE)?;
    let load = pair.load(12)?;
    let report = succeeded(cluster, &agent, load, &["--wait=false"])?;
    report.none_failed("new").and_then(|()| report.none_failed("kept"))?;
    cluster.kubectl.until("the former pod is gone", Duration::from_secs(30), |kubectl| {
        let left = kubectl.run(&["get", "pod", &agent.name, "--namespace", NAMESPACE, "--ignore-not-found"])?;
        ensure!(left.is_empty(), "{left}");
        Ok(())
    })?;
    pair.is_meshed()
}

/// Then the kubelet leaves it two seconds, and whoever is not served by then waits for the next.
fn pod_by_force(cluster: &mut Cluster) -> Result<()> {
    let pair = Pair::create(cluster, "pod-forced", &[IN_MESH])?;
    pair.is_meshed()?;
    let agent = mesh::agent_of(cluster, CLIENT_NODE)?;
    let load = pair.load(12)?;
    let report = succeeded(cluster, &agent, load, &["--force", "--grace-period=0"])?;
    note(format!("kept connections that ended, of {KEPT}: {}", report.ends()));
    pair.is_meshed()
}

/// Deletes an agent's pod and waits for another's; what the load saw of it.
fn succeeded(cluster: &Cluster, agent: &Pod, load: Load, how: &[&str]) -> Result<Report> {
    let start = Instant::now();
    let mut words = vec!["delete", "pod", &agent.name, "--namespace", NAMESPACE];
    words.extend(how);
    cluster.kubectl.run(&words)?;
    cluster.kubectl.until("the node has another agent", Duration::from_secs(60), |_| {
        let agents = mesh::agents(cluster)?;
        ensure!(agents.iter().all(|other| other.uid != agent.uid), "it is the same");
        Ok(())
    })?;
    note(format!("another is ready {:.1} s after kubectl began", start.elapsed().as_secs_f64()));
    let report = load.report(Duration::from_secs(40))?;
    ["new", "kept"].into_iter().for_each(|sort| note(report.line(sort)));
    note(format!("longest time without a new connection: {:.0} ms", report.gap()));
    Ok(report)
}

//! A client on one node, a server on the other, load between them, and what the load saw.

use std::slice;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use weir_tests::cluster::kubectl::Pod;
use weir_tests::cluster::pods::{Namespace, app, last_line};
use weir_tests::cluster::{CLIENT_NODE, Cluster, SERVER_NODE};
use weir_tests::program::Program;
use weir_tests::wait;

use crate::mesh;

/// Connections that are kept under load, and new ones a second.
pub(crate) const KEPT: u64 = 64;
pub(crate) const RATE: u64 = 200;
/// The echo of every server.
pub(crate) const ECHO: u16 = 7001;
/// The label that brings a namespace's pods into the mesh.
pub(crate) const IN_MESH: (&str, &str) = ("istio.io/dataplane-mode", "ambient");
/// Of a day, in milliseconds.
const DAY: u64 = 24 * 60 * 60 * 1000;

/// See the module.
#[derive(Debug)]
pub(crate) struct Pair<'a> {
    pub cluster: &'a Cluster,
    pub namespace: Namespace<'a>,
    pub server: Pod,
}

impl<'a> Pair<'a> {
    /// Makes a namespace with `client` on the first node and `server` on the second, both ready.
    pub(crate) fn create(cluster: &'a Cluster, name: &str, labels: &[(&str, &str)]) -> Result<Self> {
        let namespace = Namespace::create(&cluster.kubectl, name, labels)?;
        namespace.apply(&app("server", Some(SERVER_NODE), &["serve", "echo:7001", "peer:7002", "banner:7003"]))?;
        namespace.apply(&app("client", Some(CLIENT_NODE), &["serve", "echo:7001"]))?;
        let (server, _) = (namespace.ready("server")?, namespace.ready("client")?);
        Ok(Self { cluster, namespace, server })
    }

    /// Waits until what the client asks goes over mutual TLS.
    pub(crate) fn is_meshed(&self) -> Result<()> {
        wait::until("requests go over mutual TLS", Duration::from_secs(30), || self.goes_encrypted())
    }

    /// One request, answered, over mutual TLS.
    pub(crate) fn goes_encrypted(&self) -> Result<()> {
        let before = mesh::encrypted(self.cluster)?;
        self.echoes()?;
        ensure!(mesh::encrypted(self.cluster)? > before, "it went another way");
        Ok(())
    }

    /// One request, answered.
    pub(crate) fn echoes(&self) -> Result<()> {
        let seen = self.namespace.ask("client", &["probe", &self.echo(), "--send", "hello"])?;
        ensure!(seen["received"] == "hello", "{seen}");
        Ok(())
    }

    /// A pod on the client's node, ready, and the service account of the same name, which is its alone.
    pub(crate) fn start_as(&self, name: &str) -> Result<Pod> {
        self.namespace.apply(&json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}))?;
        let mut pod = app(name, Some(CLIENT_NODE), &["serve", "echo:7001"]);
        pod["spec"]["serviceAccountName"] = json!(name);
        self.namespace.start(&pod)
    }

    pub(crate) fn echo(&self) -> String {
        format!("{}:{ECHO}", self.server.address)
    }

    /// Starts load from the client to the server, and waits until it flows.
    pub(crate) fn load(&self, seconds: u64) -> Result<Load> {
        let load = self.begin(&self.echo(), KEPT, RATE, seconds)?;
        wait::until("load flows", Duration::from_secs(20), || {
            // A line is printed every second; the second tells of a whole one.
            ensure!(load.program.stdout().lines().count() >= 2, "{}{}", load.program.stdout(), load.program.stderr());
            Ok(())
        })?;
        Ok(load)
    }

    /// Begins load from the client to another echo, without waiting for it to flow.
    pub(crate) fn begin(&self, to: &str, kept: u64, rate: u64, seconds: u64) -> Result<Load> {
        self.begin_from("client", to, kept, rate, seconds)
    }

    /// The same from another pod.
    pub(crate) fn begin_from(&self, from: &str, to: &str, kept: u64, rate: u64, seconds: u64) -> Result<Load> {
        let (kept, rate, seconds) = (kept.to_string(), rate.to_string(), seconds.to_string());
        let command = [
            "exec",
            "--namespace",
            &self.namespace.name,
            from,
            "--",
            "weir-test-app",
            "load",
            "--to",
            to,
            "--keepalive",
            &kept,
            "--rate",
            &rate,
            "--seconds",
            &seconds,
            "--every-second",
        ];
        Ok(Load { program: self.namespace.kubectl.spawn(&command)? })
    }

    /// When, in milliseconds of the day, the first request of this namespace over mutual TLS was over, as the agents'
    /// access logs have it; of those after a moment.
    pub(crate) fn first_encrypted(&self, after: u64) -> Result<u64> {
        let within = format!("dst.namespace=\"{}\"", self.namespace.name);
        self.encrypted(&mesh::agents(self.cluster)?, &within, after)?.context("no access log tells of one")
    }

    /// The same of those to a workload, whose node's agent is named.
    pub(crate) fn first_to(&self, agent: &Pod, workload: &str, after: u64) -> Result<u64> {
        let to = format!("dst.workload=\"{workload}\" dst.namespace=\"{}\"", self.namespace.name);
        self.encrypted(slice::from_ref(agent), &to, after)?.context("the access log tells of none")
    }

    /// When, in milliseconds of the day, the last of this namespace's pods was captured.
    pub(crate) fn captured(&self, after: u64) -> Result<u64> {
        let pod = format!("pod=\"{}/", self.namespace.name);
        let times = self.log_times(&mesh::agents(self.cluster)?, &["pod is enrolled", &pod], after)?;
        times.into_iter().max().context("no log tells of it")
    }

    fn encrypted(&self, agents: &[Pod], to: &str, after: u64) -> Result<Option<u64>> {
        let times = self.log_times(agents, &["direction=\"inbound\"", "src.identity=", to], after)?;
        Ok(times.into_iter().min())
    }

    /// The times of all lines with these words in agents' logs.
    fn log_times(&self, agents: &[Pod], words: &[&str], after: u64) -> Result<Vec<u64>> {
        let mut times = Vec::new();
        for agent in agents {
            let log =
                self.cluster.kubectl.run(&["logs", "--namespace", "istio-system", &agent.name, "--tail=20000"])?;
            let lines = log.lines().filter(|line| words.iter().all(|word| line.contains(word)));
            times.extend(lines.filter_map(time_of).filter(|time| (time + DAY - after) % DAY < DAY / 2));
        }
        Ok(times)
    }
}

/// A pod on the client's node, called `outside`, that is in no mesh wherever it is made.
pub(crate) fn outsider() -> Value {
    let mut pod = app("outside", Some(CLIENT_NODE), &["serve", "echo:7001"]);
    pod["metadata"]["labels"][IN_MESH.0] = json!("none");
    pod
}

/// Load under way.
#[derive(Debug)]
pub(crate) struct Load {
    program: Program,
}

impl Load {
    /// Waits for its end; what it saw.
    pub(crate) fn report(self, within: Duration) -> Result<Report> {
        let output = self.program.finish(within).context("the load did not end")?;
        ensure!(output.success, "the load failed: {}", output.summary());
        Ok(Report(last_line(&output.stdout)?))
    }
}

/// What load saw.
#[derive(Debug)]
pub(crate) struct Report(pub Value);

impl Report {
    pub(crate) fn count(&self, sort: &str, what: &str) -> u64 {
        self.0[sort][what].as_u64().unwrap_or_default()
    }

    /// The longest time without a new connection, in milliseconds.
    pub(crate) fn gap(&self) -> f64 {
        self.0["new"]["longest_gap_ms"].as_f64().unwrap_or(f64::INFINITY)
    }

    /// The failures of a sort, the first of them one by one.
    pub(crate) fn failures(&self, sort: &str) -> &[Value] {
        self.0[sort]["failures"].as_array().map(Vec::as_slice).unwrap_or_default()
    }

    /// Connections of a sort, `new` or `kept`, carried something, and none of them failed.
    pub(crate) fn none_failed(&self, sort: &str) -> Result<()> {
        let seen = &self.0[sort];
        ensure!(self.count(sort, "ok") > 0, "no {sort} connection carried anything: {seen}");
        ensure!(seen["failed"] == 0, "{sort} connections failed: {seen}");
        Ok(())
    }

    /// How kept connections ended: kinds, and between which seconds of the load.
    pub(crate) fn ends(&self) -> String {
        let mut times: Vec<f64> = self.failures("kept").iter().filter_map(|one| one["at_ms"].as_f64()).collect();
        times.sort_by(f64::total_cmp);
        let (Some(first), Some(last)) = (times.first(), times.last()) else { return "none".to_owned() };
        format!(
            "{} (reset {}, eof {}) between second {:.1} and {:.1} of the load",
            times.len(),
            self.count("kept", "reset"),
            self.count("kept", "eof"),
            first / 1000.0,
            last / 1000.0
        )
    }

    /// In a line: what became of connections of a sort.
    pub(crate) fn line(&self, sort: &str) -> String {
        let kinds = ["refused", "reset", "eof", "timeout", "wrong_bytes", "other"];
        let failed = kinds.iter().map(|kind| (kind, self.count(sort, kind))).filter(|(_, count)| *count > 0);
        let failed = failed.map(|(kind, count)| format!(", {count} {kind}")).collect::<String>();
        let percentile = |which: &str| self.0[sort]["latency_ms"][which].as_f64().unwrap_or_default();
        format!(
            "{sort}: {} ok, {} failed{failed}; p50 {:.1} ms, p99 {:.1} ms",
            self.count(sort, "ok"),
            self.count(sort, "failed"),
            percentile("p50"),
            percentile("p99"),
        )
    }
}

/// Now, in milliseconds of the day.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or_default() % DAY
}

/// How long after a moment another was, both in milliseconds of the day.
pub(crate) fn since(moment: u64, later: u64) -> u64 {
    (later + DAY - moment) % DAY
}

/// The time at the start of a line of the agent's log, `2026-11-21T19:42:53.194140Z`, in milliseconds of the day.
pub(crate) fn time_of(line: &str) -> Option<u64> {
    let time = line.get(11..)?.split_once('Z')?.0;
    let mut parts = time.splitn(3, ':').map(str::parse::<f64>);
    let (hours, minutes, seconds) = (parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a time of day is small and positive")]
    Some((((hours * 60.0 + minutes) * 60.0 + seconds) * 1000.0) as u64)
}

//! A node whose kubelet was ended, and this in its place: pods of the API whose sandboxes, network and processes are made by a
//! script, with the CNI plugin called as a container runtime calls it. Costs a processor a fraction of what a kubelet and its
//! runtime do.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use weir_tests::cluster::api::{Api, Pace, Request};
use weir_tests::cluster::network::pods_of;
use weir_tests::cluster::node::Node;
use weir_tests::cluster::parts::beside;
use weir_tests::cluster::pods::{last_line, running};
use weir_tests::program::Program;
use weir_tests::wait;

use super::kubelet_pods::{Account, EACH, FirstDial, account_of, first_dial};
use crate::pair::Pair;
use crate::{cni, processes};

const SCRIPT: &str = include_str!("bare_pod.sh");
/// Seconds that one stays once it has reported.
const STAYS: &str = "1";
/// The last parts of the addresses that they get, one after another: few, so that each is soon another pod's.
const RANGE: std::ops::RangeInclusive<u8> = 201..=230;
/// How long one may take, from its creation until nothing is left of it.
const WHOLE: Duration = Duration::from_secs(60);
/// How often a node has to be said to be alive, or its pods are taken for dead.
const ALIVE: Duration = Duration::from_secs(10);

/// A pod that is there.
#[derive(Debug)]
struct Present {
    name: String,
    since: Instant,
    address: u8,
    script: Program,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Bare<'a> {
    pair: &'a Pair<'a>,
    node: &'a Node,
    accounts: &'a [Account],
    api: Api,
    /// Of the node's pods, without the last part.
    network: String,
    section: Value,
    made: u32,
    free: VecDeque<u8>,
    present: Vec<Present>,
    dials: Vec<FirstDial>,
    next: Instant,
    alive: Option<Instant>,
}

impl<'a> Bare<'a> {
    /// Ends the kubelet of the first node.
    pub(super) fn begin(pair: &'a Pair<'a>, accounts: &'a [Account]) -> Result<Self> {
        let node = pair.cluster.nodes.first().context("a cluster has nodes")?;
        let section = cni::section(pair.cluster, node.name())?;
        let kubelet = processes::with_word(node, "kubelet", &format!("--hostname-override={}", node.name()))?;
        node.place().run(&["kill", "-KILL", &kubelet.id])?;
        let network = pods_of(1).strip_suffix("0/24").context("nodes have a /24 for their pods")?.to_owned();
        Ok(Self {
            pair,
            node,
            accounts,
            api: pair.cluster.control_plane.api(),
            network,
            section,
            made: 0,
            free: RANGE.collect(),
            present: Vec::new(),
            dials: Vec::new(),
            next: Instant::now(),
            alive: None,
        })
    }

    /// Has another pod come if it is time, and takes note of those that went.
    pub(super) fn step(&mut self) -> Result<()> {
        if Instant::now() < self.next {
            return Ok(());
        }
        self.next += EACH;
        let mut requests = self.gone()?;
        requests.extend(self.says_alive()?);
        requests.push(self.comes()?);
        self.api.ask_all(&requests, Pace::AtOnce)
    }

    /// Waits until all have gone, and starts a kubelet again; what they reported.
    pub(super) fn end(mut self) -> Result<(Vec<FirstDial>, Program)> {
        wait::until("all pods are gone", WHOLE, || {
            let requests = self.gone()?;
            if !requests.is_empty() {
                self.api.ask_all(&requests, Pace::AtOnce)?;
            }
            ensure!(self.present.is_empty(), "{} are there", self.present.len());
            Ok(())
        })?;
        Ok((self.dials, self.node.spawn_kubelet()?))
    }

    /// Makes a pod and begins what its node has to do for it; the request that says that it runs.
    fn comes(&mut self) -> Result<Request> {
        let number = self.made;
        self.made += 1;
        let last = self.free.pop_front().context("no address is free")?;
        let account = account_of(self.accounts, number);
        let (name, pod) = account.pod(self.pair, "bare", number, self.node.name());
        let made = self.api.ask(&Request::create(&self.pods(), pod))?;
        let uid = made["metadata"]["uid"].as_str().with_context(|| format!("{name} was not made: {made}"))?;
        let address = format!("{}{last}", self.network);
        let script = self.node.place().spawn(&[
            "sh",
            "-c",
            SCRIPT,
            "bare-pod",
            &name,
            &format!("bare{number}"),
            &address,
            // As the bridge plugin used to have it, so that who has an address is known wherever it was seen before.
            &format!("02:00:00:00:00:{last:02x}"),
            &format!("{}1", self.network),
            uid,
            &self.pair.namespace.name,
            &self.configuration(&address),
            &beside("weir-test-app")?.display().to_string(),
            &self.pair.echo(),
            STAYS,
            self.pair.cluster.settings.mode.cgroup2(),
        ])?;
        self.present.push(Present { name: name.clone(), since: Instant::now(), address: last, script });
        let path = format!("{}/{name}/status", self.pods());
        Ok(Request::merge(&path, json!({"status": running(&address, true)})))
    }

    /// What the plugin is called with.
    fn configuration(&self, address: &str) -> String {
        let mut configuration = self.section.clone();
        configuration["cniVersion"] = json!("1.0.0");
        configuration["name"] = json!("pods");
        configuration["prevResult"] = json!({
            "cniVersion": "1.0.0", "interfaces": [{"name": "eth0", "sandbox": "/var/run/netns/any"}],
            "ips": [{"interface": 0, "address": format!("{address}/24")}], "dns": {},
        });
        configuration.to_string()
    }

    /// Takes out the pods of which nothing is left on the node; the requests that delete them.
    fn gone(&mut self) -> Result<Vec<Request>> {
        let late = self.present.iter().find(|pod| pod.since.elapsed() > WHOLE);
        ensure!(late.is_none(), "a pod does not go: {late:?}");
        let pods = self.pods();
        let mut requests = Vec::new();
        for pod in self.present.extract_if(.., |pod| !pod.script.is_running()) {
            let output = pod.script.finish(WHOLE)?;
            ensure!(output.success, "{}: {}", pod.name, output.summary());
            self.dials.push(first_dial(&pod.name, &last_line(&output.stdout)?));
            self.free.push_back(pod.address);
            requests.push(Request::delete(&format!("{pods}/{}", pod.name)));
        }
        Ok(requests)
    }

    /// Says in the kubelet's name that its node is alive, when it is time.
    fn says_alive(&mut self) -> Result<Option<Request>> {
        if self.alive.is_some_and(|said| said.elapsed() < ALIVE) {
            return Ok(None);
        }
        self.alive = Some(Instant::now());
        let now = self.node.place().run(&["date", "--utc", "+%FT%T.%6NZ"])?;
        let lease = format!("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{}", self.node.name());
        Ok(Some(Request::merge(&lease, json!({"spec": {"renewTime": now.trim()}}))))
    }

    fn pods(&self) -> String {
        self.pair.namespace.collection("pods")
    }
}

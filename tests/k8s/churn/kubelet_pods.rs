//! Pods that come, dial at once, tell how it went, and go.

use std::collections::HashSet;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use weir_tests::cluster::NODES;
use weir_tests::cluster::api::{Api, Pace, Request};
use weir_tests::cluster::pods::{app, last_line};
use weir_tests::wait;

use crate::pair::Pair;

/// One pod in so much time.
pub(super) const EACH: Duration = Duration::from_millis(200);
/// How long one stays once it has reported.
const STAYS: Duration = Duration::from_secs(1);
/// Pods at a time: each node has few addresses for them, and those of pods that are just going are not free yet.
const AT_ONCE: usize = 14;
/// How long one may take to tell.
const TELLING: Duration = Duration::from_secs(60);
/// Names of the service accounts; those of their pods begin with them.
const ACCOUNTS: [&str; 2] = ["red", "blue"];

/// What a pod comes as. As with a Deployment, its name is made up and it has an owner, by whose name metrics call it: one on its
/// own has counters of its own, which an agent keeps for a day.
#[derive(Debug)]
pub(super) struct Account {
    name: &'static str,
    owner: Value,
}

impl Account {
    /// A pod of it that dials at once, and its name.
    pub(super) fn pod(&self, pair: &Pair<'_>, round: &str, number: u32, node: &str) -> (String, Value) {
        let made_up = format!("{}-{round}-", self.name);
        let name = format!("{made_up}{number}");
        let mut pod = app(&name, Some(node), &["dial", &pair.echo(), "--stay"]);
        pod["spec"]["serviceAccountName"] = json!(self.name);
        pod["spec"]["terminationGracePeriodSeconds"] = json!(0);
        pod["metadata"]["generateName"] = json!(made_up);
        pod["metadata"]["ownerReferences"] = json!([self.owner]);
        pod["metadata"]["labels"]["app"] = json!(self.name);
        (name, pod)
    }
}

/// Whose pod one of this number is: not by turns, as an address has to pass from one account to the other.
pub(super) fn account_of(accounts: &[Account], number: u32) -> &Account {
    &accounts[usize::from((number / 2).count_ones().is_multiple_of(2))]
}

/// A pod's first connection, as the pod reported it.
#[derive(Debug, Clone)]
pub(super) struct FirstDial {
    pub name: String,
    /// The address that it came from.
    pub local: String,
    pub failure: Option<String>,
    pub ms: f64,
}

impl FirstDial {
    pub(super) fn account(&self) -> &str {
        self.name.split('-').next().unwrap_or_default()
    }
}

/// A pod that is there.
#[derive(Debug)]
struct Present {
    name: String,
    since: Instant,
    dialled: Option<Instant>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Coming<'a> {
    pair: &'a Pair<'a>,
    accounts: &'a [Account],
    api: Api,
    /// Part of their names: pods of one round are never taken for those of another.
    round: &'static str,
    made: u32,
    present: Vec<Present>,
    dials: Vec<FirstDial>,
    next: Instant,
}

/// Makes the service accounts, and an owner of the same name for the pods of each.
pub(super) fn accounts(pair: &Pair<'_>) -> Result<Vec<Account>> {
    let api = pair.cluster.control_plane.api();
    let made = ACCOUNTS.into_iter().map(|name| {
        let object = json!({"metadata": {"name": name}});
        api.ask(&Request::create(&pair.namespace.collection("serviceaccounts"), object.clone()))?;
        let owner = api.ask(&Request::create(&pair.namespace.collection("configmaps"), object))?;
        let uid = &owner["metadata"]["uid"];
        let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": uid, "controller": true});
        Ok(Account { name, owner })
    });
    made.collect()
}

impl<'a> Coming<'a> {
    pub(super) fn new(pair: &'a Pair<'a>, accounts: &'a [Account], round: &'static str) -> Self {
        let api = pair.cluster.control_plane.api();
        Self { pair, accounts, api, round, made: 0, present: Vec::new(), dials: Vec::new(), next: Instant::now() }
    }

    /// Has another pod come if it is time and there is room, and those go that have reported and stayed a while.
    pub(super) fn step(&mut self) -> Result<()> {
        if Instant::now() < self.next {
            return Ok(());
        }
        self.next += EACH;
        self.listen()?;
        let mut requests = self.goers(STAYS);
        if self.present.len() < AT_ONCE {
            requests.push(self.comer());
        }
        if requests.is_empty() { Ok(()) } else { self.api.ask_all(&requests, Pace::AtOnce) }
    }

    /// Waits until every pod has reported, and has all of them go; what they reported.
    pub(super) fn finish(mut self) -> Result<Vec<FirstDial>> {
        while self.present.iter().any(|pod| pod.dialled.is_none()) {
            wait::until("a pod tells", TELLING, || {
                let before = self.dials.len();
                self.listen()?;
                ensure!(self.dials.len() > before, "it has not");
                Ok(())
            })?;
        }
        let requests = self.goers(Duration::ZERO);
        self.api.ask_all(&requests, Pace::AtOnce)?;
        Ok(self.dials)
    }

    fn comer(&mut self) -> Request {
        let number = self.made;
        self.made += 1;
        let account = account_of(self.accounts, number);
        let (name, pod) = account.pod(self.pair, self.round, number, NODES[number as usize % NODES.len()]);
        self.present.push(Present { name, since: Instant::now(), dialled: None });
        Request::create(&self.pair.namespace.collection("pods"), pod)
    }

    /// Takes out those that have stayed long enough.
    fn goers(&mut self, stays: Duration) -> Vec<Request> {
        let collection = self.pair.namespace.collection("pods");
        let over = |pod: &mut Present| pod.dialled.is_some_and(|dialled| dialled.elapsed() >= stays);
        let gone = self.present.extract_if(.., over);
        gone.map(|pod| Request::delete(&format!("{collection}/{}", pod.name))).collect()
    }

    /// Reads what pods have reported, where their kubelet keeps it.
    fn listen(&mut self) -> Result<()> {
        let waiting: HashSet<String> =
            self.present.iter().filter(|pod| pod.dialled.is_none()).map(|pod| pod.name.clone()).collect();
        let within = format!("{}_", self.pair.namespace.name);
        for log in self.pair.cluster.nodes.iter().flat_map(|node| node.pod_logs()) {
            // …/NAMESPACE_NAME_UID/CONTAINER/N.log
            let folder = log.iter().rev().nth(2).unwrap_or_default().to_string_lossy();
            let Some((name, _)) = folder.strip_prefix(&within).and_then(|rest| rest.split_once('_')) else { continue };
            if !waiting.contains(name) {
                continue;
            }
            // It may have begun to tell, or be gone.
            let text = fs::read_to_string(&log).unwrap_or_default();
            let Some(value) = text.split_once(" F ").and_then(|(_, line)| last_line(line).ok()) else { continue };
            self.dials.push(first_dial(name, &value));
            let now = Instant::now();
            self.present.iter_mut().filter(|pod| pod.name == name).for_each(|pod| pod.dialled = Some(now));
        }
        let late = self.present.iter().find(|pod| pod.dialled.is_none() && pod.since.elapsed() > TELLING);
        ensure!(late.is_none(), "a pod tells nothing: {late:?}");
        Ok(())
    }
}

pub(super) fn first_dial(name: &str, value: &Value) -> FirstDial {
    let failure =
        if value["ok"] == true { value["first_error"].as_str().map(str::to_owned) } else { Some(value.to_string()) };
    FirstDial {
        name: name.to_owned(),
        local: value["local"].as_str().unwrap_or_default().to_owned(),
        failure,
        ms: value["ms"].as_f64().unwrap_or_default(),
    }
}

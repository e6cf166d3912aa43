//! The pods that cases of HTTP share, and how a case is checked on them.
//!
//! | namespace | pod | node | labels | serves |
//! |---|---|---|---|---|
//! | `shop` | `client` | first | `app: client` | |
//! | `shop` | `v1` | first | `app: web`, `version: v1` | http-echo |
//! | `shop` | `v2` | second | `app: web`, `version: v2` | the same |
//! | `shop` | `v3` | second | `app: web`, `version: v3` | the same |
//! | `store` | `s1` | second | `app: web`, `version: s1` | the same |
//!
//! Each server has a Service of its name. A third namespace, `third`, has objects only.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use weir_tests::cluster::kubectl::Kubectl;
use weir_tests::cluster::pods::app;
use weir_tests::cluster::{CLIENT_NODE, SERVER_NODE};
use weir_tests::wait;

use super::case::HttpCase;
use super::manifest::{Names, address_of, service};
use super::requests;
use crate::pair::IN_MESH;

const NAMESPACES: [&str; 3] = ["shop", "store", "third"];
/// Name, namespace, node.
const SERVERS: [(&str, &str, &str); 4] = [
    ("v1", "shop", CLIENT_NODE),
    ("v2", "shop", SERVER_NODE),
    ("v3", "shop", SERVER_NODE),
    ("s1", "store", SERVER_NODE),
];
/// How long pods may take to be ready.
const STARTING: Duration = Duration::from_secs(60);
/// How long objects may take to count: kubectl, what istiod waits for before it pushes, the agents, on a busy machine.
const COUNTING: Duration = Duration::from_secs(30);
/// For how long they must go on to count: longer than istiod waits for further changes before it pushes.
const SETTLING: Duration = Duration::from_millis(700);
/// Pause between two looks: each is a kubectl.
const PAUSE: Duration = Duration::from_millis(200);

/// See the module. Dropping it deletes the namespaces, without waiting for that.
#[derive(Debug)]
pub(crate) struct HttpPods {
    kubectl: Kubectl,
    /// Cases so far: each has names and addresses of its own.
    cases: u8,
    /// Looks so far: each has keys of its own at the servers.
    looks: u32,
}

impl HttpPods {
    /// Makes them and waits until they are ready and captured.
    pub(crate) fn start(kubectl: &Kubectl) -> Result<Self> {
        let made = Self { kubectl: kubectl.clone(), cases: 0, looks: 0 };
        let objects: Vec<String> = objects().iter().map(Value::to_string).collect();
        kubectl.apply(&objects.join("\n---\n"))?;
        for namespace in ["shop", "store"] {
            kubectl.ready(namespace, "", STARTING)?;
            kubectl.until("the pods are captured", STARTING, |kubectl| {
                let pods = kubectl.get(&["pods", "--namespace", namespace])?;
                let mut pods = pods["items"].as_array().context("a list has items")?.iter();
                let is_captured =
                    |pod: &Value| pod["metadata"]["annotations"]["ambient.istio.io/redirection"] == "enabled";
                ensure!(pods.all(is_captured), "one of {namespace} is not");
                Ok(())
            })?;
        }
        Ok(made)
    }

    /// Applies the objects of a case, and waits until all its requests come to what they should at the same time, and go on to
    /// for a moment, since objects may count one after another.
    pub(crate) fn check(&mut self, case: &HttpCase) -> Result<()> {
        self.cases += 1;
        let names = Names::of(case, self.cases);
        let (older, objects) = (names.with_services(case.older), names.manifest(case.objects));
        let applied = self.kubectl.apply(&older).and_then(|()| {
            if !case.older.is_empty() {
                Self::next_second()?;
            }
            if objects.is_empty() { Ok(()) } else { self.kubectl.apply(&objects) }
        });
        let checked = applied.and_then(|()| self.comes_to(case, &names));
        self.kubectl.delete(&format!("{older}{objects}"))?;
        checked
    }

    /// Waits until an object that is made now is younger than those that there are: the API tells whole seconds.
    fn next_second() -> Result<()> {
        let seconds = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map(|since| since.as_secs());
        let before = seconds()?;
        wait::until("the next second begins", Duration::from_secs(5), || {
            ensure!(seconds()? > before, "it is {before} still");
            Ok(())
        })
    }

    fn comes_to(&mut self, case: &HttpCase, names: &Names) -> Result<()> {
        wait::until_every(PAUSE, "the requests come to what they should", COUNTING, || {
            self.look(case, names)?;
            wait::throughout("they go on to", SETTLING, || self.look(case, names))
        })
    }

    fn look(&mut self, case: &HttpCase, names: &Names) -> Result<()> {
        self.looks += 1;
        let faults = requests::faults(&self.kubectl, case.requests, &names.at_look(self.looks))?;
        let (count, all) = (faults.len(), case.requests.len());
        ensure!(faults.is_empty(), "{count} of {all} do not:\n{}", faults.join("\n"));
        Ok(())
    }
}

impl Drop for HttpPods {
    fn drop(&mut self) {
        let words = ["delete", "namespace", "--wait=false"];
        let _ = self.kubectl.run(&[&words[..], &NAMESPACES[..]].concat());
    }
}

/// Namespaces, accounts, pods and their Services.
fn objects() -> Vec<Value> {
    let namespaces = NAMESPACES.map(|name| {
        let labels = json!({IN_MESH.0: IN_MESH.1});
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    });
    let mut objects = namespaces.to_vec();
    for (name, namespace, node) in SERVERS {
        let mut pod = app(name, Some(node), &["serve", "--pod", name, "http-echo:8080", "echo:7001"]);
        pod["metadata"]["labels"] = json!({"app": "web", "version": name});
        objects.extend(with_account(pod, name, namespace));
        objects.push(service(name, namespace, &address_of(name), &json!({"version": name})));
    }
    let client = app("client", Some(CLIENT_NODE), &["serve", "echo:7001"]);
    objects.extend(with_account(client, "client", "shop"));
    objects
}

/// A pod and its service account: a pod that comes before its account is refused.
fn with_account(mut pod: Value, name: &str, namespace: &str) -> [Value; 2] {
    pod["metadata"]["namespace"] = json!(namespace);
    pod["spec"]["serviceAccountName"] = json!(name);
    let metadata = json!({"name": name, "namespace": namespace});
    [json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}), pod]
}

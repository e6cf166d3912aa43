//! The pods of a case about policy, what they ask of one another, and what becomes of that, in a few words each: policies and
//! their outcomes can then be read side by side.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use weir_tests::cluster::kubectl::Kubectl;
use weir_tests::cluster::pods::app;
use weir_tests::cluster::{CLIENT_NODE, SERVER_NODE};
use weir_tests::wait;

use crate::pair::IN_MESH;

/// How long pods may take to be ready and captured.
const STARTING: Duration = Duration::from_secs(60);
/// How long policies may take to count: kubectl, what istiod waits for before it pushes, the agents, on a busy machine.
const COUNTING: Duration = Duration::from_secs(30);
/// For how long calls must go on to come to what they should: longer than istiod waits for further changes before it pushes.
const SETTLING: Duration = Duration::from_millis(700);
/// Pause between two looks: each is a kubectl.
const PAUSE: Duration = Duration::from_millis(200);
/// How long all calls of a pod may take together.
const WITHIN: Duration = Duration::from_secs(60);
/// Where servers are asked, by their Service.
const PORT: u16 = 8000;
/// Between what a call printed and its status, and behind each call; no body of these tests has either.
const FIELD: char = '\u{1f}';
const RECORD: char = '\u{1e}';
/// The label that all objects of a stage have.
const STAGE: &str = "weir.test/stage";
/// It is always there, and nobody may delete it.
const DEFAULT: &str = "default";

/// A pod, and the Service of its name before it. Its label `app` has the name, too.
#[derive(Debug, Clone, Copy)]
pub(super) struct Actor {
    pub(super) name: &'static str,
    /// Its service account.
    pub(super) account: &'static str,
    pub(super) node: &'static str,
    pub(super) is_in_mesh: bool,
    pub(super) role: Role,
}

/// What a pod runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// http-echo.
    Server,
    /// Istio's sample of an external authorizer: it allows what has the field `x-ext-authz: allow`.
    Authorizer,
    /// Files of its folder `/www`, by HTTP/1.
    Files,
}

/// A pod of the mesh that serves, under its own account.
pub(super) const fn server(name: &'static str, account: &'static str, node: &'static str) -> Actor {
    Actor { name, account, node, is_in_mesh: true, role: Role::Server }
}

/// The client and the server of most of Istio's tasks, on two nodes.
pub(super) const CURL: Actor = server("curl", "curl", CLIENT_NODE);
pub(super) const HTTPBIN: Actor = server("httpbin", "httpbin", SERVER_NODE);
/// What a call of the one to the other comes to that nothing keeps from it.
pub(super) const HTTPBIN_SERVED: &str = "200 httpbin";
/// What a request comes to that an AuthorizationPolicy does not let pass.
pub(super) const DENIED: &str = "403 RBAC: access denied";

/// A request of one pod to another's Service, by curl.
#[derive(Debug, Clone)]
pub(super) struct Call {
    from: &'static str,
    to: &'static str,
    path: &'static str,
    arguments: Vec<String>,
}

/// A GET of `/`, until more is said.
pub(super) fn call(from: &'static str, to: &'static str) -> Call {
    Call { from, to, path: "/", arguments: Vec::new() }
}

/// The same from the client to the server of most tasks.
pub(super) fn curl_httpbin() -> Call {
    call(CURL.name, HTTPBIN.name)
}

impl Call {
    pub(super) fn path(mut self, path: &'static str) -> Self {
        self.path = path;
        self
    }

    /// With an argument of curl.
    pub(super) fn with(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// With a token.
    pub(super) fn bearing(self, token: &str) -> Self {
        self.with(format!("-HAuthorization: Bearer {token}"))
    }
}

/// Pods of a namespace. Dropping it deletes them and the namespace, without waiting for that.
#[derive(Debug)]
pub(super) struct Stage<'a> {
    kubectl: &'a Kubectl,
    pub(super) namespace: &'static str,
    /// Of Services, by name.
    addresses: BTreeMap<String, String>,
}

impl<'a> Stage<'a> {
    /// Makes them and waits until they are ready, and captured where they are to be in the mesh.
    pub(super) fn start(kubectl: &'a Kubectl, namespace: &'static str, actors: &[Actor]) -> Result<Self> {
        let mut stage = Self { kubectl, namespace, addresses: BTreeMap::new() };
        let of_namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
        let own = (namespace != DEFAULT).then_some(of_namespace);
        let objects = own.into_iter().chain(actors.iter().flat_map(|actor| objects(actor, namespace)));
        let objects: Vec<String> = objects.map(|object| object.to_string()).collect();
        kubectl.apply(&objects.join("\n---\n"))?;
        kubectl.ready(namespace, STAGE, STARTING)?;
        let selector = format!("{STAGE},{}={}", IN_MESH.0, IN_MESH.1);
        kubectl.until("the pods are captured", STARTING, |kubectl| {
            let pods = kubectl.get(&["pods", "--namespace", namespace, "--selector", &selector])?;
            let mut pods = pods["items"].as_array().context("a list has items")?.iter();
            let is_captured = |pod: &Value| pod["metadata"]["annotations"]["ambient.istio.io/redirection"] == "enabled";
            ensure!(pods.all(is_captured), "one is not");
            Ok(())
        })?;
        let services = kubectl.get(&["services", "--namespace", namespace, "--selector", STAGE])?;
        for service in services["items"].as_array().context("a list has items")? {
            let text = |value: &Value| value.as_str().map(str::to_owned).context("a Service has a name and an address");
            stage.addresses.insert(text(&service["metadata"]["name"])?, text(&service["spec"]["clusterIP"])?);
        }
        Ok(stage)
    }

    /// The address of an actor's Service.
    pub(super) fn address(&self, name: &str) -> Result<&str> {
        self.addresses.get(name).map(String::as_str).with_context(|| format!("there is no Service {name}"))
    }

    /// Applies objects, which name their namespace.
    pub(super) fn apply(&self, yaml: &str) -> Result<()> {
        self.kubectl.apply(yaml)
    }

    /// Waits until all calls come to what is expected at the same time, and go on to for a moment, since objects may count one
    /// after another.
    pub(super) fn comes_to(&self, what: &str, calls: &[(Call, &str)]) -> Result<()> {
        wait::until_every(PAUSE, &format!("{what}: calls come to what they should"), COUNTING, || {
            self.look(calls)?;
            wait::throughout("they go on to", SETTLING, || self.look(calls))
        })
    }

    fn look(&self, calls: &[(Call, &str)]) -> Result<()> {
        let seen = self.outcomes(calls.iter().map(|(call, _)| call))?;
        let wrong = calls.iter().zip(&seen).filter(|((_, expected), seen)| seen != expected);
        let wrong = wrong.map(|((call, expected), seen)| {
            let Call { from, to, path, arguments } = call;
            format!("\n{from} to {to}{path} {arguments:?}: {seen:?} and not {expected:?}")
        });
        let wrong: String = wrong.collect();
        ensure!(wrong.is_empty(), "{wrong}");
        Ok(())
    }

    /// Sends calls, those of a pod by one `kubectl exec`. What each comes to: the status, and who answered with 200, or what the
    /// answer says.
    pub(super) fn outcomes<'c>(&self, calls: impl Iterator<Item = &'c Call>) -> Result<Vec<String>> {
        let mut of_pods: BTreeMap<&str, Vec<(usize, &Call)>> = BTreeMap::new();
        for (at, call) in calls.enumerate() {
            of_pods.entry(call.from).or_default().push((at, call));
        }
        let mut outcomes = BTreeMap::new();
        for (pod, calls) in of_pods {
            let script = calls.iter().map(|(_, call)| self.command(call)).collect::<Result<String>>()?;
            let output = self.kubectl.exec_output(WITHIN, self.namespace, pod, &["sh", "-c", &script])?;
            let records: Vec<&str> = output.stdout.split_terminator(RECORD).collect();
            ensure!(records.len() == calls.len(), "{pod} did not send all: {}", output.summary());
            outcomes.extend(calls.iter().zip(records).map(|((at, _), record)| (*at, outcome(record))));
        }
        Ok(outcomes.into_values().collect())
    }

    /// A line of shell.
    fn command(&self, call: &Call) -> Result<String> {
        let Call { to, path, arguments, .. } = call;
        let address = self.address(to)?;
        let there = format!("::{address}:{PORT}");
        let told = format!("{FIELD}%{{http_code}}{RECORD}");
        let url = format!("http://{to}.{}.svc.cluster.local:{PORT}{path}", self.namespace);
        let words = ["curl", "--silent", "--max-time", "10", "--connect-to", &there, "--write-out", &told, &url];
        let mut line = String::new();
        for word in words.into_iter().chain(arguments.iter().map(String::as_str)) {
            let _ = write!(line, "'{}' ", word.replace('\'', r"'\''"));
        }
        Ok(line + "\n")
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        let delete = |words: &[&str]| {
            let all = [&["delete", "--wait=false", "--namespace", self.namespace][..], words].concat();
            let _ = self.kubectl.run(&all);
        };
        if self.namespace == DEFAULT {
            delete(&["authorizationpolicies,requestauthentications", "--all"]);
            delete(&["pods,services,serviceaccounts", "--selector", STAGE]);
        } else {
            delete(&["namespace", self.namespace]);
        }
    }
}

/// `200 httpbin`, where http-echo of that name answered; else the status and the body.
fn outcome(record: &str) -> String {
    let (body, status) = record.rsplit_once(FIELD).unwrap_or((record, ""));
    let echo = serde_json::from_str::<Value>(body).unwrap_or_default();
    format!("{} {}", status.trim(), echo["pod"].as_str().unwrap_or(body.trim())).trim().to_owned()
}

/// Its service account, the pod, its Service.
fn objects(actor: &Actor, namespace: &str) -> [Value; 3] {
    let Actor { name, account, node, is_in_mesh, role } = *actor;
    let metadata = |name: &str| json!({"name": name, "namespace": namespace, "labels": {STAGE: "", "app": name}});
    let port = |name: &str, port: u16, target: u16| json!({"name": name, "port": port, "targetPort": target});
    let ports = match role {
        Role::Server => vec![port("http", PORT, 8080)],
        Role::Files => vec![port("http", PORT, 8000)],
        Role::Authorizer => vec![port("http", PORT, 8000), port("grpc", 9000, 9000)],
    };
    let mut pod = app(name, Some(node), &["serve", "--pod", name, "http-echo:8080"]);
    pod["metadata"] = metadata(name);
    pod["spec"]["serviceAccountName"] = json!(account);
    if is_in_mesh {
        pod["metadata"]["labels"][IN_MESH.0] = json!(IN_MESH.1);
    }
    let command = match role {
        Role::Server => None,
        Role::Authorizer => Some(json!(["/bin/extauthz", "-http", "8000", "-grpc", "9000"])),
        Role::Files => Some(json!(["/bin/httpd", "-f", "-p", "8000", "-h", "/www"])),
    };
    if let Some(command) = command {
        let container = &mut pod["spec"]["containers"][0];
        container["command"] = command;
        container["args"] = json!([]);
        container["readinessProbe"]["tcpSocket"]["port"] = json!(8000);
    }
    let spec = json!({"selector": {"app": name}, "ports": ports});
    [
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata(account)}),
        pod,
        json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata(name), "spec": spec}),
    ]
}

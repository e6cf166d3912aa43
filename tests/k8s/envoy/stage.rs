//! Servers, clients, the objects, and Envoy.
//!
//! | pod | node | of routes | of policies |
//! |---|---|---|---|
//! | `v1` | first | http-echo | |
//! | `v2`, `v3` | second | http-echo | |
//! | `weir` | first, in the mesh | asks through Weir | http-echo, which Weir guards |
//! | `envoy` | first, not in the mesh | asks through Envoy, its sidecar | http-echo, which Envoy guards |
//! | `outside` | first, not in the mesh | | asks both |

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use weir_tests::answers::{Group, NAMESPACE, Subject, address};
use weir_tests::cluster::kubectl::Pod;
use weir_tests::cluster::pods::{Namespace, app};
use weir_tests::cluster::{CLIENT_NODE, Cluster, SERVER_NODE};
use weir_tests::tokens::{SigningKey, key_set};

use super::sidecar::{self, Sidecar};
use crate::pair::IN_MESH;

/// Of all requests: whatever it is, it is the same in each run.
pub(super) const SEED: u64 = 15;
const SERVERS: [(&str, &str); 3] = [("v1", CLIENT_NODE), ("v2", SERVER_NODE), ("v3", SERVER_NODE)];
/// Where every server serves.
const ECHO: u16 = 8080;
const STARTING: Duration = Duration::from_secs(60);
const ISSUER: &str = "issuer.test";
/// What keeps Envoy to the namespace, and without certificates, which nobody gives it here. For Weir neither changes anything.
const KEPT_APART: &str = "---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default, namespace: answers}
spec: {egress: [{hosts: ['./*']}]}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: answers}
spec: {mtls: {mode: DISABLE}}
";

/// One of the two proxies.
#[derive(Debug)]
pub(super) struct Side {
    /// Begins the marks of its requests.
    pub(super) name: &'static str,
    /// The pod that asks.
    pub(super) client: &'static str,
    /// Where it sends everything, unless requests say where.
    pub(super) to: Option<String>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Stage<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) namespace: Namespace<'a>,
    pub(super) subject: Subject,
    /// Envoy's and Weir's.
    pub(super) sides: [Side; 2],
    /// Pods that serve, and what they call themselves.
    pub(super) servers: Vec<(&'static str, &'static str)>,
    /// By the names that requests have for them.
    pub(super) tokens: Vec<(&'static str, String)>,
    pub(super) sidecar: Sidecar,
}

impl<'a> Stage<'a> {
    /// Services before three servers, and a client of each side.
    pub(super) fn of_routes(cluster: &'a Cluster) -> Result<Self> {
        let namespace = namespace(cluster)?;
        let mut objects = Vec::new();
        for (name, node) in SERVERS {
            let pod = app(name, Some(node), &["serve", "--pod", name, "http-echo:8080"]);
            objects.push(with_labels(pod, &json!({"kind": "server", "version": name})));
            objects.push(service(name, None, &json!({"version": name})));
        }
        for (place, group) in Subject::Routes.groups().iter().enumerate() {
            let address = address(place, 80).ip().to_string();
            objects.push(service(group.name, Some(&address), &json!({"kind": "server"})));
        }
        objects.push(service("empty", None, &json!({"kind": "nobody"})));
        let (labels, serve) = (json!({"app": "client"}), ["serve", "echo:7001"]);
        let mut envoy = outside("envoy", &labels, &serve);
        envoy["spec"]["securityContext"] = json!({"runAsUser": sidecar::USER});
        objects.extend([envoy, with_labels(app("weir", Some(CLIENT_NODE), &serve), &labels)]);
        apply(cluster, objects, &manifests(Subject::Routes))?;
        cluster.kubectl.ready(NAMESPACE, "kind=server", STARTING)?;
        let pods = cluster.kubectl.ready(NAMESPACE, "app=client", STARTING)?;
        let sidecar = Sidecar::start(cluster, pod(&pods, "envoy")?, &labels, &sidecar::of_a_client())?;
        let sides = ["envoy", "weir"].map(|name| Side { name, client: name, to: None });
        let servers = SERVERS.map(|(name, _)| (name, name)).into();
        Ok(Self { cluster, namespace, subject: Subject::Routes, sides, servers, tokens: Vec::new(), sidecar })
    }

    /// A server of each side, and one client of both.
    pub(super) fn of_policies(cluster: &'a Cluster) -> Result<Self> {
        let namespace = namespace(cluster)?;
        let (labels, serve) = (json!({"kind": "guarded"}), ["serve", "--pod", "guarded", "http-echo:8080"]);
        let objects = vec![
            service("guarded", None, &labels),
            outside("envoy", &labels, &serve),
            with_labels(app("weir", Some(CLIENT_NODE), &serve), &labels),
            outside("outside", &json!({"kind": "client"}), &["serve", "echo:7001"]),
        ];
        let (tokens, keys) = tokens()?;
        apply(cluster, objects, &manifests(Subject::Policies).replace("KEYS", &keys))?;
        cluster.kubectl.ready(NAMESPACE, "kind=client", STARTING)?;
        let pods = cluster.kubectl.ready(NAMESPACE, "kind=guarded", STARTING)?;
        let envoy = pod(&pods, "envoy")?;
        let sidecar = Sidecar::start(cluster, envoy, &labels, &sidecar::of_a_server(ECHO))?;
        let to = |pod: &Pod| Some(format!("{}:{ECHO}", pod.address));
        let to = [to(envoy), to(pod(&pods, "weir")?)];
        let mut to = to.into_iter();
        let sides = ["envoy", "weir"].map(|name| Side { name, client: "outside", to: to.next().flatten() });
        let servers = vec![("envoy", "guarded"), ("weir", "guarded")];
        Ok(Self { cluster, namespace, subject: Subject::Policies, sides, servers, tokens, sidecar })
    }
}

/// The namespace, once that of a former case is gone.
fn namespace(cluster: &Cluster) -> Result<Namespace<'_>> {
    cluster.kubectl.run(&["delete", "namespace", NAMESPACE, "--ignore-not-found"])?;
    Namespace::create(&cluster.kubectl, NAMESPACE, &[IN_MESH])
}

/// Applies objects of the namespace, those of the groups, and what keeps Envoy apart, all at once.
fn apply(cluster: &Cluster, mut objects: Vec<Value>, more: &str) -> Result<()> {
    for object in &mut objects {
        object["metadata"]["namespace"] = json!(NAMESPACE);
    }
    let objects: String = objects.iter().map(|object| format!("---\n{object}\n")).collect();
    cluster.kubectl.apply(&[&objects, more, KEPT_APART].concat())
}

fn manifests(subject: Subject) -> String {
    subject.groups().iter().map(Group::manifest).collect()
}

fn pod<'p>(pods: &'p [Pod], name: &str) -> Result<&'p Pod> {
    pods.iter().find(|pod| pod.name == name).with_context(|| format!("there is no {name}"))
}

/// A pod that Weir leaves alone.
fn outside(name: &str, labels: &Value, arguments: &[&str]) -> Value {
    let mut pod = with_labels(app(name, Some(CLIENT_NODE), arguments), labels);
    pod["metadata"]["labels"][IN_MESH.0] = json!("none");
    pod
}

fn with_labels(mut pod: Value, labels: &Value) -> Value {
    pod["metadata"]["labels"] = labels.clone();
    pod
}

/// A Service whose ports declare HTTP/1 and gRPC.
fn service(name: &str, address: Option<&str>, selector: &Value) -> Value {
    let ports = [("http", 80), ("grpc", 9000)];
    let ports = ports.map(|(name, port)| json!({"name": name, "port": port, "targetPort": ECHO}));
    let mut spec = json!({"selector": selector, "ports": ports});
    if let Some(address) = address {
        spec["clusterIP"] = json!(address);
    }
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec})
}

/// Tokens, by the names that requests have for them, and the issuer's keys.
fn tokens() -> Result<(Vec<(&'static str, String)>, String)> {
    let (key, other) = (SigningKey::make_rsa("key")?, SigningKey::make_rsa("key")?);
    let admins = json!({"aud": "shop", "groups": ["admins", "staff"], "org": {"unit": "dev-1"}, "level": 7});
    let tokens = vec![
        ("alice", key.token(ISSUER, "alice", &admins)?),
        (
            "bob",
            key.token(ISSUER, "bob", &json!({"aud": ["store", "any"], "groups": ["staff"], "org": {"unit": "sales"}}))?,
        ),
        ("old", key.token(ISSUER, "alice", &json!({"aud": "shop", "exp": 1_000_000_000}))?),
        ("elsewhere", key.token(ISSUER, "alice", &json!({"aud": "elsewhere"}))?),
        ("stranger", other.token(ISSUER, "alice", &admins)?),
    ];
    Ok((tokens, key_set(&[&key])))
}

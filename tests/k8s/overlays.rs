//! The ways to deploy Weir of `deploy/`: each is accepted by a real API server, and the one without istiod is run.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use weir_tests::certificates::Authority;
use weir_tests::cluster::api::Request;
use weir_tests::cluster::mode::Mode;
use weir_tests::cluster::{Cluster, NODES, Settings};
use weir_tests::table::note;
use weir_tests::wait;

use crate::harness::{Case, Check, usual};
use crate::mesh;
use crate::pair::{IN_MESH, Pair};

pub(crate) const CASES: &[Case] =
    &[Case { name: "overlays: an API server accepts every overlay", check: Check::Cluster(accepted) }];

pub(crate) const LONG: &[Case] =
    &[Case { name: "overlays: without istiod, by the overlay for that", check: Check::Alone(standalone) }];

const NAMESPACE: &str = "istio-system";
const READY: Duration = Duration::from_secs(60);

fn accepted(cluster: &mut Cluster) -> Result<()> {
    let mut counts = Vec::new();
    for overlay in ["base", "istiod", "named-ztunnel", "ipv6", "kubernetes-objects", "standalone"] {
        let folder = folder(overlay)?;
        let words = ["apply", "--server-side", "--dry-run=server", "--kustomize", &folder];
        let said = cluster.kubectl.run(&words).with_context(|| format!("deploy/{overlay}"))?;
        let daemon_set = if overlay == "named-ztunnel" { "daemonset.apps/ztunnel" } else { "daemonset.apps/weir" };
        ensure!(said.contains(daemon_set), "deploy/{overlay} has no {daemon_set}: {said}");
        counts.push(format!("{overlay} {}", said.lines().count()));
    }
    note(format!("objects of each: {}", counts.join(", ")));
    Ok(())
}

/// Where an overlay is.
pub(crate) fn folder(overlay: &str) -> Result<String> {
    Ok(mesh::project()?.join("deploy").join(overlay).display().to_string())
}

/// As deploy/standalone/README.md has it.
fn standalone(mode: Mode) -> Result<()> {
    let cluster = Cluster::start(Settings { istiod: false, ..usual(mode)? })?;
    secrets(&cluster)?;
    cluster.kubectl.run(&["apply", "--kustomize", &folder("standalone")?])?;
    cluster.kubectl.rolled_out(NAMESPACE, "deployment/weir-control-plane", READY)?;
    cluster.kubectl.rolled_out(NAMESPACE, "daemonset/weir", READY)?;
    let pair = Pair::create(&cluster, "standalone", &[IN_MESH])?;
    cluster.kubectl.until("pods say that they are captured", READY, |kubectl| {
        let pods = kubectl.get(&["pods", "--namespace", &pair.namespace.name])?;
        let mut pods = pods["items"].as_array().context("a list has items")?.iter();
        let says = |pod: &Value| pod["metadata"]["annotations"]["ambient.istio.io/redirection"] == "enabled";
        ensure!(pods.all(says), "not all do");
        Ok(())
    })?;
    write_objects(&cluster)?;
    let written = Instant::now();
    // The kubelet brings a changed ConfigMap when it looks after the pod the next time.
    wait::until("the control plane has the mesh", READY, || pair.goes_encrypted())?;
    note(format!("over mutual TLS {:.1} s after the mesh was written", written.elapsed().as_secs_f64()));
    Ok(())
}

/// The mesh as the cluster is now, in the words of kubectl.
fn write_objects(cluster: &Cluster) -> Result<()> {
    let words = ["get", "pods,services,nodes,namespaces", "--all-namespaces", "--output", "yaml"];
    let objects = cluster.kubectl.run(&words)?;
    let change = json!({"data": {"cluster.yaml": objects}});
    let path = format!("/api/v1/namespaces/{NAMESPACE}/configmaps/weir-objects");
    cluster.control_plane.api().ask(&Request::merge(&path, change)).map(drop)
}

/// What has to be there first: the CA, what it is known by, a token for each node.
fn secrets(cluster: &Cluster) -> Result<()> {
    let folder = cluster.run().bulk()?.join("standalone");
    fs::create_dir_all(&folder)?;
    Authority::generate()?.store(&folder)?;
    for node in NODES {
        fs::write(folder.join(format!("{node}.token")), format!("token-of-{node}"))?;
    }
    let file = |name: &str| folder.join(name).display().to_string();
    let kubectl = &cluster.kubectl;
    let create = |words: &[&str], files: &[String]| -> Result<()> {
        let mut all = vec!["create", "--namespace", NAMESPACE];
        all.extend(words);
        all.extend(files.iter().map(String::as_str));
        kubectl.run(&all).map(drop)
    };
    let namespace = mesh::project()?.join("deploy/standalone/namespace.yaml");
    kubectl.run(&["apply", "--filename", &namespace.display().to_string()])?;
    let pair = [format!("--cert={}", file("ca-cert.pem")), format!("--key={}", file("ca-key.pem"))];
    create(&["secret", "tls", "weir-ca"], &pair)?;
    let root = [format!("--from-file=root-cert.pem={}", file("ca-cert.pem"))];
    create(&["configmap", "weir-root-cert"], &root)?;
    let tokens = NODES.map(|node| format!("--from-file={}", file(&format!("{node}.token"))));
    create(&["secret", "generic", "weir-node-tokens"], &tokens)
}

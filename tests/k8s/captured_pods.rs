//! Which pods are captured: those that labels say, whoever finds them first; and of those that go nothing is left.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use weir_tests::cluster::api::Request;
use weir_tests::cluster::pods::{Namespace, app};
use weir_tests::cluster::{CLIENT_NODE, Cluster, SERVER_NODE};
use weir_tests::table::note;
use weir_tests::wait;

use crate::harness::{Case, Check};
use crate::mesh;
use crate::pair::{ECHO, IN_MESH};

pub(crate) const CASES: &[Case] = &[
    Case { name: "captured pods: labels of pods and namespaces decide", check: Check::Mesh(labels_decide) },
    Case { name: "captured pods: of a finished Job nothing is left", check: Check::Mesh(finished) },
    Case { name: "captured pods: a sandbox made anew is captured like the first", check: Check::Mesh(new_sandbox) },
];

pub(crate) const LONG: &[Case] = &[
    Case { name: "captured pods: many pods are labelled at once", check: Check::Mesh(many_at_once) },
    Case { name: "captured pods: a pod made anew under its name is another", check: Check::Mesh(made_anew) },
];

const SOON: Duration = Duration::from_secs(20);
/// Pods that are labelled at once; a node of these tests takes no more with comfort.
const MANY: usize = 24;
const REDIRECTION: &str = "ambient.istio.io/redirection";

/// What is true of a pod: whether an agent has it enrolled, and whether its annotation says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    enrolled: bool,
    annotated: bool,
}

const IN: State = State { enrolled: true, annotated: true };
const OUT: State = State { enrolled: false, annotated: false };

/// The lines that all agents' lists have of a namespace.
fn listed(cluster: &Cluster, namespace: &str) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for agent in mesh::agents(cluster)? {
        let list = mesh::ask(cluster, &agent, "pods")?;
        lines.extend(list.lines().filter(|line| line.contains(&format!(" {namespace}/"))).map(str::to_owned));
    }
    Ok(lines)
}

fn state(cluster: &Cluster, namespace: &str, name: &str) -> Result<State> {
    let enrolled = listed(cluster, namespace)?.iter().any(|line| line.contains(&format!(" {namespace}/{name} ")));
    let pod = cluster.kubectl.get(&["pod", name, "--namespace", namespace])?;
    Ok(State { enrolled, annotated: pod["metadata"]["annotations"][REDIRECTION] == "enabled" })
}

fn becomes(cluster: &Cluster, namespace: &str, name: &str, expected: State) -> Result<()> {
    wait::until(&format!("{namespace}/{name} is {expected:?}"), SOON, || {
        let seen = state(cluster, namespace, name)?;
        ensure!(seen == expected, "it is {seen:?}");
        Ok(())
    })
}

fn with_label(mut pod: Value, value: &str) -> Value {
    pod["metadata"]["labels"][IN_MESH.0] = json!(value);
    pod
}

fn labels_decide(cluster: &mut Cluster) -> Result<()> {
    let inside = Namespace::create(&cluster.kubectl, "labels-inside", &[IN_MESH])?;
    let outside = Namespace::create(&cluster.kubectl, "labels-outside", &[])?;
    let server = |name: &str| app(name, Some(SERVER_NODE), &["serve", "echo:7001"]);
    let mut on_host = app("on-host", Some(SERVER_NODE), &["serve", "echo:7091"]);
    on_host["spec"]["hostNetwork"] = json!(true);
    let mut with_sidecar = server("with-sidecar");
    with_sidecar["metadata"]["annotations"] = json!({"sidecar.istio.io/status": "{}"});
    let cases = [
        (&inside, server("plain"), IN),
        (&inside, with_label(server("never"), "none"), OUT),
        (&inside, on_host, OUT),
        (&inside, with_sidecar, OUT),
        (&outside, server("plain"), OUT),
        (&outside, with_label(server("wants"), "ambient"), IN),
    ];
    for (namespace, pod, _) in &cases {
        namespace.apply(pod)?;
    }
    for (namespace, pod, expected) in &cases {
        let name = pod["metadata"]["name"].as_str().context("a pod has a name")?;
        namespace.ready(name)?;
        becomes(cluster, &namespace.name, name, *expected)?;
    }
    // And as they change.
    let label = |pod: &str, label: &str| {
        cluster.kubectl.run(&["label", "--overwrite", "pod", pod, "--namespace", &inside.name, label])
    };
    label("plain", "istio.io/dataplane-mode=none")?;
    becomes(cluster, &inside.name, "plain", OUT)?;
    label("plain", "istio.io/dataplane-mode-")?;
    becomes(cluster, &inside.name, "plain", IN)?;
    inside.label("istio.io/dataplane-mode-")?;
    becomes(cluster, &inside.name, "plain", OUT)
}

/// Told in figures: from the label to the last annotation.
fn many_at_once(cluster: &mut Cluster) -> Result<()> {
    let namespace = Namespace::create(&cluster.kubectl, "many-at-once", &[])?;
    let names: Vec<String> = (0..MANY).map(|number| format!("server-{number}")).collect();
    for name in &names {
        namespace.apply(&app(name, None, &["serve", "echo:7001"]))?;
    }
    for name in &names {
        namespace.ready(name)?;
    }
    let start = Instant::now();
    let change = json!({"metadata": {"labels": {IN_MESH.0: IN_MESH.1}}});
    let path = format!("/api/v1/namespaces/{}", namespace.name);
    cluster.control_plane.api().ask(&Request::merge(&path, change))?;
    wait::until("every pod says that it is captured", SOON, || {
        let pods = cluster.kubectl.get(&["pods", "--namespace", &namespace.name])?;
        let pods = pods["items"].as_array().context("a list has items")?;
        let annotated = pods.iter().filter(|pod| pod["metadata"]["annotations"][REDIRECTION] == "enabled").count();
        ensure!(annotated == MANY, "{annotated} of {MANY} do");
        Ok(())
    })?;
    note(format!("{MANY} pods on two nodes seen annotated {} ms after the label", start.elapsed().as_millis()));
    ensure!(listed(cluster, &namespace.name)?.len() == MANY, "not all are enrolled");
    for name in &names {
        ensure!(namespace.ready(name)?.restarts == 0, "{name} was restarted");
    }
    Ok(())
}

fn finished(cluster: &mut Cluster) -> Result<()> {
    let namespace = Namespace::create(&cluster.kubectl, "finished", &[IN_MESH])?;
    let server = namespace.start(&app("server", Some(SERVER_NODE), &["serve", "echo:7001"]))?;
    becomes(cluster, &namespace.name, "server", IN)?;
    let mut pod = app("job", Some(CLIENT_NODE), &["dial", &format!("{}:{ECHO}", server.address)]);
    pod["spec"]["restartPolicy"] = json!("Never");
    let template = json!({"metadata": {"labels": {"app": "job"}}, "spec": pod["spec"]});
    let job = json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "job"}, "spec": {"template": template},
    });
    namespace.apply(&job)?;
    wait::until("the Job is complete", Duration::from_secs(60), || {
        let job = cluster.kubectl.get(&["job", "job", "--namespace", &namespace.name])?;
        ensure!(job["status"]["succeeded"] == 1, "{}", job["status"]);
        Ok(())
    })?;
    wait::until("nothing is left of its pod", SOON, || {
        let left = listed(cluster, &namespace.name)?;
        ensure!(left.len() == 1 && left[0].contains("/server "), "{left:?}");
        let pods = cluster.kubectl.get(&["pods", "--namespace", &namespace.name, "--selector", "app=job"])?;
        let pod = &pods["items"][0];
        ensure!(pod["metadata"]["annotations"][REDIRECTION].is_null(), "{}", pod["metadata"]["annotations"]);
        Ok(())
    })
}

fn made_anew(cluster: &mut Cluster) -> Result<()> {
    let namespace = Namespace::create(&cluster.kubectl, "made-anew", &[IN_MESH])?;
    let server = app("server", Some(SERVER_NODE), &["serve", "echo:7001"]);
    let mut uids = Vec::new();
    for _ in 0..3 {
        namespace.start(&server)?;
        becomes(cluster, &namespace.name, "server", IN)?;
        let pod = cluster.kubectl.get(&["pod", "server", "--namespace", &namespace.name])?;
        let uid = pod["metadata"]["uid"].as_str().context("a pod has a uid")?.to_owned();
        let lines = listed(cluster, &namespace.name)?;
        ensure!(lines.len() == 1 && lines[0].starts_with(&uid), "{uid} is there as {lines:?}");
        uids.push(uid);
        cluster.kubectl.run(&["delete", "pod", "server", "--namespace", &namespace.name, "--wait"])?;
    }
    wait::until("none is left", SOON, || {
        let left = listed(cluster, &namespace.name)?;
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    })
}

/// The first process of a sandbox is killed: the kubelet makes another for the same pod.
fn new_sandbox(cluster: &mut Cluster) -> Result<()> {
    let namespace = Namespace::create(&cluster.kubectl, "new-sandbox", &[IN_MESH])?;
    let first = namespace.start(&app("server", Some(SERVER_NODE), &["serve", "echo:7001"]))?;
    becomes(cluster, &namespace.name, "server", IN)?;
    let node = cluster.node(SERVER_NODE)?;
    let ctr = cluster.parts().debian("usr/bin/ctr").display().to_string();
    let of_pod = format!(
        "labels.\"io.cri-containerd.kind\"==sandbox,labels.\"io.kubernetes.pod.namespace\"=={}",
        namespace.name
    );
    let found = node.place().run(&[&ctr, "--namespace", "k8s.io", "containers", "list", "--quiet", &of_pod])?;
    let sandbox = found.lines().next().context("the pod has a sandbox")?;
    node.place().run(&[&ctr, "--namespace", "k8s.io", "task", "kill", "--signal", "SIGKILL", sandbox])?;
    wait::until("the pod is captured in its new sandbox", Duration::from_secs(60), || {
        let now = namespace.ready("server")?;
        ensure!(now.restarts > 0, "it has not been started again yet");
        let lines = listed(cluster, &namespace.name)?;
        ensure!(lines.len() == 1 && lines[0].contains(&now.address), "{now:?} is there as {lines:?}");
        note(format!("{} before, {} now", first.address, now.address));
        Ok(())
    })?;
    becomes(cluster, &namespace.name, "server", IN)
}

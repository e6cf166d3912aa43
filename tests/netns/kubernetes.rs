//! Pods that Kubernetes tells of: those that were there before the agent, those whose labels change, those that go. The
//! API server is one in small; the agent, the kernel and the pods' namespaces are real.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use weir_tests::agent::binary;
use weir_tests::fake_kubernetes::{FakeKubernetes, PodObject};
use weir_tests::mesh::{Mesh, NAMESPACE, workload_entry};
use weir_tests::objects::authorization_policy;
use weir_tests::program::Program;
use weir_tests::test_app::{self, ECHO};
use weir_tests::wait;
use weir_tests::world::{N1, Pod};

use crate::count::{Counter, OPENED};
use crate::harness::{Case, Check, note};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "kubernetes: pods that were there are captured as labels say, and say so",
        check: Check::OwnMesh(were_there),
    },
    Case {
        name: "kubernetes: a pod is known by its processes, whatever addresses another one gives itself",
        check: Check::OwnMesh(has_an_impostor),
    },
    Case {
        name: "kubernetes: the labels of a running pod are followed, also by policies that select by them",
        check: Check::OwnMesh(is_labelled_anew),
    },
    Case {
        name: "kubernetes: weir.dev/http of a namespace counts for its pods, as long as they say nothing",
        check: Check::OwnMesh(http_is_off),
    },
    Case { name: "kubernetes: a pod leaves once the mesh has heard", check: Check::OwnMesh(leaves) },
    Case { name: "kubernetes: without the API server nothing changes", check: Check::OwnMesh(away) },
    Case { name: "kubernetes: what went while no agent ran is let go", check: Check::OwnMesh(went_meanwhile) },
    Case { name: "kubernetes: many pods come into the mesh at once", check: Check::OwnMesh(many) },
    Case {
        name: "kubernetes: a pod that joins is spoken to over HBONE before the mesh says so",
        check: Check::OwnMesh(joins),
    },
];

const LABEL: (&str, &str) = ("istio.io/dataplane-mode", "ambient");
/// A namespace that is not in the mesh at first.
const OUTSIDE: &str = "outside";
const SOON: Duration = Duration::from_secs(25);
/// Where a pod serves HTTP.
const HTTP: u16 = 8080;
/// Pods that come into the mesh at once.
const MANY: usize = 40;

/// A node of a cluster: the first agent of the mesh and its API server.
struct Cluster<'a> {
    mesh: &'a mut Mesh,
    kubernetes: FakeKubernetes,
    /// The process in each pod that a container runtime keeps its namespaces with.
    sandboxes: RefCell<Vec<Program>>,
}

impl<'a> Cluster<'a> {
    fn new(mesh: &'a mut Mesh) -> Result<Self> {
        let kubernetes = FakeKubernetes::start(&mesh.world)?;
        kubernetes.namespace(NAMESPACE, &[LABEL])?;
        for name in [OUTSIDE, "istio-system", "kube-system"] {
            kubernetes.namespace(name, &[])?;
        }
        Ok(Self { mesh, kubernetes, sandboxes: RefCell::default() })
    }

    /// Starts the agent again, now as one of a cluster.
    fn start_agent(&mut self) -> Result<()> {
        let named = self.mesh.client.netns().path();
        let directory = named.parent().context("a name is in a directory")?.display().to_string();
        let agent = &mut self.mesh.agents[N1];
        agent.kill()?;
        agent.add_flags(self.kubernetes.flags().into_iter().chain([format!("--netns-dir={directory}")]));
        agent.launch()?;
        agent.becomes_ready()
    }

    /// A pod that runs, as the mesh and the API server know it.
    fn pod(&self, name: &str, namespace: &str, labels: &[(&str, &str)]) -> Result<Pod> {
        let pod = self.mesh.world.nodes[N1].pod(name)?;
        self.sandboxes.borrow_mut().push(pod.place.spawn(&["sleep", "infinity"])?);
        if namespace == NAMESPACE {
            self.mesh.control_plane.objects.put(name, &workload_entry(&pod))?;
        }
        self.describe(&pod, namespace, labels)?;
        Ok(pod)
    }

    /// What the API server says of a pod from now on.
    fn describe(&self, pod: &Pod, namespace: &str, labels: &[(&str, &str)]) -> Result<()> {
        self.kubernetes.pod(&PodObject {
            namespace,
            name: pod.name(),
            uid: pod.name(),
            node: "n1",
            service_account: pod.name(),
            labels,
            addresses: &pod.addresses(),
            host_network: false,
        })
    }

    fn is_enrolled(&self, name: &str) -> Result<bool> {
        self.mesh.agents[N1].has_enrolled(name)
    }

    fn is_annotated(&self, namespace: &str, name: &str) -> Result<bool> {
        let pod = self.kubernetes.pod_now(namespace, name)?;
        Ok(pod["metadata"]["annotations"]["ambient.istio.io/redirection"] == "enabled")
    }

    /// Waits until a pod is in the mesh or out of it, in the kernel and by its annotation.
    fn becomes(&self, namespace: &str, name: &str, inside: bool) -> Result<()> {
        wait::until(&format!("{namespace}/{name} is {}", if inside { "inside" } else { "outside" }), SOON, || {
            let seen = (self.is_enrolled(name)?, self.is_annotated(namespace, name)?);
            ensure!(seen == (inside, inside), "enrolled and annotated: {seen:?}");
            Ok(())
        })
    }

    /// Those that tests enrolled by hand, of which Kubernetes knows nothing.
    fn has_those_enrolled_by_hand(&self) -> Result<()> {
        for pod in [&self.mesh.client, &self.mesh.near] {
            ensure!(self.is_enrolled(pod.name())?, "{}, enrolled by hand, is gone", pod.name());
        }
        Ok(())
    }
}

fn were_there(mesh: &mut Mesh) -> Result<()> {
    let mut cluster = Cluster::new(mesh)?;
    let none = [(LABEL.0, "none")];
    let running = cluster.pod("running", NAMESPACE, &[])?;
    let _others = [
        cluster.pod("never", NAMESPACE, &none)?,
        cluster.pod("plain", OUTSIDE, &[])?,
        cluster.pod("single", OUTSIDE, &[LABEL])?,
    ];
    let start = Instant::now();
    cluster.start_agent()?;
    note(format!("ready {} ms after the agent's start", start.elapsed().as_millis()));
    for (namespace, name, inside) in [
        (NAMESPACE, "running", true),
        (OUTSIDE, "single", true),
        (NAMESPACE, "never", false),
        (OUTSIDE, "plain", false),
    ] {
        ensure!(cluster.is_enrolled(name)? == inside, "{name}: an agent that is ready has captured all there were");
        cluster.becomes(namespace, name, inside)?;
    }
    let sent = Counter::sent(cluster.mesh, &running)?;
    test_app::echoes(&running.place, cluster.mesh.far.ipv4(), ECHO)?;
    sent.grows_by(1.0)?;
    cluster.has_those_enrolled_by_hand()
}

fn has_an_impostor(mesh: &mut Mesh) -> Result<()> {
    let mut cluster = Cluster::new(mesh)?;
    let running = cluster.pod("running", NAMESPACE, &[])?;
    let impostor = cluster.pod("impostor", OUTSIDE, &[])?;
    for address in running.addresses() {
        impostor.netns().ip(&format!("addr add {address} dev lo"))?;
    }
    cluster.start_agent()?;
    cluster.becomes(NAMESPACE, "running", true)?;
    ensure!(!cluster.is_enrolled("impostor")?, "a pod outside the mesh was enrolled");
    let sent = Counter::sent(cluster.mesh, &running)?;
    test_app::echoes(&running.place, cluster.mesh.far.ipv4(), ECHO)?;
    sent.grows_by(1.0)
}

fn is_labelled_anew(mesh: &mut Mesh) -> Result<()> {
    let mut cluster = Cluster::new(mesh)?;
    let pod = cluster.pod("labelled", NAMESPACE, &[LABEL, ("app", "old")])?;
    let app = binary("weir-test-app")?.display().to_string();
    let mut server = pod.place.spawn(&[&*app, "serve", &format!("http-echo:{HTTP}")])?;
    server.listens_on(HTTP)?;
    // Which policies about requests select a pod, its agent decides by the labels that Kubernetes tells it.
    let rules = "[{to: [{operation: {paths: [/denied]}}]}]";
    let denies = authorization_policy("of-new-ones", NAMESPACE, "new", "DENY", rules);
    cluster.mesh.control_plane.objects.put("of-new-ones", &denies)?;
    cluster.start_agent()?;
    cluster.becomes(NAMESPACE, "labelled", true)?;
    let is_answered = |what: &str, status: &str| {
        wait::until(what, SOON, || {
            for (path, status) in [("allowed", "200"), ("denied", status)] {
                let url = format!("http://{}:{HTTP}/{path}", pod.ipv4());
                let curl = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "5", &url];
                let seen = cluster.mesh.outsider.place.output(&curl)?;
                ensure!(seen.stdout == status, "{path}: {}", seen.summary());
            }
            Ok(())
        })
        .with_context(|| cluster.mesh.logs())
    };
    is_answered("a policy for other labels denies nothing", "200")?;
    cluster.describe(&pod, NAMESPACE, &[LABEL, ("app", "new")])?;
    let list = cluster.mesh.agents[N1].folders().state.join("enrolled-pods.json");
    wait::until("the pod is known by its new labels, also to a later agent", SOON, || {
        let pods: Vec<serde_json::Value> = serde_json::from_slice(&std::fs::read(&list)?)?;
        let known = pods.iter().find(|pod| pod["uid"] == "labelled").context("it is not on the list")?;
        ensure!(known["labels"]["app"] == "new", "{known}");
        Ok(())
    })?;
    is_answered("the policy for its new labels denies", "403")?;
    ensure!(cluster.is_enrolled("labelled")?, "it was let go");
    cluster.describe(&pod, NAMESPACE, &[LABEL, ("app", "old")])?;
    is_answered("with its old labels again nothing is denied", "200")?;
    test_app::echoes(&pod.place, cluster.mesh.far.ipv4(), ECHO).map(drop)
}

fn http_is_off(mesh: &mut Mesh) -> Result<()> {
    const WEB: &str = "10.96.0.77";
    let mut cluster = Cluster::new(mesh)?;
    let _silent = cluster.pod("silent", NAMESPACE, &[LABEL])?;
    let _says_on = cluster.pod("says-on", NAMESPACE, &[LABEL, ("weir.dev/http", "on")])?;
    cluster.start_agent()?;
    for name in ["silent", "says-on"] {
        cluster.becomes(NAMESPACE, name, true)?;
    }
    let web = format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: web, namespace: {NAMESPACE}}}\nspec:\n  hosts: \
         [web.example]\n  addresses: [{WEB}]\n  resolution: STATIC\n  endpoints: [{{address: 192.0.2.1}}]\n  ports: [{{number: 80, \
         name: http, protocol: HTTP}}, {{number: 81, name: other}}]\n"
    );
    let _web = cluster.mesh.control_plane.objects.put_for_now("web", &web)?;
    let is_served_at = |port: u16, name: &str, how: &str| {
        wait::until(&format!("{name} is served as {how}"), SOON, || {
            let (pod, url) = (format!("{NAMESPACE}/{name}"), format!("http://{WEB}:{port}/"));
            let told = cluster.mesh.agents[N1].weir(&["why", &pod, &url])?;
            ensure!(told.stdout.contains(&format!("served as    {how}")), "{}", told.summary());
            Ok(())
        })
    };
    let is_served = |name: &str, how: &str| is_served_at(80, name, how);
    is_served("silent", "HTTP: the port declares HTTP")?;
    is_served_at(81, "silent", "TCP: the port declares no protocol")?;
    cluster.kubernetes.namespace(NAMESPACE, &[LABEL, ("weir.dev/http", "detect")])?;
    is_served_at(
        81,
        "silent",
        "HTTP: the port declares nothing, and weir.dev/http of the pod or its namespace is detect",
    )?;
    is_served_at(81, "says-on", "TCP: the port declares no protocol")?;
    cluster.kubernetes.namespace(NAMESPACE, &[LABEL, ("weir.dev/http", "off")])?;
    is_served("silent", "TCP: weir.dev/http of the pod or its namespace is off")?;
    is_served("says-on", "HTTP: the port declares HTTP")?;
    cluster.kubernetes.namespace(NAMESPACE, &[LABEL])?;
    is_served("silent", "HTTP: the port declares HTTP")
}

fn leaves(mesh: &mut Mesh) -> Result<()> {
    let mut cluster = Cluster::new(mesh)?;
    let pod = cluster.pod("leaving", NAMESPACE, &[])?;
    cluster.start_agent()?;
    cluster.becomes(NAMESPACE, "leaving", true)?;
    cluster.kubernetes.namespace(NAMESPACE, &[])?;
    wait::until("it says no more that it is captured", SOON, || {
        ensure!(!cluster.is_annotated(NAMESPACE, "leaving")?, "it still does");
        Ok(())
    })?;
    // The control plane of these tests says HBONE as long as there is the entry.
    wait::throughout("it is captured while the mesh says HBONE", Duration::from_secs(2), || {
        ensure!(cluster.is_enrolled("leaving")?, "it is not");
        test_app::echoes(&pod.place, cluster.mesh.far.ipv4(), ECHO).map(drop)
    })?;
    cluster.mesh.control_plane.objects.remove("leaving")?;
    cluster.becomes(NAMESPACE, "leaving", false)?;
    test_app::echoes(&pod.place, cluster.mesh.outsider.ipv4(), ECHO)?;
    cluster.has_those_enrolled_by_hand()?;
    // And comes back.
    cluster.mesh.control_plane.objects.put("leaving", &workload_entry(&pod))?;
    cluster.kubernetes.namespace(NAMESPACE, &[LABEL])?;
    cluster.becomes(NAMESPACE, "leaving", true)
}

fn away(mesh: &mut Mesh) -> Result<()> {
    let mut cluster = Cluster::new(mesh)?;
    let running = cluster.pod("running", NAMESPACE, &[])?;
    let _others = [cluster.pod("going", NAMESPACE, &[])?, cluster.pod("coming", OUTSIDE, &[])?];
    cluster.start_agent()?;
    for name in ["running", "going"] {
        cluster.becomes(NAMESPACE, name, true)?;
    }
    cluster.kubernetes.goes_away()?;
    cluster.kubernetes.remove_pod(NAMESPACE, "going")?;
    cluster.kubernetes.namespace(OUTSIDE, &[LABEL])?;
    wait::throughout("nobody is let go", Duration::from_secs(4), || {
        for name in ["running", "going"] {
            ensure!(cluster.is_enrolled(name)?, "{name} was");
        }
        test_app::echoes(&running.place, cluster.mesh.far.ipv4(), ECHO).map(drop)
    })?;
    wait::until("it is counted that Kubernetes is away", SOON, || {
        let failures = cluster.mesh.agents[N1].metrics()?.sum("weir_kubernetes_watch_errors_total", &[]);
        ensure!(failures > 0.0, "no failure is");
        Ok(())
    })?;
    cluster.kubernetes.resume()?;
    cluster.becomes(OUTSIDE, "coming", true)?;
    wait::until("what went meanwhile is let go", Duration::from_secs(20), || {
        ensure!(!cluster.is_enrolled("going")?, "it is not");
        Ok(())
    })?;
    ensure!(cluster.is_enrolled("running")?, "the other one was let go too");
    cluster.has_those_enrolled_by_hand()
}

fn went_meanwhile(mesh: &mut Mesh) -> Result<()> {
    let mut cluster = Cluster::new(mesh)?;
    let _pods = [cluster.pod("going", NAMESPACE, &[])?, cluster.pod("staying", NAMESPACE, &[])?];
    cluster.start_agent()?;
    for name in ["going", "staying"] {
        cluster.becomes(NAMESPACE, name, true)?;
    }
    cluster.mesh.agents[N1].kill()?;
    cluster.kubernetes.remove_pod(NAMESPACE, "going")?;
    let agent = &mut cluster.mesh.agents[N1];
    agent.launch()?;
    agent.becomes_ready()?;
    wait::until("it is let go", SOON, || {
        ensure!(!cluster.is_enrolled("going")?, "it is enrolled");
        Ok(())
    })?;
    cluster.becomes(NAMESPACE, "staying", true)?;
    cluster.has_those_enrolled_by_hand()
}

fn many(mesh: &mut Mesh) -> Result<()> {
    let mut cluster = Cluster::new(mesh)?;
    let names: Vec<String> = (0..MANY).map(|number| format!("many{number}")).collect();
    let _pods = names.iter().map(|name| cluster.pod(name, OUTSIDE, &[])).collect::<Result<Vec<_>>>()?;
    cluster.start_agent()?;
    let start = Instant::now();
    cluster.kubernetes.namespace(OUTSIDE, &[LABEL])?;
    wait::until("all say that they are captured", SOON, || {
        for name in &names {
            ensure!(cluster.is_annotated(OUTSIDE, name)?, "{name} does not");
        }
        Ok(())
    })?;
    note(format!("{MANY} pods captured and annotated {} ms after the label", start.elapsed().as_millis()));
    for name in &names {
        ensure!(cluster.is_enrolled(name)?, "{name} is annotated and not enrolled");
    }
    Ok(())
}

/// The mesh says of the outsider that it is a pod without HBONE, and goes on saying so.
fn joins(mesh: &mut Mesh) -> Result<()> {
    let mut cluster = Cluster::new(mesh)?;
    let pod = pod_object(&cluster.mesh.outsider);
    cluster.mesh.control_plane.objects.put("outsider", &pod)?;
    cluster.start_agent()?;
    cluster.kubernetes.namespace(OUTSIDE, &[LABEL])?;
    let mesh = &*cluster.mesh;
    let (outsider, agent) = (&mesh.outsider, mesh.agent_of(&mesh.outsider));
    let echoes = || test_app::echoes(&mesh.client.place, outsider.ipv4(), ECHO).map(drop);
    wait::throughout("it is reached as the mesh says while it is asked", Duration::from_secs(1), echoes)?;
    agent.enroll(outsider, OUTSIDE, outsider.name())?;
    let labels = [("reporter", "destination"), ("connection_security_policy", "mutual_tls")];
    let encrypted = Counter::of(agent, OPENED, &[labels[0], labels[1], ("destination_workload", outsider.name())])?;
    wait::until("it is reached over mutual TLS", SOON, || {
        echoes()?;
        ensure!(encrypted.grown()? > 0.0, "it is not");
        Ok(())
    })?;
    // It is let go, as by an agent that ends: nobody is refused.
    agent.unenroll(outsider.name())?;
    wait::throughout("it is reached as the mesh says", Duration::from_secs(1), echoes)
}

/// A pod that runs, without an agent's word that it is captured.
fn pod_object(pod: &Pod) -> String {
    let ips: Vec<String> = pod.addresses().iter().map(|address| format!("{{ip: \"{address}\"}}")).collect();
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: {OUTSIDE}}}\n\
         spec: {{nodeName: {node}, serviceAccountName: {name}, containers: []}}\n\
         status: {{phase: Running, podIPs: [{ips}], conditions: [{{type: Ready, status: \"True\"}}]}}\n",
        name = pod.name(),
        node = pod.node(),
        ips = ips.join(", "),
    )
}

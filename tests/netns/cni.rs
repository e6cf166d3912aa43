//! Pods that are enrolled before their first process runs: the real plugin, called as container runtimes do it, against
//! the real agent, which asks a Kubernetes API server in small.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use weir_tests::agent::binary;
use weir_tests::cni::{self, CniNode, LIST, Sandbox};
use weir_tests::fake_kubernetes::{FakeKubernetes, PodObject};
use weir_tests::mesh::{Mesh, NAMESPACE, workload_entry};
use weir_tests::test_app::{self, ECHO};
use weir_tests::wait;
use weir_tests::world::{N1, Pod};

use crate::count::Counter;
use crate::harness::{Case, Check, note};

pub(crate) const CASES: &[Case] = &[
    Case { name: "cni: a mesh pod is captured when the plugin returns", check: Check::OwnMesh(captured_at_once) },
    Case { name: "cni: a pod that is not for the mesh is left alone", check: Check::OwnMesh(not_for_the_mesh) },
    Case { name: "cni: a new sandbox takes the place of the old one", check: Check::OwnMesh(new_sandbox) },
    Case { name: "cni: an address that a pod has lost is another's", check: Check::OwnMesh(address_again) },
    Case { name: "cni: a mesh pod waits for an agent that comes", check: Check::OwnMesh(waits) },
    Case { name: "cni: without an agent only mesh pods fail", check: Check::OwnMesh(without_agent) },
    Case { name: "cni: a pod that nobody can tell of fails if it must be in the mesh", check: Check::OwnMesh(unknown) },
    Case { name: "cni: the plugin is put back, and leaves nothing behind", check: Check::OwnMesh(installed) },
];

/// How long mesh pods and others wait for an agent, in seconds.
const PATIENCE: (u64, u64) = (4, 1);
/// A namespace that is not in the mesh.
const OUTSIDE: &str = "outside";
/// CNI's code for a call that may succeed later.
const TRY_AGAIN_LATER: u64 = 11;
const SOON: Duration = Duration::from_secs(10);
/// What a busy machine may add to a call. Less than would hide that a pod waited that must not.
const BUSY: Duration = Duration::from_millis(3500);

/// A node of a cluster: the first agent of the mesh, its API server, its CNI directories.
struct Cluster<'a> {
    mesh: &'a mut Mesh,
    kubernetes: FakeKubernetes,
    node: CniNode,
}

impl<'a> Cluster<'a> {
    fn new(mesh: &'a mut Mesh) -> Result<Self> {
        let kubernetes = FakeKubernetes::start(&mesh.world)?;
        kubernetes.namespace(NAMESPACE, &[("istio.io/dataplane-mode", "ambient")])?;
        for name in [OUTSIDE, "istio-system", "kube-system"] {
            kubernetes.namespace(name, &[])?;
        }
        let node = CniNode::new(&mesh.world.nodes[N1])?;
        let agent = &mut mesh.agents[N1];
        agent.kill()?;
        agent.add_flags(kubernetes.flags().into_iter().chain(node.flags()?));
        let (mesh_pods, others) = PATIENCE;
        agent.add_flags([
            format!("--cni-timeout-seconds={mesh_pods}"),
            format!("--cni-others-timeout-seconds={others}"),
        ]);
        agent.launch()?;
        agent.becomes_ready()?;
        wait::until("the plugin is installed", SOON, || node.section())?;
        Ok(Self { mesh, kubernetes, node })
    }

    /// A pod that the API server knows, and the mesh; its sandbox has its network, and nothing runs in it.
    fn pod(&self, name: &str, namespace: &str, labels: &[(&str, &str)]) -> Result<Pod> {
        let pod = self.mesh.world.nodes[N1].pod(name)?;
        self.mesh.control_plane.objects.put(name, &workload_entry(&pod))?;
        self.tell(name, namespace, labels)?;
        let address = pod.ipv4().to_string();
        wait::until("the agent's mesh knows the pod", SOON, || {
            ensure!(self.mesh.agents[N1].config_dump()?.to_string().contains(&address), "it does not know {address}");
            Ok(())
        })?;
        Ok(pod)
    }

    fn tell(&self, name: &str, namespace: &str, labels: &[(&str, &str)]) -> Result<()> {
        let (addresses, host_network) = (&[][..], false);
        let pod = PodObject {
            namespace,
            name,
            uid: name,
            node: "n1",
            service_account: name,
            labels,
            addresses,
            host_network,
        };
        self.kubernetes.pod(&pod)
    }

    fn is_enrolled(&self, pod: &Pod) -> Result<bool> {
        self.mesh.agents[N1].has_enrolled(pod.name())
    }

    /// Proves that what the pod says first is already carried.
    fn is_carried_at_once(&self, pod: &Pod) -> Result<()> {
        let sent = Counter::sent(self.mesh, pod)?;
        test_app::echoes(&pod.place, self.mesh.far.ipv4(), ECHO)?;
        sent.grows_by(1.0)
    }
}

fn captured_at_once(mesh: &mut Mesh) -> Result<()> {
    let cluster = Cluster::new(mesh)?;
    let pod = cluster.pod("fresh", NAMESPACE, &[])?;
    let sandbox = Sandbox::of(&pod, NAMESPACE);
    let start = Instant::now();
    let added = cluster.node.call("ADD", &sandbox)?;
    note(format!("ADD took {} ms", start.elapsed().as_millis()));
    ensure!(added.success && added.printed == sandbox.result, "ADD: {added:?}");
    cluster.is_carried_at_once(&pod)?;
    wait::until("the pod says that it is captured", SOON, || {
        let now = cluster.kubernetes.pod_now(NAMESPACE, pod.name())?;
        let annotation = &now["metadata"]["annotations"]["ambient.istio.io/redirection"];
        ensure!(annotation == "enabled", "{annotation}");
        Ok(())
    })?;
    for command in ["ADD", "CHECK"] {
        let again = cluster.node.call(command, &sandbox)?;
        ensure!(again.success, "{command} again: {again:?}");
    }
    let versions = cluster.node.call("VERSION", &sandbox)?;
    ensure!(versions.success && versions.printed.contains("1.1.0"), "VERSION: {versions:?}");
    for time in ["once", "twice"] {
        let gone = cluster.node.call("DEL", &sandbox)?;
        ensure!(gone.success && gone.printed.is_empty(), "DEL {time}: {gone:?}");
        ensure!(!cluster.is_enrolled(&pod)?, "the sandbox is gone, the pod is still enrolled");
    }
    Ok(())
}

fn not_for_the_mesh(mesh: &mut Mesh) -> Result<()> {
    let cluster = Cluster::new(mesh)?;
    let opted_out = [("istio.io/dataplane-mode", "none")];
    for (name, namespace, labels) in [("other", OUTSIDE, &[][..]), ("none", NAMESPACE, &opted_out[..])] {
        let pod = cluster.pod(name, namespace, labels)?;
        let sandbox = Sandbox::of(&pod, namespace);
        let added = cluster.node.call("ADD", &sandbox)?;
        ensure!(added.success && added.printed == sandbox.result, "{name}: {added:?}");
        ensure!(!cluster.is_enrolled(&pod)?, "{name} is enrolled");
        let checked = cluster.node.call("CHECK", &sandbox)?;
        ensure!(checked.success, "{name}: {checked:?}");
    }
    // The pod's own label suffices.
    let pod = cluster.pod("single", OUTSIDE, &[("istio.io/dataplane-mode", "ambient")])?;
    let added = cluster.node.call("ADD", &Sandbox::of(&pod, OUTSIDE))?;
    ensure!(added.success && cluster.is_enrolled(&pod)?, "a pod with the label: {added:?}");
    Ok(())
}

fn new_sandbox(mesh: &mut Mesh) -> Result<()> {
    let cluster = Cluster::new(mesh)?;
    let (old, new) = (cluster.pod("old", NAMESPACE, &[])?, cluster.pod("new", NAMESPACE, &[])?);
    let sandbox_in = |pod| Sandbox { name: "old", uid: "old", ..Sandbox::of(pod, NAMESPACE) };
    add(&cluster.node, &sandbox_in(&old))?;
    add(&cluster.node, &sandbox_in(&new))?;
    let listed = || -> Result<String> {
        let agent = &cluster.mesh.agents[N1];
        Ok(agent.weir(&["pods", "--socket", &agent.socket()])?.stdout)
    };
    let is_new = |listed: &str| listed.contains(&new.ipv4().to_string()) && !listed.contains(&old.ipv4().to_string());
    ensure!(is_new(&listed()?), "{}", listed()?);
    let late = cluster.node.call("DEL", &sandbox_in(&old))?;
    ensure!(late.success && is_new(&listed()?), "the old sandbox took the new one along: {late:?} {}", listed()?);
    test_app::echoes(&new.place, cluster.mesh.far.ipv4(), ECHO).map(drop)
}

/// A call that must succeed.
fn add(node: &CniNode, sandbox: &Sandbox<'_>) -> Result<()> {
    let added = node.call("ADD", sandbox)?;
    ensure!(added.success, "{}: {added:?}", sandbox.name);
    Ok(())
}

fn address_again(mesh: &mut Mesh) -> Result<()> {
    let cluster = Cluster::new(mesh)?;
    let (former, heir) = (cluster.pod("former", NAMESPACE, &[])?, cluster.pod("heir", NAMESPACE, &[])?);
    add(&cluster.node, &Sandbox::of(&former, NAMESPACE))?;
    let address = former.ipv4();
    let inherited = Sandbox {
        result: Sandbox::of(&heir, NAMESPACE).result.replace(&heir.ipv4().to_string(), &address.to_string()),
        ..Sandbox::of(&heir, NAMESPACE)
    };
    let taken = cluster.node.call("ADD", &inherited)?;
    let (_, text) = taken.error().context("the address is another's still")?;
    ensure!(text.contains(&address.to_string()), "{text}");
    former.netns().ip(&format!("addr del {address}/32 dev eth0"))?;
    add(&cluster.node, &inherited)?;
    ensure!(
        !cluster.is_enrolled(&former)? && cluster.is_enrolled(&heir)?,
        "who has an address is whom it was given to last"
    );
    Ok(())
}

fn waits(mesh: &mut Mesh) -> Result<()> {
    let cluster = Cluster::new(mesh)?;
    let pod = cluster.pod("early", NAMESPACE, &[])?;
    let sandbox = Sandbox::of(&pod, NAMESPACE);
    cluster.mesh.agents[N1].kill()?;
    let (node, start) = (&cluster.node, Instant::now());
    let agent = &mut cluster.mesh.agents[N1];
    let called = std::thread::scope(|scope| -> Result<_> {
        let calling = scope.spawn(|| node.call("ADD", &sandbox));
        agent.launch()?;
        calling.join().expect("it does not panic")
    })?;
    ensure!(called.success, "{called:?}");
    note(format!("ADD took {} ms, the agent's start among them", start.elapsed().as_millis()));
    cluster.mesh.agents[N1].becomes_ready()?;
    cluster.is_carried_at_once(&pod)
}

fn without_agent(mesh: &mut Mesh) -> Result<()> {
    let cluster = Cluster::new(mesh)?;
    let file = cluster.mesh.agents[N1].folders().state.join("mesh-namespaces.json");
    wait::until("the mesh's namespaces are written down", SOON, || {
        let text = fs::read_to_string(&file)?;
        ensure!(text.contains(NAMESPACE) && !text.contains(OUTSIDE), "{text}");
        Ok(())
    })?;
    let pod = cluster.pod("orphan", NAMESPACE, &[])?;
    cluster.mesh.agents[N1].kill()?;
    let seconds = Duration::from_secs;
    let (mesh_pods, others) = PATIENCE;
    for (namespace, least, most) in [
        (NAMESPACE, seconds(mesh_pods - 1), seconds(mesh_pods) + BUSY),
        (OUTSIDE, Duration::ZERO, seconds(others) + BUSY),
        ("kube-system", Duration::ZERO, BUSY),
    ] {
        let start = Instant::now();
        let sandbox = Sandbox::of(&pod, namespace);
        let added = cluster.node.call("ADD", &sandbox)?;
        let took = start.elapsed();
        ensure!((least..most).contains(&took), "{namespace}: took {took:?}");
        ensure!(added.success == (namespace != NAMESPACE), "{namespace}: {added:?}");
        if added.success {
            ensure!(added.printed == sandbox.result, "{namespace}: {added:?}");
        } else {
            let (code, text) = added.error()?;
            ensure!(code == TRY_AGAIN_LATER && text.contains("shop/orphan") && text.contains("4 s"), "{code} {text}");
            note(text);
        }
        let gone = cluster.node.call("DEL", &sandbox)?;
        ensure!(gone.success, "a sandbox must be able to go: {gone:?}");
    }
    Ok(())
}

fn unknown(mesh: &mut Mesh) -> Result<()> {
    let mut cluster = Cluster::new(mesh)?;
    let pod = cluster.mesh.world.nodes[N1].pod("stranger")?;
    for (namespace, why) in [(NAMESPACE, "no such pod"), (OUTSIDE, "")] {
        let added = cluster.node.call("ADD", &Sandbox::of(&pod, namespace))?;
        ensure!(added.success == why.is_empty(), "{namespace}: {added:?}");
        if !added.success {
            let (code, text) = added.error()?;
            ensure!(code == TRY_AGAIN_LATER && text.contains(why), "{code} {text}");
        }
    }
    cluster.kubernetes.goes_away()?;
    let (code, text) = cluster.node.call("ADD", &Sandbox::of(&pod, NAMESPACE))?.error()?;
    ensure!(code == TRY_AGAIN_LATER && text.contains("stranger"), "without an API server: {code} {text}");
    note(text);
    // A pod that is created while everybody waits.
    let (node, kubernetes) = (&cluster.node, &mut cluster.kubernetes);
    let called = std::thread::scope(|scope| -> Result<_> {
        let calling = scope.spawn(|| node.call("ADD", &Sandbox::of(&pod, NAMESPACE)));
        kubernetes.resume()?;
        let object = PodObject {
            namespace: NAMESPACE,
            name: "stranger",
            uid: "stranger",
            node: "n1",
            service_account: "stranger",
            labels: &[],
            addresses: &[],
            host_network: false,
        };
        kubernetes.pod(&object)?;
        calling.join().expect("it does not panic")
    })?;
    ensure!(called.success && cluster.is_enrolled(&pod)?, "once there is an answer: {called:?}");
    Ok(())
}

fn installed(mesh: &mut Mesh) -> Result<()> {
    let cluster = Cluster::new(mesh)?;
    let node = &cluster.node;
    let plugin = fs::read(node.plugins.join("weir-cni"))?;
    ensure!(plugin == fs::read(binary("weir-cni")?)?, "another plugin was installed");
    let returns = |what: &str| -> Result<()> {
        let start = Instant::now();
        wait::until(what, SOON, || {
            node.section()?;
            ensure!(node.plugins.join("weir-cni").exists(), "the plugin is gone");
            Ok(())
        })?;
        note(format!("{what}: {} ms", start.elapsed().as_millis()));
        Ok(())
    };
    node.write("10-network.conflist", &LIST.replace("cni0", "cni1"))?;
    returns("back after its owner rewrote the configuration")?;
    ensure!(node.read("10-network.conflist")?.contains("cni1"), "the owner's change is lost");
    node.write("05-front.conf", r#"{"cniVersion": "0.4.0", "name": "front", "type": "ptp"}"#)?;
    returns("back after another was put in front")?;
    fs::remove_file(node.plugins.join("weir-cni"))?;
    returns("back after somebody removed the program")?;
    // An agent that ends must leave it: pods that come now wait for the next one.
    let agent = &mut cluster.mesh.agents[N1];
    agent.stop(Duration::from_secs(30))?;
    node.section().context("after the agent's end")?;
    let flags = [
        format!("--cni-bin-dir={}", node.plugins.display()),
        format!("--cni-conf-dir={}", node.configurations.display()),
    ];
    let mut arguments = vec!["uninstall".to_owned()];
    arguments.extend(agent.folder_flags().into_iter().chain(flags));
    let output = agent.weir(&arguments.iter().map(String::as_str).collect::<Vec<_>>())?;
    ensure!(output.success, "{}", output.summary());
    ensure!(node.files()? == ["05-front.conf", "10-network.conflist", "weir-cni"], "left: {:?}", node.files()?);
    ensure!(node.read("10-network.conflist")? == LIST.replace("cni0", "cni1"), "not as its owner wrote it");
    // Container runtimes take a sandbox down with the configuration that they made it with.
    let left = node.plugins.join("weir-cni");
    let socket = agent.folders().run.join("cni.sock");
    let section = serde_json::json!({"type": "weir-cni", "socket": socket});
    for command in ["DEL", "GC"] {
        let start = Instant::now();
        let called = cni::call(&left, section.clone(), command, &Sandbox::of(&cluster.mesh.near, NAMESPACE))?;
        ensure!(called.success && start.elapsed() < BUSY, "{command} after the uninstallation: {called:?}");
    }
    let called = cni::call(
        &binary("weir-cni")?,
        serde_json::json!({"type": "weir-cni"}),
        "STATUS",
        &Sandbox::of(&cluster.mesh.near, NAMESPACE),
    )?;
    ensure!(called.success, "STATUS: {called:?}");
    Ok(())
}

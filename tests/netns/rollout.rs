//! A Deployment that is rolled: its pods are replaced one by one, as Kubernetes does it, while clients go on.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::json;
use weir_tests::agent::{Agent, binary};
use weir_tests::http_mesh::{HttpLoad, HttpMesh};
use weir_tests::load::Load;
use weir_tests::mesh::{Mesh, NAMESPACE, ip};
use weir_tests::objects::ObjectFolder;
use weir_tests::program::Program;
use weir_tests::test_app::{self, ECHO};
use weir_tests::wait;
use weir_tests::world::{N1, Pod, World};

use crate::count::OPENED;
use crate::harness::{Case, Check, note};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "rollout: the pods of a Deployment are replaced under 200 new connections a second, and none fails",
        check: Check::OwnMesh(connections),
    },
    Case {
        name: "rollout: the pods of a Deployment are replaced under 200 requests a second, and none fails",
        check: Check::OwnHttp(requests),
    },
];

const VIP: &str = "10.96.0.91";
const REPLICAS: usize = 3;
/// Where its pods serve HTTP.
const HTTP: u16 = 8080;
/// How long a pod has after SIGTERM. As in Kubernetes nobody waits until it is known that the pod ends.
const GRACE_PERIOD: Duration = Duration::from_secs(1);
const WITHIN: Duration = Duration::from_secs(10);

/// A Deployment of pods on both nodes, and its Service.
struct Deployment<'a> {
    world: &'a World,
    agents: &'a [Agent],
    objects: &'a ObjectFolder,
    /// The oldest first.
    pods: Vec<Running>,
    made: usize,
}

/// A pod and its process. Fields are in the order in which they must go.
struct Running {
    server: Program,
    node: usize,
    pod: Pod,
}

impl<'a> Deployment<'a> {
    fn start(world: &'a World, agents: &'a [Agent], objects: &'a ObjectFolder) -> Result<Self> {
        objects.put(
            "deployed",
            &format!(
                "apiVersion: v1\nkind: Service\nmetadata: {{name: deployed, namespace: {NAMESPACE}}}\nspec: {{clusterIP: {VIP}, \
                 selector: {{app: deployed}}, ports: [{{name: tcp, port: {ECHO}}}, {{name: http, port: 80, targetPort: {HTTP}}}]}}\n"
            ),
        )?;
        let mut deployment = Self { world, agents, objects, pods: Vec::new(), made: 0 };
        for _ in 0..REPLICAS {
            deployment.add()?;
        }
        Ok(deployment)
    }

    /// A new pod is ready as soon as its process listens.
    fn add(&mut self) -> Result<()> {
        let (name, node) = (format!("deployed-{}", self.made), self.made % self.agents.len());
        self.made += 1;
        let pod = self.world.nodes[node].pod(&name)?;
        self.agents[node].enroll(&pod, NAMESPACE, "deployed")?;
        let services = [format!("echo:{ECHO}"), format!("http-echo:{HTTP}")];
        let program = binary("weir-test-app")?.display().to_string();
        let own = [program, "serve".to_owned(), "--drain".to_owned(), format!("--pod={name}")];
        let mut server = pod.place.spawn(&[&own[..], &services].concat())?;
        for port in [ECHO, HTTP] {
            server.listens_on(port)?;
        }
        self.describe(&pod, false)?;
        self.pods.push(Running { server, node, pod });
        Ok(())
    }

    /// What Kubernetes says of a pod: it is ready, and it may end.
    fn describe(&self, pod: &Pod, is_ending: bool) -> Result<()> {
        let mut metadata = json!({
            "name": pod.name(), "namespace": NAMESPACE, "labels": {"app": "deployed"},
            "annotations": {"ambient.istio.io/redirection": "enabled"},
        });
        if is_ending {
            metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        }
        let status = json!({
            "phase": "Running", "podIPs": [{"ip": pod.ipv4()}], "conditions": [{"type": "Ready", "status": "True"}],
        });
        let spec = json!({"nodeName": pod.node(), "serviceAccountName": "deployed"});
        let object = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": status});
        self.objects.put(pod.name(), &object.to_string())
    }

    /// Ends the oldest pod: it is told to end, and no longer listens, before anybody knows; it is killed once its time is up, and then
    /// it is gone.
    fn end_oldest(&mut self, goes_on: &mut impl FnMut(Duration) -> Result<()>) -> Result<()> {
        let old = self.pods.remove(0);
        old.server.signal(Signal::SIGTERM)?;
        self.describe(&old.pod, true)?;
        goes_on(GRACE_PERIOD)?;
        old.server.signal(Signal::SIGKILL)?;
        self.objects.remove(old.pod.name())?;
        self.agents[old.node].unenroll(old.pod.name())
    }

    /// Replaces each of its pods by another.
    fn roll(&mut self, mut goes_on: impl FnMut(Duration) -> Result<()>) -> Result<()> {
        for _ in 0..REPLICAS {
            self.add()?;
            self.end_oldest(&mut goes_on)?;
        }
        goes_on(GRACE_PERIOD)
    }
}

fn connections(mesh: &mut Mesh) -> Result<()> {
    let mut deployment = Deployment::start(&mesh.world, &mesh.agents, &mesh.control_plane.objects)?;
    wait::until("the client reaches it", WITHIN, || test_app::echoes(&mesh.client.place, ip(VIP), ECHO).map(drop))
        .with_context(|| mesh.logs())?;
    let mut load = Load::start(&mesh.client.place, ip(VIP))?;
    deployment.roll(|lasting| load.goes_on(lasting))?;
    let seen = load.end()?;
    note(seen.summary());
    seen.no_new_failed().with_context(|| mesh.logs())?;
    let carried = mesh.agents[N1].metrics()?.sum(
        OPENED,
        &[("reporter", "source"), ("destination_principal", "spiffe://cluster.local/ns/shop/sa/deployed")],
    );
    ensure!(carried >= seen.ok as f64, "over HBONE went {carried} of {}", seen.summary());
    Ok(())
}

fn requests(mesh: &mut HttpMesh) -> Result<()> {
    let mut deployment = Deployment::start(&mesh.world, &mesh.agents, &mesh.control_plane.objects)?;
    let address: IpAddr = ip(VIP);
    let url = format!("http://{address}/");
    wait::until("the client reaches it", WITHIN, || {
        let output = mesh.client.place.output(&["curl", "-sS", "--fail", "--max-time", "5", &url])?;
        ensure!(output.success, "{}", output.summary());
        Ok(())
    })
    .with_context(|| mesh.logs())?;
    let arguments = [format!("{address}:80"), "--host=deployed".to_owned()]
        .into_iter()
        .chain(["--connections=8", "--rate=200", "--target=/?delay_ms=5"].map(str::to_owned))
        .collect::<Vec<_>>();
    let mut load = HttpLoad::start(&mesh.client.place, &arguments)?;
    deployment.roll(|lasting| load.goes_on(lasting))?;
    let seen = load.end()?;
    note(format!("{} requests, answered by {:?}", seen.answered, seen.pods));
    seen.all_are(200).with_context(|| mesh.logs())?;
    ensure!(seen.pods.len() == 2 * REPLICAS, "not all pods have answered: {seen:?}");
    Ok(())
}

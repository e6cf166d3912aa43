//! Weir as a subject: its control plane, an agent on each node of a testbed of its own, both pods enrolled. All settings
//! are the defaults, but for the access log where a subject has none; the agents' logs go to files of the run.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::mount::{MsFlags, mount};
use weir_tests::agent::{self, Agent, AgentOptions};
use weir_tests::control_plane::ControlPlane;
use weir_tests::mesh::{NAMESPACE, workload_entry};
use weir_tests::run::Run;
use weir_tests::wait;
use weir_tests::world::{N1, N2};

use crate::subject::{Proxies, Subject};
use crate::testbed::{Dial, GRPC, HTTP, Routed, Testbed};
use crate::token_pods::TokenPods;

/// Virtual addresses and ports of the services whose ports declare HTTP and gRPC: of the far pod, and of the near one.
const FAR_VIP: Ipv4Addr = Ipv4Addr::new(10, 98, 0, 1);
const NEAR_VIP: Ipv4Addr = Ipv4Addr::new(10, 98, 0, 2);
const HTTP_PORT: u16 = 80;
const GRPC_PORT: u16 = 9000;
/// The agent's default, and no line for a connection or a request.
const NO_ACCESS_LOG: &str = "--log=info,kube_client=off,access=off";

/// What the agents log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Logs {
    /// What they do by default: a line for each connection, and for each request.
    All,
    /// Messages alone.
    NoAccess,
}

/// Weir on a testbed. Fields are in the order in which they must go.
#[derive(Debug)]
pub(crate) struct Weir {
    agents: Vec<Agent>,
    _control_plane: ControlPlane,
    /// Where requests are decided about one by one.
    token_pods: Option<TokenPods>,
    testbed: Testbed,
}

impl Weir {
    /// Brings a build of Weir up on a new testbed; the workspace's own if none is given. `judges`: with pods about whose requests is
    /// decided one by one.
    pub(crate) fn start(binary: Option<&Path>, judges: bool, logs: Logs) -> Result<Self> {
        let testbed = Testbed::set_up("bench")?;
        let built = binary.map_or_else(|| agent::binary("weir"), |path| Ok(path.to_owned()))?;
        let program = in_memory(testbed.world.run(), &built)?;
        let control_plane = ControlPlane::start(&testbed.world)?;
        for pod in [&testbed.client, &testbed.near, &testbed.far] {
            control_plane.objects.put(pod.name(), &workload_entry(pod))?;
        }
        for (pod, vip) in [(&testbed.far, FAR_VIP), (&testbed.near, NEAR_VIP)] {
            control_plane.objects.put(&format!("routed-{}", pod.name()), &routed_service(pod.name(), vip))?;
        }
        let token_pods = judges.then(|| TokenPods::set_up(&testbed)).transpose()?;
        if let Some(pods) = &token_pods {
            for (_, pod) in pods.all() {
                control_plane.objects.put(pod.name(), &workload_entry(pod))?;
            }
            control_plane.objects.put("tokens", &pods.objects()?)?;
        }
        let mut agents = launch(&testbed, &control_plane, &program, logs)?;
        for agent in &mut agents {
            agent.becomes_ready().with_context(|| format!("control plane:\n{}", control_plane.tail()))?;
        }
        for (agent, pod) in [(N1, &testbed.client), (N1, &testbed.near), (N2, &testbed.far)] {
            agents[agent].enroll(pod, NAMESPACE, pod.name())?;
        }
        if let Some(pods) = &token_pods {
            pods.all().into_iter().try_for_each(|(node, pod)| agents[node].enroll(pod, NAMESPACE, pod.name()))?;
            pods.are_in_force(&testbed.client.place)?;
        }
        Ok(Self { agents, _control_plane: control_plane, token_pods, testbed })
    }

    /// The way to the other node.
    pub(crate) fn across(&self, name: &str) -> Subject {
        let dial = Dial::pod(&self.testbed.far);
        let (judged, decided) =
            self.token_pods.as_ref().map(|pods| (pods.verifying(), pods.indifferent().address)).unzip();
        let subject = Subject::across(name, &self.testbed, dial, self.proxies()).pooled();
        subject.routing(routed_at(FAR_VIP)).judging(judged).deciding(decided)
    }

    /// The same for requests with tokens that nobody verifies.
    pub(crate) fn without_tokens(&self, name: &str) -> Option<Subject> {
        let judged = self.token_pods.as_ref()?.indifferent();
        let subject = Subject::across(name, &self.testbed, Dial::pod(&self.testbed.far), self.proxies());
        Some(subject.pooled().judging(Some(judged)).for_requests())
    }

    /// The same for routed loads, but dialled at the pod's address, where the agents see connections only.
    pub(crate) fn unrouted(&self, name: &str) -> Subject {
        let far = &self.testbed.far;
        let subject = Subject::across(name, &self.testbed, Dial::pod(far), self.proxies());
        subject.pooled().routing(Routed::pod(far)).for_requests()
    }

    /// The ways of routed loads alone, to the other node and to a pod of the same one.
    pub(crate) fn for_requests(&self, across: &str, same_node: &str) -> [Subject; 2] {
        let way = Subject::across(across, &self.testbed, Dial::pod(&self.testbed.far), self.proxies());
        let beside = Subject::same_node(same_node, &self.testbed, self.proxies());
        [way.pooled().routing(routed_at(FAR_VIP)), beside.routing(routed_at(NEAR_VIP))].map(Subject::for_requests)
    }

    /// The way to a pod of the same node.
    pub(crate) fn same_node(&self, name: &str) -> Subject {
        let decided = self.token_pods.as_ref().map(TokenPods::beside);
        Subject::same_node(name, &self.testbed, self.proxies()).routing(routed_at(NEAR_VIP)).deciding(decided)
    }

    fn proxies(&self) -> Proxies {
        Proxies::Cgroups(self.testbed.world.nodes.iter().map(|node| node.agent_place.cgroup().to_owned()).collect())
    }

    /// Waits until the destination's agent has counted a connection: proof that the way is the mesh.
    pub(crate) fn carries(&self) -> Result<()> {
        wait::until("the destination's agent counts a connection", Duration::from_secs(5), || {
            ensure!(self.carried()? > 0.0, "it has counted none");
            Ok(())
        })
    }

    /// How many connections the agents have counted as their destination's since they came up.
    pub(crate) fn carried(&self) -> Result<f64> {
        let counted = self.agents.iter().map(|agent| {
            Ok(agent.metrics()?.sum("istio_tcp_connections_opened_total", &[("reporter", "destination")]))
        });
        counted.sum()
    }

    /// How many requests the agents have counted since they came up.
    pub(crate) fn requests(&self) -> Result<f64> {
        let counted = self.agents.iter().map(|agent| Ok(agent.metrics()?.sum("istio_requests_total", &[])));
        counted.sum()
    }

    /// The ends of the agents' logs, for messages.
    pub(crate) fn logs(&self) -> String {
        self.agents.iter().map(|agent| format!("agent of {}:\n{}\n", agent.place().name(), agent.tail())).collect()
    }
}

/// Starts an agent on each node.
fn launch(testbed: &Testbed, control_plane: &ControlPlane, program: &Path, logs: Logs) -> Result<Vec<Agent>> {
    let flags: Vec<String> = (logs == Logs::NoAccess).then(|| NO_ACCESS_LOG.to_owned()).into_iter().collect();
    let mut agents = Vec::new();
    for node in &testbed.world.nodes {
        let options = AgentOptions { delivery: control_plane.flags_for(node.name())?, flags: flags.clone() };
        let mut agent = Agent::prepare(node, options)?.of_build(program);
        agent.launch()?;
        agents.push(agent);
    }
    Ok(agents)
}

fn routed_at(vip: Ipv4Addr) -> Routed {
    Routed { http: (vip, HTTP_PORT).into(), grpc: (vip, GRPC_PORT).into() }
}

/// A service of a pod whose ports declare what they carry.
fn routed_service(pod: &str, vip: Ipv4Addr) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: routed-{pod}, namespace: {NAMESPACE}}}\nspec:\n  clusterIP: {vip}\n  \
         selector: {{app: {pod}}}\n  ports:\n  - {{name: http, port: {HTTP_PORT}, targetPort: {HTTP}}}\n  - {{name: grpc, \
         port: {GRPC_PORT}, targetPort: {GRPC}}}\n"
    )
}

/// Copies a program to a file system of the run that holds its file in single pages.
///
/// Resident memory counts the pages of a program's file that are mapped. A disk's page cache holds the file in folios of many
/// sizes, as it happened to be read or written, and a touched folio is mapped as a whole: one and the same build was seen with
/// 18 MiB and with 31 MiB. In a tmpfs without huge pages it has the same pages each time.
fn in_memory(run: &Run, program: &Path) -> Result<PathBuf> {
    let folder = run.folder().join("program");
    fs::create_dir(&folder)?;
    mount(Some("tmpfs"), &folder, Some("tmpfs"), MsFlags::empty(), Some("huge=never"))
        .with_context(|| format!("mounting a tmpfs on {}", folder.display()))?;
    let copy = folder.join("weir");
    fs::copy(program, &copy).with_context(|| format!("copying {}", program.display()))?;
    Ok(copy)
}

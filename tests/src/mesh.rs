//! The mesh most tests share: two nodes with an agent each, a control plane, three enrolled pods and one outsider.
//!
//! | pod | node | enrolled | service |
//! |---|---|---|---|
//! | client | n1 | yes | |
//! | near | n1 | yes | `near.shop.svc.cluster.local` |
//! | far | n2 | yes | `far.shop.svc.cluster.local` |
//! | outsider | n2 | no, and unknown to the mesh | |

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::agent::{Agent, AgentOptions};
use crate::control_plane::ControlPlane;
use crate::objects::{ServiceEntry, WorkloadEntry};
use crate::program::Program;
use crate::rules::Rules;
use crate::run::Run;
use crate::test_app::{self, ECHO, PORTS};
use crate::world::{N1, N2, Node, Pod, World};
use crate::{nginx, wait};

/// Namespace of all workloads.
pub const NAMESPACE: &str = "shop";
/// Virtual addresses of the services.
pub const NEAR_VIPS: [&str; 2] = ["10.96.0.10", "fd96::10"];
pub const FAR_VIPS: [&str; 2] = ["10.96.0.20", "fd96::20"];

/// The shared mesh. Fields are in the order in which they must go.
#[derive(Debug)]
pub struct Mesh {
    pub servers: Servers,
    pub client: Pod,
    pub near: Pod,
    pub far: Pod,
    pub outsider: Pod,
    /// Agents of the nodes, at [`N1`] and [`N2`].
    pub agents: Vec<Agent>,
    pub control_plane: ControlPlane,
    /// Rules and routes of nodes and pods before any of Weir's processes ran; see [`Mesh::rules`].
    pub rules_before: Vec<Rules>,
    pub world: World,
}

/// The programs that serve in the pods.
#[derive(Debug)]
pub struct Servers {
    /// `weir-test-app` in each pod: all services of [`test_app::PORTS`].
    pub near: Program,
    pub far: Program,
    pub outsider: Program,
    /// nginx in the same pods, with a page that names the pod.
    _pages: [Program; 3],
}

impl Servers {
    fn start(run: &Run, near: &Pod, far: &Pod, outsider: &Pod) -> Result<Self> {
        let page = |pod: &Pod| nginx::serve(&pod.place, run, &format!("hello from {}\n", pod.name()));
        Ok(Self {
            near: test_app::serve(&near.place)?,
            far: test_app::serve(&far.place)?,
            outsider: test_app::serve(&outsider.place)?,
            _pages: [page(near)?, page(far)?, page(outsider)?],
        })
    }
}

impl Mesh {
    /// Brings the mesh up and waits until it carries traffic in every direction it should.
    ///
    /// # Errors
    /// If some part does not come up; with its log.
    pub fn start(purpose: &str) -> Result<Self> {
        Self::start_with(purpose, &[])
    }

    /// As [`Mesh::start`], with further flags for both agents.
    ///
    /// # Errors
    /// If some part does not come up; with its log.
    pub fn start_with(purpose: &str, flags: &[&str]) -> Result<Self> {
        let world = World::new(purpose, 2)?;
        let control_plane = ControlPlane::start(&world)?;
        let (n1, n2) = (&world.nodes[N1], &world.nodes[N2]);
        let (client, near) = (n1.pod("client")?, n1.pod("near")?);
        let (far, outsider) = (n2.pod("far")?, n2.pod("outsider")?);
        let servers = Servers::start(world.run(), &near, &far, &outsider)?;
        let (agents, rules_before) = (Vec::new(), Vec::new());
        let mut mesh = Self { servers, client, near, far, outsider, agents, control_plane, rules_before, world };
        mesh.rules_before = mesh.rules()?;
        mesh.agents = start_agents(&mesh.world, &mesh.control_plane, flags)?;
        mesh.describe()?;
        mesh.enroll_all()?;
        mesh.carries_traffic()?;
        Ok(mesh)
    }

    /// Writes the workloads and services into the control plane's folder.
    fn describe(&self) -> Result<()> {
        for pod in [&self.client, &self.near, &self.far] {
            self.control_plane.objects.put(pod.name(), &workload_entry(pod))?;
        }
        for (name, vips) in [("near", NEAR_VIPS), ("far", FAR_VIPS)] {
            self.control_plane.objects.put(&format!("service-{name}"), &service_entry(name, &vips.map(ip)).yaml())?;
        }
        Ok(())
    }

    fn enroll_all(&self) -> Result<()> {
        for (agent, pod) in [(N1, &self.client), (N1, &self.near), (N2, &self.far)] {
            self.agents[agent].enroll(pod, NAMESPACE, pod.name())?;
        }
        Ok(())
    }

    /// Waits until the enrolled pods reach each other through the mesh.
    ///
    /// # Errors
    /// If they do not in time; with the agents' logs.
    pub fn carries_traffic(&self) -> Result<()> {
        for (from, to) in
            [(&self.client, &self.far), (&self.client, &self.near), (&self.near, &self.far), (&self.far, &self.near)]
        {
            let what = format!("{} reaches {} through the mesh", from.name(), to.name());
            wait::until(&what, Duration::from_secs(15), || {
                let seen = test_app::echoes(&from.place, to.ipv4(), ECHO)?;
                let (source, destination) = (principal(from), principal(to));
                let labels = [
                    ("source_principal", &*source),
                    ("destination_principal", &*destination),
                    ("reporter", "destination"),
                ];
                let counted = self.agent_of(to).metrics()?.sum("istio_tcp_connections_opened_total", &labels);
                ensure!(counted > 0.0, "it does ({seen:?}), but the destination's agent did not see it");
                Ok(())
            })
            .with_context(|| self.logs())?;
        }
        Ok(())
    }

    /// Rules and routes of both nodes and of the three enrolled pods now, in this order.
    ///
    /// # Errors
    /// If they cannot be listed.
    pub fn rules(&self) -> Result<Vec<Rules>> {
        let nodes = self.world.nodes.iter().map(Node::rules);
        let pods = [&self.client, &self.near, &self.far].map(|pod| self.node_of(pod).rules_of(pod));
        nodes.chain(pods).collect()
    }

    /// The agent of a pod's node.
    #[must_use]
    pub fn agent_of(&self, pod: &Pod) -> &Agent {
        &self.agents[usize::from(pod.node() == "n2")]
    }

    /// The node of a pod.
    #[must_use]
    pub fn node_of(&self, pod: &Pod) -> &Node {
        &self.world.nodes[usize::from(pod.node() == "n2")]
    }

    /// The ends of all logs, for messages.
    #[must_use]
    pub fn logs(&self) -> String {
        let agents = self.agents.iter().map(|agent| format!("agent of {}:\n{}\n", agent.place().name(), agent.tail()));
        agents.chain([format!("control plane:\n{}", self.control_plane.tail())]).collect()
    }
}

/// The SPIFFE id of a pod of the mesh: each has a service account of its own name.
#[must_use]
pub fn principal(pod: &Pod) -> String {
    format!("spiffe://cluster.local/ns/{NAMESPACE}/sa/{}", pod.name())
}

/// A text that is an address.
///
/// # Panics
/// If it is not.
#[must_use]
pub fn ip(text: &str) -> IpAddr {
    text.parse().expect("callers write addresses")
}

/// Starts an agent on each node of a world and waits until all are ready.
pub(crate) fn start_agents(world: &World, control_plane: &ControlPlane, flags: &[&str]) -> Result<Vec<Agent>> {
    let mut agents = Vec::new();
    for node in &world.nodes {
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let mut agent = Agent::prepare(node, AgentOptions { delivery: control_plane.flags_for(node.name())?, flags })?;
        agent.launch()?;
        agents.push(agent);
    }
    for agent in &mut agents {
        agent.becomes_ready().with_context(|| format!("control plane:\n{}", control_plane.tail()))?;
    }
    Ok(agents)
}

/// What the mesh is told of a pod.
#[must_use]
pub fn workload_entry(pod: &Pod) -> String {
    labelled_entry(pod, &[("app", pod.name())], true)
}

/// The same with other labels, and reached by HBONE or by plain TCP.
#[must_use]
pub fn labelled_entry(pod: &Pod, labels: &[(&str, &str)], hbone: bool) -> String {
    WorkloadEntry {
        name: pod.name(),
        namespace: NAMESPACE,
        service_account: pod.name(),
        node: pod.node(),
        addresses: &pod.addresses(),
        labels,
        hbone,
    }
    .yaml()
}

fn service_entry<'a>(name: &'a str, addresses: &'a [IpAddr]) -> ServiceEntry<'a> {
    const MAPPED: &[(u16, u16)] = &[
        (80, nginx::PORT),
        (PORTS[0], PORTS[0]),
        (PORTS[1], PORTS[1]),
        (PORTS[2], PORTS[2]),
        (PORTS[3], PORTS[3]),
        (PORTS[4], PORTS[4]),
        (PORTS[5], PORTS[5]),
        (PORTS[6], PORTS[6]),
        (5201, 5201),
    ];
    ServiceEntry { name, namespace: NAMESPACE, addresses, ports: MAPPED, selector: ("app", name) }
}

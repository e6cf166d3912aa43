//! What the demo shows: a client on one node, and a service with a pod on each.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use weir_tests::agent::{Agent, AgentOptions};
use weir_tests::control_plane::ControlPlane;
use weir_tests::mesh::{NAMESPACE, ip, labelled_entry};
use weir_tests::nginx;
use weir_tests::objects::ServiceEntry;
use weir_tests::program::Program;
use weir_tests::rules::Rules;
use weir_tests::wait;
use weir_tests::world::{N1, N2, Node, Pod, World};

/// Virtual addresses of the service `web`.
pub(crate) const WEB: [&str; 2] = ["10.96.0.80", "fd96::80"];

/// Nodes, pods and their nginx; Weir comes later. Fields are in the order in which they must go.
#[derive(Debug)]
pub(crate) struct Shop {
    _servers: Vec<Program>,
    /// On n1.
    pub client: Pod,
    /// On n1, serves `web`.
    pub blue: Pod,
    /// On n2, serves `web`.
    pub green: Pod,
    pub world: World,
}

/// Weir in the shop.
#[derive(Debug)]
pub(crate) struct Weir {
    /// Agents of n1 and n2.
    pub agents: Vec<Agent>,
    pub control_plane: ControlPlane,
}

impl Shop {
    /// Two nodes and three pods, no mesh.
    pub(crate) fn open(purpose: &str) -> Result<Self> {
        let world = World::new(purpose, 2)?;
        let (client, blue) = (world.nodes[N1].pod("client")?, world.nodes[N1].pod("blue")?);
        let green = world.nodes[N2].pod("green")?;
        let mut servers = Vec::new();
        for pod in [&blue, &green] {
            servers.push(nginx::serve(
                &pod.place,
                world.run(),
                &format!("this is {} on {}\n", pod.name(), pod.node()),
            )?);
        }
        Ok(Self { _servers: servers, client, blue, green, world })
    }

    /// Rules and routes of both nodes and all pods.
    pub(crate) fn rules(&self) -> Result<Vec<Rules>> {
        let nodes = self.world.nodes.iter().map(Node::rules);
        let pods = [&self.client, &self.blue, &self.green].map(|pod| self.node_of(pod).rules_of(pod));
        nodes.chain(pods).collect()
    }

    fn node_of(&self, pod: &Pod) -> &Node {
        &self.world.nodes[usize::from(pod.node() == "n2")]
    }

    /// Starts the control plane and both agents, and describes the shop to them.
    pub(crate) fn start_weir(&self) -> Result<Weir> {
        let control_plane = ControlPlane::start(&self.world)?;
        for (pod, app) in [(&self.client, "client"), (&self.blue, "web"), (&self.green, "web")] {
            control_plane.objects.put(pod.name(), &labelled_entry(pod, &[("app", app), ("pod", pod.name())], true))?;
        }
        control_plane.objects.put("web", &service(&WEB.map(ip)))?;
        let mut agents = Vec::new();
        for node in &self.world.nodes {
            let options = AgentOptions { delivery: control_plane.flags_for(node.name())?, flags: Vec::new() };
            let mut agent = Agent::prepare(node, options)?;
            agent.launch()?;
            agents.push(agent);
        }
        for agent in &mut agents {
            agent.becomes_ready().with_context(|| format!("control plane:\n{}", control_plane.tail()))?;
        }
        Ok(Weir { agents, control_plane })
    }

    /// Enrols all pods.
    pub(crate) fn enroll(&self, weir: &Weir) -> Result<()> {
        for (agent, pod) in [(0, &self.client), (0, &self.blue), (1, &self.green)] {
            weir.agents[agent].enroll(pod, NAMESPACE, pod.name())?;
        }
        // An agent that has just started may have its pods before the control plane has sent it the mesh.
        let url = format!("http://{}/", WEB[0]);
        wait::until("the client's agent knows the service", Duration::from_secs(10), || {
            self.client.place.run(&["curl", "-sf", "--max-time", "2", &url])
        })?;
        Ok(())
    }
}

fn service(addresses: &[IpAddr]) -> String {
    ServiceEntry { name: "web", namespace: NAMESPACE, addresses, ports: &[(80, nginx::PORT)], selector: ("app", "web") }
        .yaml()
}

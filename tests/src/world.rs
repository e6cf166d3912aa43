//! The network that tests run in, without a mesh: a fabric (a bridge in a namespace of its own), nodes on it, pods on the nodes.
//!
//! ```text
//! fabric  10.77.0.254  fd77::fe         the control plane lives here
//!   n1    10.77.0.1    fd77::1          pods 10.77.1.10…  fd77:0:0:1::10…
//!   n2    10.77.0.2    fd77::2          pods 10.77.2.10…  fd77:0:0:2::10…
//! ```
//! A pod has one interface, host addresses (/32 and /128) and a default route to its node, which has a host route to
//! it: as the plainest CNI plugins do it. No route leads out of the fabric.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::Result;

use crate::namespace::Namespace;
use crate::packet_capture::Capture;
use crate::place::Place;
use crate::rules::Rules;
use crate::run::Run;
use crate::{cgroup, run};

/// The fabric's own address, reachable from every node and pod.
pub const FABRIC: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 254);

/// Places of the nodes `n1` and `n2` in [`World::nodes`], and of their agents wherever a list has one for each node.
pub const N1: usize = 0;
pub const N2: usize = 1;

/// The last part of the first pod's address on each node.
const FIRST_POD: u16 = 10;

/// Fabric and nodes. Dropping it takes down all of it, and every pod with it.
#[derive(Debug)]
pub struct World {
    pub fabric: Place,
    pub nodes: Vec<Node>,
    fabric_netns: Namespace,
    run: Arc<Run>,
}

/// A node: a namespace that forwards between its pods and the fabric.
#[derive(Debug)]
pub struct Node {
    /// Where the node's own processes run: beside the pods' cgroup, not below it.
    pub place: Place,
    /// Where the node's agent runs: a cgroup with nothing else in it, as a container's is.
    pub agent_place: Place,
    index: u16,
    netns: Namespace,
    pods_cgroup: PathBuf,
    next_pod: AtomicU16,
    run: Arc<Run>,
}

/// A pod: a namespace and a cgroup. Dropping it is the pod's death.
#[derive(Debug)]
pub struct Pod {
    /// Where the pod's programs run.
    pub place: Place,
    name: String,
    node: String,
    ipv4: Ipv4Addr,
    ipv6: Ipv6Addr,
    netns: Namespace,
}

impl World {
    /// A fabric and nodes `n1`, `n2`, … without pods. `purpose` becomes part of all names; leftovers of killed runs go.
    ///
    /// # Errors
    /// If the machine cannot have network namespaces, veth pairs, cgroups or a BPF file system.
    pub fn new(purpose: &str, nodes: u16) -> Result<Self> {
        run::take_down_leftovers()?;
        let run = Arc::new(Run::start(purpose)?);
        let netns = Namespace::create(&format!("{}-fabric", run.name()))?;
        netns.ip("link add br0 type bridge\naddr add 10.77.0.254/24 dev br0\naddr add fd77::fe/64 dev br0 nodad\nlink set br0 up")?;
        let fabric = place(&run, "fabric", &netns)?;
        let mut world = Self { fabric, nodes: Vec::new(), fabric_netns: netns, run };
        for index in 1..=nodes {
            world.nodes.push(Node::create(&world.run, &world.fabric_netns, index, nodes)?);
        }
        Ok(world)
    }

    #[must_use]
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// Captures all that passes between a node and the fabric.
    ///
    /// # Errors
    /// If tcpdump does not start.
    pub fn capture(&self, node: &Node) -> Result<Capture> {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let serial = NEXT.fetch_add(1, Ordering::Relaxed);
        let file = self.run.folder().join(format!("{}-{serial}.pcap", node.name()));
        Capture::start(&self.fabric, node.name(), file)
    }
}

impl Node {
    fn create(run: &Arc<Run>, fabric: &Namespace, index: u16, nodes: u16) -> Result<Self> {
        let name = format!("n{index}");
        let netns = Namespace::create(&format!("{}-{name}", run.name()))?;
        for key in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding", "net/ipv6/conf/default/forwarding"] {
            netns.sysctl(key, "1")?;
        }
        fabric.ip(&format!(
            "link add {name} type veth peer name eth0 netns {}\nlink set {name} master br0\nlink set {name} up",
            netns.name()
        ))?;
        netns.ip(&format!(
            "link set eth0 up\naddr add 10.77.0.{index}/24 dev eth0\naddr add fd77::{index}/64 dev eth0 nodad"
        ))?;
        for other in (1..=nodes).filter(|other| *other != index) {
            netns.ip(&format!(
                "route add 10.77.{other}.0/24 via 10.77.0.{other}\nroute add fd77:0:0:{other}::/64 via fd77::{other}"
            ))?;
        }
        fabric.ip(&format!(
            "route add 10.77.{index}.0/24 via 10.77.0.{index}\nroute add fd77:0:0:{index}::/64 via fd77::{index}"
        ))?;
        let agent_cgroup = run.cgroup()?.join(format!("{name}-agent"));
        cgroup::create(&agent_cgroup)?;
        let agent_place = Place::new(&format!("{name}-agent"), netns.handle(), &agent_cgroup, &run.logs());
        let place = place(run, &name, &netns)?;
        let pods_cgroup = run.cgroup()?.join(format!("{name}-pods"));
        cgroup::create(&pods_cgroup)?;
        Ok(Self {
            place,
            agent_place,
            index,
            netns,
            pods_cgroup,
            next_pod: AtomicU16::new(FIRST_POD),
            run: Arc::clone(run),
        })
    }

    #[must_use]
    pub fn name(&self) -> &str {
        self.place.name()
    }

    /// The cgroup above those of all its pods, as kubepods is on a Kubernetes node.
    #[must_use]
    pub fn pods_cgroup(&self) -> &Path {
        &self.pods_cgroup
    }

    #[must_use]
    pub fn ipv4(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 0, self.index.to_le_bytes()[0])
    }

    #[must_use]
    pub fn ipv6(&self) -> Ipv6Addr {
        Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, self.index)
    }

    /// Starts a pod on the node; names are unique in a world.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn pod(&self, name: &str) -> Result<Pod> {
        let serial = self.next_pod.fetch_add(1, Ordering::Relaxed);
        let index = self.index;
        let netns = Namespace::create(&format!("{}-{name}", self.run.name()))?;
        self.netns.ip(&format!(
            "link add p{serial} type veth peer name eth0 netns {}\nlink set p{serial} up\n\
             addr add 169.254.1.1/32 dev p{serial}\naddr add fe80::1/64 dev p{serial} nodad\n\
             route add 10.77.{index}.{serial}/32 dev p{serial}\nroute add fd77:0:0:{index}::{serial}/128 dev p{serial}",
            netns.name()
        ))?;
        netns.ip(&format!(
            "link set eth0 up\naddr add 10.77.{index}.{serial}/32 dev eth0\naddr add fd77:0:0:{index}::{serial}/128 dev eth0 nodad\n\
             route add 169.254.1.1 dev eth0 scope link\nroute add default via 169.254.1.1 dev eth0\n\
             route add default via fe80::1 dev eth0"
        ))?;
        // As the kubelet calls it, for a pod whose uid is its name.
        let cgroup = self.pods_cgroup.join(format!("pod{name}"));
        cgroup::create(&cgroup)?;
        Ok(Pod {
            place: Place::new(name, netns.handle(), &cgroup, &self.run.logs()),
            name: name.to_owned(),
            node: self.name().to_owned(),
            ipv4: format!("10.77.{index}.{serial}").parse()?,
            ipv6: format!("fd77:0:0:{index}::{serial}").parse()?,
            netns,
        })
    }

    /// The node's rules and routes now.
    ///
    /// # Errors
    /// If they cannot be listed.
    pub fn rules(&self) -> Result<Rules> {
        Rules::list(self.name(), self.netns.handle(), self.place.cgroup(), &self.run.logs())
    }

    /// A pod's rules and routes now, listed by the node.
    ///
    /// # Errors
    /// If they cannot be listed.
    pub fn rules_of(&self, pod: &Pod) -> Result<Rules> {
        Rules::list(pod.name(), pod.netns.handle(), self.place.cgroup(), &self.run.logs())
    }

    /// A folder of the node that goes with the run.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn folder(&self, purpose: &str) -> Result<PathBuf> {
        let folder = self.run.folder().join(self.name()).join(purpose);
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    #[must_use]
    pub fn run(&self) -> &Run {
        &self.run
    }
}

impl Pod {
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Name of the node it runs on.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.node
    }

    #[must_use]
    pub fn ipv4(&self) -> IpAddr {
        self.ipv4.into()
    }

    #[must_use]
    pub fn ipv6(&self) -> IpAddr {
        self.ipv6.into()
    }

    /// Both addresses, IPv4 first.
    #[must_use]
    pub fn addresses(&self) -> [IpAddr; 2] {
        [self.ipv4(), self.ipv6()]
    }

    #[must_use]
    pub fn netns(&self) -> &Namespace {
        &self.netns
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        // Its processes die first, then its cgroup goes: what a kubelet does. The namespace goes with the field.
        if let Err(error) = cgroup::remove(self.place.cgroup()) {
            eprintln!("removing pod {}: {error:#}", self.name);
        }
    }
}

fn place(run: &Run, name: &str, netns: &Namespace) -> Result<Place> {
    let cgroup = run.cgroup()?.join(name);
    cgroup::create(&cgroup)?;
    Ok(Place::new(name, netns.handle(), &cgroup, &run.logs()))
}

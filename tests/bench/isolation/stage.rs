//! Where attacks happen: the standard mesh, and one more pod of the first node, which is hostile.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use weir_tests::agent::Agent;
use weir_tests::cgroup;
use weir_tests::mesh::{Mesh, NAMESPACE, workload_entry};
use weir_tests::place::Place;
use weir_tests::test_app::{self, ECHO};
use weir_tests::wait;
use weir_tests::world::{N1, Pod};

use crate::cpu;

/// Runs a program only while a processor has nothing else to do: an attacker's own processor time must not be what
/// the bystander waits for. Where a node bounds it by cgroup, that does the same.
const LOWEST_PRIORITY: [&str; 3] = ["chrt", "--idle", "0"];

/// Mesh and attacker. Fields are in the order in which they must go.
#[derive(Debug)]
pub(crate) struct Stage {
    /// On n1, enrolled.
    pub(crate) hostile: Pod,
    pub(crate) mesh: Mesh,
}

impl Stage {
    /// Brings it up with flags for both agents, and waits until the hostile pod is served as every other.
    pub(crate) fn set_up(flags: &[&str]) -> Result<Self> {
        let mesh = Mesh::start_with("bench", flags)?;
        let hostile = mesh.world.nodes[N1].pod("hostile")?;
        mesh.control_plane.objects.put(hostile.name(), &workload_entry(&hostile))?;
        mesh.agents[N1].enroll(&hostile, NAMESPACE, hostile.name())?;
        wait::until("the hostile pod is served", std::time::Duration::from_secs(15), || {
            test_app::echoes(&hostile.place, mesh.far.ipv4(), ECHO)
        })
        .with_context(|| mesh.logs())?;
        Ok(Self { hostile, mesh })
    }

    /// Where the programs of an attack run that are in a pod.
    pub(crate) fn attacker(pod: &Pod) -> Place {
        pod.place.clone().under(&LOWEST_PRIORITY)
    }

    /// Gives the control plane the lowest priority, too: in a cluster it is on another machine than the bystander.
    pub(crate) fn lower_control_plane(&self) -> Result<()> {
        let fabric = &self.mesh.world.fabric;
        for process in cgroup::processes(fabric.cgroup()) {
            fabric.run(&["chrt", "--all-tasks", "--idle", "--pid", "0", &process.to_string()])?;
        }
        Ok(())
    }

    /// A port of the far pod.
    pub(crate) fn far(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.mesh.far.ipv4(), port)
    }

    /// Time that processors have spent so far.
    pub(crate) fn spent(&self) -> Result<Cores> {
        let mut spent = Cores::default();
        for node in &self.mesh.world.nodes {
            spent.agents += cpu::cgroup_seconds(node.agent_place.cgroup())?;
            spent.pods += cpu::cgroup_seconds(node.pods_cgroup())?;
        }
        Ok(spent)
    }

    /// Descriptors and bytes of memory that each agent holds now.
    pub(crate) fn held(&self) -> Result<Vec<Held>> {
        self.mesh.agents.iter().map(Held::by).collect()
    }
}

/// Processor time of both agents, and of all programs in pods: the bystander, its server and the attackers. In seconds, or in
/// processors where it is seconds of each second.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Cores {
    pub(crate) agents: f64,
    pub(crate) pods: f64,
}

impl Cores {
    /// How many processors were busy since `earlier`, on average, if that was so many seconds ago.
    pub(crate) fn since(self, earlier: Self, seconds: f64) -> Self {
        Self { agents: (self.agents - earlier.agents) / seconds, pods: (self.pods - earlier.pods) / seconds }
    }
}

/// What an agent holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held {
    pub(crate) descriptors: usize,
    pub(crate) bytes: u64,
}

impl Held {
    fn by(agent: &Agent) -> Result<Self> {
        Ok(Self { descriptors: descriptors(agent.id()?)?, bytes: agent.resident_bytes()? })
    }
}

/// How many descriptors a process has open. Linux 6.2 and later say it as the size of the folder. To list the folder makes an
/// inode for each descriptor: that takes a processor for tens of milliseconds where there are 10,000, and whoever is measured
/// waits for it.
fn descriptors(process: u32) -> Result<usize> {
    let folder = format!("/proc/{process}/fd");
    let said = std::fs::metadata(&folder).with_context(|| folder.clone())?.len();
    if said > 0 {
        return Ok(usize::try_from(said)?);
    }
    Ok(std::fs::read_dir(&folder).with_context(|| folder.clone())?.count())
}

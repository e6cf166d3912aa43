//! A subject: a way from a client to a server that is measured. What it is made of lives as long as it does.

use std::any::Any;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use weir_tests::place::Place;
use weir_tests::wait;
use weir_tests::world::Pod;

use crate::testbed::{Dial, Routed, Testbed};

/// Name of the subject that all others across nodes are compared with.
pub(crate) const DIRECT: &str = "direct";
/// Its like on one node.
pub(crate) const DIRECT_SAME_NODE: &str = "direct-same-node";

/// What the name of a build of Weir ends with where its routed loads go to the pod's address, past its HTTP.
pub(crate) const UNROUTED: &str = "-l4";

/// Where the memory of a subject's proxies is counted.
#[derive(Debug, Clone)]
pub(crate) enum Proxies {
    /// There are none.
    None,
    /// All processes of these cgroups, a cgroup for each node.
    Cgroups(Vec<PathBuf>),
    /// These processes, a list for each node.
    Processes(Vec<Vec<u32>>),
}

/// A way from a client to a server.
pub(crate) struct Subject {
    pub(crate) name: String,
    /// Name of the subject without a mesh that takes the same way.
    pub(crate) baseline: &'static str,
    /// Where the client runs.
    pub(crate) client: Place,
    pub(crate) dial: Dial,
    /// Where its requests are routed one by one, if anywhere.
    routed: Option<Routed>,
    /// There is another subject for all other loads.
    is_only_routed: bool,
    /// Above all that runs on the subject's testbed.
    pub(crate) cgroup: PathBuf,
    pub(crate) proxies: Proxies,
    /// Descriptors that a proxy process needs for each connection.
    pub(crate) descriptors: u32,
    /// Kept for its drop only.
    _parts: Vec<Box<dyn Any>>,
}

impl Subject {
    /// A subject across nodes.
    pub(crate) fn across(name: &str, testbed: &Testbed, dial: Dial, proxies: Proxies) -> Self {
        Self::new(name, DIRECT, testbed, dial, proxies)
    }

    /// A subject whose server is on the client's node.
    pub(crate) fn same_node(name: &str, testbed: &Testbed, proxies: Proxies) -> Self {
        Self::new(name, DIRECT_SAME_NODE, testbed, Dial::pod(&testbed.near), proxies)
    }

    fn new(name: &str, baseline: &'static str, testbed: &Testbed, dial: Dial, proxies: Proxies) -> Self {
        Self {
            name: name.to_owned(),
            baseline,
            client: testbed.client.place.clone(),
            dial,
            routed: None,
            is_only_routed: false,
            cgroup: testbed.cgroup.clone(),
            proxies,
            descriptors: 2,
            _parts: Vec::new(),
        }
    }

    /// With something that must live for as long as the subject does.
    pub(crate) fn keeping(mut self, part: impl Any) -> Self {
        self._parts.push(Box::new(part));
        self
    }

    /// With addresses at which its requests are routed one by one.
    pub(crate) fn routing(mut self, routed: Routed) -> Self {
        self.routed = Some(routed);
        self
    }

    /// For routed loads alone.
    pub(crate) fn only_routed(mut self) -> Self {
        self.is_only_routed = true;
        self
    }

    /// Whether a load can be measured on it: a routed one, or another.
    pub(crate) fn takes(&self, is_routed: bool) -> bool {
        if is_routed { self.routed.is_some() } else { !self.is_only_routed }
    }

    /// Where its requests are routed.
    pub(crate) fn routed(&self) -> Result<Routed> {
        self.routed.with_context(|| format!("{} routes no requests", self.name))
    }

    /// A subject whose connections share those between the nodes.
    pub(crate) fn pooled(mut self) -> Self {
        self.descriptors = 1;
        self
    }

    /// Waits until the server answers this way.
    pub(crate) fn answers(&self) -> Result<()> {
        let addresses = [Some(self.dial.http), self.routed.map(|routed| routed.http)];
        for address in addresses.into_iter().flatten() {
            let url = format!("http://{address}/");
            wait::until("the server answers", Duration::from_secs(15), || {
                self.client.run(&["curl", "--silent", "--fail", "--max-time", "5", &url]).map(drop)
            })
            .with_context(|| format!("subject {}", self.name))?;
        }
        Ok(())
    }
}

/// No mesh.
pub(crate) fn direct(testbed: &Testbed) -> Subject {
    let direct = Subject::across(DIRECT, testbed, Dial::pod(&testbed.far), Proxies::None);
    direct.routing(Routed::pod(&testbed.far))
}

/// No mesh, one node.
pub(crate) fn direct_same_node(testbed: &Testbed) -> Subject {
    Subject::same_node(DIRECT_SAME_NODE, testbed, Proxies::None)
}

/// The address of a port of a pod.
pub(crate) fn address(pod: &Pod, port: u16) -> std::net::SocketAddr {
    (pod.ipv4(), port).into()
}

//! A subject: a way from a client to a server that is measured. What it is made of lives as long as it does.

use std::any::Any;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use weir_tests::place::Place;
use weir_tests::wait;
use weir_tests::world::Pod;

use crate::testbed::{Dial, Testbed};

/// Name of the subject that all others across nodes are compared with.
pub(crate) const DIRECT: &str = "direct";
/// Its like on one node.
pub(crate) const DIRECT_SAME_NODE: &str = "direct-same-node";

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

    /// A subject whose connections share those between the nodes.
    pub(crate) fn pooled(mut self) -> Self {
        self.descriptors = 1;
        self
    }

    /// Waits until the server answers this way.
    pub(crate) fn answers(&self) -> Result<()> {
        let url = format!("http://{}/", self.dial.http);
        wait::until("the server answers", Duration::from_secs(15), || {
            self.client.run(&["curl", "--silent", "--fail", "--max-time", "5", &url]).map(drop)
        })
        .with_context(|| format!("subject {}", self.name))
    }
}

/// No mesh.
pub(crate) fn direct(testbed: &Testbed) -> Subject {
    Subject::across(DIRECT, testbed, Dial::pod(&testbed.far), Proxies::None)
}

/// No mesh, one node.
pub(crate) fn direct_same_node(testbed: &Testbed) -> Subject {
    Subject::same_node(DIRECT_SAME_NODE, testbed, Proxies::None)
}

/// The address of a port of a pod.
pub(crate) fn address(pod: &Pod, port: u16) -> std::net::SocketAddr {
    (pod.ipv4(), port).into()
}

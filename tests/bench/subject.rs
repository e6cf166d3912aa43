//! A subject: a way from a client to a server that is measured. What it is made of lives as long as it does.

use std::any::Any;
use std::net::SocketAddr;
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

/// What the name of a build of Weir ends with where nobody verifies the tokens of its requests.
pub(crate) const NO_TOKENS: &str = "-no-jwt";

/// What the name of a build of Weir ends with whose agents write no access log, and where such a one serves a pod of the client's node.
pub(crate) const NO_LOG: &str = "-no-log";
pub(crate) const NO_LOG_SAME_NODE: &str = "-no-log-same-node";

/// What the name of a build of Weir ends with where client and server are on one node.
pub(crate) const SAME_NODE: &str = "-same-node";

/// What a load needs of a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Connections to a server.
    Connections,
    /// A server whose requests are routed one by one.
    Routed,
    /// The same for calls of gRPC.
    Calls,
    /// A server about whose requests policy decides one by one, at its destination.
    Decided,
    /// The same, with tokens.
    Judged,
}

/// A server about whose requests is decided one by one, and whose clients have tokens.
#[derive(Debug, Clone)]
pub(crate) struct Judged {
    pub(crate) address: SocketAddr,
    /// A file with the tokens that its clients have, one in each line.
    pub(crate) tokens: PathBuf,
}

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
    /// Where its requests are routed one by one, if anywhere; and where calls of gRPC are.
    routed: Option<SocketAddr>,
    calls: Option<SocketAddr>,
    /// Where policy decides about its requests one by one, if anywhere; and where it does so with tokens.
    decided: Option<SocketAddr>,
    judged: Option<Judged>,
    /// There is another subject for connections.
    is_for_requests: bool,
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
            calls: None,
            decided: None,
            judged: None,
            is_for_requests: false,
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
    pub(crate) fn routing(self, Routed { http, grpc }: Routed) -> Self {
        self.routing_some(Some(http), Some(grpc))
    }

    /// With such addresses as far as there are any: of HTTP/1, and of gRPC.
    pub(crate) fn routing_some(mut self, http: Option<SocketAddr>, grpc: Option<SocketAddr>) -> Self {
        (self.routed, self.calls) = (http, grpc);
        self
    }

    /// With a server about whose requests policy decides one by one.
    pub(crate) fn deciding(mut self, address: Option<SocketAddr>) -> Self {
        self.decided = address;
        self
    }

    /// The same, where requests have tokens.
    pub(crate) fn judging(mut self, judged: Option<Judged>) -> Self {
        self.judged = judged;
        self
    }

    /// For loads of requests alone.
    pub(crate) fn for_requests(mut self) -> Self {
        self.is_for_requests = true;
        self
    }

    /// Whether a load that needs this can be measured on it.
    pub(crate) fn takes(&self, way: Way) -> bool {
        match way {
            Way::Connections => !self.is_for_requests,
            Way::Routed => self.routed.is_some(),
            Way::Calls => self.calls.is_some(),
            Way::Decided => self.decided.is_some(),
            Way::Judged => self.judged.is_some(),
        }
    }

    /// Where its requests are routed.
    pub(crate) fn routed(&self) -> Result<SocketAddr> {
        self.routed.with_context(|| format!("{} routes no requests", self.name))
    }

    /// Where its calls of gRPC are routed.
    pub(crate) fn calls(&self) -> Result<SocketAddr> {
        self.calls.with_context(|| format!("{} routes no calls of gRPC", self.name))
    }

    /// Where policy decides about its requests.
    pub(crate) fn decided(&self) -> Result<SocketAddr> {
        self.decided.with_context(|| format!("{} decides about no requests", self.name))
    }

    /// Where it decides with tokens.
    pub(crate) fn judged(&self) -> Result<&Judged> {
        self.judged.as_ref().with_context(|| format!("{} decides about no requests", self.name))
    }

    /// A subject whose connections share those between the nodes.
    pub(crate) fn pooled(mut self) -> Self {
        self.descriptors = 1;
        self
    }

    /// Waits until the server answers this way.
    pub(crate) fn answers(&self) -> Result<()> {
        let addresses = [Some(self.dial.http), self.routed];
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
    Subject::same_node(DIRECT_SAME_NODE, testbed, Proxies::None).routing(Routed::pod(&testbed.near))
}

/// The address of a port of a pod.
pub(crate) fn address(pod: &Pod, port: u16) -> SocketAddr {
    (pod.ipv4(), port).into()
}

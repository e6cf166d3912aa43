//! The policies of the matrix: its columns. Each selects the pod `far` and nothing else.

use weir_tests::mesh::NAMESPACE;
use weir_tests::objects::{authorization_policy, peer_authentication};
use weir_tests::test_app::{ECHO, WATCH};

/// Service accounts of the mesh's pods that dial: another node's, one on the same node, and the one with a container within.
pub(super) const MEMBERS: [&str; 3] = ["near", "beside", "client"];
/// The port of the service, which is none of the pod's.
pub(super) const SERVICE_PORT: u16 = 9001;
/// The port of nodes at which they set their own address.
pub(super) const NODE_PORT: u16 = 30001;

/// A policy.
pub(super) struct Column {
    /// As the head of the table has it.
    pub(super) name: &'static str,
    /// What the legend says of it.
    pub(super) meaning: &'static str,
    /// The object that users write.
    pub(super) object: fn() -> String,
}

/// In the order of the expectations of each way.
pub(super) const COLUMNS: [Column; 14] = [
    Column {
        name: "PERMISSIVE",
        meaning: "PeerAuthentication PERMISSIVE",
        object: || peer_authentication("case", NAMESPACE, Some("far"), "PERMISSIVE"),
    },
    Column {
        name: "STRICT",
        meaning: "PeerAuthentication STRICT",
        object: || peer_authentication("case", NAMESPACE, Some("far"), "STRICT"),
    },
    Column {
        name: "STRICT-port",
        meaning: "PeerAuthentication STRICT, PERMISSIVE at the ports on which the pod's application listens",
        object: || {
            let strict = peer_authentication("case", NAMESPACE, Some("far"), "STRICT");
            format!("{strict}  portLevelMtls:\n    {ECHO}: {{mode: PERMISSIVE}}\n    {WATCH}: {{mode: PERMISSIVE}}\n")
        },
    },
    Column {
        name: "ALLOW-them",
        meaning: "ALLOW by principals: those of the mesh's pods that dial",
        object: || allow(&principals(&MEMBERS)),
    },
    Column {
        name: "ALLOW-none",
        meaning: "ALLOW by principals: that of nobody who dials",
        object: || allow(&principals(&["nobody"])),
    },
    Column {
        name: "ALLOW-port",
        meaning: "ALLOW by the ports on which the pod's application listens",
        object: || allow(&ports([ECHO, WATCH])),
    },
    Column {
        name: "ALLOW-vport",
        meaning: "ALLOW by ports on which only the service and the nodes have it",
        object: || allow(&ports([SERVICE_PORT, NODE_PORT])),
    },
    Column {
        name: "ALLOW-pods",
        meaning: "ALLOW by ipBlocks: the addresses of all pods, none of a node",
        object: || allow(&blocks("\"10.77.1.0/24\", \"10.77.2.0/24\", \"fd77:0:0:1::/64\", \"fd77:0:0:2::/64\"")),
    },
    Column {
        name: "DENY-them",
        meaning: "DENY by principals: those of the mesh's pods that dial",
        object: || deny(&principals(&MEMBERS)),
    },
    Column {
        name: "DENY-none",
        meaning: "DENY by principals: that of nobody who dials",
        object: || deny(&principals(&["nobody"])),
    },
    Column {
        name: "DENY-anon",
        meaning: "DENY by notPrincipals [\"*\"]: whoever has no identity",
        object: || deny("[{from: [{source: {notPrincipals: [\"*\"]}}]}]"),
    },
    Column {
        name: "DENY-addr",
        meaning: "DENY by ipBlocks: every address",
        object: || deny(&blocks("\"0.0.0.0/0\", \"::/0\"")),
    },
    Column {
        name: "bad-AP",
        meaning: "an AuthorizationPolicy with a field that nobody knows",
        object: || allow("[{from: [{source: {nobodyKnowsThisField: [\"x\"]}}]}]"),
    },
    Column {
        name: "bad-PA",
        meaning: "a PeerAuthentication with a mode that nobody knows",
        object: || peer_authentication("case", NAMESPACE, Some("far"), "PERHAPS"),
    },
];

fn allow(rules: &str) -> String {
    authorization_policy("case", NAMESPACE, "far", "ALLOW", rules)
}

fn deny(rules: &str) -> String {
    authorization_policy("case", NAMESPACE, "far", "DENY", rules)
}

fn principals(accounts: &[&str]) -> String {
    let principals: Vec<_> =
        accounts.iter().map(|account| format!("\"cluster.local/ns/{NAMESPACE}/sa/{account}\"")).collect();
    format!("[{{from: [{{source: {{principals: [{}]}}}}]}}]", principals.join(", "))
}

fn ports(ports: [u16; 2]) -> String {
    format!("[{{to: [{{operation: {{ports: [\"{}\", \"{}\"]}}}}]}}]", ports[0], ports[1])
}

fn blocks(blocks: &str) -> String {
    format!("[{{from: [{{source: {{ipBlocks: [{blocks}]}}}}]}}]")
}

//! What the proxy is told at start: timeouts, and where its node is.

use std::sync::Arc;
use std::time::Duration;

use crate::model::identity::TrustDomain;

/// How long a peer may take for each step.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// Opening a TCP connection.
    pub connect: Duration,
    /// TLS handshake, and HTTP/2 preface and settings; either side.
    pub handshake: Duration,
    /// From a CONNECT request to its response.
    pub request: Duration,
}

/// Where this node is: what an enrolled pod inherits that the mesh does not know yet.
#[derive(Debug, Clone)]
pub struct NodeInfo {
    pub node: Arc<str>,
    pub cluster_id: Arc<str>,
    /// Trust domains accepted besides MeshConfig's.
    pub extra_trust_domains: Vec<TrustDomain>,
}

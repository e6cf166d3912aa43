//! Addresses of a cluster. Each cluster is alone in its network namespaces, so all clusters have the same ones.

/// The bridge in the control plane's room, to which all nodes are connected.
pub const BRIDGE: &str = "bridge0";
/// The control plane: API server and istiod.
pub const CONTROL_PLANE: &str = "10.250.0.1";
/// Where a second istiod is, if there is one.
pub const SECOND_ISTIOD: &str = "10.250.0.2";
/// Port of the API server.
pub const API_PORT: u16 = 26443;
/// What Services get their addresses from.
pub const SERVICES: &str = "10.96.0.0/16";
/// The Service of the cluster's name server, if there is one.
pub const CLUSTER_DNS: &str = "10.96.0.10";
/// What all pods have their addresses in.
pub const PODS: &str = "10.251.0.0/16";

/// Address of the n-th node, from 1.
#[must_use]
pub fn node(index: usize) -> String {
    format!("10.250.0.{}", 10 + index)
}

/// Where the n-th node's pods have their addresses.
#[must_use]
pub fn pods_of(index: usize) -> String {
    format!("10.251.{index}.0/24")
}

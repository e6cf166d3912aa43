//! Who this agent says it is when a stream opens. Proof is the token, never this.

use std::net::IpAddr;

use prost_types::value::Kind;
use prost_types::{Struct, Value};

use crate::proto::envoy::config::core::v3::Node;

/// Who this agent is to the control plane.
#[derive(Debug, Clone)]
pub struct NodeDescription {
    /// Name of the node.
    pub node: String,
    /// Name and namespace of the agent's own pod.
    pub pod: String,
    pub namespace: String,
    pub ip: IpAddr,
    pub cluster_id: String,
    pub network: String,
}

impl NodeDescription {
    /// As istiod knows a node's proxy: the prefix `ztunnel~` selects the workload API.
    pub(super) fn to_wire(&self) -> Node {
        let Self { node, pod, namespace, ip, cluster_id, network } = self;
        let ip = ip.to_string();
        let metadata = [
            ("NAME", pod),
            ("NAMESPACE", namespace),
            ("NODE_NAME", node),
            ("CLUSTER_ID", cluster_id),
            ("NETWORK", network),
            ("INSTANCE_IPS", &ip),
        ];
        let text = |text: &String| Value { kind: Some(Kind::StringValue(text.clone())) };
        let set = metadata.into_iter().filter(|(_, value)| !value.is_empty());
        Node {
            id: format!("ztunnel~{ip}~{pod}.{namespace}~{namespace}.svc.cluster.local"),
            cluster: String::new(),
            metadata: Some(Struct { fields: set.map(|(key, value)| (key.to_owned(), text(value))).collect() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_introduces_itself_as_istiod_knows_node_proxies() {
        let description = NodeDescription {
            node: "node-1".into(),
            pod: "weir-x".into(),
            namespace: "istio-system".into(),
            ip: "10.0.0.7".parse().unwrap(),
            cluster_id: "Kubernetes".into(),
            network: String::new(),
        };
        let wire = description.to_wire();
        assert_eq!(wire.id, "ztunnel~10.0.0.7~weir-x.istio-system~istio-system.svc.cluster.local");
        let metadata = wire.metadata.unwrap().fields;
        let keys: Vec<&str> = metadata.keys().map(String::as_str).collect();
        assert_eq!(keys, ["CLUSTER_ID", "INSTANCE_IPS", "NAME", "NAMESPACE", "NODE_NAME"], "nothing that is empty");
    }
}

//! How the agent describes itself when a stream opens. What proves its identity is the token, not this.

use std::collections::BTreeMap;
use std::net::IpAddr;

use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};
use serde_json::Value as Json;

use crate::proto::envoy::config::core::v3::Node;

/// Not of the form that istiod compares with its own releases: it must not take an agent for an old proxy.
const VERSION: &str = concat!("weir-", env!("CARGO_PKG_VERSION"));

/// Who this agent is to the control plane.
#[derive(Debug, Clone)]
pub struct NodeDescription {
    /// Name of the node.
    pub node: String,
    /// Name, namespace and service account of the agent's own pod.
    pub pod: String,
    pub namespace: String,
    pub service_account: String,
    pub ip: IpAddr,
    pub cluster_id: String,
    pub network: String,
    /// The mesh that the control plane must be of.
    pub mesh_id: String,
    /// Metadata that an operator adds; it overrides the agent's own.
    pub metadata: BTreeMap<String, Json>,
}

impl NodeDescription {
    /// In the form of a node proxy of istiod: the prefix `ztunnel~` selects the workload API.
    pub(super) fn to_wire(&self) -> Node {
        let Self { node, pod, namespace, service_account, ip, cluster_id, network, mesh_id, metadata } = self;
        let ip = ip.to_string();
        let own = [
            ("NAME", pod.as_str()),
            ("NAMESPACE", namespace),
            ("SERVICE_ACCOUNT", service_account),
            ("NODE_NAME", node),
            ("CLUSTER_ID", cluster_id),
            ("NETWORK", network),
            ("INSTANCE_IPS", &ip),
            ("MESH_ID", mesh_id),
            ("ISTIO_VERSION", VERSION),
        ];
        let mut fields: BTreeMap<String, Value> = own
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(key, value)| (key.to_owned(), text(value.to_owned())))
            .collect();
        let labels = Struct { fields: [("app".to_owned(), text("ztunnel".to_owned()))].into() };
        fields.insert("LABELS".to_owned(), Value { kind: Some(Kind::StructValue(labels)) });
        fields.extend(metadata.iter().map(|(key, value)| (key.clone(), to_wire(value))));
        Node {
            id: format!("ztunnel~{ip}~{pod}.{namespace}~{namespace}.svc.cluster.local"),
            cluster: String::new(),
            metadata: Some(Struct { fields }),
        }
    }
}

fn text(value: String) -> Value {
    Value { kind: Some(Kind::StringValue(value)) }
}

fn to_wire(value: &Json) -> Value {
    let kind = match value {
        Json::Null => Kind::NullValue(0),
        Json::Bool(flag) => Kind::BoolValue(*flag),
        Json::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Json::String(text) => Kind::StringValue(text.clone()),
        Json::Array(items) => Kind::ListValue(ListValue { values: items.iter().map(to_wire).collect() }),
        Json::Object(entries) => Kind::StructValue(Struct {
            fields: entries.iter().map(|(key, value)| (key.clone(), to_wire(value))).collect(),
        }),
    };
    Value { kind: Some(kind) }
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
            service_account: "ztunnel".into(),
            ip: "10.0.0.7".parse().unwrap(),
            cluster_id: "Kubernetes".into(),
            network: String::new(),
            mesh_id: "cluster.local".into(),
            metadata: [
                ("MESH_ID".to_owned(), Json::from("other")),
                ("LABELS".to_owned(), serde_json::json!({ "app": "weir" })),
            ]
            .into(),
        };
        let wire = description.to_wire();
        assert_eq!(wire.id, "ztunnel~10.0.0.7~weir-x.istio-system~istio-system.svc.cluster.local");
        let metadata = wire.metadata.unwrap().fields;
        let keys: Vec<&str> = metadata.keys().map(String::as_str).collect();
        let expected = [
            "CLUSTER_ID",
            "INSTANCE_IPS",
            "ISTIO_VERSION",
            "LABELS",
            "MESH_ID",
            "NAME",
            "NAMESPACE",
            "NODE_NAME",
            "SERVICE_ACCOUNT",
        ];
        assert_eq!(keys, expected, "nothing that is empty");
        assert_eq!(metadata["MESH_ID"], text("other".into()), "an operator's metadata overrides");
        let Some(Kind::StructValue(labels)) = &metadata["LABELS"].kind else { panic!("labels are a map") };
        assert_eq!(labels.fields["app"], text("weir".into()));
    }
}

//! `spec` of a policy, from protobuf back into the shape of a file. Judges nothing but words that it does not know.

use serde_json::{Map, Value as Json, json};

use crate::proto::istio::security::v1beta1 as pb;
use crate::proto::istio::r#type::v1beta1 as selector_pb;
use crate::xds::decode::{Flaw, Malformed};

/// Fields that are set.
#[derive(Default)]
struct Fields(Map<String, Json>);

impl Fields {
    fn texts(mut self, name: &str, values: &[String]) -> Self {
        if !values.is_empty() {
            self.0.insert(name.to_owned(), json!(values));
        }
        self
    }

    fn list(mut self, name: &str, items: Vec<Json>) -> Self {
        if !items.is_empty() {
            self.0.insert(name.to_owned(), Json::Array(items));
        }
        self
    }

    fn maybe(mut self, name: &str, value: Option<Json>) -> Self {
        if let Some(value) = value {
            self.0.insert(name.to_owned(), value);
        }
        self
    }

    fn json(self) -> Json {
        Json::Object(self.0)
    }
}

pub(super) fn authorization_policy(wire: &pb::AuthorizationPolicy) -> Result<Json, Malformed> {
    use pb::authorization_policy::{Action, ActionDetail};
    let action =
        Action::try_from(wire.action).map_err(|_| Malformed::new("spec.action", Flaw::UnknownValue(wire.action)))?;
    let provider = wire.action_detail.as_ref().map(|ActionDetail::Provider(provider)| json!({ "name": provider.name }));
    let fields = Fields::default()
        .maybe("selector", wire.selector.as_ref().map(selector))
        .list("rules", wire.rules.iter().map(rule).collect())
        .maybe("action", Some(json!(action.as_str_name())))
        .maybe("provider", provider)
        .maybe("targetRef", wire.target_ref.as_ref().map(reference))
        .list("targetRefs", wire.target_refs.iter().map(reference).collect());
    Ok(fields.json())
}

pub(super) fn peer_authentication(wire: &pb::PeerAuthentication) -> Result<Json, Malformed> {
    let mut ports = Map::new();
    for (port, mtls) in &wire.port_level_mtls {
        ports.insert(port.to_string(), mode(mtls)?);
    }
    let ports = (!ports.is_empty()).then_some(Json::Object(ports));
    let fields = Fields::default()
        .maybe("selector", wire.selector.as_ref().map(selector))
        .maybe("mtls", wire.mtls.as_ref().map(mode).transpose()?)
        .maybe("portLevelMtls", ports);
    Ok(fields.json())
}

fn mode(wire: &pb::peer_authentication::MutualTls) -> Result<Json, Malformed> {
    let mode = pb::peer_authentication::mutual_tls::Mode::try_from(wire.mode)
        .map_err(|_| Malformed::new("spec.mtls.mode", Flaw::UnknownValue(wire.mode)))?;
    Ok(json!({ "mode": mode.as_str_name() }))
}

fn selector(wire: &selector_pb::WorkloadSelector) -> Json {
    let labels: Map<String, Json> =
        wire.match_labels.iter().map(|(key, value)| (key.clone(), Json::from(value.as_str()))).collect();
    json!({ "matchLabels": labels })
}

fn reference(wire: &selector_pb::PolicyTargetReference) -> Json {
    json!({ "group": wire.group, "kind": wire.kind, "name": wire.name, "namespace": wire.namespace })
}

fn rule(wire: &pb::Rule) -> Json {
    let from = wire.from.iter().map(|from| json!({ "source": from.source.as_ref().map(source) }));
    let to = wire.to.iter().map(|to| json!({ "operation": to.operation.as_ref().map(operation) }));
    let when = wire.when.iter().map(|condition| {
        let fields = Fields::default()
            .maybe("key", Some(json!(condition.key)))
            .texts("values", &condition.values)
            .texts("notValues", &condition.not_values);
        fields.json()
    });
    Fields::default().list("from", from.collect()).list("to", to.collect()).list("when", when.collect()).json()
}

fn source(wire: &pb::Source) -> Json {
    Fields::default()
        .texts("principals", &wire.principals)
        .texts("notPrincipals", &wire.not_principals)
        .texts("requestPrincipals", &wire.request_principals)
        .texts("notRequestPrincipals", &wire.not_request_principals)
        .texts("namespaces", &wire.namespaces)
        .texts("notNamespaces", &wire.not_namespaces)
        .texts("ipBlocks", &wire.ip_blocks)
        .texts("notIpBlocks", &wire.not_ip_blocks)
        .texts("remoteIpBlocks", &wire.remote_ip_blocks)
        .texts("notRemoteIpBlocks", &wire.not_remote_ip_blocks)
        .texts("serviceAccounts", &wire.service_accounts)
        .texts("notServiceAccounts", &wire.not_service_accounts)
        .texts("trustDomains", &wire.trust_domains)
        .texts("notTrustDomains", &wire.not_trust_domains)
        .json()
}

fn operation(wire: &pb::Operation) -> Json {
    Fields::default()
        .texts("hosts", &wire.hosts)
        .texts("notHosts", &wire.not_hosts)
        .texts("ports", &wire.ports)
        .texts("notPorts", &wire.not_ports)
        .texts("methods", &wire.methods)
        .texts("notMethods", &wire.not_methods)
        .texts("paths", &wire.paths)
        .texts("notPaths", &wire.not_paths)
        .json()
}

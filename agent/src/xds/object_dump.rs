//! Users' Istio objects as they were received, for people: never for decisions.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::decode;
use super::subscription_state::{MeshConfigStanding, SubscriptionState};
use crate::compile::Hostnames;
use crate::model::http::destination::UpstreamTls;
use crate::objects::base64;
use crate::resources::{MESH_CONFIG_TYPE_URL, ObjectKind, ResourceType};
use crate::tls::origination::Origination;

/// The mesh configuration, of which only the standing is told; then every object, by kind and name: as a file would have it where its
/// content is read, else what its envelope says and the bytes.
/// `services` are the host names that there are.
pub(super) fn objects(state: &SubscriptionState, services: &Hostnames) -> Vec<Json> {
    let mut objects: Vec<Json> = state.mesh_config().map(mesh_config).into_iter().collect();
    for kind in ObjectKind::ALL {
        for (name, resource) in state.of(ResourceType::Object(kind)) {
            let Some((body, rejected)) = resource.body() else { continue };
            let mut object = json!({
                "type": kind.type_url(), "name": &**name, "version": resource.version.to_string(), "bytes": body.len(),
            });
            let fields = object.as_object_mut().expect("it was made as an object");
            if let Some(reason) = rejected {
                fields.insert("rejected".to_owned(), json!(&**reason));
            }
            let without_effect = state.notes(kind, name, services);
            if !without_effect.is_empty() {
                fields.insert("withoutEffect".to_owned(), json!(without_effect));
            }
            fields.extend(content(kind, name, body));
            objects.push(object);
        }
    }
    objects
}

fn mesh_config(standing: &MeshConfigStanding) -> Json {
    let MeshConfigStanding { version, size_bytes, rejected, without_effect } = standing;
    let mut object = json!({
        "type": MESH_CONFIG_TYPE_URL, "name": "", "version": version, "bytes": size_bytes,
    });
    let fields = object.as_object_mut().expect("it was made as an object");
    if let Some(reason) = rejected {
        fields.insert("rejected".to_owned(), json!(&**reason));
    }
    if !without_effect.is_empty() {
        fields.insert("withoutEffect".to_owned(), json!(without_effect));
    }
    object
}

/// Adds to what [`objects`] has made which files of objects cannot be used, and why. They are read here, in the agent's own file system:
/// not under the lock of the configuration.
pub(super) fn add_unusable_files(objects: &mut [Json], of_objects: &[OwnTls], destination_tls_dir: &Path) {
    for OwnTls { kind, name, field, settings } in of_objects {
        let Some(reason) = Origination::problem(settings, destination_tls_dir) else { continue };
        let is_it = |object: &&mut Json| object["type"] == kind.type_url() && object["name"] == **name;
        if let Some(object) = objects.iter_mut().find(is_it).and_then(Json::as_object_mut) {
            let told = object.entry("withoutEffect").or_insert_with(|| json!([]));
            let line = json!(format!("{field}: {reason}: what needs it fails, requests with 503"));
            told.as_array_mut().expect("it was made as a list").push(line);
        }
    }
}

/// Settings for TLS of its own in an object.
pub(super) struct OwnTls {
    kind: ObjectKind,
    name: Arc<str>,
    /// Where they stand.
    field: String,
    settings: UpstreamTls,
}

/// All that objects have of these.
pub(super) fn own_tls(state: &SubscriptionState) -> Vec<OwnTls> {
    let kind = ObjectKind::DestinationRule;
    let of_object = |name: &Arc<str>| {
        let name = name.clone();
        let all = state.own_tls(kind, &name).into_iter();
        all.map(move |(field, settings)| OwnTls { kind, name: name.clone(), field, settings })
    };
    state.of(ResourceType::Object(kind)).keys().flat_map(of_object).collect()
}

fn content(kind: ObjectKind, name: &str, body: &[u8]) -> Vec<(String, Json)> {
    let Ok(envelope) = decode::envelope(name, body) else {
        return vec![("base64".to_owned(), json!(base64::encode(body)))];
    };
    let metadata = envelope.metadata.as_ref();
    let labels = metadata.map(|metadata| json!(metadata.labels)).unwrap_or_default();
    let created = metadata.and_then(|metadata| metadata.create_time.as_ref()).map(|time| time.seconds);
    let mut fields = vec![("labels".to_owned(), labels), ("createdUnixSeconds".to_owned(), json!(created))];
    match decode::spec(kind, &envelope) {
        // Those of policies have a field for everything, set or not.
        Ok(Some(spec)) if ResourceType::Object(kind).is_policy() => {
            fields.push(("spec".to_owned(), without_unset(spec)))
        }
        Ok(Some(spec)) => fields.push(("spec".to_owned(), spec)),
        Ok(None) | Err(_) => {
            let body = envelope.body.unwrap_or_default();
            fields.push(("bodyType".to_owned(), json!(body.type_url)));
            fields.push(("base64".to_owned(), json!(base64::encode(&body.value))));
        }
    }
    fields
}

/// Without the fields of messages that are not set. Items of lists stay, even those that say nothing.
fn without_unset(value: Json) -> Json {
    let is_set = |value: &Json| match value {
        Json::Null => false,
        Json::String(text) => !text.is_empty(),
        Json::Array(items) => !items.is_empty(),
        Json::Object(fields) => !fields.is_empty(),
        _ => true,
    };
    match value {
        Json::Array(items) => items.into_iter().map(without_unset).collect(),
        Json::Object(fields) => {
            let set = fields.into_iter().filter(|(_, value)| is_set(value));
            set.map(|(name, value)| (name, without_unset(value))).collect()
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_shown_in_the_shape_of_files() {
        use crate::proto::istio::security::v1beta1 as pb;
        let source = pb::Source { not_ip_blocks: vec!["10.0.0.0/8".into()], ..Default::default() };
        let policy = pb::AuthorizationPolicy {
            action: 3,
            action_detail: Some(pb::authorization_policy::ActionDetail::Provider(
                pb::authorization_policy::ExtensionProvider { name: "p".into() },
            )),
            rules: vec![
                pb::Rule::default(),
                pb::Rule { from: vec![pb::rule::From { source: Some(source) }], ..Default::default() },
            ],
            ..Default::default()
        };
        let expected = json!({
            "action": "CUSTOM",
            "provider": { "name": "p" },
            "rules": [{}, { "from": [{ "source": { "notIpBlocks": ["10.0.0.0/8"] } }] }],
        });
        assert_eq!(without_unset(json!(policy)), expected);
        let mtls = pb::peer_authentication::MutualTls { mode: 3 };
        let peer = pb::PeerAuthentication { port_level_mtls: [(80, mtls)].into(), ..Default::default() };
        assert_eq!(without_unset(json!(peer)), json!({ "portLevelMtls": { "80": { "mode": "STRICT" } } }));
    }
}

//! `weir status --config`: what of the users' objects is rejected or has no effect, and why.

use serde::{Deserialize, Serialize};

/// An object, as far as people ask whether it counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectStatus {
    /// Group, version and kind.
    pub r#type: String,
    /// `namespace/name`.
    pub name: String,
    /// Why it counts for nothing, or denies in place of what it says.
    #[serde(default)]
    pub rejected: Option<String>,
    /// `field: reason`.
    #[serde(default)]
    pub without_effect: Vec<String>,
    /// How it is with the keys of each issuer that the object names, of which the agent has to ask for them.
    #[serde(default)]
    pub keys: Vec<String>,
}

/// One line per object that does not count in part or at all, each with its findings, and per object whose keys are fetched; and a
/// count of those that count.
#[must_use]
pub fn render_objects(objects: &[ObjectStatus]) -> String {
    let mut lines = Vec::new();
    let mut whole = 0;
    for object in objects {
        let is_whole = object.rejected.is_none() && object.without_effect.is_empty();
        whole += usize::from(is_whole);
        if is_whole && object.keys.is_empty() {
            continue;
        }
        let kind = object.r#type.rsplit('/').next().unwrap_or_default();
        // The mesh configuration has no name.
        lines.push(format!("{kind} {}", object.name).trim_end().to_owned());
        lines.extend(object.rejected.iter().map(|reason| format!("  rejected: {reason}")));
        lines.extend(object.without_effect.iter().chain(&object.keys).map(|line| format!("  {line}")));
    }
    lines.push(format!("{whole} of {} objects count as they are", objects.len()));
    // Names and reasons come from elsewhere; none may steer the terminal.
    let clean =
        |line: String| line.chars().map(|c| if c.is_control() { ' ' } else { c }).chain(['\n']).collect::<String>();
    lines.into_iter().map(clean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_that_count_in_part_are_listed_with_the_reasons() {
        let object = |name: &str, rejected: Option<&str>, without_effect: &[&str]| ObjectStatus {
            r#type: "networking.istio.io/v1/VirtualService".to_owned(),
            name: name.to_owned(),
            rejected: rejected.map(str::to_owned),
            without_effect: without_effect.iter().map(ToString::to_string).collect(),
            keys: Vec::new(),
        };
        let mesh_config = ObjectStatus {
            r#type: "core/v1alpha1/MeshConfig".to_owned(),
            ..object("", None, &["ingressClass: has no effect here"])
        };
        let objects = [
            mesh_config,
            object("shop/good", None, &[]),
            object("shop/part", None, &["spec.tcp: has no effect", "spec.http[1]: there is no\u{1b} service a.b"]),
            object("shop/bad", Some("body: not set"), &[]),
            ObjectStatus { keys: vec!["keys of a: 1".to_owned()], ..object("shop/keys", None, &[]) },
        ];
        let expected = "MeshConfig\n  ingressClass: has no effect here\nVirtualService shop/part\n  spec.tcp: has no effect\n  spec.http[1]: there is no  service a.b\n\
                        VirtualService shop/bad\n  rejected: body: not set\n\
                        VirtualService shop/keys\n  keys of a: 1\n2 of 5 objects count as they are\n";
        assert_eq!(render_objects(&objects), expected);
    }
}

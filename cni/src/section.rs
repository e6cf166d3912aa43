//! The plugin's own section in the node's CNI configuration: the agent writes it, the container runtime hands it to the
//! plugin. The only settings that the plugin has.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The plugin's type: the name of its file in the directory of CNI plugins.
pub const PLUGIN: &str = "weir-cni";

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Section {
    /// Always [`PLUGIN`].
    #[serde(rename = "type")]
    pub plugin: String,
    /// The agent's socket, as the host sees it.
    #[serde(default = "default_socket")]
    pub socket: PathBuf,
    /// The file of [`crate::namespaces`], as the host sees it.
    #[serde(default = "default_namespaces_file")]
    pub namespaces_file: PathBuf,
    /// Seconds that a pod of a mesh namespace waits for the agent before its sandbox fails.
    #[serde(default = "default_timeout")]
    pub timeout_seconds: u64,
    /// Seconds that any other pod waits before it starts without having been enrolled.
    #[serde(default = "default_others_timeout")]
    pub others_timeout_seconds: u64,
    /// The namespace of the agent's own pod, and what else waits for nobody: the system's namespaces.
    #[serde(default)]
    pub exclude_namespaces: Vec<String>,
    /// The file that the configuration was before the plugin was chained, if it was no list; see the agent's installer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_of: Option<String>,
}

impl Default for Section {
    fn default() -> Self {
        Self {
            plugin: PLUGIN.to_owned(),
            socket: default_socket(),
            namespaces_file: default_namespaces_file(),
            timeout_seconds: default_timeout(),
            others_timeout_seconds: default_others_timeout(),
            exclude_namespaces: Vec::new(),
            made_of: None,
        }
    }
}

fn default_socket() -> PathBuf {
    "/run/weir/cni.sock".into()
}

fn default_namespaces_file() -> PathBuf {
    "/var/lib/weir/mesh-namespaces.json".into()
}

fn default_timeout() -> u64 {
    15
}

fn default_others_timeout() -> u64 {
    3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_has_a_default() {
        let section: Section = serde_json::from_str(r#"{"type":"weir-cni"}"#).expect("enough");
        assert_eq!(section, Section::default());
        let written = serde_json::to_string(&section).expect("plain data");
        assert_eq!(serde_json::from_str::<Section>(&written).expect("its own words"), section);
        assert!(written.contains(r#""timeoutSeconds":15"#) && !written.contains("madeOf"), "{written}");
    }
}

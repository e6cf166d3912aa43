//! ztunnel's environment variables whose names are not fixed, and those that have no effect here.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;

/// Variables of a ztunnel chart that have no meaning here: what they steer is done otherwise, or not at all.
const WITHOUT_MEANING: [&str; 30] = [
    "AUTHZ_POLICY_INFO_LOGGING",
    "COMPLIANCE_POLICY",
    "ENABLE_ORIG_SRC",
    "ENABLE_PROXY",
    "ENABLE_RESPONSE_BAGGAGE",
    "FAKE_CA",
    "HTTP2_CONNECTION_WINDOW_SIZE",
    "HTTP2_FRAME_SIZE",
    "HTTP2_STREAM_WINDOW_SIZE",
    "INPOD_ENABLED",
    "INPOD_PORT_REUSE",
    "INPOD_UDS",
    "IPV6_ENABLED",
    "KEEPALIVE_ENABLED",
    "KEEPALIVE_INTERVAL",
    "KEEPALIVE_RETRIES",
    "KEEPALIVE_TIME",
    "LOCALHOST_APP_TUNNEL",
    "LOCAL_XDS",
    "LOCAL_XDS_PATH",
    "PACKET_MARK",
    "POOL_UNUSED_RELEASE_TIMEOUT",
    "PREFERED_SERVICE_NAMESPACE",
    "PROXY_CONFIG",
    "PROXY_MODE",
    "PROXY_WORKLOAD_INFO",
    "TLS12_ENABLED",
    "UNSTABLE_ENABLE_SOCKS5",
    "USER_TIMEOUT_ENABLED",
    "XDS_ON_DEMAND",
];

/// What the environment says beyond the settings that have a name of their own.
#[derive(Clone, Default)]
pub struct Environment {
    /// `XDS_HEADER_*` and `CA_HEADER_*`: headers to send to the one and to the other.
    pub xds_headers: Vec<(String, String)>,
    pub ca_headers: Vec<(String, String)>,
    /// `ISTIO_META_*` as text, `ISTIO_METAJSON_*` as what it says: the node's metadata.
    pub metadata: BTreeMap<String, Value>,
    /// `<SERVICE>_SERVICE_HOST`, by the whole name: where the kubelet says that services of this namespace are.
    pub service_hosts: BTreeMap<String, String>,
    /// Names that are known and have no effect.
    pub without_meaning: Vec<String>,
    /// Names of Weir's own settings that are given here.
    own: BTreeSet<String>,
}

impl fmt::Debug for Environment {
    /// Headers may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |headers: &[(String, String)]| headers.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        f.debug_struct("Environment")
            .field("xds_headers", &names(&self.xds_headers))
            .field("ca_headers", &names(&self.ca_headers))
            .field("metadata", &self.metadata)
            .field("without_meaning", &self.without_meaning)
            .finish_non_exhaustive()
    }
}

impl Environment {
    /// The environment of this process. What is no text has no name here.
    #[must_use]
    pub fn read() -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self::of(std::env::vars_os().filter_map(text))
    }

    /// These variables.
    #[must_use]
    pub fn of(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut found = Self::default();
        for (name, value) in variables {
            if let Some(header) = name.strip_prefix("XDS_HEADER_") {
                found.xds_headers.push((header.to_owned(), value));
            } else if let Some(header) = name.strip_prefix("CA_HEADER_") {
                found.ca_headers.push((header.to_owned(), value));
            } else if let Some(key) = name.strip_prefix("ISTIO_METAJSON_") {
                match serde_json::from_str(&value) {
                    Ok(value) => drop(found.metadata.insert(key.to_owned(), value)),
                    Err(_) => found.without_meaning.push(name),
                }
            } else if let Some(key) = name.strip_prefix("ISTIO_META_") {
                found.metadata.insert(key.to_owned(), Value::String(value));
            } else if name.ends_with("_SERVICE_HOST") {
                // Before our own names: a service may be called weir-control-plane.
                found.service_hosts.insert(name, value);
            } else if name.starts_with("WEIR_") {
                found.own.insert(name);
            } else if WITHOUT_MEANING.binary_search(&name.as_str()).is_ok() {
                found.without_meaning.push(name);
            }
        }
        found.without_meaning.sort();
        found
    }

    /// True if a setting of Weir's own name is given here, be it with its default.
    #[must_use]
    pub fn has_own(&self, name: &str) -> bool {
        self.own.contains(name)
    }

    /// A piece of metadata that is a text and not empty.
    #[must_use]
    pub fn metadata_text(&self, key: &str) -> Option<&str> {
        self.metadata.get(key)?.as_str().filter(|text| !text.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_without_meaning_can_be_searched() {
        assert!(WITHOUT_MEANING.is_sorted());
    }

    #[test]
    fn variables_go_where_their_names_say() {
        let variables = [
            ("XDS_HEADER_x-tenant", "blue"),
            ("CA_HEADER_x-tenant", "red"),
            ("ISTIO_META_CLUSTER_ID", "west"),
            ("ISTIO_METAJSON_LABELS", r#"{"app":"ztunnel"}"#),
            ("ISTIO_METAJSON_BROKEN", "{"),
            ("ISTIOD_SERVICE_HOST", "10.96.0.9"),
            ("WEIR_CONTROL_PLANE_SERVICE_HOST", "10.96.0.10"),
            ("WEIR_DRAIN_SECONDS", "30"),
            ("INPOD_ENABLED", "true"),
            ("PATH", "/bin"),
        ];
        let found = Environment::of(variables.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(found.xds_headers, [("x-tenant".to_owned(), "blue".to_owned())]);
        assert_eq!(found.ca_headers, [("x-tenant".to_owned(), "red".to_owned())]);
        assert_eq!(found.metadata_text("CLUSTER_ID"), Some("west"));
        assert_eq!(found.metadata["LABELS"]["app"], "ztunnel");
        assert_eq!(found.service_hosts["ISTIOD_SERVICE_HOST"], "10.96.0.9");
        assert_eq!(found.service_hosts["WEIR_CONTROL_PLANE_SERVICE_HOST"], "10.96.0.10");
        assert!(found.has_own("WEIR_DRAIN_SECONDS"));
        assert_eq!(found.without_meaning, ["INPOD_ENABLED", "ISTIO_METAJSON_BROKEN"]);
        assert!(!format!("{found:?}").contains("blue"), "headers may be secrets");
    }
}

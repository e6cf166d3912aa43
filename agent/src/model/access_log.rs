//! Which form the access log of requests has, as MeshConfig says it.

use std::sync::Arc;

/// MeshConfig's `accessLogEncoding`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum AccessLogEncoding {
    #[default]
    Text,
    Json,
}

/// Access lines as Istio's sidecars write them: where MeshConfig's `accessLogFile` names a file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IstioAccessLog {
    /// `accessLogFormat`: a text with Envoy's command operators, or a JSON object of such texts. Empty: Istio's default.
    pub format: Arc<str>,
    pub encoding: AccessLogEncoding,
}

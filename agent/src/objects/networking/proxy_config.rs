//! `ProxyConfig`: settings of a proxy, as `defaultConfig` of MeshConfig has them for the whole mesh.

use std::sync::Arc;

use crate::model::http::proxy_headers::ProxyHeaders;
use crate::objects::reading::Fields;

/// Fields of `proxyHeaders` that have no use here.
const NOT_USED_OF_HEADERS: [(&str, &str); 3] = [
    ("forwardedClientCert", "has no effect yet: x-forwarded-client-cert is passed on as it came"),
    ("setCurrentClientCertDetails", "has no effect yet: x-forwarded-client-cert is passed on as it came"),
    ("metadataExchangeHeaders", "has no effect: agents exchange no metadata in fields"),
];

/// Fields of `defaultConfig` that have no use here.
const NOT_USED: [&str; 38] = [
    "configPath",
    "binaryPath",
    "serviceCluster",
    "tracingServiceName",
    "drainDuration",
    "discoveryAddress",
    "discoveryRefreshDelay",
    "zipkinAddress",
    "statsdUdpAddress",
    "envoyMetricsServiceAddress",
    "proxyAdminPort",
    "availabilityZone",
    "controlPlaneAuthPolicy",
    "customConfigFile",
    "statNameLength",
    "concurrency",
    "proxyBootstrapTemplatePath",
    "interceptionMode",
    "sds",
    "envoyAccessLogService",
    "envoyMetricsService",
    "proxyMetadata",
    "runtimeValues",
    "statusPort",
    "extraStatTags",
    "gatewayTopology",
    "terminationDrainDuration",
    "meshId",
    "readinessProbe",
    "proxyStatsMatcher",
    "holdApplicationUntilProxyStarts",
    "caCertificatesPem",
    "image",
    "privateKeyProvider",
    "fileFlushInterval",
    "fileFlushMinSizeKb",
    "statsCompression",
    "connectionSettings",
];

/// What of it counts here.
#[derive(Debug, Default)]
pub(super) struct ProxyConfig {
    pub(super) headers: ProxyHeaders,
    /// `tracing.sampling`.
    pub(super) sampling_percent: Option<f64>,
}

/// Reads `defaultConfig`, most fields of which configure a sidecar's process.
pub(super) fn read(mut fields: Fields<'_>) -> ProxyConfig {
    let headers = fields.fields("proxyHeaders").map(proxy_headers).unwrap_or_default();
    let sampling_percent = fields.fields("tracing").and_then(|mut tracing| tracing.decimal("sampling"));
    for name in NOT_USED {
        fields.without_effect(name, "has no effect: it configures a sidecar");
    }
    fields.finish();
    ProxyConfig { headers, sampling_percent }
}

fn proxy_headers(mut fields: Fields<'_>) -> ProxyHeaders {
    let preserve_case = fields.flag("preserveHttp1HeaderCase").unwrap_or(false);
    let mut is_on = |name: &'static str| {
        let disabled = fields.fields(name).and_then(|mut setting| {
            let disabled = setting.flag("disabled");
            setting.finish();
            disabled
        });
        !disabled.unwrap_or(false)
    };
    let (request_id, attempt_count) = (is_on("requestId"), is_on("attemptCount"));
    let debug = is_on("envoyDebugHeaders");
    let mut is_enabled = |name: &'static str| {
        let enabled = fields.fields(name).and_then(|mut setting| {
            let enabled = setting.flag("enabled");
            setting.finish();
            enabled
        });
        enabled.unwrap_or(false)
    };
    let (forwarded_host, forwarded_port) = (is_enabled("xForwardedHost"), is_enabled("xForwardedPort"));
    let server = fields.fields("server").and_then(server);
    let headers =
        ProxyHeaders { preserve_case, request_id, attempt_count, debug, forwarded_host, forwarded_port, server };
    for (name, why) in NOT_USED_OF_HEADERS {
        fields.without_effect(name, why);
    }
    fields.finish();
    headers
}

/// Reads `proxyHeaders.server`.
fn server(mut fields: Fields<'_>) -> Option<Arc<str>> {
    let (disabled, value) = (fields.flag("disabled"), fields.text("value").unwrap_or_default());
    if value.bytes().any(|byte| byte.is_ascii_control()) {
        fields.error("value", "a field of a head has no control characters");
    } else if disabled == Some(false) && value.is_empty() {
        fields.notice("disabled", "has no effect without a value: the `server` of the upstream stays");
    }
    fields.finish();
    server_name(disabled, &value)
}

/// The name that clients are told, where one is set and not switched off.
pub(super) fn server_name(disabled: Option<bool>, value: &str) -> Option<Arc<str>> {
    let is_told = disabled != Some(true) && !value.is_empty() && !value.bytes().any(|byte| byte.is_ascii_control());
    is_told.then(|| value.into())
}

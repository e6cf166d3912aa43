//! `ProxyConfig`: settings of a proxy, as `defaultConfig` of MeshConfig has them for the whole mesh.

use std::sync::Arc;

use crate::model::http::proxy_headers::ProxyHeaders;
use crate::model::telemetry::objects::CustomTag;
use crate::objects::reading::Fields;
use crate::objects::telemetry::tracing::custom_tags;

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

/// Collectors that `tracing` may name.
const OLD_COLLECTORS: [&str; 5] = ["zipkin", "lightstep", "datadog", "stackdriver", "openCensusAgent"];

/// What of it counts here.
#[derive(Debug, Default)]
pub(super) struct ProxyConfig {
    pub(super) headers: ProxyHeaders,
    pub(super) tracing: Tracing,
}

/// What of `tracing` counts.
#[derive(Debug, Default)]
pub(super) struct Tracing {
    pub(super) sampling_percent: Option<f64>,
    pub(super) custom_tags: Arc<[CustomTag]>,
    pub(super) has_istio_tags: Option<bool>,
}

/// Reads `defaultConfig`, most fields of which configure a sidecar's process.
pub(super) fn read(mut fields: Fields<'_>) -> ProxyConfig {
    let headers = fields.fields("proxyHeaders").map(proxy_headers).unwrap_or_default();
    let tracing = fields.fields("tracing").map(tracing).unwrap_or_default();
    for name in NOT_USED {
        fields.without_effect(name, "has no effect: it configures a sidecar");
    }
    fields.finish();
    ProxyConfig { headers, tracing }
}

fn tracing(mut fields: Fields<'_>) -> Tracing {
    let found = Tracing {
        sampling_percent: fields.decimal("sampling"),
        custom_tags: custom_tags(&mut fields).unwrap_or_default(),
        has_istio_tags: fields.flag("enableIstioTags"),
    };
    if found.sampling_percent.is_some_and(|percent| !(0.0..=100.0).contains(&percent)) {
        fields.error("sampling", "must be between 0 and 100");
    }
    fields.without_effect("maxPathTagLength", "has no effect: texts of tags have at most 256 bytes");
    for name in OLD_COLLECTORS {
        fields.without_effect(name, "has no effect: name a provider of the kind opentelemetry");
    }
    fields.without_effect("tlsSettings", "has no effect: nothing is sent to such a collector");
    fields.finish();
    found
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

//! MeshConfig's fields about metrics, access logs and spans, as they travel.

use prost_types::value::Kind as Json;

use crate::model::mesh::{AccessLogEncoding, IstioAccessLog};
use crate::model::telemetry::providers::{Provider, ProviderKind, TelemetryDefaults};
use crate::proto::istio::mesh::v1alpha1::mesh_config::extension_provider::{
    EnvoyFileAccessLogProvider, HttpService, OpenTelemetryTracingProvider, PrometheusMetricsProvider, Provider as Kind,
    envoy_file_access_log_provider,
};
use crate::proto::istio::mesh::v1alpha1::mesh_config::{
    AccessLogEncoding as Encoding, DefaultProviders, ExtensionProvider,
};

/// `accessLogEncoding`.
pub(super) fn encoding(form: &IstioAccessLog) -> Encoding {
    match form.encoding {
        AccessLogEncoding::Text => Encoding::Text,
        AccessLogEncoding::Json => Encoding::Json,
    }
}

/// `extensionProviders`.
pub(super) fn providers(defaults: &TelemetryDefaults) -> Vec<ExtensionProvider> {
    defaults.providers.iter().map(provider).collect()
}

/// `defaultProviders`.
pub(super) fn default_providers(defaults: &TelemetryDefaults) -> DefaultProviders {
    let names = |names: &[std::sync::Arc<str>]| names.iter().map(|name| name.to_string()).collect();
    DefaultProviders {
        tracing: names(&defaults.tracing),
        metrics: names(&defaults.metrics),
        access_logging: names(&defaults.access_logging),
    }
}

fn provider(provider: &Provider) -> ExtensionProvider {
    let kind = match &provider.kind {
        ProviderKind::Prometheus => Some(Kind::Prometheus(PrometheusMetricsProvider {})),
        ProviderKind::File(form) => {
            Some(Kind::EnvoyFileAccessLog(EnvoyFileAccessLogProvider { log_format: form.as_ref().map(log_format) }))
        }
        ProviderKind::Spans(collector) => Some(Kind::Opentelemetry(OpenTelemetryTracingProvider {
            service: collector.service.to_string(),
            port: collector.port.into(),
            http: None,
        })),
        ProviderKind::Unsupported(kind) if &**kind == "opentelemetry.http" => {
            let http = Some(HttpService::default());
            Some(Kind::Opentelemetry(OpenTelemetryTracingProvider { http, ..OpenTelemetryTracingProvider::default() }))
        }
        ProviderKind::Unsupported(_) => None,
    };
    ExtensionProvider { name: provider.name.to_string(), provider: kind }
}

fn log_format(form: &IstioAccessLog) -> envoy_file_access_log_provider::LogFormat {
    use envoy_file_access_log_provider::log_format::LogFormat;
    let format = match form.encoding {
        AccessLogEncoding::Text => LogFormat::Text(form.format.to_string()),
        AccessLogEncoding::Json => match serde_json::from_str(&form.format).map(json) {
            Ok(Json::StructValue(labels)) => LogFormat::Labels(labels),
            _ => LogFormat::Labels(prost_types::Struct::default()),
        },
    };
    envoy_file_access_log_provider::LogFormat { log_format: Some(format) }
}

fn json(value: serde_json::Value) -> Json {
    let inner = |value| prost_types::Value { kind: Some(json(value)) };
    match value {
        serde_json::Value::Null => Json::NullValue(0),
        serde_json::Value::Bool(flag) => Json::BoolValue(flag),
        serde_json::Value::Number(number) => Json::NumberValue(number.as_f64().unwrap_or_default()),
        serde_json::Value::String(text) => Json::StringValue(text),
        serde_json::Value::Array(items) => {
            Json::ListValue(prost_types::ListValue { values: items.into_iter().map(inner).collect() })
        }
        serde_json::Value::Object(members) => Json::StructValue(prost_types::Struct {
            fields: members.into_iter().map(|(name, value)| (name, inner(value))).collect(),
        }),
    }
}

//! What MeshConfig says of metrics, access logs and spans, as it comes over ADS.

use std::sync::Arc;

use prost_types::value::Kind as Json;

use super::authorizers;
use crate::model::mesh::{AccessLogEncoding, IstioAccessLog};
use crate::model::telemetry::objects::{CustomTag, CustomTagValue};
use crate::model::telemetry::providers::{Collector, Provider, ProviderKind, TelemetryDefaults};
use crate::objects::telemetry::authorizers::host_of;
use crate::objects::telemetry::tracing::MAX_TAGS;
use crate::proto::istio::mesh::v1alpha1 as pb;
use crate::proto::istio::mesh::v1alpha1::mesh_config::ExtensionProvider;
use crate::proto::istio::mesh::v1alpha1::mesh_config::extension_provider::{
    EnvoyFileAccessLogProvider, OpenTelemetryTracingProvider, Provider as Kind, envoy_file_access_log_provider,
};

/// Values of a JSON format may lie this deep in each other.
const MAX_DEPTH: usize = 64;

/// Reads the fields; `log_form` is that of `accessLogFormat` and `accessLogEncoding`.
pub(super) fn defaults(wire: &pb::MeshConfig, log_form: IstioAccessLog) -> TelemetryDefaults {
    let names = |names: &[String]| names.iter().map(|name| Arc::from(name.to_lowercase())).collect();
    let defaults = wire.default_providers.clone().unwrap_or_default();
    let tracing = wire.default_config.as_ref().and_then(|config| config.tracing.as_ref());
    TelemetryDefaults {
        providers: wire.extension_providers.iter().map(provider).collect(),
        access_logging: names(&defaults.access_logging),
        metrics: names(&defaults.metrics),
        tracing: names(&defaults.tracing),
        sampling_percent: tracing.map(|tracing| tracing.sampling).filter(|percent| *percent != 0.0),
        custom_tags: tracing.map(custom_tags).unwrap_or_default(),
        has_istio_tags: tracing.and_then(|tracing| tracing.enable_istio_tags),
        log_form,
    }
}

/// A tag of a kind that is not known has none of those here: it is left out.
fn custom_tags(wire: &pb::Tracing) -> Arc<[CustomTag]> {
    use pb::tracing::custom_tag::Type;
    let value = |wire: &pb::tracing::CustomTag| match wire.r#type.as_ref()? {
        Type::Literal(literal) => Some(CustomTagValue::Literal(literal.value.as_str().into())),
        // There is no proxy in the pod that had an environment.
        Type::Environment(variable) => Some(CustomTagValue::Literal(variable.default_value.as_str().into())),
        Type::Header(header) => Some(CustomTagValue::Header {
            name: header.name.to_ascii_lowercase().into(),
            default: header.default_value.as_str().into(),
        }),
    };
    let tags = wire.custom_tags.iter().take(MAX_TAGS);
    tags.filter_map(|(name, wire)| Some(CustomTag { name: name.as_str().into(), value: value(wire)? })).collect()
}

fn provider(wire: &ExtensionProvider) -> Provider {
    let kind = match &wire.provider {
        Some(Kind::Prometheus(_)) => ProviderKind::Prometheus,
        Some(Kind::EnvoyFileAccessLog(file)) => ProviderKind::File(log_form(file)),
        Some(Kind::Opentelemetry(OpenTelemetryTracingProvider { http: Some(_), .. })) => {
            ProviderKind::Unsupported("opentelemetry.http".into())
        }
        Some(Kind::Opentelemetry(spans)) => match u16::try_from(spans.port) {
            Ok(port) => ProviderKind::Spans(Collector { service: host_of(&spans.service).into(), port }),
            Err(_) => ProviderKind::Unsupported("opentelemetry".into()),
        },
        Some(Kind::EnvoyExtAuthzGrpc(grpc)) => authorizers::over_grpc(grpc, &wire.name),
        Some(Kind::EnvoyExtAuthzHttp(http)) => authorizers::over_http(http, &wire.name),
        None => ProviderKind::Unsupported("of another kind".into()),
    };
    Provider { name: wire.name.to_lowercase().into(), kind }
}

fn log_form(file: &EnvoyFileAccessLogProvider) -> Option<IstioAccessLog> {
    use envoy_file_access_log_provider::log_format::LogFormat;
    Some(match file.log_format.as_ref()?.log_format.as_ref()? {
        LogFormat::Text(text) => IstioAccessLog { format: text.as_str().into(), encoding: AccessLogEncoding::Text },
        LogFormat::Labels(labels) => {
            let format = object(labels, 0).to_string().into();
            IstioAccessLog { format, encoding: AccessLogEncoding::Json }
        }
    })
}

fn object(fields: &prost_types::Struct, depth: usize) -> serde_json::Value {
    let members = fields.fields.iter().map(|(name, value)| (name.clone(), json(value, depth + 1)));
    serde_json::Value::Object(members.collect())
}

/// What lies too deep is null.
fn json(value: &prost_types::Value, depth: usize) -> serde_json::Value {
    match &value.kind {
        _ if depth > MAX_DEPTH => serde_json::Value::Null,
        None | Some(Json::NullValue(_)) => serde_json::Value::Null,
        Some(Json::BoolValue(flag)) => (*flag).into(),
        Some(Json::NumberValue(number)) => (*number).into(),
        Some(Json::StringValue(text)) => text.as_str().into(),
        Some(Json::StructValue(fields)) => object(fields, depth),
        Some(Json::ListValue(list)) => list.values.iter().map(|value| json(value, depth + 1)).collect(),
    }
}

//! MeshConfig's fields about metrics, access logs and spans, as they travel.

use prost_types::value::Kind as Json;

use super::authorizers;
use crate::model::mesh::{AccessLogEncoding, IstioAccessLog};
use crate::model::telemetry::objects::{CustomTag, CustomTagValue};
use crate::model::telemetry::providers::{Provider, ProviderKind, TelemetryDefaults};
use crate::proto::istio::mesh::v1alpha1::mesh_config::extension_provider::{
    EnvoyFileAccessLogProvider, HttpService, OpenTelemetryTracingProvider, PrometheusMetricsProvider, Provider as Kind,
    envoy_file_access_log_provider,
};
use crate::proto::istio::mesh::v1alpha1::mesh_config::{
    AccessLogEncoding as Encoding, DefaultProviders, ExtensionProvider,
};
use crate::proto::istio::mesh::v1alpha1::tracing::custom_tag::Type;
use crate::proto::istio::mesh::v1alpha1::{Tracing, tracing};

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

/// `defaultConfig.tracing`; `None` where nothing is set.
pub(super) fn tracing(defaults: &TelemetryDefaults) -> Option<Tracing> {
    let TelemetryDefaults { sampling_percent, custom_tags, has_istio_tags, .. } = defaults;
    let value = |value: &CustomTagValue| match value {
        CustomTagValue::Literal(text) => Type::Literal(tracing::Literal { value: text.to_string() }),
        CustomTagValue::Header { name, default } => {
            Type::Header(tracing::RequestHeader { name: name.to_string(), default_value: default.to_string() })
        }
    };
    let tag = |tag: &CustomTag| (tag.name.to_string(), tracing::CustomTag { r#type: Some(value(&tag.value)) });
    let found = Tracing {
        custom_tags: custom_tags.iter().map(tag).collect(),
        sampling: sampling_percent.unwrap_or_default(),
        enable_istio_tags: *has_istio_tags,
    };
    (found != Tracing::default()).then_some(found)
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
        ProviderKind::Authorizer(authorizer) => Some(authorizers::provider(authorizer)),
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use prost::Message as _;

    use super::*;
    use crate::model::authorization::{Authorizer, AuthorizerProtocol, FieldNames, HttpCheck, ShownContent};
    use crate::model::telemetry::providers::Collector;
    use crate::objects::protobuf;
    use crate::proto::istio::mesh::v1alpha1 as pb;

    #[test]
    fn what_travels_is_read_again_as_it_was() {
        let form = |format: &str, encoding| IstioAccessLog { format: format.into(), encoding };
        let collector = Collector { service: "otel.obs.svc.cluster.local".into(), port: 4317 };
        let authorizer = |name: &str, protocol| {
            let content = ShownContent { max_bytes: 8192, allows_part: true, is_raw: false };
            ProviderKind::Authorizer(Arc::new(Authorizer {
                name: name.into(),
                service: "authz/ext-authz.authz.svc.cluster.local".into(),
                port: 9000,
                timeout: Duration::from_millis(1500),
                fails_open: true,
                status_on_error: 503,
                content: Some(content),
                protocol,
            }))
        };
        let http = HttpCheck {
            path_prefix: "/check".into(),
            shown: FieldNames::written(["authorization", "x-ext-*"]),
            added: vec![("x-from".into(), "weir".into())],
            to_upstream: FieldNames::written(["*-id"]),
            to_client_on_allow: FieldNames::written(["x-seen"]),
            to_client_on_deny: FieldNames::written(["x-why"]),
        };
        let kinds = [
            ("authz-grpc", authorizer("authz-grpc", AuthorizerProtocol::Grpc)),
            ("authz-http", authorizer("authz-http", AuthorizerProtocol::Http(http.into()))),
            ("prometheus", ProviderKind::Prometheus),
            ("envoy", ProviderKind::File(None)),
            ("text", ProviderKind::File(Some(form("%PROTOCOL% %RESPONSE_CODE%\n", AccessLogEncoding::Text)))),
            (
                "labels",
                ProviderKind::File(Some(form(r#"{"a":{"b":"%PATH%"},"c":[true,null]}"#, AccessLogEncoding::Json))),
            ),
            ("otel", ProviderKind::Spans(collector)),
            ("over-http", ProviderKind::Unsupported("opentelemetry.http".into())),
        ];
        let defaults = TelemetryDefaults {
            providers: kinds.map(|(name, kind)| Provider { name: name.into(), kind }).into(),
            access_logging: vec!["text".into()],
            metrics: vec!["prometheus".into()],
            tracing: vec!["otel".into()],
            sampling_percent: Some(12.5),
            custom_tags: [
                CustomTag { name: "a".into(), value: CustomTagValue::Literal("one".into()) },
                CustomTag {
                    name: "b".into(),
                    value: CustomTagValue::Header { name: "x-user".into(), default: "nobody".into() },
                },
            ]
            .into(),
            has_istio_tags: Some(false),
            log_form: form("%START_TIME%", AccessLogEncoding::Json),
        };
        let wire = pb::MeshConfig {
            access_log_format: defaults.log_form.format.to_string(),
            access_log_encoding: encoding(&defaults.log_form).into(),
            extension_providers: providers(&defaults),
            default_providers: Some(default_providers(&defaults)),
            default_config: Some(pb::ProxyConfig { tracing: tracing(&defaults), ..Default::default() }),
            ..pb::MeshConfig::default()
        };
        assert_eq!(protobuf::mesh_config(&wire.encode_to_vec()).expect("it is valid").telemetry, defaults);
    }
}

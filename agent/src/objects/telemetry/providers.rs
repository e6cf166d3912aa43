//! MeshConfig's fields about telemetry: `extensionProviders`, `defaultProviders` and the sampling of spans.

use std::sync::Arc;

use super::authorizers::{self, host_of};
use crate::model::mesh::{AccessLogEncoding, IstioAccessLog};
use crate::model::telemetry::providers::{Collector, Provider, ProviderKind, TelemetryDefaults};
use crate::objects::reading::{Fields, names};

/// Providers that have no use here.
const NOT_USED: [&str; 10] = [
    "zipkin",
    "lightstep",
    "datadog",
    "stackdriver",
    "opencensus",
    "skywalking",
    "envoyHttpAls",
    "envoyTcpAls",
    "envoyOtelAls",
    "sds",
];

/// Reads the fields; `log_form` is that of `accessLogFormat` and `accessLogEncoding`.
pub(in crate::objects) fn read(fields: &mut Fields<'_>, log_form: IstioAccessLog) -> TelemetryDefaults {
    let report = fields.report();
    let items = fields.items("extensionProviders");
    let providers = items.iter().filter_map(|item| provider(item.fields(report)?)).collect();
    let mut found = TelemetryDefaults { providers, log_form, ..TelemetryDefaults::default() };
    if let Some(mut defaults) = fields.fields("defaultProviders") {
        let mut list = |name| defaults.texts(name).iter().map(|name| Arc::from(name.to_lowercase())).collect();
        found.access_logging = list("accessLogging");
        found.metrics = list("metrics");
        found.tracing = list("tracing");
        defaults.finish();
    }
    if fields.flag("enableTracing") == Some(true) {
        fields.notice("enableTracing", "has no effect by itself: name a provider of the kind opentelemetry");
    }
    found
}

/// `None` where it is not valid.
fn provider(mut fields: Fields<'_>) -> Option<Provider> {
    let name = fields.text("name").unwrap_or_default();
    if name.is_empty() {
        fields.error("name", "a provider needs its name");
    }
    let mut kinds = Vec::new();
    if fields.get("prometheus").is_some() {
        kinds.push(ProviderKind::Prometheus);
    }
    kinds.extend(fields.fields("envoyFileAccessLog").map(file));
    kinds.extend(fields.fields("opentelemetry").map(spans));
    for (kind, is_http) in [("envoyExtAuthzGrpc", false), ("envoyExtAuthzHttp", true)] {
        let authorizer = fields.fields(kind).map(|fields| authorizers::read(fields, &name, is_http));
        kinds.extend(authorizer.map(|read| match read {
            Some(authorizer) => ProviderKind::Authorizer(authorizer.into()),
            None => ProviderKind::Unsupported(kind.into()),
        }));
    }
    for kind in NOT_USED {
        if fields.get(kind).is_some() {
            fields.notice(kind, "is not supported: what names this provider has no effect");
            kinds.push(ProviderKind::Unsupported(kind.into()));
        }
    }
    fields.finish();
    let is_one = kinds.len() == 1;
    Some(Provider { name: name.to_lowercase().into(), kind: kinds.pop().filter(|_| is_one)? })
}

fn file(mut fields: Fields<'_>) -> ProviderKind {
    if let Some(path) = fields.text("path").filter(|path| !path.is_empty() && path != "/dev/stdout") {
        fields.notice(
            "path",
            format!("{path:?} is not written: lines go to the output of the agent, as with /dev/stdout"),
        );
    }
    fields.without_effect("omitEmptyValues", "has no effect: what is not there is shown as - or null");
    let form = fields.fields("logFormat").and_then(|mut format| {
        let text =
            format.text("text").map(|text| IstioAccessLog { format: text.into(), encoding: AccessLogEncoding::Text });
        let labels = format.get("labels").map(|labels| IstioAccessLog {
            format: labels.node.json().to_string().into(),
            encoding: AccessLogEncoding::Json,
        });
        format.finish();
        text.or(labels)
    });
    fields.finish();
    ProviderKind::File(form)
}

fn spans(mut fields: Fields<'_>) -> ProviderKind {
    let service = fields.text("service").unwrap_or_default();
    let service = host_of(&service);
    if let Err(reason) = names::fqdn(service) {
        fields.error("service", reason);
    }
    let port = fields.number("port", 1..=65_535).unwrap_or_default();
    fields.without_effect("maxTagLength", "has no effect: texts of tags have at most 256 bytes");
    let has_http = fields.get("http").is_some();
    if has_http {
        fields.notice("http", "is not supported: spans go over gRPC, so what names this provider has no effect");
    }
    for name in ["grpc", "resourceDetectors", "serviceAttributeEnrichment", "dynatraceSampler"] {
        fields.without_effect(name, "has no effect");
    }
    fields.finish();
    if has_http {
        return ProviderKind::Unsupported("opentelemetry.http".into());
    }
    ProviderKind::Spans(Collector { service: service.into(), port })
}

//! Spans as OTLP has them. Those of one workload share a resource: it is the pod's, never the agent's.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::model::workload::Workload;
use crate::proto::opentelemetry::proto::collector::trace::v1::ExportTraceServiceRequest;
use crate::proto::opentelemetry::proto::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use crate::proto::opentelemetry::proto::resource::v1::Resource;
use crate::proto::opentelemetry::proto::trace::v1 as pb;
use crate::telemetry::span_view::TagValue;
use crate::telemetry::spans::Span;

/// The lowest bit of a span's flags: it is sampled.
const SAMPLED: u32 = 1;

/// One export of these spans.
pub(super) fn request<'a>(spans: impl IntoIterator<Item = &'a Span>) -> ExportTraceServiceRequest {
    let mut by_workload: HashMap<Option<&str>, pb::ResourceSpans> = HashMap::new();
    for span in spans {
        let own = span.own_workload();
        let of_workload = by_workload.entry(own.map(|own| &*own.uid)).or_insert_with(|| pb::ResourceSpans {
            resource: Some(resource(own)),
            scope_spans: vec![pb::ScopeSpans {
                scope: Some(InstrumentationScope {
                    name: "weir".to_owned(),
                    version: env!("CARGO_PKG_VERSION").to_owned(),
                }),
                spans: Vec::new(),
            }],
        });
        of_workload.scope_spans.iter_mut().for_each(|scope| scope.spans.push(encoded(span)));
    }
    ExportTraceServiceRequest { resource_spans: by_workload.into_values().collect() }
}

/// `service.name` is what Istio's sidecars call it: the canonical service and the namespace.
fn resource(own: Option<&Workload>) -> Resource {
    let attributes = match own {
        Some(own) => vec![
            attribute("service.name", text(format!("{}.{}", own.canonical_name, own.namespace))),
            attribute("service.version", text(own.canonical_revision.to_string())),
            attribute("k8s.namespace.name", text(own.namespace.to_string())),
            attribute("k8s.pod.name", text(own.name.to_string())),
            attribute("k8s.node.name", text(own.node.to_string())),
        ],
        None => vec![attribute("service.name", text("unknown".to_owned()))],
    };
    Resource { attributes }
}

fn encoded(span: &Span) -> pb::Span {
    let tag = |(name, value)| match value {
        TagValue::Text(value) => attribute(name, text(value)),
        TagValue::Number(value) => {
            attribute(name, any_value::Value::IntValue(i64::try_from(value).unwrap_or(i64::MAX)))
        }
    };
    let kind = if span.is_of_client() { pb::span::SpanKind::Client } else { pb::span::SpanKind::Server };
    let code = if span.is_error() { pb::status::StatusCode::Error } else { pb::status::StatusCode::Unset };
    pb::Span {
        trace_id: span.context.trace.bytes().to_vec(),
        span_id: span.context.span.bytes().to_vec(),
        parent_span_id: span.context.parent.map(|parent| parent.bytes().to_vec()).unwrap_or_default(),
        trace_state: String::new(),
        flags: SAMPLED,
        name: span.name(),
        kind: kind.into(),
        start_time_unix_nano: nanoseconds(span.began()),
        end_time_unix_nano: nanoseconds(span.ended()),
        attributes: span.tags().into_iter().map(tag).collect(),
        status: Some(pb::Status { message: String::new(), code: code.into() }),
    }
}

fn attribute(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }) }
}

fn text(value: String) -> any_value::Value {
    any_value::Value::StringValue(value)
}

fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

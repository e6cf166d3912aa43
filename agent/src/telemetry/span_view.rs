//! What a span says of its request: Envoy's tags and Istio's.

use std::time::SystemTime;

use super::ends::{ConnectionEnds, Reporter};
use super::request_log::version;
use super::spans::Span;
use crate::model::workload::Workload;

/// The value of a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TagValue {
    Text(String),
    Number(u64),
}

impl Span {
    /// Of the client's side of a request, as its source reports it; otherwise of the server's.
    #[must_use]
    pub fn is_of_client(&self) -> bool {
        self.ends().reporter == Reporter::Source
    }

    /// The workload whose span it is; `None` where the mesh does not know it.
    #[must_use]
    pub fn own_workload(&self) -> Option<&Workload> {
        self.ends().own_workload().map(|workload| &**workload)
    }

    /// The service and its port, as Istio names the operation of a route that matches every path: `host:port/*`.
    #[must_use]
    pub fn name(&self) -> String {
        let ends = self.ends();
        let port = ends.original_dst.map(|original| original.0.port()).or_else(|| ends.served_port());
        let port = port.unwrap_or(ends.endpoint.port());
        match &ends.service {
            Some(service) => format!("{}:{port}/*", service.key.hostname),
            None => format!("{}:{port}/*", ends.endpoint.ip()),
        }
    }

    #[must_use]
    pub fn began(&self) -> SystemTime {
        self.began
    }

    #[must_use]
    pub fn ended(&self) -> SystemTime {
        self.began + self.duration
    }

    /// Whether the request failed: a status of 500 or more, none at all, or a flag.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.outcome.status == 0 || self.outcome.status >= 500 || self.outcome.grpc_status.is_some_and(|code| code > 0)
    }

    /// The tags, each with its name.
    #[must_use]
    pub fn tags(&self) -> Vec<(&str, TagValue)> {
        let (opened, ends, outcome) = (&self.opened, self.ends(), &self.outcome);
        let text = |text: &str| TagValue::Text(text.to_owned());
        let mut tags = vec![
            ("component", text("proxy")),
            ("http.method", text(&opened.method)),
            ("http.url", text(&opened.url)),
            ("http.protocol", text(version(opened.version))),
            ("http.status_code", TagValue::Number(outcome.status.into())),
            ("response_flags", TagValue::Text(outcome.flags.to_string())),
            ("request_size", TagValue::Number(self.request_bytes)),
            ("response_size", TagValue::Number(self.response_bytes)),
            ("peer.address", TagValue::Text(ends.source_addr.to_string())),
            ("upstream_address", TagValue::Text(ends.endpoint.to_string())),
        ];
        tags.extend(opened.user_agent.as_deref().map(|agent| ("user_agent", text(agent))));
        tags.extend(opened.request_id.as_deref().map(|id| ("guid:x-request-id", text(id))));
        tags.extend(outcome.grpc_status.map(|status| ("grpc.status_code", TagValue::Number(status.into()))));
        tags.extend(self.route.as_deref().map(|route| ("route_name", text(route))));
        if let Some(own) = self.own_workload().filter(|_| self.has_istio_tags) {
            tags.extend([
                ("istio.canonical_service", text(&own.canonical_name)),
                ("istio.canonical_revision", text(&own.canonical_revision)),
                ("istio.namespace", text(&own.namespace)),
                ("istio.cluster_id", text(&own.cluster_id)),
            ]);
        }
        if self.is_error() {
            tags.push(("error", text("true")));
        }
        for (name, value) in &self.custom_tags {
            tags.retain(|(known, _)| **known != **name);
            tags.push((&**name, text(value)));
        }
        tags
    }

    fn ends(&self) -> &ConnectionEnds {
        &self.ends
    }
}

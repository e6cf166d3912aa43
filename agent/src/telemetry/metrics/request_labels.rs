//! The labels of Istio's standard HTTP metrics.

use std::fmt;
use std::sync::Arc;

use prometheus_client::encoding::{EncodeLabelSet, LabelSetEncoder};

use super::labels::{EachLabel, EndsLabels, PutLabel, put, security_policy};
use crate::telemetry::connection::RequestProtocol;
use crate::telemetry::ends::Reporter;
use crate::telemetry::request_outcome::RequestOutcome;

/// One combination of label values of an HTTP metric.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct RequestLabels {
    pub(super) ends: Arc<EndsLabels>,
    pub(super) outcome: RequestOutcome,
    pub(super) mutual_tls: bool,
}

/// One combination of label values of a counter of gRPC messages. Messages are counted while the request is under way, so nothing
/// is said of its outcome.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct MessageLabels(pub(super) Arc<EndsLabels>);

impl EachLabel for RequestLabels {
    fn each(&self, put: &mut PutLabel<'_>) -> fmt::Result {
        let RequestOutcome { protocol, status, grpc_status, flags, is_blocked } = &self.outcome;
        let no_service = if *is_blocked { "BlackHoleCluster" } else { no_service(self.ends.reporter()) };
        self.ends.each(no_service, put)?;
        put("request_protocol", &protocol.label())?;
        put("response_code", status)?;
        match grpc_status.filter(|_| *protocol == RequestProtocol::Grpc) {
            Some(status) => put("grpc_response_status", &status)?,
            None => put("grpc_response_status", &"")?,
        }
        put("response_flags", flags)?;
        put("connection_security_policy", &security_policy(self.mutual_tls))
    }
}

impl EachLabel for MessageLabels {
    fn each(&self, put: &mut PutLabel<'_>) -> fmt::Result {
        self.0.each(no_service(self.0.reporter()), put)
    }
}

impl EncodeLabelSet for RequestLabels {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        self.each(&mut |name, value| put(encoder, name, value))
    }
}

impl EncodeLabelSet for MessageLabels {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        self.each(&mut |name, value| put(encoder, name, value))
    }
}

/// What Istio calls the cluster of a destination that no service stands for.
fn no_service(reporter: Reporter) -> &'static str {
    match reporter {
        Reporter::Source => "PassthroughCluster",
        Reporter::Destination => "InboundPassthroughCluster",
    }
}

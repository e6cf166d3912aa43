//! What the operators of a format stand for in the line of one request.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use super::notes::{EndedRequest, LogLine, RequestNotes};
use super::operator::Operator;
use super::template::{Value, Values};
use crate::model::http::head::HttpVersion;
use crate::telemetry::ends::{ConnectionEnds, Reporter};
use crate::telemetry::utc_time::rfc3339_milliseconds;

/// The names of gRPC's status codes, from 0 on, as Envoy writes them.
const GRPC_STATUSES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

/// A request that has ended, as a format shows it.
pub(super) struct RequestValues<'a> {
    notes: &'a RequestNotes,
    line: &'a LogLine,
    request: &'a EndedRequest<'a>,
    began: SystemTime,
}

impl<'a> RequestValues<'a> {
    pub(super) fn new(notes: &'a RequestNotes, line: &'a LogLine, request: &'a EndedRequest<'a>) -> Self {
        Self { notes, line, request, began: SystemTime::now() - request.duration }
    }

    fn field(&self, place: usize, otherwise: Option<usize>) -> Option<Cow<'_, str>> {
        let value = |place| self.line.text.request(place);
        value(place).or_else(|| otherwise.and_then(value))
    }
}

/// Envoy's name of the cluster, without the subset.
pub(in crate::telemetry) fn cluster(request: &EndedRequest<'_>) -> Cow<'static, str> {
    let EndedRequest { ends, outcome, .. } = request;
    match (ends.reporter, &ends.service) {
        (Reporter::Destination, Some(_)) => format!("inbound|{}||", ends.endpoint.port()).into(),
        (Reporter::Destination, None) => "InboundPassthroughCluster".into(),
        (Reporter::Source, Some(service)) => {
            let port = ends.original_dst.map_or(ends.endpoint.port(), |original| original.0.port());
            format!("outbound|{port}||{}", service.key.hostname).into()
        }
        (Reporter::Source, None) if outcome.is_blocked => "BlackHoleCluster".into(),
        (Reporter::Source, None) => "PassthroughCluster".into(),
    }
}

impl Values for RequestValues<'_> {
    fn value(&self, operator: &Operator) -> Option<Value<'_>> {
        let EndedRequest { ends, peer, outcome, attempts, request_bytes, response_bytes, duration } = self.request;
        let text = |text: Cow<'static, str>| Some(Value::Text(text));
        match operator {
            Operator::StartTime => text(rfc3339_milliseconds(self.began).into()),
            Operator::Request { place, otherwise, without_query } => {
                let value = self.field(*place, *otherwise)?;
                Some(Value::Text(if *without_query { path_of(value) } else { value }))
            }
            Operator::Response { place, otherwise } => {
                let value = |place| self.line.text.response(place);
                value(*place).or_else(|| otherwise.and_then(value)).map(Value::Text)
            }
            Operator::Protocol => text(version(self.notes.version).into()),
            Operator::ResponseCode => Some(Value::Number(outcome.status.into())),
            Operator::ResponseFlags => text(outcome.flags.to_string().into()),
            Operator::ResponseCodeDetails => Some(Value::Text(self.notes.details.as_deref()?.into())),
            Operator::UpstreamTransportFailureReason => Some(Value::Text(self.notes.error.as_deref()?.into())),
            Operator::BytesReceived => Some(Value::Number(*request_bytes)),
            Operator::BytesSent => Some(Value::Number(*response_bytes)),
            Operator::Duration => Some(milliseconds(*duration)),
            Operator::ResponseDuration => self.notes.first_upstream_byte.map(milliseconds),
            Operator::UpstreamHost => (*attempts > 0).then(|| address(ends.endpoint, true)),
            Operator::UpstreamCluster => text(cluster(self.request)),
            Operator::UpstreamRequestAttemptCount => Some(Value::Number((*attempts).into())),
            Operator::DownstreamLocalAddress { with_port } => Some(address(local_address(ends), *with_port)),
            Operator::DownstreamRemoteAddress { with_port } => Some(address(ends.source_addr, *with_port)),
            Operator::DownstreamPeerUriSan if ends.reporter == Reporter::Destination && ends.mutual_tls => {
                text(ends.source_identity.as_ref()?.to_string().into())
            }
            Operator::UpstreamPeerUriSan if ends.reporter == Reporter::Source && ends.mutual_tls => {
                text(peer.as_ref()?.to_string().into())
            }
            Operator::RouteName => Some(Value::Text(self.notes.route.as_deref()?.into())),
            Operator::GrpcStatus => text((*GRPC_STATUSES.get(usize::from(outcome.grpc_status?))?).into()),
            Operator::GrpcStatusNumber => Some(Value::Number(outcome.grpc_status?.into())),
            Operator::DownstreamPeerUriSan | Operator::UpstreamPeerUriSan | Operator::Absent => None,
        }
    }
}

/// The address that the client connected to.
fn local_address(ends: &ConnectionEnds) -> SocketAddr {
    ends.original_dst.map_or(ends.endpoint, |original| original.0)
}

fn address(address: SocketAddr, with_port: bool) -> Value<'static> {
    Value::Text(if with_port { address.to_string() } else { address.ip().to_string() }.into())
}

fn milliseconds(duration: Duration) -> Value<'static> {
    Value::Number(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

fn path_of(target: Cow<'_, str>) -> Cow<'_, str> {
    match target.find('?') {
        Some(query) => target[..query].to_owned().into(),
        None => target,
    }
}

/// Envoy's `%PROTOCOL%`.
pub(in crate::telemetry) fn version(version: HttpVersion) -> &'static str {
    match version {
        HttpVersion::Http10 => "HTTP/1.0",
        HttpVersion::Http11 => "HTTP/1.1",
        HttpVersion::Http2 => "HTTP/2",
    }
}

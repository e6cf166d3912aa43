//! What Telemetry objects (`telemetry.istio.io`) and MeshConfig say of metrics, access logs and spans, before it is decided which
//! of it counts for a pod.

use std::sync::Arc;

use super::expression::Expression;
use crate::model::peer_authentication::Labels;

/// Which side of a request or connection a pod is on: Istio's `WorkloadMode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WorkloadMode {
    /// The pod has opened it.
    Client,
    /// The pod is asked.
    Server,
}

/// The sides that a part of an object is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sides {
    #[default]
    Both,
    Only(WorkloadMode),
}

impl Sides {
    #[must_use]
    pub fn has(self, side: WorkloadMode) -> bool {
        self == Self::Both || self == Self::Only(side)
    }
}

/// A Telemetry object.
#[derive(Debug, Clone, PartialEq)]
pub struct TelemetryObject {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    pub spec: TelemetrySpec,
}

/// `spec` of a Telemetry object. Names of providers are in lower case: Istio compares them so.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TelemetrySpec {
    /// Empty: all pods of the namespace; in the root namespace those of the mesh.
    pub selector: Labels,
    /// It has target references, which are about gateways and waypoints: it counts for no pod.
    pub is_for_waypoints: bool,
    pub access_logging: Vec<AccessLogging>,
    pub metrics: Vec<MetricsRule>,
    pub tracing: Vec<TracingRule>,
}

/// An item of `accessLogging`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AccessLogging {
    pub sides: Sides,
    /// Empty: those of the level above.
    pub providers: Vec<Arc<str>>,
    pub is_disabled: bool,
    pub filter: Option<Arc<Expression>>,
}

/// An item of `metrics`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MetricsRule {
    /// Empty: those of the level above.
    pub providers: Vec<Arc<str>>,
    pub overrides: Vec<MetricsOverride>,
}

/// An item of `overrides`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MetricsOverride {
    /// `None`: all of them.
    pub metric: Option<Metric>,
    pub sides: Sides,
    pub is_disabled: Option<bool>,
    pub tags: Vec<(Arc<str>, TagOverride)>,
}

/// What becomes of a label of a metric.
#[derive(Debug, Clone, PartialEq)]
pub enum TagOverride {
    /// Its value is that of an expression; where the metric has no such label, it gets it.
    Upsert(Arc<Expression>),
    Remove,
}

/// Istio's standard metrics, in the order of the API's enum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Metric {
    RequestCount,
    RequestDuration,
    RequestSize,
    ResponseSize,
    TcpOpenedConnections,
    TcpClosedConnections,
    TcpSentBytes,
    TcpReceivedBytes,
    GrpcRequestMessages,
    GrpcResponseMessages,
}

impl Metric {
    pub const COUNT: usize = 10;

    pub const ALL: [Self; Self::COUNT] = [
        Self::RequestCount,
        Self::RequestDuration,
        Self::RequestSize,
        Self::ResponseSize,
        Self::TcpOpenedConnections,
        Self::TcpClosedConnections,
        Self::TcpSentBytes,
        Self::TcpReceivedBytes,
        Self::GrpcRequestMessages,
        Self::GrpcResponseMessages,
    ];

    /// What the API calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::RequestCount => "REQUEST_COUNT",
            Self::RequestDuration => "REQUEST_DURATION",
            Self::RequestSize => "REQUEST_SIZE",
            Self::ResponseSize => "RESPONSE_SIZE",
            Self::TcpOpenedConnections => "TCP_OPENED_CONNECTIONS",
            Self::TcpClosedConnections => "TCP_CLOSED_CONNECTIONS",
            Self::TcpSentBytes => "TCP_SENT_BYTES",
            Self::TcpReceivedBytes => "TCP_RECEIVED_BYTES",
            Self::GrpcRequestMessages => "GRPC_REQUEST_MESSAGES",
            Self::GrpcResponseMessages => "GRPC_RESPONSE_MESSAGES",
        }
    }
}

/// An item of `tracing`. What is `None` is not in the object.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TracingRule {
    pub sides: Sides,
    /// The first one counts. Empty: that of the level above.
    pub providers: Vec<Arc<str>>,
    /// `randomSamplingPercentage`.
    pub sampling_percent: Option<f64>,
    pub disable_span_reporting: Option<bool>,
    /// Takes the place of all tags of the levels above.
    pub custom_tags: Option<Arc<[CustomTag]>>,
    pub use_request_id_for_trace_sampling: Option<bool>,
    pub enable_istio_tags: Option<bool>,
    pub disable_context_propagation: Option<bool>,
}

/// An entry of `customTags`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomTag {
    pub name: Arc<str>,
    pub value: CustomTagValue,
}

/// Where a tag of spans has its value from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CustomTagValue {
    Literal(Arc<str>),
    /// A field of the request's head, by its name in lower case, or else the default; an empty one: then there is no tag.
    Header {
        name: Box<str>,
        default: Arc<str>,
    },
}

//! The command operators of Envoy's access log formats, as far as they are known here.

/// One `%…%` of a format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Operator {
    StartTime,
    /// A field of the request's head, by its place among [`WantedFields::request`]: the first, or else the second.
    Request {
        place: usize,
        otherwise: Option<usize>,
        without_query: bool,
    },
    /// The same of the response.
    Response {
        place: usize,
        otherwise: Option<usize>,
    },
    Protocol,
    ResponseCode,
    ResponseFlags,
    ResponseCodeDetails,
    UpstreamTransportFailureReason,
    BytesReceived,
    BytesSent,
    Duration,
    /// From the head of the request to the head of the upstream's response.
    ResponseDuration,
    UpstreamHost,
    UpstreamCluster,
    UpstreamRequestAttemptCount,
    DownstreamLocalAddress {
        with_port: bool,
    },
    DownstreamRemoteAddress {
        with_port: bool,
    },
    DownstreamPeerUriSan,
    UpstreamPeerUriSan,
    RouteName,
    GrpcStatus,
    GrpcStatusNumber,
    /// Known, and never there: a `-`.
    Absent,
}

/// The fields of heads that a format names. Values are kept by their places in these lists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::telemetry) struct WantedFields {
    pub(super) request: Vec<Box<str>>,
    pub(super) response: Vec<Box<str>>,
}

impl Operator {
    /// The operator of this name, with what its parentheses hold. `None` where it is not known.
    pub(super) fn parse(name: &str, argument: Option<&str>, wanted: &mut WantedFields) -> Option<Self> {
        if let Some(argument) = argument {
            let request = |without_query, wanted: &mut WantedFields| {
                let (place, otherwise) = places(argument, &mut wanted.request);
                Self::Request { place, otherwise, without_query }
            };
            return match name {
                "REQ" => Some(request(false, wanted)),
                "REQ_WITHOUT_QUERY" => Some(request(true, wanted)),
                "RESP" => {
                    let (place, otherwise) = places(argument, &mut wanted.response);
                    Some(Self::Response { place, otherwise })
                }
                "GRPC_STATUS" if argument == "NUMBER" => Some(Self::GrpcStatusNumber),
                "GRPC_STATUS" if argument == "CAMEL_STRING" => Some(Self::GrpcStatus),
                _ => None,
            };
        }
        Some(match name {
            "START_TIME" => Self::StartTime,
            "PROTOCOL" => Self::Protocol,
            "RESPONSE_CODE" => Self::ResponseCode,
            "RESPONSE_FLAGS" => Self::ResponseFlags,
            "RESPONSE_CODE_DETAILS" => Self::ResponseCodeDetails,
            "UPSTREAM_TRANSPORT_FAILURE_REASON" => Self::UpstreamTransportFailureReason,
            "BYTES_RECEIVED" => Self::BytesReceived,
            "BYTES_SENT" => Self::BytesSent,
            "DURATION" => Self::Duration,
            "RESPONSE_DURATION" => Self::ResponseDuration,
            "UPSTREAM_HOST" => Self::UpstreamHost,
            "UPSTREAM_CLUSTER" | "UPSTREAM_CLUSTER_RAW" => Self::UpstreamCluster,
            "UPSTREAM_REQUEST_ATTEMPT_COUNT" => Self::UpstreamRequestAttemptCount,
            "DOWNSTREAM_LOCAL_ADDRESS" => Self::DownstreamLocalAddress { with_port: true },
            "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT" => Self::DownstreamLocalAddress { with_port: false },
            "DOWNSTREAM_REMOTE_ADDRESS" | "DOWNSTREAM_DIRECT_REMOTE_ADDRESS" => {
                Self::DownstreamRemoteAddress { with_port: true }
            }
            "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT" | "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT" => {
                Self::DownstreamRemoteAddress { with_port: false }
            }
            "DOWNSTREAM_PEER_URI_SAN" => Self::DownstreamPeerUriSan,
            "UPSTREAM_PEER_URI_SAN" => Self::UpstreamPeerUriSan,
            "ROUTE_NAME" => Self::RouteName,
            "GRPC_STATUS" => Self::GrpcStatus,
            "GRPC_STATUS_NUMBER" => Self::GrpcStatusNumber,
            // A server name is of no use between agents, and the agent's own address is that of the pod.
            "REQUESTED_SERVER_NAME" | "UPSTREAM_LOCAL_ADDRESS" | "CONNECTION_TERMINATION_DETAILS" => Self::Absent,
            _ => return None,
        })
    }
}

/// The places of `X` and of `Y` in `X?Y`.
fn places(names: &str, wanted: &mut Vec<Box<str>>) -> (usize, Option<usize>) {
    let mut place = |name: &str| {
        let name = name.trim().to_ascii_lowercase();
        wanted.iter().position(|known| **known == *name).unwrap_or_else(|| {
            wanted.push(name.into());
            wanted.len() - 1
        })
    };
    match names.split_once('?') {
        Some((first, second)) => (place(first), Some(place(second))),
        None => (place(names), None),
    }
}

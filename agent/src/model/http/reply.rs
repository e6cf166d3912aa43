//! Responses that the agent makes in the place of an application, as Envoy makes them: status, body and details by the reason.

use std::borrow::Cow;

use super::grpc::grpc_status_of_http;
use super::head::{RequestHead, ResponseHead};
use super::local_reply::HttpResponseFlag;

/// A response that no application made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalReply {
    pub status: u16,
    pub body: Cow<'static, str>,
    /// Envoy's `%RESPONSE_CODE_DETAILS%`.
    pub details: &'static str,
    pub flag: Option<HttpResponseFlag>,
}

/// Why a request is not answered by an application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The path cannot be normalised.
    BadPath,
    /// The request cannot be said in the version of HTTP that its destination speaks.
    BadRequest,
    /// No route of the destination matches.
    NoRoute,
    /// The destination of the route does not exist: 503, or 500 for routes of the Gateway API.
    NoCluster {
        status: u16,
    },
    /// All destinations of the route have weight 0, or it has none.
    NoDestination {
        status: u16,
    },
    /// No endpoint is healthy.
    NoHealthyEndpoint,
    /// The destination is none of the mesh's, and MeshConfig allows no other (`REGISTRY_ONLY`).
    Blocked,
    /// The policy of the destination refuses the pod, whatever it asks for.
    AccessDenied,
    ConnectFailed,
    ConnectTimeout,
    /// No TLS with the destination, as its DestinationRule asks for it.
    TlsFailed(TlsFailure),
    /// The upstream closed the connection before it responded.
    ConnectionTermination,
    /// The upstream reset the stream before it responded.
    RemoteReset,
    ProtocolError,
    /// A limit of the pod or of the destination.
    Overflow,
    Timeout,
    /// The time is over that the client of a call of gRPC has given it.
    Deadline,
    PerTryTimeout,
    FaultAbort {
        status: u16,
    },
}

/// Why there is no TLS with a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsFailure {
    /// The settings of the DestinationRule cannot be used: a file is missing, or holds something else.
    Settings,
    /// The server is not who it must be.
    Certificate,
    /// The handshake failed, or took too long.
    Handshake,
}

impl TlsFailure {
    /// What a client is told, and the details that stand for it.
    fn texts(self) -> (&'static str, &'static str) {
        match self {
            Self::Settings => (
                "remote connection failure, transport failure reason: TLS settings of the destination cannot be used",
                "upstream_reset_before_response_started{remote_connection_failure|TLS_error:SETTINGS_UNUSABLE}",
            ),
            Self::Certificate => (
                "remote connection failure, transport failure reason: TLS_error:CERTIFICATE_VERIFY_FAILED",
                "upstream_reset_before_response_started{remote_connection_failure|TLS_error:CERTIFICATE_VERIFY_FAILED}",
            ),
            Self::Handshake => (
                "remote connection failure, transport failure reason: TLS_error:HANDSHAKE_FAILED",
                "upstream_reset_before_response_started{remote_connection_failure|TLS_error:HANDSHAKE_FAILED}",
            ),
        }
    }
}

impl LocalReply {
    /// The reply for a reason. `retried`: whether it is the end of several attempts.
    #[must_use]
    pub fn new(reason: Reason, retried: bool) -> Self {
        use HttpResponseFlag as Flag;
        let reply = |status, body, details, flag| Self { status, body: Cow::Borrowed(body), details, flag };
        let reset = |status, reason, details, flag| Self {
            body: Cow::Owned(reset_body(reason, retried)),
            ..reply(status, "", details, Some(flag))
        };
        match reason {
            Reason::BadPath => reply(400, "", "path_normalization_failed", Some(Flag::DownstreamProtocolError)),
            Reason::BadRequest => reply(400, "", "http1_codec_error", Some(Flag::DownstreamProtocolError)),
            Reason::NoRoute => reply(404, "", "route_not_found", Some(Flag::NoRoute)),
            Reason::NoCluster { status } => reply(status, "", "cluster_not_found", Some(Flag::NoCluster)),
            Reason::NoDestination { status } => reply(status, "", "no_destination", Some(Flag::NoCluster)),
            Reason::NoHealthyEndpoint => {
                reply(503, "no healthy upstream", "no_healthy_upstream", Some(Flag::NoHealthyUpstream))
            }
            Reason::Blocked => reply(502, "", "direct_response", None),
            // As Envoy's RBAC at the destination answers.
            Reason::AccessDenied => reply(403, "RBAC: access denied", "upstream_access_denied", None),
            Reason::ConnectFailed => {
                let details = "upstream_reset_before_response_started{remote_connection_failure}";
                reset(503, "remote connection failure", details, Flag::UpstreamConnectionFailure)
            }
            Reason::ConnectTimeout => {
                let details = "upstream_reset_before_response_started{connection_timeout}";
                reset(503, "connection timeout", details, Flag::UpstreamConnectionFailure)
            }
            Reason::TlsFailed(failure) => {
                let (why, details) = failure.texts();
                reset(503, why, details, Flag::UpstreamConnectionFailure)
            }
            Reason::ConnectionTermination => {
                let details = "upstream_reset_before_response_started{connection_termination}";
                reset(503, "connection termination", details, Flag::UpstreamConnectionTermination)
            }
            Reason::RemoteReset => {
                let details = "upstream_reset_before_response_started{remote_reset}";
                reset(503, "remote reset", details, Flag::UpstreamRemoteReset)
            }
            Reason::ProtocolError => {
                let details = "upstream_reset_before_response_started{protocol_error}";
                reset(502, "protocol error", details, Flag::UpstreamProtocolError)
            }
            Reason::Overflow => {
                reset(503, "overflow", "upstream_reset_before_response_started{overflow}", Flag::UpstreamOverflow)
            }
            Reason::Timeout | Reason::Deadline => {
                reply(504, "upstream request timeout", "response_timeout", Some(Flag::UpstreamRequestTimeout))
            }
            Reason::PerTryTimeout => {
                reply(504, "upstream request timeout", "upstream_per_try_timeout", Some(Flag::UpstreamRequestTimeout))
            }
            Reason::FaultAbort { status } => {
                reply(status, "fault filter abort", "fault_filter_abort", Some(Flag::FaultInjected))
            }
        }
    }
}

/// Envoy's text for an upstream that ended before its response began.
fn reset_body(reason: &str, retried: bool) -> String {
    let said = if retried { "retried and the latest reset reason" } else { "reset reason" };
    format!("upstream connect error or disconnect/reset before headers. {said}: {reason}")
}

/// Fills in the head of a response that is made here. A client of gRPC gets 200 and the status of gRPC, with the body as its
/// message (`true`: the body is part of the head now). A status of gRPC that the head has already stays.
pub fn fill_head(head: &mut ResponseHead, request: &RequestHead, status: u16, body: &[u8]) -> bool {
    if !request.is_grpc() {
        head.status = status;
        if !body.is_empty() && !head.fields.contains("content-type") {
            head.fields.append(b"content-type", b"text/plain");
        }
        return false;
    }
    head.status = 200;
    head.fields.set("content-type", b"application/grpc");
    if !head.fields.contains("grpc-status") {
        head.fields.append(b"grpc-status", grpc_status_of_http(status).to_string().as_bytes());
    }
    if !body.is_empty() {
        head.fields.set("grpc-message", &percent_encoded(body));
    }
    true
}

/// The percent-encoding of `grpc-message` (gRPC over HTTP/2, "Responses").
fn percent_encoded(text: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut encoded = Vec::with_capacity(text.len());
    for byte in text {
        match byte {
            b' '..=b'~' if *byte != b'%' => encoded.push(*byte),
            _ => encoded.extend([b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_has_a_status_and_a_flag() {
        use HttpResponseFlag as Flag;
        for (reason, status, flag) in [
            (Reason::NoRoute, 404, Some(Flag::NoRoute)),
            (Reason::NoCluster { status: 500 }, 500, Some(Flag::NoCluster)),
            (Reason::NoHealthyEndpoint, 503, Some(Flag::NoHealthyUpstream)),
            (Reason::Blocked, 502, None),
            (Reason::AccessDenied, 403, None),
            (Reason::ConnectFailed, 503, Some(Flag::UpstreamConnectionFailure)),
            (Reason::TlsFailed(TlsFailure::Certificate), 503, Some(Flag::UpstreamConnectionFailure)),
            (Reason::ConnectionTermination, 503, Some(Flag::UpstreamConnectionTermination)),
            (Reason::RemoteReset, 503, Some(Flag::UpstreamRemoteReset)),
            (Reason::ProtocolError, 502, Some(Flag::UpstreamProtocolError)),
            (Reason::Overflow, 503, Some(Flag::UpstreamOverflow)),
            (Reason::PerTryTimeout, 504, Some(Flag::UpstreamRequestTimeout)),
            (Reason::FaultAbort { status: 418 }, 418, Some(Flag::FaultInjected)),
        ] {
            let reply = LocalReply::new(reason, false);
            assert_eq!((reply.status, reply.flag), (status, flag), "{reason:?}");
        }
        assert!(
            LocalReply::new(Reason::RemoteReset, true)
                .body
                .contains("retried and the latest reset reason: remote reset")
        );
    }

    #[test]
    fn clients_of_grpc_get_its_status_in_the_head() {
        let fields = [("content-type", "application/grpc")].into_iter().collect();
        let request = RequestHead { fields, ..RequestHead::default() };
        let mut head = ResponseHead::default();
        assert!(fill_head(&mut head, &request, 503, "100 % wrong\n".as_bytes()));
        assert_eq!((head.status, head.fields.first("grpc-status")), (200, Some(&b"14"[..])));
        assert_eq!(head.fields.first("grpc-message"), Some(&b"100 %25 wrong%0A"[..]));
        let mut chosen = ResponseHead::default();
        chosen.fields.append(b"grpc-status", b"8");
        assert!(fill_head(&mut chosen, &request, 200, b""));
        assert_eq!(chosen.fields.values("grpc-status").collect::<Vec<_>>(), [b"8"]);
        let mut plain = ResponseHead::default();
        assert!(!fill_head(&mut plain, &RequestHead::default(), 503, b"text"));
        assert_eq!((plain.status, plain.fields.first("content-type")), (503, Some(&b"text/plain"[..])));
    }
}

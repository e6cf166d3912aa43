//! Why an inbound connection failed, and why a request on one was refused.

use http::StatusCode;

use crate::hbone::StreamError;
use crate::jwt::JwtError;
use crate::model::authentication::RefusingObject;
use crate::model::authorization::{Denied, RequestDenied};
use crate::net::ConnectError;
use crate::proxy::splice::SpliceError;
use crate::telemetry::connection::ResponseFlag;

/// Why the application was not reached, or how the connection broke.
#[derive(Debug, thiserror::Error)]
pub(super) enum InboundError {
    #[error("the destination workload is not known to the mesh, so neither are its policies")]
    UnknownWorkload,
    #[error(transparent)]
    Denied(#[from] Denied),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Splice(#[from] SpliceError),
    #[error("HBONE stream: {0}")]
    Stream(#[from] StreamError),
    #[error("connection closed due to policy change")]
    Revoked,
    #[error("ended: it is plaintext, and its other end is a pod that speaks HBONE by now")]
    LatePlaintext,
    #[error("the pod is gone")]
    PodGone,
    #[error("cut off at the end of the drain")]
    DrainEnded,
    #[error("the client left before the application was reached")]
    ClientLeft,
}

impl InboundError {
    pub(super) fn flag(&self) -> ResponseFlag {
        match self {
            Self::UnknownWorkload | Self::Denied(_) | Self::Revoked => ResponseFlag::Denied,
            Self::Connect(_) => ResponseFlag::ConnectFailure,
            Self::Splice(_)
            | Self::Stream(_)
            | Self::LatePlaintext
            | Self::PodGone
            | Self::DrainEnded
            | Self::ClientLeft => ResponseFlag::None,
        }
    }

    /// The status of the response to a CONNECT request; ztunnel's codes.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::UnknownWorkload | Self::Denied(_) | Self::Revoked => StatusCode::UNAUTHORIZED,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// Why a request was refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum RefusedRequest {
    #[error("the destination workload is not known to the mesh, so neither are its policies")]
    UnknownWorkload,
    #[error(transparent)]
    Denied(#[from] RequestDenied),
    /// Policy asks an external authorizer that the agent does not know.
    #[error("{denied}: {reason}")]
    NoAuthorizer { denied: RequestDenied, reason: String },
    #[error("its token does not count: {0}")]
    Token(#[from] JwtError),
    #[error(transparent)]
    Unreadable(RefusingObject),
}

impl RefusedRequest {
    /// Envoy's response code details.
    pub(super) fn details(&self) -> String {
        match self {
            Self::Token(error) => format!("jwt_authn_access_denied{{{}}}", error.to_string().replace(' ', "_")),
            Self::Unreadable(_) | Self::UnknownWorkload => "rbac_access_denied_matched_policy[none]".to_owned(),
            Self::Denied(denied) | Self::NoAuthorizer { denied, .. } => denied.details(),
        }
    }
}

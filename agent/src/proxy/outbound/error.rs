//! Why an outbound connection failed.

use std::io;
use std::sync::Arc;

use http::StatusCode;

use crate::hbone::pool::HboneError;
use crate::model::resolve::Unresolved;
use crate::net::ConnectError;
use crate::proxy::splice::SpliceError;
use crate::telemetry::connection::ResponseFlag;

/// Why no upstream was reached, or how the connection broke.
#[derive(Debug, thiserror::Error)]
pub(super) enum OutboundError {
    #[error(transparent)]
    Unresolved(#[from] Unresolved),
    #[error(transparent)]
    Hbone(#[from] HboneError),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("{0} has no address: {1}")]
    Lookup(Arc<str>, io::Error),
    #[error(transparent)]
    Splice(#[from] SpliceError),
    #[error("the pod is gone")]
    PodGone,
    #[error("cut off at the end of the drain")]
    DrainEnded,
}

impl OutboundError {
    /// Whether an HBONE peer has refused the request: it speaks HBONE, whatever it said.
    pub(super) fn is_refused_by_peer(&self) -> bool {
        matches!(self, Self::Hbone(HboneError::Refused { .. }))
    }

    pub(super) fn flag(&self) -> ResponseFlag {
        match self {
            Self::Unresolved(Unresolved::RegistryOnly) => ResponseFlag::Denied,
            Self::Unresolved(_) | Self::Connect(_) | Self::Lookup(..) => ResponseFlag::ConnectFailure,
            Self::Hbone(HboneError::Certificate(_)) => ResponseFlag::IdentityError,
            Self::Hbone(HboneError::Handshake { .. }) => ResponseFlag::TlsFailure,
            Self::Hbone(HboneError::Session { .. }) => ResponseFlag::H2HandshakeFailure,
            // ztunnel and we deny with 401, Envoy's RBAC with 403.
            Self::Hbone(HboneError::Refused { status: StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, .. }) => {
                ResponseFlag::Denied
            }
            Self::Hbone(_) => ResponseFlag::ConnectFailure,
            Self::Splice(_) | Self::PodGone | Self::DrainEnded => ResponseFlag::None,
        }
    }
}

//! Why an outbound connection failed.

use std::sync::Arc;

use http::StatusCode;

use super::names::LookupError;
use crate::hbone::{HboneError, HboneErrorKind};
use crate::model::resolve::Unresolved;
use crate::net::ConnectError;
use crate::proxy::splice::SpliceError;
use crate::telemetry::connection::ResponseFlag;
use crate::tls::origination::OriginationError;

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
    Lookup(Arc<str>, LookupError),
    #[error(transparent)]
    OwnTls(#[from] OriginationError),
    #[error(transparent)]
    Splice(#[from] SpliceError),
    #[error("the pod is gone")]
    PodGone,
    #[error("cut off at the end of the drain")]
    DrainEnded,
    #[error("ended: it is plaintext, and its other end is a pod that speaks HBONE by now")]
    LatePlaintext,
    #[error("the client left before the upstream was open")]
    ClientLeft,
}

impl OutboundError {
    /// Whether an HBONE peer has refused the request: it speaks HBONE, whatever it said.
    pub(super) fn is_refused_by_peer(&self) -> bool {
        matches!(self, Self::Hbone(error) if matches!(error.kind(), HboneErrorKind::Refused { .. }))
    }

    /// Whether the policy of the destination refuses the connection, whatever it carries. ztunnel and Weir say so with 401, Envoy's
    /// RBAC with 403.
    pub(super) fn is_denied_by_peer(&self) -> bool {
        let denials = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN];
        matches!(self, Self::Hbone(error)
            if matches!(error.kind(), HboneErrorKind::Refused { status, .. } if denials.contains(status)))
    }

    /// Whether the peer may have passed bytes of the application on, so that nothing may be sent again.
    pub(super) fn may_have_delivered(&self) -> bool {
        matches!(self, Self::Hbone(error) if error.may_have_delivered())
    }

    /// Whether another endpoint of the same service may do better, and no byte of the application can have got to this one.
    pub(super) fn may_succeed_elsewhere(&self) -> bool {
        match self {
            Self::Hbone(error) => error.may_succeed_elsewhere(),
            Self::Connect(error) => !matches!(error, ConnectError::Socket(..)),
            Self::Lookup(..) => true,
            _ => false,
        }
    }

    pub(super) fn flag(&self) -> ResponseFlag {
        match self {
            Self::Unresolved(Unresolved::RegistryOnly) => ResponseFlag::Denied,
            Self::Unresolved(_) | Self::Connect(_) | Self::Lookup(..) => ResponseFlag::ConnectFailure,
            Self::Hbone(_) if self.is_denied_by_peer() => ResponseFlag::Denied,
            Self::Hbone(error) => match error.kind() {
                HboneErrorKind::Certificate(_) => ResponseFlag::IdentityError,
                HboneErrorKind::Handshake { .. } => ResponseFlag::TlsFailure,
                HboneErrorKind::Session { .. } => ResponseFlag::H2HandshakeFailure,
                _ => ResponseFlag::ConnectFailure,
            },
            Self::OwnTls(_) => ResponseFlag::TlsFailure,
            Self::Splice(_) | Self::PodGone | Self::DrainEnded | Self::LatePlaintext | Self::ClientLeft => {
                ResponseFlag::None
            }
        }
    }
}

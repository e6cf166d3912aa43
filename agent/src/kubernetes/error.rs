//! Why the Kubernetes API did not give what was asked for.

use crate::causes::with_causes;

/// Why the Kubernetes API did not give what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum KubernetesError {
    #[error("{what}: {reason}")]
    Access { what: String, reason: String },
    #[error("{what}: the API server answered {code}: {message}")]
    Refused { what: String, code: u16, message: String },
    #[error("{what}: {reason}")]
    Unreachable { what: String, reason: String },
    #[error("{what}: no answer within {seconds} s")]
    Timeout { what: String, seconds: u64 },
}

impl KubernetesError {
    /// For `map_err`: the error of the client, with what was asked for.
    pub(super) fn because(what: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let what = what.into();
        move |error| match error {
            kube::Error::Api(status) => Self::Refused { what, code: status.code, message: status.message },
            other => Self::Unreachable { what, reason: with_causes(&other) },
        }
    }

    /// The HTTP status that the API server answered with, if it answered.
    #[must_use]
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }
}

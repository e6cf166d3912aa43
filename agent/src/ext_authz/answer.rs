//! What an external authorizer says of a request.

use bytes::Bytes;

use super::changes::{Changes, FieldChange};

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Allowed(Box<Changes>),
    Denied(Refusal),
    /// It says that it could not decide; its configuration says what becomes of the request. `None`: it says nothing of the answer
    /// that the client is to get.
    Failed(Option<Refusal>),
}

/// The answer that a client gets in the place of the application's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Refusal {
    /// `None`: the one of the configuration.
    pub status: Option<u16>,
    pub fields: Vec<FieldChange>,
    pub body: Bytes,
}

/// Why an answer cannot be used: the authorizer counts as one that could not decide.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnusableAnswer {
    #[error("its answer is no CheckResponse")]
    Malformed,
    #[error("its answer has the status {0}, which is none of a final response")]
    Status(i32),
    #[error("its answer changes {0:?}, which is no field that it may change, or has a value that no field has")]
    Field(String),
}

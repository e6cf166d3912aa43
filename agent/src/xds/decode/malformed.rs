//! What is wrong with a resource, by its field.

use crate::objects::protobuf::{InvalidObject, UnknownValue};

/// What is wrong with a resource, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {flaw}")]
pub struct Malformed {
    /// Path of the field, such as `services[a/b].ports[0].target_port`; `resource` is the whole.
    pub field: String,
    pub flaw: Flaw,
}

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    #[error("not a protobuf message of its type ({0})")]
    NotProtobuf(String),
    #[error("type {found:?}, expected {expected:?}")]
    WrongType { found: String, expected: &'static str },
    #[error("empty")]
    Empty,
    #[error("not set")]
    Missing,
    #[error("an IP address has 4 or 16 bytes, not {0}")]
    AddressLength(usize),
    #[error("prefix length {length} for an address of {bits} bits")]
    PrefixLength { length: u32, bits: u8 },
    #[error("{0} is no port")]
    Port(u32),
    #[error("value {0} is not known")]
    UnknownValue(i32),
    #[error("{0} is not supported")]
    Unsupported(&'static str),
    #[error("{0} matches nobody: a principal is <trust domain>/ns/<namespace>/sa/<service account>, without spiffe://")]
    NoPrincipal(String),
    #[error("{0} matches nobody: a namespace is a name such as shop")]
    NoNamespace(String),
    #[error("{0:?} matches nobody: it is not of the form namespace/service account")]
    NoServiceAccount(String),
    #[error("{0:?} is not of the form namespace/hostname")]
    NotNamespacedHostname(String),
    #[error("{found:?} where the resource is named {expected:?}")]
    NameMismatch { found: String, expected: String },
    #[error("the name comes with two different contents")]
    Ambiguous,
    #[error("{0}")]
    Invalid(String),
}

impl Malformed {
    pub(in crate::xds) fn new(field: impl Into<String>, flaw: Flaw) -> Self {
        Self { field: field.into(), flaw }
    }

    /// The same flaw, one level further out.
    pub(super) fn within(self, outer: &str) -> Self {
        Self { field: format!("{outer}.{}", self.field), flaw: self.flaw }
    }
}

impl From<prost::DecodeError> for Malformed {
    fn from(error: prost::DecodeError) -> Self {
        Self::new("resource", Flaw::NotProtobuf(error.to_string()))
    }
}

impl From<InvalidObject> for Malformed {
    fn from(InvalidObject { field, reason }: InvalidObject) -> Self {
        Self::new(field, Flaw::Invalid(reason))
    }
}

impl From<UnknownValue> for Malformed {
    fn from(UnknownValue { field, value }: UnknownValue) -> Self {
        Self::new(field, Flaw::UnknownValue(value))
    }
}

/// Removals name resources only, so a resource must go by the name that its content gives it.
pub(super) fn named(field: &str, found: &str, expected: &str) -> Result<(), Malformed> {
    if found == expected {
        return Ok(());
    }
    Err(Malformed::new(field, Flaw::NameMismatch { found: found.to_owned(), expected: expected.to_owned() }))
}

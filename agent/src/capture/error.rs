//! Why capture could not do what was asked, and what is missing for a pod to be captured.

use std::net::IpAddr;

use super::pod::NetnsCookie;

/// Why capture could not do what was asked; each variant says what failed on which object.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    #[error("{what}: {source}")]
    Kernel { what: String, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("{0}")]
    Unsupported(String),
    #[error("{address} belongs to {owner}, which is captured too")]
    AddressTaken { address: IpAddr, owner: NetnsCookie },
    #[error("a listener for {pod} is of another namespace ({found})")]
    ForeignListener { pod: NetnsCookie, found: NetnsCookie },
    #[error("no more than {0} pods can be captured")]
    TooManyPods(u32),
}

impl CaptureError {
    /// Says what failed, for `map_err`.
    pub(super) fn because<E>(what: impl FnOnce() -> String) -> impl FnOnce(E) -> Self
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        move |source| Self::Kernel { what: what(), source: Box::new(source) }
    }
}

/// What is missing for a pod to be captured.
#[derive(Debug, thiserror::Error)]
pub enum NotCaptured {
    #[error("{program} is not attached to {to}")]
    NotAttached { program: String, to: String },
    #[error("another program than this agent's is attached as {program} to {to}")]
    OtherProgram { program: String, to: String },
    #[error("map {map} does not hold {pod}")]
    Unknown { pod: NetnsCookie, map: &'static str },
}

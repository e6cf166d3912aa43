//! Why a pod is not enrolled, or its enrolment not ended.

use std::net::IpAddr;
use std::path::PathBuf;

use super::netns::NetnsError;
use crate::capture::CaptureError;

/// Why a pod was not enrolled or unenrolled; each names the field that is wrong.
#[derive(Debug, thiserror::Error)]
pub enum EnrollmentError {
    #[error("{field}: {reason}")]
    Invalid { field: &'static str, reason: String },
    #[error("uid: {0:?} is already enrolled")]
    DuplicateUid(String),
    #[error("netns: {path} is already enrolled as pod {by:?}")]
    DuplicateNetns { path: PathBuf, by: String },
    #[error("addresses: {address} is already enrolled by pod {by:?}")]
    DuplicateAddress { address: IpAddr, by: String },
    #[error("netns: {0}")]
    Netns(#[from] NetnsError),
    #[error("netns: {0} leads to another namespace than at enrolment")]
    OtherNetns(PathBuf),
    #[error("uid: {0:?} is not enrolled")]
    Unknown(String),
    #[error("capture: {0}")]
    Capture(#[from] CaptureError),
    #[error("the list of enrolled pods could not be written: {0}")]
    Store(std::io::Error),
    #[error("agent: another one serves this node now; ask again")]
    HandedOver,
}

impl EnrollmentError {
    /// The field of the request that is to blame, or the part of the agent: the label of the metric that counts refusals.
    pub(super) fn field(&self) -> &'static str {
        match self {
            Self::Invalid { field, .. } => field,
            Self::DuplicateUid(_) | Self::Unknown(_) => "uid",
            Self::DuplicateNetns { .. } | Self::Netns(_) | Self::OtherNetns(_) => "netns",
            Self::DuplicateAddress { .. } => "addresses",
            Self::Capture(_) => "capture",
            Self::Store(_) => "store",
            Self::HandedOver => "agent",
        }
    }
}

//! One certificate per workload identity: fetched when first needed, renewed at half of its life, kept while valid.

use std::sync::Arc;
use std::time::SystemTime;

use crate::model::identity::Identity;

/// A handle to the certificates of this process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Certificates {}

/// Why there is no certificate.
#[derive(Debug, Clone, thiserror::Error)]
#[error("no certificate for {identity}: {reason}")]
pub struct NoCertificate {
    pub identity: Identity,
    pub reason: Arc<str>,
}

/// A certificate in use: key, chain and the roots that came with it.
#[derive(Debug)]
pub struct WorkloadCertificate {
    pub identity: Identity,
    pub not_before: SystemTime,
    pub not_after: SystemTime,
}

/// A certificate as operators may see it; never the key.
#[derive(Debug, Clone)]
pub struct CertificateStatus {
    pub identity: Identity,
    /// PEM, leaf first; empty while none was issued.
    pub chain_pem: Vec<String>,
    pub root_pem: Vec<String>,
    pub serial: String,
    pub not_before: Option<SystemTime>,
    pub not_after: Option<SystemTime>,
    /// The last failure to fetch or renew it.
    pub last_error: Option<Arc<str>>,
}

impl Certificates {
    /// The current certificate of an identity; asks for one if there is none, and waits for the answer.
    ///
    /// # Errors
    /// When none could be had (the request goes on being retried with backoff in the background).
    pub async fn get(&self, _identity: &Identity) -> Result<Arc<WorkloadCertificate>, NoCertificate> {
        unimplemented!()
    }

    /// Starts fetching without waiting, for a pod that was just enrolled.
    pub fn prefetch(&self, _identity: &Identity) {
        unimplemented!()
    }

    /// No pod of this node carries this identity any more: stop renewing it and forget the key.
    pub fn forget(&self, _identity: &Identity) {
        unimplemented!()
    }

    pub fn status(&self) -> Vec<CertificateStatus> {
        unimplemented!()
    }
}

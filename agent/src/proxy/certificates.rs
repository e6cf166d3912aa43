//! Which identities the pods of this node carry. A certificate is renewed as long as one pod is served under its identity, and
//! forgotten with the last one; the end of the process forgets none, so that its successor can go on with them.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::model::identity::Identity;
use crate::tls::certificates::Certificates;

/// The certificates of the node's pods. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct PodCertificates {
    certificates: Certificates,
    /// Identities with the number of pods that carry them.
    carried: Arc<CarriedIdentities>,
}

#[derive(Debug, Default)]
struct CarriedIdentities(Mutex<HashMap<Account, usize>>);

/// Namespace and service account: the trust domain of a mesh may change while a pod is served.
type Account = (Arc<str>, Arc<str>);

/// Keeps the certificate of a pod's identity. It lives as long as the pod is served, its last connection included: a connection
/// that was accepted as the pod left still needs the certificate, and asks for it anew if it was forgotten.
#[derive(Debug)]
pub(super) struct CarriedIdentity {
    of: PodCertificates,
    identity: Identity,
    left: CancellationToken,
}

impl PodCertificates {
    pub(super) fn new(certificates: Certificates) -> Self {
        Self { certificates, carried: Arc::default() }
    }

    /// Fetches the certificate of a pod's identity, and keeps it. `left` is cancelled when the pod's enrolment ends.
    pub(super) fn carry(&self, identity: Identity, left: CancellationToken) -> CarriedIdentity {
        self.carried.add(&identity);
        self.certificates.prefetch(&identity);
        CarriedIdentity { of: self.clone(), identity, left }
    }
}

impl Drop for CarriedIdentity {
    fn drop(&mut self) {
        // A pod that has not left is served by the successor of this process.
        if self.left.is_cancelled() && self.of.carried.remove(&self.identity) {
            self.of.certificates.forget(&self.identity);
        }
    }
}

impl CarriedIdentities {
    fn add(&self, identity: &Identity) {
        *self.0.lock().entry(account(identity)).or_default() += 1;
    }

    /// True if no other pod carries it.
    fn remove(&self, identity: &Identity) -> bool {
        let (mut carried, account) = (self.0.lock(), account(identity));
        let Some(pods) = carried.get_mut(&account) else { return true };
        *pods -= 1;
        if *pods > 0 {
            return false;
        }
        carried.remove(&account);
        true
    }
}

fn account(identity: &Identity) -> Account {
    (identity.namespace.clone(), identity.service_account.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::identity::TrustDomain;
    use crate::tls::certificates::{CertificateOptions, CertificateSource};

    /// An identity, and certificates of which none can be read.
    fn fixture() -> (Identity, Certificates, PodCertificates) {
        let source = CertificateSource::Files("/nonexistent".into());
        let certificates = Certificates::start(source, CertificateOptions::default());
        (Identity::new(TrustDomain::new(""), "shop", "web"), certificates.clone(), PodCertificates::new(certificates))
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_connection_brings_no_forgotten_identity_back() {
        let (identity, certificates, pods) = fixture();
        let left = CancellationToken::new();
        let carried = pods.carry(identity.clone(), left.clone());
        left.cancel();
        tokio::task::yield_now().await;
        let renamed = Identity { trust_domain: TrustDomain::new("renamed"), ..identity.clone() };
        for identity in [&identity, &renamed] {
            certificates.get(identity).await.expect_err("there are no files");
        }
        assert_eq!(certificates.status().len(), 2, "a connection is open, and the mesh has another trust domain");
        drop(carried);
        assert_eq!(certificates.status().len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn an_identity_is_forgotten_with_the_last_pod_that_left() {
        for (name, leave, remain) in
            [("none leaves", [false, false], 1), ("one leaves", [true, false], 1), ("both leave", [true, true], 0)]
        {
            let (identity, certificates, pods) = fixture();
            let left = leave.map(|_| CancellationToken::new());
            let carried = left.clone().map(|left| pods.carry(identity.clone(), left));
            left.iter().zip(leave).filter(|(_, leaves)| *leaves).for_each(|(left, _)| left.cancel());
            drop(carried);
            assert_eq!(certificates.status().len(), remain, "{name}");
        }
    }
}

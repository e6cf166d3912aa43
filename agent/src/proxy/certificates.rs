//! Which identities the pods of this node have. A certificate is renewed as long as one pod has its identity, and
//! forgotten with the last one; the end of the process forgets none, so that its successor can go on with them.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::enrollment::pod::EnrolledPod;
use crate::model::identity::Identity;
use crate::tls::certificates::Certificates;

/// The certificates of the node's pods.
#[derive(Debug)]
pub(super) struct PodCertificates {
    certificates: Certificates,
    /// Identities with the number of pods that have them.
    in_use: IdentitiesInUse,
}

#[derive(Debug, Default)]
struct IdentitiesInUse(Mutex<HashMap<Identity, usize>>);

impl PodCertificates {
    pub(super) fn new(certificates: Certificates) -> Self {
        Self { certificates, in_use: IdentitiesInUse::default() }
    }

    /// Keeps the certificate of a pod's identity until the pod leaves.
    pub(super) async fn hold(&self, identity: Identity, pod: Arc<EnrolledPod>) {
        self.in_use.add(&identity);
        self.certificates.prefetch(&identity);
        pod.left.cancelled().await;
        if self.in_use.remove(&identity) {
            self.certificates.forget(&identity);
        }
    }
}

impl IdentitiesInUse {
    fn add(&self, identity: &Identity) {
        *self.0.lock().entry(identity.clone()).or_default() += 1;
    }

    /// True if no other pod has it.
    fn remove(&self, identity: &Identity) -> bool {
        let mut in_use = self.0.lock();
        let Some(pods) = in_use.get_mut(identity) else { return true };
        *pods -= 1;
        if *pods > 0 {
            return false;
        }
        in_use.remove(identity);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::identity::TrustDomain;

    #[test]
    fn an_identity_is_free_when_its_last_pod_leaves() {
        let in_use = IdentitiesInUse::default();
        let identity = Identity::new(TrustDomain::new(""), "shop", "web");
        in_use.add(&identity);
        in_use.add(&identity);
        assert!(!in_use.remove(&identity));
        assert!(in_use.remove(&identity));
        assert!(in_use.0.lock().is_empty());
    }
}

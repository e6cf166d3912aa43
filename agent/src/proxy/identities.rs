//! Which identities the pods of this node carry. A certificate is renewed as long as one pod carries its identity, and
//! forgotten with the last one; the end of the process forgets none, so that its successor can go on with them.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::PodProxy;
use crate::model::identity::Identity;

/// Identities with the number of pods that carry them.
#[derive(Debug, Default)]
pub(super) struct CarriedIdentities(Mutex<HashMap<Identity, usize>>);

impl CarriedIdentities {
    fn add(&self, identity: &Identity) {
        *self.0.lock().entry(identity.clone()).or_default() += 1;
    }

    /// True if no other pod carries it.
    fn remove(&self, identity: &Identity) -> bool {
        let mut carried = self.0.lock();
        let Some(pods) = carried.get_mut(identity) else { return true };
        *pods -= 1;
        if *pods > 0 {
            return false;
        }
        carried.remove(identity);
        true
    }
}

/// Keeps the certificate of a pod's identity until the pod leaves.
pub(super) async fn carry(served: Arc<PodProxy>) {
    let proxy = &served.proxy;
    let identity = served.identity();
    proxy.carried.add(&identity);
    proxy.certificates.prefetch(&identity);
    served.pod.left.cancelled().await;
    if proxy.carried.remove(&identity) {
        proxy.certificates.forget(&identity);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::identity::TrustDomain;

    #[test]
    fn an_identity_is_free_when_its_last_pod_leaves() {
        let carried = CarriedIdentities::default();
        let identity = Identity::new(TrustDomain::new(""), "shop", "web");
        carried.add(&identity);
        carried.add(&identity);
        assert!(!carried.remove(&identity));
        assert!(carried.remove(&identity));
        assert!(carried.0.lock().is_empty());
    }
}

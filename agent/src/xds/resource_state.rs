//! What is kept of one resource that was received: enough to tell whether another one differs, and of policies and objects what they said
//! and what of it has no effect.

use std::sync::Arc;

use bytes::Bytes;
use xxhash_rust::xxh64::xxh64;

use super::received::{ReceivedResource, Version};
use crate::resources::ResourceType;

/// What is known of one resource. There is one per workload: what most do not need is boxed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ResourceState {
    pub version: Version,
    /// Of the body, to tell whether another one differs. A chance collision would hide one update of one address; policies
    /// and objects are compared in full.
    digest: u64,
    /// Of policies and objects, which are few.
    stored: Option<Box<StoredBody>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct StoredBody {
    body: Bytes,
    /// Why it could not be understood; only policies are stored in that state.
    rejected: Option<Arc<str>>,
    /// What of a policy has no effect, and why. That of objects about requests is with what they were compiled to.
    notices: Vec<String>,
}

impl ResourceState {
    pub(super) fn of(
        kind: ResourceType,
        received: &ReceivedResource,
        rejected: Option<Arc<str>>,
        notices: Vec<String>,
    ) -> Self {
        let digest = xxh64(&received.body, 0);
        let is_stored = matches!(kind, ResourceType::Authorization | ResourceType::Object(_));
        let stored = is_stored.then(|| Box::new(StoredBody { body: received.body.clone(), rejected, notices }));
        Self { version: received.version.clone(), digest, stored }
    }

    /// Whether what came is byte for byte what is known, and came to the same.
    pub(super) fn is_same(&self, received: &ReceivedResource, rejected: Option<&Arc<str>>) -> bool {
        match &self.stored {
            Some(known) => known.body == received.body && known.rejected.as_ref() == rejected,
            None => rejected.is_none() && self.digest == xxh64(&received.body, 0),
        }
    }

    /// The body that was rejected, and why.
    pub(super) fn rejected(&self) -> Option<(&[u8], &Arc<str>)> {
        let known = self.stored.as_ref()?;
        Some((&known.body, known.rejected.as_ref()?))
    }

    /// The body as it was received, and why it was rejected; `None` for types whose bodies are not stored.
    pub(super) fn body(&self) -> Option<(&Bytes, Option<&Arc<str>>)> {
        let known = self.stored.as_ref()?;
        Some((&known.body, known.rejected.as_ref()))
    }

    /// What of a policy has no effect, and why.
    pub(super) fn notices(&self) -> &[String] {
        self.stored.as_ref().map_or(&[], |known| &known.notices)
    }
}

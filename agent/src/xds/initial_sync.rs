//! When the first state of a stream is complete enough to serve with: which types the control plane has answered.

use std::time::Duration;

use tokio::time::Instant;

use crate::resources::{ObjectKind, ResourceType, WantedObjects};

/// Without these the agent is never ready.
const ESSENTIAL: [ResourceType; 2] = [ResourceType::Address, ResourceType::Authorization];
/// How long readiness waits for a mesh configuration, and for policies and routes as users wrote them, once the essential types are
/// there. After that the agent serves without, as ztunnel does, which asks for neither: not every control plane has them, and a
/// pod whose agent is never ready is cut off. What is missing stands in the log and in `weir status` until it is answered.
const OPTIONAL_TYPES_GRACE: Duration = Duration::from_secs(5);

/// Which types a stream has delivered.
pub(super) struct InitialSync {
    answered: [bool; ResourceType::COUNT],
    /// The types to wait for, the essential ones among them.
    awaited: Vec<ResourceType>,
    /// When the last of the essential types was there.
    essential_since: Option<Instant>,
}

impl InitialSync {
    /// For a stream that asks for these users' objects.
    pub(super) fn new(objects: WantedObjects) -> Self {
        let policies = [ObjectKind::AuthorizationPolicy, ObjectKind::PeerAuthentication];
        let wanted = policies.into_iter().chain(ObjectKind::HTTP).filter(|kind| objects.include(*kind));
        let wanted = wanted.map(ResourceType::Object);
        let awaited = ResourceType::MESH.into_iter().chain(wanted).collect();
        Self { answered: [false; ResourceType::COUNT], awaited, essential_since: None }
    }

    /// True once the control plane has answered at all.
    pub(super) fn has_begun(&self) -> bool {
        self.answered.contains(&true)
    }

    /// Records a response to a type; true once every awaited type has been answered.
    pub(super) fn record(&mut self, kind: Option<ResourceType>) -> bool {
        if let Some(kind) = kind {
            self.answered[kind.index()] = true;
        }
        if self.essential_since.is_none() && ESSENTIAL.into_iter().all(|kind| self.answered[kind.index()]) {
            self.essential_since = Some(Instant::now());
        }
        self.missing().is_empty()
    }

    /// The awaited types that have not been answered.
    pub(super) fn missing(&self) -> Vec<&'static str> {
        let missing = self.awaited.iter().filter(|kind| !self.answered[kind.index()]);
        missing.map(|kind| kind.label()).collect()
    }

    /// Resolves when the types that are still missing are no longer waited for.
    pub(super) async fn grace_over(&self) {
        match self.essential_since {
            Some(since) => tokio::time::sleep_until(since + OPTIONAL_TYPES_GRACE).await,
            None => std::future::pending().await,
        }
    }
}

//! One agent's stream as a state machine without I/O: requests and snapshots go in, responses come out, in an order in
//! which nothing an agent relies on is missing for a moment.

mod subscription;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use subscription::Subscription;

use super::snapshot::Snapshot;
use crate::proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use crate::resources::{ObjectKind, ResourceType};

/// What an agent subscribed to and has.
#[derive(Debug, Default)]
pub(super) struct AgentStream {
    subscriptions: [Option<Subscription>; ResourceType::COUNT],
    nonces: u64,
}

/// What a request was, besides what follows from it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Requested {
    Subscription,
    Acknowledged,
    /// The agent could not use what it was sent; its words.
    Refused(ResourceType, String),
    /// A type that is not served here; it gets no answer.
    UnknownType(String),
    /// An answer to something that was not asked on this stream.
    StaleNonce,
}

impl AgentStream {
    pub(super) fn request(&mut self, request: &DeltaDiscoveryRequest) -> Requested {
        let Some(kind) = ResourceType::from_type_url(&request.type_url) else {
            return Requested::UnknownType(request.type_url.clone());
        };
        let Some(subscription) = &mut self.subscriptions[kind.index()] else {
            self.subscriptions[kind.index()] = Some(Subscription::new(kind, request));
            return Requested::Subscription;
        };
        subscription.change(request);
        if request.response_nonce.is_empty() {
            return Requested::Subscription;
        }
        if !subscription.acknowledged(&request.response_nonce) {
            return Requested::StaleNonce;
        }
        match &request.error_detail {
            Some(error) => Requested::Refused(kind, error.message.clone()),
            None => Requested::Acknowledged,
        }
    }

    /// Everything that may be sent now. Policies come before the workloads that list them and go after them.
    pub(super) fn responses(&mut self, snapshot: &Arc<Snapshot>) -> Vec<DeltaDiscoveryResponse> {
        let policies_may_go = self.is_settled(ResourceType::Address, snapshot);
        let mut responses = Vec::new();
        responses.extend(self.respond(ResourceType::MeshConfig, snapshot, true));
        responses.extend(self.respond(ResourceType::Authorization, snapshot, policies_may_go));
        if !self.has_upserts(ResourceType::Authorization, snapshot) {
            responses.extend(self.respond(ResourceType::Address, snapshot, true));
        }
        // There are none here; an agent that asks is told so.
        for kind in ObjectKind::ALL {
            responses.extend(self.respond(ResourceType::Object(kind), snapshot, true));
        }
        responses
    }

    fn respond(
        &mut self,
        kind: ResourceType,
        snapshot: &Snapshot,
        removals_too: bool,
    ) -> Option<DeltaDiscoveryResponse> {
        let subscription = self.subscriptions[kind.index()].as_mut()?;
        if !subscription.is_idle() {
            return None;
        }
        let mut delta = subscription.delta(snapshot);
        if removals_too {
            subscription.is_current_with(snapshot);
        } else {
            delta = Subscription::upserts_only(delta);
        }
        if delta.is_empty() && subscription.is_answered() {
            return None;
        }
        self.nonces += 1;
        Some(subscription.respond(snapshot, delta, self.nonces.to_string()))
    }

    /// True if the agent has, and has acknowledged, all there is of a type it wants.
    fn is_settled(&self, kind: ResourceType, snapshot: &Snapshot) -> bool {
        let subscription = self.subscriptions[kind.index()].as_ref();
        subscription.is_none_or(|subscription| subscription.is_idle() && subscription.delta(snapshot).is_empty())
    }

    fn has_upserts(&self, kind: ResourceType, snapshot: &Snapshot) -> bool {
        let subscription = self.subscriptions[kind.index()].as_ref();
        subscription.is_some_and(|subscription| subscription.delta(snapshot).has_upserts())
    }
}

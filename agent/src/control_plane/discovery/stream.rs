//! One agent's stream as a state machine without I/O: requests and snapshots go in, responses come out, in an order in
//! which nothing that an agent relies on is missing for a moment.

use std::sync::Arc;

use super::subscription::Subscription;
use crate::control_plane::snapshot::Snapshot;
use crate::proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use crate::resources::{ObjectKind, ResourceType};

/// What an agent subscribed to and has.
#[derive(Debug, Default)]
pub(super) struct DiscoveryStream {
    subscriptions: [Option<Subscription>; ResourceType::COUNT],
    nonces: u64,
}

/// What kind of request was received.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RequestKind {
    Subscription,
    Ack,
    /// The agent could not use what it was sent, and says why.
    Nack(ResourceType, String),
    /// A type that is not served here; it gets no response.
    UnknownType(String),
    /// The acknowledgement of a response that is not awaited on this stream.
    StaleNonce,
}

impl DiscoveryStream {
    /// Updates the subscriptions by a request.
    pub(super) fn receive(&mut self, request: &DeltaDiscoveryRequest) -> RequestKind {
        let Some(kind) = ResourceType::from_type_url(&request.type_url) else {
            return RequestKind::UnknownType(request.type_url.clone());
        };
        let Some(subscription) = &mut self.subscriptions[kind.index()] else {
            self.subscriptions[kind.index()] = Some(Subscription::new(kind, request));
            return RequestKind::Subscription;
        };
        subscription.update(request);
        if request.response_nonce.is_empty() {
            return RequestKind::Subscription;
        }
        if !subscription.acknowledge(&request.response_nonce) {
            return RequestKind::StaleNonce;
        }
        match &request.error_detail {
            Some(error) => RequestKind::Nack(kind, error.message.clone()),
            None => RequestKind::Ack,
        }
    }

    /// Everything that may be sent now. Policies are added before the workloads that list them and removed after them.
    pub(super) fn responses(&mut self, snapshot: &Arc<Snapshot>) -> Vec<DeltaDiscoveryResponse> {
        let policies_may_be_removed = self.is_in_sync(ResourceType::Address, snapshot);
        let mut responses = Vec::new();
        responses.extend(self.respond(ResourceType::MeshConfig, snapshot, true));
        responses.extend(self.respond(ResourceType::Authorization, snapshot, policies_may_be_removed));
        if !self.has_upserts(ResourceType::Authorization, snapshot) {
            responses.extend(self.respond(ResourceType::Address, snapshot, true));
        }
        // Of kinds that are not sent from here, an agent that asks for them gets an empty response.
        for kind in ObjectKind::ALL {
            responses.extend(self.respond(ResourceType::Object(kind), snapshot, true));
        }
        responses
    }

    fn respond(
        &mut self,
        kind: ResourceType,
        snapshot: &Snapshot,
        with_removals: bool,
    ) -> Option<DeltaDiscoveryResponse> {
        let subscription = self.subscriptions[kind.index()].as_mut()?;
        if !subscription.is_idle() {
            return None;
        }
        let mut delta = subscription.delta(snapshot);
        if with_removals {
            subscription.mark_current(snapshot);
        } else {
            delta = Subscription::upserts_only(delta);
        }
        if delta.is_empty() && subscription.is_answered() {
            return None;
        }
        self.nonces += 1;
        Some(subscription.respond(snapshot, delta, self.nonces.to_string()))
    }

    /// True if the agent has, and has acknowledged, all resources of a type it subscribed to.
    fn is_in_sync(&self, kind: ResourceType, snapshot: &Snapshot) -> bool {
        let subscription = self.subscriptions[kind.index()].as_ref();
        subscription.is_none_or(|subscription| subscription.is_idle() && subscription.delta(snapshot).is_empty())
    }

    fn has_upserts(&self, kind: ResourceType, snapshot: &Snapshot) -> bool {
        let subscription = self.subscriptions[kind.index()].as_ref();
        subscription.is_some_and(|subscription| subscription.delta(snapshot).has_upserts())
    }
}

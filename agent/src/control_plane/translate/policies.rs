//! All policies, and which of them a workload lists.

use std::collections::BTreeMap;

use super::context::{Context, selects};
use super::{authorization, fields, peer_authentication};
use crate::compile::{self, CompiledPolicy};
use crate::model::authorization::Authorization;
use crate::model::peer_authentication::{PeerModes, converted_name};
use crate::objects::{Kind, Labels, Object, PolicyTarget, protobuf};
use crate::proto::istio::mcp::v1alpha1 as mcp;
use crate::proto::istio::security as pb;

/// The policies of the mesh.
#[derive(Debug, Default)]
pub(super) struct Policies {
    root_namespace: String,
    /// Policies with a selector, by namespace, in order of keys.
    selecting: BTreeMap<String, Vec<(String, Labels)>>,
    /// Refusals that stand for PeerAuthentications with a selector, likewise.
    refused_peers: BTreeMap<String, Vec<(String, Labels)>>,
    peer_modes: PeerModes,
}

/// What agents are sent of policies, by name.
#[derive(Debug, Default)]
pub(super) struct TranslatedPolicies {
    /// All of them, in the form for L4.
    pub(super) authorizations: BTreeMap<String, pb::Authorization>,
    /// Those that say more than their L4 form, as they were written.
    pub(super) objects: BTreeMap<String, mcp::Resource>,
}

impl Policies {
    /// A policy that is not for this mesh restricts nothing, which its author may not expect.
    fn note_policies_of_other_meshes(context: &Context<'_>) {
        let policies = context.objects.iter().filter(|(key, _)| key.kind.is_policy());
        for (key, _) in policies.filter(|(_, stored)| !context.is_ours(&stored.metadata)) {
            context.note(format!("{key}: is not for this mesh (istio.io/rev or discoverySelectors) and not enforced"));
        }
    }

    /// Translates every policy.
    pub(super) fn new(context: &Context<'_>) -> (Self, TranslatedPolicies) {
        Self::note_policies_of_other_meshes(context);
        let mut found = TranslatedPolicies::default();
        let mut policies = Self { root_namespace: context.mesh.root_namespace().to_owned(), ..Self::default() };
        for object in context.objects.authorization_policies().filter(|object| context.is_ours(object.metadata)) {
            let note = |text: String| {
                let (namespace, name) = (&object.metadata.namespace, &object.metadata.name);
                context.note(format!("AuthorizationPolicy {namespace}/{name}: {text}"));
            };
            let policy = &object.spec.policy;
            let compiled = compile::policy(context.mesh.root_namespace(), object.metadata, policy, note);
            let Some(CompiledPolicy { authorization, is_istiods }) = compiled else { continue };
            if !is_istiods {
                found.objects.insert(authorization.key.to_string(), protobuf::policy_envelope(object));
            }
            let Some(authorization) = compile::l4_form(policy, authorization, note) else { continue };
            if let PolicyTarget::Selector(labels) = &policy.target {
                list(&mut policies.selecting, &authorization, labels);
            }
            add(&mut found.authorizations, &authorization);
        }
        policies.refuse(context, &mut found.authorizations);

        let mut peers: Vec<_> =
            context.objects.peer_authentications().filter(|object| context.is_ours(object.metadata)).collect();
        peers.sort_by_key(Object::age);
        policies.peer_modes = peer_authentication::modes(context, &peers);
        for authorization in peer_authentication::authorizations(&policies.peer_modes) {
            add(&mut found.authorizations, &authorization);
        }
        (policies, found)
    }

    fn refuse(&mut self, context: &Context<'_>, found: &mut BTreeMap<String, pb::Authorization>) {
        for (kind, object) in context.objects.rejected_policies().filter(|(_, object)| context.is_ours(object.metadata))
        {
            let (namespace, name) = (&object.metadata.namespace, &object.metadata.name);
            context.note(format!("{kind} {namespace}/{name}: denies all it is about: {}", object.spec.reason));
            let is_peer = kind == Kind::PeerAuthentication;
            let name = match kind {
                Kind::PeerAuthentication => converted_name(name),
                // No AuthorizationPolicy can have such a name.
                Kind::RequestAuthentication => format!("request_authentication_{name}"),
                _ => name.clone(),
            };
            let denial =
                compile::denial_of_rejected(context.mesh.root_namespace(), object.metadata, object.spec, &name);
            let listing = if is_peer { &mut self.refused_peers } else { &mut self.selecting };
            if !object.spec.selector.is_empty() {
                list(listing, &denial, &object.spec.selector);
            }
            add(found, &denial);
        }
    }

    /// Keys of the policies a workload lists: AuthorizationPolicies of its own and the root namespace in order of keys,
    /// then what comes from PeerAuthentications.
    pub(super) fn of_workload(&self, namespace: &str, labels: &Labels) -> Vec<String> {
        let mut keys = self.matching(&self.selecting, namespace, labels);
        keys.sort();
        let mut peers = self.matching(&self.refused_peers, namespace, labels);
        let listed = self.peer_modes.listed_by(namespace, labels);
        peers.extend(listed.map(|(namespace, name)| fields::policy_key(&namespace, &name)));
        peers.sort();
        keys.extend(peers);
        keys
    }

    fn matching(
        &self,
        listing: &BTreeMap<String, Vec<(String, Labels)>>,
        namespace: &str,
        labels: &Labels,
    ) -> Vec<String> {
        let root = Some(self.root_namespace.as_str()).filter(|root| *root != namespace);
        let candidates = [Some(namespace), root].into_iter().flatten().filter_map(|namespace| listing.get(namespace));
        candidates.flatten().filter(|(_, selector)| selects(selector, labels)).map(|(key, _)| key.clone()).collect()
    }
}

fn add(found: &mut BTreeMap<String, pb::Authorization>, policy: &Authorization) {
    found.insert(policy.key.to_string(), authorization::authorization(policy));
}

fn list(listing: &mut BTreeMap<String, Vec<(String, Labels)>>, policy: &Authorization, labels: &Labels) {
    listing.entry(policy.namespace.to_string()).or_default().push((policy.key.to_string(), labels.clone()));
}

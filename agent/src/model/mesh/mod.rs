//! The mesh: workloads, services and policies, indexed for the questions the proxy asks.
//!
//! Every index answers from what is known now, whatever the order of updates that led there. An update costs what it
//! touches: the addresses, services and ports of one resource, never the size of the mesh.

use std::net::IpAddr;
use std::sync::Arc;

use super::authorization::{self, AccessRequest, Authorization, Destination, Verdict};
use super::balance::Asked;
use super::identity::{DEFAULT_TRUST_DOMAIN, TrustDomain};
use super::peer_authentication::Labels;
use super::pod::PodKey;
use super::policy_object::{PeerObject, PolicyObject, PolicyTarget};
use super::resolve::OutboundTrafficPolicy;
use super::service::{Service, ServiceKey};
use super::workload::{NetworkMode, TunnelProtocol, Workload};

mod claims;
mod policies;
mod policy_objects;
mod services;
mod shards;
mod sharing;
#[cfg(test)]
mod tests;
mod workloads;

use policies::Policies;
pub use policy_objects::Listing;
use policy_objects::PolicyObjects;
use services::{Services, VipKind};
use sharing::Sharing;
use workloads::Workloads;

/// One change of the mesh. Updates of one batch may come in any order; each costs what it touches, never the whole.
#[derive(Debug, Clone)]
pub enum MeshUpdate {
    Workload(Box<Workload>),
    Service(Box<Service>),
    /// A workload's uid or a service's `namespace/hostname`: removals name no kind.
    RemoveAddress(Arc<str>),
    Authorization(Box<Authorization>),
    /// `namespace/name`.
    RemoveAuthorization(Arc<str>),
    /// A policy as its author wrote it.
    PolicyObject(Box<PolicyObject>),
    /// `namespace/name`.
    RemovePolicyObject(Arc<str>),
    PeerObject(Box<PeerObject>),
    /// `namespace/name`.
    RemovePeerObject(Arc<str>),
    Settings(MeshSettings),
}

/// What MeshConfig says about the whole mesh, and where this agent is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeshSettings {
    pub trust_domain: TrustDomain,
    pub trust_domain_aliases: Vec<TrustDomain>,
    pub outbound_traffic_policy: OutboundTrafficPolicy,
    pub root_namespace: Arc<str>,
    /// Root certificates whose workloads count as this mesh's own, as PEM, one each.
    pub ca_certificates: Vec<Arc<str>>,
    /// The Istio network that this node's pods are in; the agent's own, MeshConfig does not say.
    pub network: Arc<str>,
}

impl Default for MeshSettings {
    /// MeshConfig's own defaults.
    fn default() -> Self {
        Self {
            trust_domain: TrustDomain::new(DEFAULT_TRUST_DOMAIN),
            trust_domain_aliases: Vec::new(),
            outbound_traffic_policy: OutboundTrafficPolicy::AllowAny,
            root_namespace: "istio-system".into(),
            ca_certificates: Vec::new(),
            network: "".into(),
        }
    }
}

/// All that is known about the mesh.
#[derive(Debug, Default)]
pub struct Mesh {
    settings: MeshSettings,
    workloads: Workloads,
    services: Services,
    policies: Policies,
    policy_objects: PolicyObjects,
    sharing: Sharing,
    policy_version: u64,
}

impl Mesh {
    /// Applies one change.
    pub fn apply(&mut self, update: MeshUpdate) {
        match update {
            MeshUpdate::Workload(workload) => self.apply_workload(*workload),
            MeshUpdate::Service(service) => self.apply_service(*service),
            MeshUpdate::RemoveAddress(name) => self.remove_address(&name),
            MeshUpdate::Authorization(mut policy) => {
                self.sharing.authorization(&mut policy);
                self.policies.insert(*policy);
                self.policy_version += 1;
            }
            MeshUpdate::RemoveAuthorization(key) => {
                self.policies.remove(&key);
                self.policy_version += 1;
            }
            MeshUpdate::PolicyObject(object) => self.apply_policy_object(*object),
            MeshUpdate::RemovePolicyObject(key) => {
                self.policies.remove_form(&key);
                self.policy_objects.remove_policy(&key);
                self.policy_version += 1;
            }
            MeshUpdate::PeerObject(object) => self.policy_objects.put_peer(*object, &self.settings.root_namespace),
            MeshUpdate::RemovePeerObject(key) => {
                self.policy_objects.remove_peer(&key, &self.settings.root_namespace);
            }
            MeshUpdate::Settings(settings) => {
                self.settings = settings;
                self.policy_objects.follow(&self.settings.root_namespace);
                self.policy_version += 1;
            }
        }
    }

    /// Changes with every change of a policy or of the settings. As long as it and a workload stay the same, so does every
    /// decision of [`Self::authorize`] about that workload: endpoints come and go without asking again.
    pub fn policy_version(&self) -> u64 {
        self.policy_version
    }

    fn apply_policy_object(&mut self, object: PolicyObject) {
        match &object.form {
            Some(form) => {
                let selector = match &object.target {
                    PolicyTarget::Selector(labels) => labels.clone(),
                    PolicyTarget::Namespace | PolicyTarget::Elsewhere => Labels::new(),
                };
                let mut form = form.as_ref().clone();
                self.sharing.authorization(&mut form);
                self.policies.insert_form(form, selector);
            }
            None => self.policies.remove_form(&object.key),
        }
        self.policy_objects.put_policy(object);
        self.policy_version += 1;
    }

    fn apply_workload(&mut self, mut workload: Workload) {
        self.sharing.workload(&mut workload);
        // A reconnect sends the whole mesh again: what did not change must not cost more than the comparison.
        if self.workloads.get(&workload.uid).is_some_and(|known| **known == workload) {
            return;
        }
        self.remove_workload(&workload.uid);
        let workload = Arc::new(workload);
        self.workloads.insert(&workload);
        self.services.insert_endpoint(&workload);
    }

    fn apply_service(&mut self, mut service: Service) {
        self.sharing.service(&mut service);
        if self.services.get(&service.key).is_some_and(|known| **known == service) {
            return;
        }
        self.services.remove(&service.key);
        self.services.insert(&Arc::new(service));
    }

    fn remove_address(&mut self, name: &str) {
        self.remove_workload(name);
        if let Some((namespace, hostname)) = name.split_once('/') {
            self.services.remove(&ServiceKey::new(namespace, hostname));
        }
    }

    fn remove_workload(&mut self, uid: &str) {
        if let Some(workload) = self.workloads.remove(uid) {
            self.services.remove_endpoint(&workload);
        }
    }

    pub fn settings(&self) -> &MeshSettings {
        &self.settings
    }

    pub fn workload(&self, uid: &str) -> Option<&Arc<Workload>> {
        self.workloads.get(uid)
    }

    /// The workload that owns an address. Host-network workloads share their node's address: where several workloads
    /// match, one that has the address for itself wins, and a host-network one is only returned when it is alone. Of
    /// several that have it for themselves the least uid wins; a pod's is less than any other kind's.
    pub fn workload_by_address(&self, network: &str, ip: IpAddr) -> Option<&Arc<Workload>> {
        let mut owners = self.workloads.owners(network, ip);
        let best = owners.next()?;
        (best.network_mode == NetworkMode::Standard || owners.next().is_none()).then_some(best)
    }

    /// The best claim to an address, even that of one among several host-network workloads.
    pub(super) fn owner_of(&self, network: &str, ip: IpAddr) -> Option<&Arc<Workload>> {
        self.workloads.owners(network, ip).next()
    }

    /// The workload of a pod of this node: the one with its namespace, and its name or service account, that has one of
    /// its addresses. An address alone never decides (a pod's IP may have belonged to another pod a moment ago).
    /// A workload of this name wins over one of this service account.
    pub fn workload_of_pod(&self, pod: PodKey<'_>) -> Option<&Arc<Workload>> {
        let candidates = || {
            let owners = pod.addresses.iter().flat_map(|ip| self.workloads.owners(&self.settings.network, *ip));
            owners.filter(|workload| &*workload.namespace == pod.namespace)
        };
        let named = candidates().find(|workload| &*workload.name == pod.name);
        named.or_else(|| candidates().find(|workload| &*workload.service_account == pod.name))
    }

    /// Whether the mesh says of a pod of this node that it is reached over HBONE.
    pub fn says_hbone(&self, pod: PodKey<'_>) -> bool {
        self.workload_of_pod(pod).is_some_and(|workload| workload.protocol == TunnelProtocol::Hbone)
    }

    pub fn service(&self, key: &ServiceKey) -> Option<&Arc<Service>> {
        self.services.get(key)
    }

    /// The service with this virtual address, as seen from a namespace (visibility, canonical): exact address first,
    /// then the longest block.
    pub fn service_by_vip(&self, network: &str, ip: IpAddr, from_namespace: &str) -> Option<&Arc<Service>> {
        self.service_by_single_vip(network, ip, from_namespace)
            .or_else(|| self.service_by_block(network, ip, from_namespace))
    }

    pub(super) fn service_by_single_vip(
        &self,
        network: &str,
        ip: IpAddr,
        from_namespace: &str,
    ) -> Option<&Arc<Service>> {
        self.services.by_vip(network, ip, from_namespace, VipKind::Single)
    }

    pub(super) fn service_by_block(&self, network: &str, ip: IpAddr, from_namespace: &str) -> Option<&Arc<Service>> {
        self.services.by_vip(network, ip, from_namespace, VipKind::Block)
    }

    /// The service with this hostname as seen from a namespace: its own namespace's first, then the canonical one.
    /// Without a canonical one the first visible by namespace, so that the answer is always the same.
    pub fn service_by_hostname(&self, hostname: &str, from_namespace: &str) -> Option<&Arc<Service>> {
        self.services.by_hostname(hostname, from_namespace)
    }

    /// All workloads, in no order.
    pub fn workloads(&self) -> impl Iterator<Item = &Arc<Workload>> {
        self.workloads.iter()
    }

    /// All services, in no order.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.services.iter()
    }

    /// All policies, in no order.
    pub fn authorizations(&self) -> impl Iterator<Item = &Arc<Authorization>> {
        self.policies.iter()
    }

    /// The workloads that are endpoints of a service, in no order; known even before the service itself.
    pub fn endpoints(&self, service: &ServiceKey) -> impl Iterator<Item = &Arc<Workload>> {
        self.services.endpoints(service).into_iter().flat_map(|endpoints| endpoints.iter())
    }

    /// The endpoint that serves the next connection of a source; `random` must be uniform.
    pub(super) fn pick_endpoint(
        &self,
        service: &Arc<Service>,
        asked: Asked,
        source: &Workload,
        random: u64,
    ) -> Option<&Arc<Workload>> {
        self.services.endpoints(&service.key)?.pick(service, asked, source, random)
    }

    /// Decides whether a connection may reach a workload of this node.
    pub fn authorize(&self, destination: &Destination<'_>, request: &AccessRequest) -> Verdict {
        authorization::decide(destination, request, self.policies.in_force(*destination, &self.settings.root_namespace))
    }

    /// True where any policy is in force for a workload of this node, whatever it says.
    pub fn is_restricted(&self, destination: &Destination<'_>) -> bool {
        self.policies.in_force(*destination, &self.settings.root_namespace).next().is_some()
    }

    /// The selector policies that a pod with these labels lists, where its workload is not known yet.
    pub fn listing(&self, namespace: &str, labels: &Labels) -> Listing {
        self.policy_objects.listing(&self.policies, &self.settings.root_namespace, namespace, labels)
    }

    /// The policies as their authors wrote them, by key.
    pub fn policy_objects(&self) -> impl Iterator<Item = &Arc<PolicyObject>> {
        self.policy_objects.iter()
    }
}

//! All that is known about the mesh: applies updates to its indexes, and asks them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::interner::Interner;
use super::policies::Policies;
use super::policy_objects::{Listing, PolicyObjects};
use super::services::Services;
use super::update::{MeshSettings, MeshUpdate, Touched};
use super::workloads::Workloads;
use crate::model::authorization::{Authorization, Destination, InForce, TrustDomains};
use crate::model::balance::Endpoints;
use crate::model::peer_authentication::Labels;
use crate::model::pod::PodKey;
use crate::model::policy_object::{PolicyObject, PolicyTarget};
use crate::model::service::{Service, ServiceKey, Vip};
use crate::model::workload::{NetworkMode, TunnelProtocol, Workload};

/// All that is known about the mesh.
#[derive(Debug, Default)]
pub struct Mesh {
    settings: MeshSettings,
    sidecars_decide_outbound: bool,
    pub(in crate::model) workloads: Workloads,
    pub(in crate::model) services: Services,
    policies: Policies,
    policy_objects: PolicyObjects,
    /// By the uid of the workload, which need not be known.
    pod_labels: HashMap<Arc<str>, Labels>,
    interner: Interner,
    policy_version: u64,
    /// Collected only where somebody follows them.
    touched: Option<Touched>,
}

impl Mesh {
    /// Applies one change.
    pub fn apply(&mut self, update: MeshUpdate) {
        match update {
            MeshUpdate::Workload(workload) => self.apply_workload(*workload),
            MeshUpdate::Service(service) => self.apply_service(*service),
            MeshUpdate::RemoveAddress(name) => self.remove_address(&name),
            MeshUpdate::PodLabels(uid, labels) => self.apply_pod_labels(uid, labels),
            MeshUpdate::Authorization(mut policy) => {
                self.interner.authorization(&mut policy);
                self.policies.insert(*policy);
                self.policy_version += 1;
            }
            MeshUpdate::RemoveAuthorization(key) => {
                self.policies.remove(&key);
                self.policy_version += 1;
            }
            MeshUpdate::PolicyObject(object) => self.apply_policy_object(*object),
            MeshUpdate::RemovePolicyObject(key) => {
                self.policies.remove_own(&key);
                self.policy_objects.remove_policy(&key);
                self.policy_version += 1;
            }
            MeshUpdate::PeerObject(object) => self.policy_objects.insert_peer(*object, &self.settings.root_namespace),
            MeshUpdate::RemovePeerObject(key) => self.policy_objects.remove_peer(&key),
            MeshUpdate::Settings(settings) => {
                self.settings = settings;
                self.touch_all();
                self.policy_objects.set_root_namespace(&self.settings.root_namespace);
                self.policy_version += 1;
            }
            MeshUpdate::SidecarsDecideOutbound(decide) => {
                self.sidecars_decide_outbound = decide;
                self.touch_all();
            }
        }
    }

    /// Changes with every change of a policy or of the settings. As long as it and a workload stay the same, so does every
    /// decision of [`Self::authorize`] about that workload: endpoints come and go without asking again.
    pub fn policy_version(&self) -> u64 {
        self.policy_version
    }

    fn apply_policy_object(&mut self, mut object: PolicyObject) {
        match &mut object.own_form {
            Some(form) => {
                let selector = match &object.target {
                    PolicyTarget::Selector(labels) => labels.clone(),
                    PolicyTarget::Namespace | PolicyTarget::Elsewhere => Labels::new(),
                };
                // Copied only where somebody else has it too.
                self.interner.authorization(Arc::make_mut(form));
                self.policies.insert_own(form.clone(), selector);
            }
            None => self.policies.remove_own(&object.key),
        }
        self.policy_objects.insert_policy(object);
        self.policy_version += 1;
    }

    fn apply_workload(&mut self, mut workload: Workload) {
        let of_pod = self.pod_labels.get(&workload.uid);
        if workload.labels.of_pod != *of_pod.unwrap_or(&Labels::new()) {
            workload.labels.of_pod = of_pod.cloned().unwrap_or_default();
        }
        self.interner.workload(&mut workload);
        // A reconnect sends the whole mesh again: what did not change must not cost more than the comparison.
        if self.workloads.get(&workload.uid).is_some_and(|known| **known == workload) {
            return;
        }
        self.remove_workload(&workload.uid);
        let workload = Arc::new(workload);
        self.workloads.insert(&workload);
        self.services.insert_endpoint(&workload);
        self.touch_workload(&workload);
    }

    fn apply_pod_labels(&mut self, uid: Arc<str>, labels: Labels) {
        let known = self.workloads.get(&uid).map(|workload| Workload::clone(workload));
        if labels.is_empty() {
            self.pod_labels.remove(&uid);
        } else {
            self.pod_labels.insert(uid, labels);
        }
        if let Some(workload) = known {
            self.apply_workload(workload);
        }
    }

    fn apply_service(&mut self, mut service: Service) {
        self.interner.service(&mut service);
        if self.services.get(&service.key).is_some_and(|known| **known == service) {
            return;
        }
        self.remove_service(&service.key);
        self.touch_service(&service);
        self.services.insert(&Arc::new(service));
    }

    fn remove_service(&mut self, key: &ServiceKey) {
        if let Some(service) = self.services.get(key).cloned() {
            self.touch_service(&service);
            self.services.remove(key);
        }
    }

    fn remove_address(&mut self, name: &str) {
        self.remove_workload(name);
        if let Some((namespace, hostname)) = name.split_once('/') {
            self.remove_service(&ServiceKey::new(namespace, hostname));
        }
    }

    fn remove_workload(&mut self, uid: &str) {
        if let Some(workload) = self.workloads.remove(uid) {
            self.services.remove_endpoint(&workload);
            self.touch_workload(&workload);
        }
    }

    /// Begins to collect the addresses that changes are about, or ceases to; all of them at first.
    pub fn follow_addresses(&mut self, follow: bool) {
        self.touched = follow.then_some(Touched::All);
    }

    /// The addresses that changes were about since the last time; `None` if they are not followed.
    pub fn take_touched(&mut self) -> Option<Touched> {
        self.touched.as_mut().map(std::mem::take)
    }

    fn touch_all(&mut self) {
        if let Some(touched) = &mut self.touched {
            *touched = Touched::All;
        }
    }

    fn touch_workload(&mut self, workload: &Workload) {
        let Some(touched) = &mut self.touched else { return };
        touched.add(workload.addresses.iter().copied());
        let services = workload.services.keys().filter_map(|key| self.services.get(key));
        touched.add(services.flat_map(|service| service.vips.iter().filter_map(Vip::single)));
    }

    fn touch_service(&mut self, service: &Service) {
        if let Some(touched) = &mut self.touched {
            touched.add(service.vips.iter().filter_map(Vip::single));
        }
    }

    pub fn settings(&self) -> &MeshSettings {
        &self.settings
    }

    /// Whether some `Sidecar` has an `outboundTrafficPolicy`: what the mesh's settings say is then not for all pods.
    pub fn sidecars_decide_outbound(&self) -> bool {
        self.sidecars_decide_outbound
    }

    /// Whether some service declares HTTP at this port.
    pub fn is_http_port(&self, port: u16) -> bool {
        self.services.http_ports().contains_key(&port)
    }

    /// Whether some service that only its host tells apart declares HTTP at this port: a request there to an address that the mesh
    /// does not know may be for it.
    pub fn is_host_port(&self, port: u16) -> bool {
        self.services.host_ports().contains_key(&port)
    }

    /// The ports at which some service declares HTTP, ascending.
    pub fn http_ports(&self) -> impl Iterator<Item = u16> {
        self.services.http_ports().keys().copied()
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

    /// Whether an address of the mesh's own network is a workload's that is reached over HBONE. It says what somebody at this
    /// address speaks, not who that is.
    pub fn speaks_hbone(&self, ip: IpAddr) -> bool {
        let owner = self.workload_by_address(&self.settings.network, ip);
        owner
            .is_some_and(|owner| owner.network_mode == NetworkMode::Standard && owner.protocol == TunnelProtocol::Hbone)
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

    /// Differs from an earlier value where endpoints of a service came or went since.
    pub fn endpoint_changes(&self, service: &ServiceKey) -> u64 {
        self.services.endpoints(service).map_or(0, Endpoints::changes)
    }

    /// The workloads that are endpoints of a service, in no order; known even before the service itself.
    pub fn endpoints(&self, service: &ServiceKey) -> impl Iterator<Item = &Arc<Workload>> {
        self.services.endpoints(service).into_iter().flat_map(|endpoints| endpoints.iter())
    }

    pub(super) fn trust_domains(&self) -> TrustDomains<'_> {
        TrustDomains { own: &self.settings.trust_domain, aliases: &self.settings.trust_domain_aliases }
    }

    /// The policies in force for a workload, each once.
    pub(super) fn in_force<'a>(&'a self, destination: &Destination<'a>) -> impl Iterator<Item = InForce<'a>> {
        self.policies.in_force(*destination, &self.settings.root_namespace)
    }

    /// The selector policies that a pod with these labels lists, where its workload is not known yet.
    pub fn listing(&self, namespace: &str, labels: &Labels) -> Listing {
        self.policy_objects.listing(&self.policies, &self.settings.root_namespace, namespace, labels)
    }

    /// The policies as their authors wrote them, by key.
    pub fn policy_objects(&self) -> impl Iterator<Item = &Arc<PolicyObject>> {
        self.policy_objects.iter()
    }

    /// Whether a policy is enforced as its author wrote it, in place of the control plane's own form of it.
    pub fn is_enforced_as_written(&self, key: &str) -> bool {
        self.policy_objects.has_own_form(key)
    }
}

//! What is known of every resource that was received: versions for the next subscription, and what is needed to tell whether
//! a resource is new. Decides what a resource, good or bad, means for the mesh.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::decode;
use super::received::ReceivedResource;
use super::resource_state::ResourceState;
use crate::compile::{Hostnames, HttpSettings, HttpStore, MissingReferences};
use crate::model::http::config::HttpConfig;
use crate::model::http::destination::UpstreamTls;
#[cfg(test)]
use crate::model::http::objects::HttpObjects;
use crate::model::mesh::{MeshSettings, MeshUpdate};
use crate::objects::protobuf::ReceivedHttpObject;
use crate::objects::{Kind, MeshConfig};
use crate::resources::{ObjectKind, ResourceType};

/// What ends the names of Kubernetes services. No object says it.
const CLUSTER_DOMAIN: &str = "cluster.local";

/// All known resources, by type and name.
#[derive(Debug)]
pub(super) struct SubscriptionState {
    by_type: [BTreeMap<Arc<str>, ResourceState>; ResourceType::COUNT],
    /// What this agent was started with: counts where the mesh configuration is silent.
    own_settings: MeshSettings,
    root_namespace: Arc<str>,
    http: HttpStore,
    mesh_config: MeshConfigStanding,
}

/// How it is with the mesh configuration that came last, for people.
#[derive(Debug, Default)]
pub(super) struct MeshConfigStanding {
    pub version: String,
    pub size_bytes: usize,
    /// Why it counts for nothing, and the one before it still does.
    pub rejected: Option<Arc<str>>,
    /// `field: reason`.
    pub without_effect: Vec<String>,
}

/// What a resource changed.
#[derive(Debug, Default)]
pub(super) struct Change {
    pub updates: Vec<MeshUpdate>,
    /// Why the resource was rejected.
    pub rejected: Option<Arc<str>>,
    /// It is byte for byte what was known.
    pub is_repeat: bool,
}

impl SubscriptionState {
    /// No resources; `own_settings` count until a mesh configuration says more.
    #[must_use]
    pub(super) fn new(own_settings: MeshSettings) -> Self {
        let root_namespace = own_settings.root_namespace.clone();
        let http = HttpStore::new(http_settings(&own_settings, &MeshConfig::default()));
        let mesh_config = MeshConfigStanding::default();
        Self { by_type: Default::default(), own_settings, root_namespace, http, mesh_config }
    }

    /// What requests are decided with, if anything has changed since the last call.
    pub(super) fn take_http(&mut self) -> Option<HttpConfig> {
        self.http.take_changed()
    }

    /// What the objects about requests come to.
    #[cfg(test)]
    pub(super) fn http_objects(&self) -> HttpObjects {
        self.http.http_objects()
    }

    /// What of an object has no effect, and why.
    pub(super) fn notes(&self, kind: ObjectKind, name: &Arc<str>, known: &Hostnames) -> Vec<String> {
        let of_policy = self.notices_of(ResourceType::Object(kind), name);
        let of_http = Kind::of_http(kind).map(|kind| self.http.notes(kind, name, known)).unwrap_or_default();
        of_policy.into_iter().chain(of_http).collect()
    }

    /// How it is with the mesh configuration; `None` before there is one.
    pub(super) fn mesh_config(&self) -> Option<&MeshConfigStanding> {
        let standing = &self.mesh_config;
        (standing.rejected.is_some() || !self.of(ResourceType::MeshConfig).is_empty()).then_some(standing)
    }

    /// How many fields of the objects of each kind have no effect, by what is in the objects themselves: what they name and there is
    /// none of does not count.
    pub(super) fn fields_without_effect(&self) -> Vec<(&'static str, u64)> {
        let count = |kind: ObjectKind| {
            let of_policies: usize =
                self.of(ResourceType::Object(kind)).values().map(|state| state.notices().len()).sum();
            let of_http = Kind::of_http(kind).map_or(0, |kind| self.http.fields_without_effect(kind));
            (kind.label(), (of_policies + of_http) as u64)
        };
        let read = ObjectKind::ALL.into_iter().filter(|kind| {
            let is_policy = matches!(kind, ObjectKind::AuthorizationPolicy | ObjectKind::PeerAuthentication);
            is_policy || Kind::of_http(*kind).is_some()
        });
        let mesh_config = (ResourceType::MeshConfig.label(), self.mesh_config.without_effect.len() as u64);
        [mesh_config].into_iter().chain(read.map(count)).collect()
    }

    /// What a RateLimit names that there is none of, as [`HttpStore::missing_references`].
    pub(super) fn missing_references(
        &self,
        name: &str,
        is_known: impl Fn(&str, &str) -> bool,
    ) -> Option<MissingReferences> {
        self.http.missing_references(name, is_known)
    }

    /// The settings for TLS of its own that an object has, by the fields that hold them.
    pub(super) fn own_tls(&self, kind: ObjectKind, name: &Arc<str>) -> Vec<(String, UpstreamTls)> {
        Kind::of_http(kind).map(|kind| self.http.own_tls(kind, name)).unwrap_or_default()
    }

    #[must_use]
    pub(super) fn of(&self, kind: ResourceType) -> &BTreeMap<Arc<str>, ResourceState> {
        &self.by_type[kind.index()]
    }

    /// The names and versions to report when a stream opens. A rejected policy is named without a version: it must be sent
    /// again, and its removal must be reported.
    pub(super) fn versions(&self, kind: ResourceType) -> impl Iterator<Item = (String, String)> {
        let version =
            |state: &ResourceState| state.rejected().map_or_else(|| state.version.to_string(), |_| String::new());
        self.of(kind).iter().map(move |(name, state)| (name.to_string(), version(state)))
    }

    /// Applies a resource. One that is byte for byte what is known changes nothing. A bad address or mesh configuration
    /// leaves the last good one in force, a bad policy denies its scope.
    pub(super) fn update(&mut self, kind: ResourceType, received: &ReceivedResource) -> Change {
        // The name that is stored already, so that a long series of updates does not end in two copies of each.
        let known = self.of(kind).get_key_value(&received.name);
        let name = known.map_or_else(|| received.name.clone(), |(name, _)| name.clone());
        if received.flaw.is_none() && known.is_some_and(|(_, known)| known.is_same(received, None)) {
            let notices = self.notices_of(kind, &name);
            self.store(kind, name, received, None, notices);
            if kind == ResourceType::MeshConfig {
                self.mesh_config.rejected = None;
            }
            return Change { is_repeat: true, ..Change::default() };
        }
        let decoded = match &received.flaw {
            Some(flaw) => Err(flaw.clone()),
            None => self.decode(kind, &name, &received.body),
        };
        match decoded {
            Ok(Decoded { mut updates, http, rejected: None, notices }) => {
                self.apply_root_namespace(&mut updates);
                self.apply_http(http, &name);
                let notices = if kind == ResourceType::MeshConfig {
                    let (version, size_bytes) = (received.version.to_string(), received.body.len());
                    self.mesh_config =
                        MeshConfigStanding { version, size_bytes, rejected: None, without_effect: notices };
                    Vec::new()
                } else {
                    notices
                };
                self.store(kind, name, received, None, notices);
                Change { updates, ..Change::default() }
            }
            Ok(Decoded { updates: denying, http, rejected: Some(reason), .. }) => {
                self.apply_http(http, &name);
                self.reject(kind, name, received, denying, reason)
            }
            Err(reason) if kind == ResourceType::Object(ObjectKind::RequestAuthentication) => {
                let refusing = decode::unreadable_authentication(&name, &reason);
                self.http.put(Kind::RequestAuthentication, name.clone(), refusing);
                self.reject(kind, name, received, Vec::new(), reason)
            }
            Err(reason) if kind.is_policy() => {
                let stands_in = self.fail_closed(kind, &name, &received.body, &reason);
                self.reject(kind, name, received, vec![stands_in], reason)
            }
            Err(reason) => {
                if kind == ResourceType::MeshConfig {
                    self.mesh_config.rejected = Some(reason.clone());
                }
                Change { rejected: Some(reason), ..Change::default() }
            }
        }
    }

    /// What is known to have no effect of a policy that came again as it was.
    fn notices_of(&self, kind: ResourceType, name: &str) -> Vec<String> {
        self.of(kind).get(name).map(|state| state.notices().to_vec()).unwrap_or_default()
    }

    fn apply_http(&mut self, change: Option<HttpChange>, name: &Arc<str>) {
        match change {
            Some(HttpChange::Settings(settings)) => self.http.set_settings(*settings),
            Some(HttpChange::Object(kind, object)) => self.http.put(kind, name.clone(), *object),
            None => {}
        }
    }

    /// Stores a policy that cannot be used, and has it deny.
    fn reject(
        &mut self,
        kind: ResourceType,
        name: Arc<str>,
        received: &ReceivedResource,
        denying: Vec<MeshUpdate>,
        reason: Arc<str>,
    ) -> Change {
        let is_repeat = self.of(kind).get(&name).is_some_and(|known| known.is_same(received, Some(&reason)));
        self.store(kind, name, received, Some(reason.clone()), Vec::new());
        let updates = if is_repeat { Vec::new() } else { denying };
        Change { updates, rejected: Some(reason), is_repeat }
    }

    /// Removes a resource; `None` where there is none. The mesh configuration stays: a mesh is never without one.
    pub(super) fn remove(&mut self, kind: ResourceType, name: &str) -> Option<Vec<MeshUpdate>> {
        let update = match kind {
            ResourceType::MeshConfig => return None,
            ResourceType::Authorization => MeshUpdate::RemoveAuthorization,
            ResourceType::Address => MeshUpdate::RemoveAddress,
            ResourceType::Object(ObjectKind::AuthorizationPolicy) => MeshUpdate::RemovePolicyObject,
            ResourceType::Object(ObjectKind::PeerAuthentication) => MeshUpdate::RemovePeerObject,
            ResourceType::Object(object_kind) => {
                let (name, _) = self.by_type[kind.index()].remove_entry(name)?;
                if let Some(kind) = Kind::of_http(object_kind) {
                    self.http.remove(kind, &name);
                }
                return Some(Vec::new());
            }
        };
        let (name, _) = self.by_type[kind.index()].remove_entry(name)?;
        Some(vec![update(name)])
    }

    fn store(
        &mut self,
        kind: ResourceType,
        name: Arc<str>,
        received: &ReceivedResource,
        rejected: Option<Arc<str>>,
        notices: Vec<String>,
    ) {
        self.by_type[kind.index()].insert(name, ResourceState::of(kind, received, rejected, notices));
    }

    /// What a resource does to the mesh. A policy that can be read in part only denies, with the reason.
    fn decode(&self, kind: ResourceType, name: &Arc<str>, body: &[u8]) -> Result<Decoded, Arc<str>> {
        let decoded = match kind {
            ResourceType::Address => decode::address(name, body).map(Decoded::accepted),
            ResourceType::Authorization => decode::authorization(name, body)
                .map(|policy| Decoded::accepted(MeshUpdate::Authorization(Box::new(policy)))),
            ResourceType::MeshConfig => decode::mesh_config(&self.own_settings, body).map(|(settings, config)| {
                let http = Some(HttpChange::Settings(Box::new(http_settings(&settings, &config))));
                let notices = config.without_effect;
                Decoded { http, notices, ..Decoded::accepted(MeshUpdate::Settings(settings)) }
            }),
            ResourceType::Object(ObjectKind::AuthorizationPolicy) => {
                let read = decode::policy_object(name, body, &self.root_namespace);
                read.map(|((object, rejected), mut notices)| {
                    notices.extend(object.notes.iter().map(ToString::to_string));
                    let decoded = Decoded::accepted(MeshUpdate::PolicyObject(Box::new(object)));
                    Decoded { rejected, notices, ..decoded }
                })
            }
            ResourceType::Object(ObjectKind::PeerAuthentication) => {
                let read = decode::peer_object(name, body);
                read.map(|((object, rejected), notices)| Decoded {
                    rejected,
                    notices,
                    ..Decoded::accepted(MeshUpdate::PeerObject(Box::new(object)))
                })
            }
            ResourceType::Object(ObjectKind::RequestAuthentication) => {
                decode::request_authentication(name, body).map(|(object, rejected)| Decoded {
                    http: Some(HttpChange::Object(Kind::RequestAuthentication, Box::new(object))),
                    rejected,
                    ..Decoded::default()
                })
            }
            ResourceType::Object(kind) => match Kind::of_http(kind) {
                Some(kind) => decode::http_object(kind, name, body).map(|object| Decoded {
                    http: Some(HttpChange::Object(kind, Box::new(object))),
                    ..Decoded::default()
                }),
                None => decode::envelope(name, body).map(|_| Decoded::default()),
            },
        };
        let mut decoded = decoded.map_err(|malformed| Arc::<str>::from(malformed.to_string()))?;
        if let Some(MeshUpdate::Workload(workload)) = decoded.updates.first_mut() {
            // The same text, stored once.
            workload.uid = name.clone();
        }
        Ok(decoded)
    }

    /// The update that stands for a resource that could not be decoded, for kinds whose absence would allow more.
    fn fail_closed(&self, kind: ResourceType, name: &str, body: &[u8], reason: &str) -> MeshUpdate {
        let root = &self.root_namespace;
        match kind {
            ResourceType::Object(ObjectKind::AuthorizationPolicy) => {
                MeshUpdate::PolicyObject(Box::new(decode::object_denial_of_unreadable(name, reason, root)))
            }
            ResourceType::Object(_) => MeshUpdate::PeerObject(Box::new(decode::strict_peer(name))),
            _ => MeshUpdate::Authorization(Box::new(decode::denial_of_unreadable(name, body, reason, root))),
        }
    }

    /// How far a policy reaches depends on which namespace is the root, where it does not say so itself.
    fn apply_root_namespace(&mut self, updates: &mut Vec<MeshUpdate>) {
        let Some(MeshUpdate::Settings(settings)) = updates.first() else { return };
        if settings.root_namespace == self.root_namespace {
            return;
        }
        self.root_namespace = settings.root_namespace.clone();
        let rejected = self.of(ResourceType::Authorization).iter().filter_map(|(name, state)| {
            let (body, reason) = state.rejected()?;
            Some(self.fail_closed(ResourceType::Authorization, name, body, reason))
        });
        updates.extend(rejected.collect::<Vec<_>>());
        let kind = ResourceType::Object(ObjectKind::AuthorizationPolicy);
        let objects = self.of(kind).iter().filter_map(|(name, state)| {
            let (body, _) = state.body()?;
            match self.decode(kind, name, body) {
                Ok(decoded) => Some(decoded.updates),
                Err(reason) => Some(vec![self.fail_closed(kind, name, body, &reason)]),
            }
        });
        updates.extend(objects.collect::<Vec<_>>().into_iter().flatten());
    }
}

/// A resource that could be read.
#[derive(Debug, Default)]
struct Decoded {
    updates: Vec<MeshUpdate>,
    http: Option<HttpChange>,
    /// Why a policy denies in place of what it says.
    rejected: Option<Arc<str>>,
    /// What of a policy, or of the mesh configuration, has no effect: `field: reason`.
    notices: Vec<String>,
}

/// What a resource changes about decisions on requests.
#[derive(Debug)]
enum HttpChange {
    Settings(Box<HttpSettings>),
    Object(Kind, Box<ReceivedHttpObject>),
}

impl Decoded {
    fn accepted(update: MeshUpdate) -> Self {
        Self { updates: vec![update], ..Self::default() }
    }
}

/// Where the mesh configuration does not say which namespace is the root, the agent's own settings do.
fn http_settings(settings: &MeshSettings, config: &MeshConfig) -> HttpSettings {
    let mut http = HttpSettings::new(CLUSTER_DOMAIN, config);
    http.root_namespace = settings.root_namespace.clone();
    http
}

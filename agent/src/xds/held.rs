//! What this process holds of the mesh beside the model: the memory between two streams. It decides what a resource, good
//! or bad, new or known, means for the mesh. Must not know streams or files.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use xxhash_rust::xxh64::xxh64;

use super::decode;
use super::version::Version;
use crate::model::mesh::{MeshSettings, MeshUpdate};
use crate::resources::{ObjectKind, ResourceType};

/// One resource as it was received. There is one per workload: what most do not need is out of line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HeldResource {
    pub version: Version,
    /// Of the body, to know it again. A chance collision would hide one update of one address; policies are compared in full.
    digest: u64,
    /// Of policies and objects, which are few: what came.
    kept: Option<Box<Kept>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Kept {
    body: Bytes,
    /// Why it could not be understood; only policies are held in that state.
    rejected: Option<Arc<str>>,
}

impl HeldResource {
    fn of(kind: ResourceType, incoming: &Incoming, rejected: Option<Arc<str>>) -> Self {
        let digest = xxh64(&incoming.body, 0);
        let is_kept = matches!(kind, ResourceType::Authorization | ResourceType::Object(_));
        let kept = is_kept.then(|| Box::new(Kept { body: incoming.body.clone(), rejected }));
        Self { version: incoming.version.clone(), digest, kept }
    }

    fn is(&self, incoming: &Incoming, rejected: Option<&Arc<str>>) -> bool {
        match &self.kept {
            Some(kept) => kept.body == incoming.body && kept.rejected.as_ref() == rejected,
            None => rejected.is_none() && self.digest == xxh64(&incoming.body, 0),
        }
    }

    fn rejected(&self) -> Option<(&[u8], &Arc<str>)> {
        let kept = self.kept.as_ref()?;
        Some((&kept.body, kept.rejected.as_ref()?))
    }

    /// What came, and why it was refused; `None` for what is only in the mesh.
    pub(super) fn kept(&self) -> Option<(&Bytes, Option<&Arc<str>>)> {
        let kept = self.kept.as_ref()?;
        Some((&kept.body, kept.rejected.as_ref()))
    }
}

/// All resources held, by type and name.
#[derive(Debug, Clone)]
pub(super) struct Held {
    by_type: [BTreeMap<Arc<str>, HeldResource>; ResourceType::COUNT],
    /// What this agent was started with: counts where the mesh configuration is silent.
    own_settings: MeshSettings,
    root_namespace: Arc<str>,
}

/// A resource that came in, not yet looked into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Incoming {
    pub name: Arc<str>,
    pub version: Version,
    pub body: Bytes,
    /// A flaw that was found outside of the body, such as a wrong type.
    pub flaw: Option<Arc<str>>,
}

/// What a resource changed.
#[derive(Debug, Default)]
pub(super) struct Change {
    pub updates: Vec<MeshUpdate>,
    /// Why the resource was rejected.
    pub rejected: Option<Arc<str>>,
    /// It is byte for byte what is held.
    pub is_repeat: bool,
}

impl Held {
    /// Nothing held; `own_settings` count until a mesh configuration says more.
    #[must_use]
    pub(super) fn new(own_settings: MeshSettings) -> Self {
        let root_namespace = own_settings.root_namespace.clone();
        Self { by_type: Default::default(), own_settings, root_namespace }
    }

    #[must_use]
    pub(super) fn of(&self, kind: ResourceType) -> &BTreeMap<Arc<str>, HeldResource> {
        &self.by_type[kind.index()]
    }

    /// The names and versions to report when a stream opens. A rejected policy is named without a version: it must be sent
    /// again, and its removal must be told.
    pub(super) fn versions(&self, kind: ResourceType) -> impl Iterator<Item = (String, String)> {
        let version = |held: &HeldResource| held.rejected().map_or_else(|| held.version.to_string(), |_| String::new());
        self.of(kind).iter().map(move |(name, held)| (name.to_string(), version(held)))
    }

    /// Takes in a resource. One that is byte for byte what is held changes nothing. A bad address or mesh configuration
    /// leaves the last good one in force, a bad policy denies its scope.
    pub(super) fn put(&mut self, kind: ResourceType, incoming: &Incoming) -> Change {
        // The name that is held already, so that a long series of updates does not end in two copies of each.
        let known = self.of(kind).get_key_value(&incoming.name);
        let name = known.map_or_else(|| incoming.name.clone(), |(name, _)| name.clone());
        if incoming.flaw.is_none() && known.is_some_and(|(_, held)| held.is(incoming, None)) {
            self.hold(kind, name, incoming, None);
            return Change { is_repeat: true, ..Change::default() };
        }
        let decoded = match &incoming.flaw {
            Some(flaw) => Err(flaw.clone()),
            None => self.decode(kind, &name, &incoming.body),
        };
        match decoded {
            Ok((mut updates, None)) => {
                self.follow_root_namespace(&mut updates);
                self.hold(kind, name, incoming, None);
                Change { updates, ..Change::default() }
            }
            Ok((denying, Some(reason))) => self.refuse(kind, name, incoming, denying, reason),
            Err(reason) if kind.is_policy() => {
                let denying = self.denying(kind, &name, &incoming.body, &reason);
                self.refuse(kind, name, incoming, vec![denying], reason)
            }
            Err(reason) => Change { rejected: Some(reason), ..Change::default() },
        }
    }

    /// Holds a policy that cannot be used, and has it deny.
    fn refuse(
        &mut self,
        kind: ResourceType,
        name: Arc<str>,
        incoming: &Incoming,
        denying: Vec<MeshUpdate>,
        reason: Arc<str>,
    ) -> Change {
        let is_repeat = self.of(kind).get(&name).is_some_and(|held| held.is(incoming, Some(&reason)));
        self.hold(kind, name, incoming, Some(reason.clone()));
        let updates = if is_repeat { Vec::new() } else { denying };
        Change { updates, rejected: Some(reason), is_repeat }
    }

    /// Forgets a resource; `None` where there is none. The mesh configuration stays: a mesh is never without one.
    pub(super) fn remove(&mut self, kind: ResourceType, name: &str) -> Option<Vec<MeshUpdate>> {
        let update = match kind {
            ResourceType::MeshConfig => return None,
            ResourceType::Authorization => MeshUpdate::RemoveAuthorization,
            ResourceType::Address => MeshUpdate::RemoveAddress,
            ResourceType::Object(ObjectKind::AuthorizationPolicy) => MeshUpdate::RemovePolicyObject,
            ResourceType::Object(ObjectKind::PeerAuthentication) => MeshUpdate::RemovePeerObject,
            ResourceType::Object(_) => {
                self.by_type[kind.index()].remove(name)?;
                return Some(Vec::new());
            }
        };
        let (name, _) = self.by_type[kind.index()].remove_entry(name)?;
        Some(vec![update(name)])
    }

    fn hold(&mut self, kind: ResourceType, name: Arc<str>, incoming: &Incoming, rejected: Option<Arc<str>>) {
        let held = HeldResource::of(kind, incoming, rejected);
        self.by_type[kind.index()].insert(name, held);
    }

    /// What a resource does to the mesh, and why it denies in place of what it says, if it does.
    fn decode(&self, kind: ResourceType, name: &Arc<str>, body: &[u8]) -> Result<Decoded, Arc<str>> {
        let decoded = match kind {
            ResourceType::Address => decode::address(name, body).map(one),
            ResourceType::Authorization => {
                decode::authorization(name, body).map(|policy| one(MeshUpdate::Authorization(Box::new(policy))))
            }
            ResourceType::MeshConfig => {
                decode::settings(&self.own_settings, body).map(|settings| one(MeshUpdate::Settings(settings)))
            }
            ResourceType::Object(ObjectKind::AuthorizationPolicy) => {
                let read = decode::policy_object(name, body, &self.root_namespace);
                read.map(|(object, why)| (vec![MeshUpdate::PolicyObject(Box::new(object))], why))
            }
            ResourceType::Object(ObjectKind::PeerAuthentication) => {
                let read = decode::peer_object(name, body);
                read.map(|(object, why)| (vec![MeshUpdate::PeerObject(Box::new(object))], why))
            }
            ResourceType::Object(_) => decode::envelope(name, body).map(|_| (Vec::new(), None)),
        };
        let mut decoded = decoded.map_err(|malformed| Arc::<str>::from(malformed.to_string()))?;
        if let Some(MeshUpdate::Workload(workload)) = decoded.0.first_mut() {
            // The same text, held once.
            workload.uid = name.clone();
        }
        Ok(decoded)
    }

    fn denying(&self, kind: ResourceType, name: &str, body: &[u8], reason: &str) -> MeshUpdate {
        let root = &self.root_namespace;
        match kind {
            ResourceType::Object(ObjectKind::AuthorizationPolicy) => {
                MeshUpdate::PolicyObject(Box::new(decode::denying_policy(name, reason, root)))
            }
            ResourceType::Object(_) => MeshUpdate::PeerObject(Box::new(decode::strict_peer(name))),
            _ => MeshUpdate::Authorization(Box::new(decode::denying(name, body, reason, root))),
        }
    }

    /// How far a policy reaches depends on which namespace is the root, where it does not say so itself.
    fn follow_root_namespace(&mut self, updates: &mut Vec<MeshUpdate>) {
        let Some(MeshUpdate::Settings(settings)) = updates.first() else { return };
        if settings.root_namespace == self.root_namespace {
            return;
        }
        self.root_namespace = settings.root_namespace.clone();
        let rejected = self.of(ResourceType::Authorization).iter().filter_map(|(name, held)| {
            let (body, reason) = held.rejected()?;
            Some(self.denying(ResourceType::Authorization, name, body, reason))
        });
        updates.extend(rejected.collect::<Vec<_>>());
        let kind = ResourceType::Object(ObjectKind::AuthorizationPolicy);
        let objects = self.of(kind).iter().filter_map(|(name, held)| {
            let (body, _) = held.kept()?;
            match self.decode(kind, name, body) {
                Ok((updates, _)) => Some(updates),
                Err(reason) => Some(vec![self.denying(kind, name, body, &reason)]),
            }
        });
        updates.extend(objects.collect::<Vec<_>>().into_iter().flatten());
    }
}

type Decoded = (Vec<MeshUpdate>, Option<Arc<str>>);

fn one(update: MeshUpdate) -> Decoded {
    (vec![update], None)
}

//! What this process holds of the mesh beside the model: the memory between two streams. It decides what a resource, good
//! or bad, new or known, means for the mesh. Must not know streams or files.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use xxhash_rust::xxh64::xxh64;

use super::decode;
use super::version::Version;
use crate::model::mesh::{MeshSettings, MeshUpdate};
use crate::resources::ResourceType;

/// One resource as it was received. There is one per workload: what most do not need is out of line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HeldResource {
    pub version: Version,
    /// Of the body, to know it again. A chance collision would hide one update of one address; policies are compared in full.
    digest: u64,
    policy: Option<Box<HeldPolicy>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct HeldPolicy {
    body: Bytes,
    /// Why it could not be understood; only policies are held in that state.
    rejected: Option<Arc<str>>,
}

impl HeldResource {
    fn of(kind: ResourceType, incoming: &Incoming, rejected: Option<Arc<str>>) -> Self {
        let digest = xxh64(&incoming.body, 0);
        let policy = (kind == ResourceType::Authorization)
            .then(|| Box::new(HeldPolicy { body: incoming.body.clone(), rejected }));
        Self { version: incoming.version.clone(), digest, policy }
    }

    fn is(&self, incoming: &Incoming, rejected: Option<&Arc<str>>) -> bool {
        match &self.policy {
            Some(policy) => policy.body == incoming.body && policy.rejected.as_ref() == rejected,
            None => rejected.is_none() && self.digest == xxh64(&incoming.body, 0),
        }
    }

    fn rejected(&self) -> Option<(&[u8], &Arc<str>)> {
        let policy = self.policy.as_ref()?;
        Some((&policy.body, policy.rejected.as_ref()?))
    }
}

/// All resources held, by type and name.
#[derive(Debug, Clone)]
pub(super) struct Held {
    by_type: [BTreeMap<Arc<str>, HeldResource>; 3],
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
            return Change::default();
        }
        let decoded = match &incoming.flaw {
            Some(flaw) => Err(flaw.clone()),
            None => self.decode(kind, &name, &incoming.body),
        };
        match decoded {
            Ok(update) => {
                let mut updates = vec![update];
                self.follow_root_namespace(&mut updates);
                self.hold(kind, name, incoming, None);
                Change { updates, rejected: None }
            }
            Err(reason) if kind == ResourceType::Authorization => {
                let news = !self.of(kind).get(&name).is_some_and(|held| held.is(incoming, Some(&reason)));
                let updates = if news { vec![self.denying(&name, &incoming.body, &reason)] } else { Vec::new() };
                self.hold(kind, name, incoming, Some(reason.clone()));
                Change { updates, rejected: Some(reason) }
            }
            Err(reason) => Change { updates: Vec::new(), rejected: Some(reason) },
        }
    }

    /// Forgets a resource. The mesh configuration stays: a mesh is never without one.
    pub(super) fn remove(&mut self, kind: ResourceType, name: &str) -> Option<MeshUpdate> {
        let update = match kind {
            ResourceType::MeshConfig => return None,
            ResourceType::Authorization => MeshUpdate::RemoveAuthorization,
            ResourceType::Address => MeshUpdate::RemoveAddress,
        };
        let (name, _) = self.by_type[kind.index()].remove_entry(name)?;
        Some(update(name))
    }

    fn hold(&mut self, kind: ResourceType, name: Arc<str>, incoming: &Incoming, rejected: Option<Arc<str>>) {
        let held = HeldResource::of(kind, incoming, rejected);
        self.by_type[kind.index()].insert(name, held);
    }

    fn decode(&self, kind: ResourceType, name: &Arc<str>, body: &[u8]) -> Result<MeshUpdate, Arc<str>> {
        let decoded = match kind {
            ResourceType::Address => decode::address(name, body),
            ResourceType::Authorization => {
                decode::authorization(name, body).map(|policy| MeshUpdate::Authorization(Box::new(policy)))
            }
            ResourceType::MeshConfig => decode::settings(&self.own_settings, body).map(MeshUpdate::Settings),
        };
        let mut update = decoded.map_err(|malformed| Arc::<str>::from(malformed.to_string()))?;
        if let MeshUpdate::Workload(workload) = &mut update {
            // The same text, held once.
            workload.uid = name.clone();
        }
        Ok(update)
    }

    fn denying(&self, name: &str, body: &[u8], reason: &str) -> MeshUpdate {
        MeshUpdate::Authorization(Box::new(decode::denying(name, body, reason, &self.root_namespace)))
    }

    /// How far a policy that cannot be read reaches depends on which namespace is the root.
    fn follow_root_namespace(&mut self, updates: &mut Vec<MeshUpdate>) {
        let Some(MeshUpdate::Settings(settings)) = updates.first() else { return };
        if settings.root_namespace == self.root_namespace {
            return;
        }
        self.root_namespace = settings.root_namespace.clone();
        let rejected = self.of(ResourceType::Authorization).iter();
        let again = rejected.filter_map(|(name, held)| {
            let (body, reason) = held.rejected()?;
            Some(self.denying(name, body, reason))
        });
        updates.extend(again.collect::<Vec<_>>());
    }
}

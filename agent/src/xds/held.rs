//! What this process holds of the mesh in encoded form: the memory between two streams and between two starts. It
//! decides what a resource, good or bad, new or known, means for the mesh. Must not know streams or files.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::decode;
use crate::model::mesh::{MeshSettings, MeshUpdate};
use crate::resources::ResourceType;

/// One resource as it was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HeldResource {
    pub version: Arc<str>,
    pub body: Bytes,
    /// Why it could not be understood; only policies are held in that state.
    pub rejected: Option<Arc<str>>,
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
#[derive(Debug, Clone)]
pub(super) struct Incoming {
    pub name: Arc<str>,
    pub version: Arc<str>,
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

    /// The versions to report when a stream opens. A rejected policy is named without a version: it must be sent again,
    /// and its removal must be told.
    #[must_use]
    pub(super) fn versions(&self, kind: ResourceType) -> Vec<(Arc<str>, Arc<str>)> {
        let version = |held: &HeldResource| if held.rejected.is_some() { "".into() } else { held.version.clone() };
        self.of(kind).iter().map(|(name, held)| (name.clone(), version(held))).collect()
    }

    /// Takes in a resource. One that is byte for byte what is held changes nothing. A bad address or mesh configuration
    /// leaves the last good one in force, a bad policy denies its scope.
    pub(super) fn put(&mut self, kind: ResourceType, incoming: Incoming) -> Change {
        if incoming.flaw.is_none() && self.is_held(kind, &incoming, None) {
            self.hold(kind, incoming, None);
            return Change::default();
        }
        let decoded = match &incoming.flaw {
            Some(flaw) => Err(flaw.clone()),
            None => self.decode(kind, &incoming),
        };
        match decoded {
            Ok(update) => {
                let mut updates = vec![update];
                self.follow_root_namespace(&mut updates);
                self.hold(kind, incoming, None);
                Change { updates, rejected: None }
            }
            Err(reason) if kind == ResourceType::Authorization => {
                let news = !self.is_held(kind, &incoming, Some(&reason));
                let updates =
                    if news { vec![self.denying(&incoming.name, &incoming.body, &reason)] } else { Vec::new() };
                self.hold(kind, incoming, Some(reason.clone()));
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

    fn is_held(&self, kind: ResourceType, incoming: &Incoming, rejected: Option<&Arc<str>>) -> bool {
        let held = self.of(kind).get(&incoming.name);
        held.is_some_and(|held| held.body == incoming.body && held.rejected.as_ref() == rejected)
    }

    fn hold(&mut self, kind: ResourceType, incoming: Incoming, rejected: Option<Arc<str>>) {
        let held = HeldResource { version: incoming.version, body: incoming.body, rejected };
        self.by_type[kind.index()].insert(incoming.name, held);
    }

    fn decode(&self, kind: ResourceType, incoming: &Incoming) -> Result<MeshUpdate, Arc<str>> {
        let (name, body) = (&incoming.name, &incoming.body);
        let decoded = match kind {
            ResourceType::Address => decode::address(name, body),
            ResourceType::Authorization => {
                decode::authorization(name, body).map(|policy| MeshUpdate::Authorization(Box::new(policy)))
            }
            ResourceType::MeshConfig => decode::settings(&self.own_settings, body).map(MeshUpdate::Settings),
        };
        decoded.map_err(|malformed| malformed.to_string().into())
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
        let again = rejected.filter_map(|(name, held)| Some(self.denying(name, &held.body, held.rejected.as_ref()?)));
        updates.extend(again.collect::<Vec<_>>());
    }
}

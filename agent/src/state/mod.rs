//! The mesh as the process shares it: one writer (the configuration sources), many readers (connections).

mod joining;
mod routes;

use std::fmt;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::sync::watch;

pub use self::joining::Joining;
pub use self::routes::SharedRoutes;
use crate::model::mesh::{Mesh, MeshUpdate, Touched};

/// A handle to the one [`Mesh`] of the process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct SharedMesh {
    mesh: Arc<RwLock<Mesh>>,
    version: Arc<watch::Sender<u64>>,
    joining: Joining,
    routes: SharedRoutes,
    /// Locked only while the mesh is locked for writing.
    follower: Arc<Mutex<Option<Box<dyn Follower>>>>,
}

/// Who must know of every change before anybody can read it.
pub trait Follower: fmt::Debug + Send {
    /// The mesh has changed, and everybody else waits. `touched` are the addresses that it is about; all of them at first.
    fn on_change(&mut self, mesh: &Mesh, touched: Touched);
}

impl Default for SharedMesh {
    fn default() -> Self {
        Self {
            mesh: Arc::new(RwLock::new(Mesh::default())),
            version: Arc::new(watch::Sender::new(0)),
            joining: Joining::default(),
            routes: SharedRoutes::default(),
            follower: Arc::default(),
        }
    }
}

impl SharedMesh {
    /// A consistent view. Hold it only to decide, never across an await.
    pub fn read(&self) -> RwLockReadGuard<'_, Mesh> {
        self.mesh.read()
    }

    /// Applies a batch of changes as one, then notifies all watchers. Readers wait meanwhile: microseconds per resource,
    /// so a batch that can be large goes through a [`Self::writer`].
    pub fn apply(&self, updates: impl IntoIterator<Item = MeshUpdate>) {
        self.writer().apply(updates);
    }

    /// Applies many batches: readers are let in between two of them, and watchers are notified once, when it is dropped.
    pub fn writer(&self) -> MeshWriter<'_> {
        MeshWriter { shared: self, changed: false }
    }

    /// Puts a follower in the place of a former one; `None`: of that one, nobody. It is told of the whole mesh first.
    pub fn set_follower(&self, follower: Option<Box<dyn Follower>>) {
        let mut mesh = self.mesh.write();
        mesh.follow_addresses(follower.is_some());
        *self.follower.lock() = follower;
        self.tell_follower(&mut mesh);
    }

    fn tell_follower(&self, mesh: &mut Mesh) {
        let Some(touched) = mesh.take_touched() else { return };
        if let Some(follower) = &mut *self.follower.lock() {
            follower.on_change(mesh, touched);
        }
    }

    /// The namespaces that are coming in: known beside the mesh, and before it says so.
    #[must_use]
    pub fn joining(&self) -> &Joining {
        &self.joining
    }

    /// What requests are decided with: it comes from where the mesh comes from.
    #[must_use]
    pub fn routes(&self) -> &SharedRoutes {
        &self.routes
    }

    /// Tells everybody who watches, as after a change: something beside the mesh has changed that decisions depend on.
    pub fn touch(&self) {
        self.version.send_modify(|version| *version += 1);
    }

    /// Changes after every change.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }
}

/// Changes a [`SharedMesh`] batch by batch.
#[derive(Debug)]
pub struct MeshWriter<'a> {
    shared: &'a SharedMesh,
    changed: bool,
}

impl MeshWriter<'_> {
    /// Applies a batch of changes as one.
    pub fn apply(&mut self, updates: impl IntoIterator<Item = MeshUpdate>) {
        let mut updates = updates.into_iter().peekable();
        if updates.peek().is_none() {
            return;
        }
        self.changed = true;
        let mut mesh = self.shared.mesh.write();
        for update in updates {
            mesh.apply(update);
        }
        self.shared.tell_follower(&mut mesh);
        // To those who wait, or the next batch would be before them.
        RwLockWriteGuard::unlock_fair(mesh);
    }
}

impl Drop for MeshWriter<'_> {
    fn drop(&mut self) {
        if self.changed {
            self.shared.version.send_modify(|version| *version += 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::mesh::MeshSettings;

    #[test]
    fn watchers_are_notified_once_a_batch_can_be_read() {
        let shared = SharedMesh::default();
        let mut watch = shared.watch();
        assert!(!watch.has_changed().unwrap());
        let settings = MeshSettings { root_namespace: "root".into(), ..MeshSettings::default() };
        shared.clone().apply([MeshUpdate::Settings(settings.clone())]);
        assert!(watch.has_changed().unwrap());
        watch.mark_unchanged();
        assert_eq!(*shared.read().settings(), settings);
        assert!(!watch.has_changed().unwrap());
        let mut writer = shared.writer();
        writer.apply([MeshUpdate::Settings(MeshSettings::default())]);
        assert_eq!(*shared.read().settings(), MeshSettings::default());
        assert!(!watch.has_changed().unwrap(), "watchers are notified when all is there");
        drop(writer);
        assert!(watch.has_changed().unwrap());
        watch.mark_unchanged();
        shared.apply([]);
        assert!(!watch.has_changed().unwrap(), "nothing has changed");
    }
}

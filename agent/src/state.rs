//! The mesh as the process shares it: one writer (the configuration sources), many readers (connections).

use std::sync::Arc;

use parking_lot::{RwLock, RwLockReadGuard};
use tokio::sync::watch;

use crate::model::mesh::{Mesh, MeshUpdate};

/// A handle to the one [`Mesh`] of the process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct SharedMesh {
    mesh: Arc<RwLock<Mesh>>,
    version: Arc<watch::Sender<u64>>,
}

impl Default for SharedMesh {
    fn default() -> Self {
        Self { mesh: Arc::new(RwLock::new(Mesh::default())), version: Arc::new(watch::Sender::new(0)) }
    }
}

impl SharedMesh {
    /// A consistent view. Hold it only to decide, never across an await.
    pub fn read(&self) -> RwLockReadGuard<'_, Mesh> {
        self.mesh.read()
    }

    /// Applies a batch of changes as one, then tells everybody who watches. Readers wait meanwhile: microseconds per resource.
    pub fn apply(&self, updates: impl IntoIterator<Item = MeshUpdate>) {
        {
            let mut mesh = self.mesh.write();
            for update in updates {
                mesh.apply(update);
            }
        }
        self.version.send_modify(|version| *version += 1);
    }

    /// Changes with every batch.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::mesh::MeshSettings;

    #[test]
    fn who_watches_is_told_once_a_batch_can_be_read() {
        let shared = SharedMesh::default();
        let mut watch = shared.watch();
        assert!(!watch.has_changed().unwrap());
        let settings = MeshSettings { root_namespace: "root".into(), ..MeshSettings::default() };
        shared.clone().apply([MeshUpdate::Settings(settings.clone())]);
        assert!(watch.has_changed().unwrap());
        watch.mark_unchanged();
        assert_eq!(*shared.read().settings(), settings);
        assert!(!watch.has_changed().unwrap());
    }
}

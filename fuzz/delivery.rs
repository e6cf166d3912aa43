//! Objects on their way from text to a mesh, as in an agent that reads its own files.

use std::path::Path;

use weir::api::control_plane::Snapshot;
use weir::api::control_plane::translate::{self, VipAllocations};
use weir::api::model::mesh::MeshSettings;
use weir::api::objects::{Loaded, Objects};
use weir::api::state::SharedMesh;
use weir::api::xds::{ConfigReceiver, XdsStatus};

/// What a text says.
pub(crate) fn loaded(text: &str) -> Loaded {
    let mut loaded = Loaded::default();
    loaded.read_text(Path::new("objects.yaml"), text);
    loaded
}

/// The mesh that several states of the objects lead to, one after the other. What the language of objects accepts, the decoder of
/// resources must accept, too.
pub(crate) fn mesh(states: &[&Objects]) -> SharedMesh {
    let (mesh, status) = (SharedMesh::default(), XdsStatus::default());
    let receiver = ConfigReceiver::new(mesh.clone(), status.clone(), MeshSettings::default());
    let (mut addresses, mut snapshot) = (VipAllocations::default(), Snapshot::default());
    for objects in states {
        let resources = translate::translate(objects, &translate::Options::default(), &mut addresses);
        let Some(next) = Snapshot::following(&snapshot, &resources) else { continue };
        receiver.apply_snapshot(&next.resources);
        let report = status.report();
        assert_eq!(report.nacks, 0, "accepted as an object, refused as a resource: {:?}", report.last_rejected);
        snapshot = next;
    }
    mesh
}

//! What a workload costs in memory: in the mesh with all its indexes, and in what the agent holds beside it.

use weir::api::model::mesh::{Mesh, MeshSettings};
use weir::api::state::SharedMesh;
use weir::api::xds::{ConfigReceiver, XdsStatus, decode_address};

use crate::figures::Figures;
use crate::heap::{live_bytes, resident_bytes};
use crate::made_up::Wire;

/// Bytes a workload may take, its share of services and every index included.
const BOUND: f64 = 600.0;

pub(crate) fn measure(wire: &Wire, figures: &mut Figures) {
    let per_workload = |bytes: usize| bytes as f64 / wire.workloads() as f64;
    let (live, resident) = (live_bytes(), resident_bytes());
    let mut mesh = Mesh::default();
    for (name, resource) in &wire.resources {
        mesh.apply(decode_address(name, &resource.body).expect("what was made up is well formed"));
    }
    figures.bounded("memory: mesh model, a workload", per_workload(live_bytes() - live), "B", BOUND);
    figures.shown("memory: mesh model, a workload, resident", per_workload(resident_bytes() - resident), "B");
    drop(mesh);

    let live = live_bytes();
    let (mesh, receiver) = receiver();
    let _ = receiver.handle_response(wire.response());
    figures.shown("memory: all a stream leaves behind, a workload", per_workload(live_bytes() - live), "B");
    assert_eq!(mesh.read().workloads().count(), wire.workloads());
}

/// An empty mesh and its only writer.
pub(crate) fn receiver() -> (SharedMesh, ConfigReceiver) {
    let mesh = SharedMesh::default();
    let receiver = ConfigReceiver::new(mesh.clone(), XdsStatus::default(), MeshSettings::default());
    (mesh, receiver)
}

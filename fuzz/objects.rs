//! What a user may write: text in place of YAML objects, on its way through the whole of a file delivery.
//!
//! Must hold: nothing panics; the same text says the same again; a text that is not YAML takes nothing away; and what the
//! language accepts, the decoder of resources accepts too.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use weir::api::control_plane::Snapshot;
use weir::api::control_plane::translate::{self, VipAllocations};
use weir::api::model::mesh::MeshSettings;
use weir::api::objects::{Loaded, Objects};
use weir::api::state::SharedMesh;
use weir::api::xds::{ConfigReceiver, XdsStatus};

/// What the file held before.
const BEFORE: &str = "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\n\
    metadata: {name: before, namespace: before}\nspec: {address: 10.9.9.9}\n---\n\
    apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n\
    metadata: {name: before, namespace: before}\nspec: {action: DENY, rules: [{}]}\n";

fuzz_target!(|data: &[u8]| {
    let Ok(text) = str::from_utf8(data) else { return };
    let mut objects = Objects::default();
    assert_eq!(objects.update(loaded(BEFORE)), []);
    let before = objects.clone();

    let new = loaded(text);
    assert_eq!(new.objects, loaded(text).objects, "the same text says the same");
    let unreadable = new.problems.iter().any(|problem| problem.reason.starts_with("not valid YAML"));
    let problems = objects.update(new);
    problems.iter().for_each(|problem| assert!(!problem.reason.is_empty(), "{problem:?}"));
    if unreadable {
        for (key, _) in before.iter() {
            assert!(objects.get(key).is_some(), "{key} is gone with a file that cannot be read");
        }
    }
    deliver(&objects);
});

fn loaded(text: &str) -> Loaded {
    let mut loaded = Loaded::default();
    loaded.read_text(Path::new("objects.yaml"), text);
    loaded
}

/// From objects to a mesh, as an agent does that reads its own files.
fn deliver(objects: &Objects) {
    let resources = translate::translate(objects, &translate::Options::default(), &mut VipAllocations::default());
    let Some(snapshot) = Snapshot::following(&Snapshot::default(), &resources) else { return };
    let (mesh, status) = (SharedMesh::default(), XdsStatus::default());
    ConfigReceiver::new(mesh, status.clone(), MeshSettings::default()).apply_snapshot(&snapshot.resources);
    let report = status.report();
    assert_eq!(report.nacks, 0, "accepted as an object, refused as a resource: {:?}", report.last_rejected);
}

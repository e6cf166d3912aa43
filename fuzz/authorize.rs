//! L4 authorization against an oracle: arbitrary policies and requests, decided by the mesh, and once more by the plainest
//! reading of what the policies say. The two must agree on every request.
#![no_main]

mod oracle;
mod sample;

use libfuzzer_sys::arbitrary::Unstructured;
use libfuzzer_sys::fuzz_target;
use prost::Message;
use weir::api::model::authorization::Destination;
use weir::api::model::mesh::MeshSettings;
use weir::api::proto::istio::workload as pb;
use weir::api::resources::{Resource, ResourceSet, ResourceType};
use weir::api::state::SharedMesh;
use weir::api::xds::{ConfigReceiver, XdsStatus};

fuzz_target!(|data: &[u8]| {
    let mut input = Unstructured::new(data);
    let Ok(sample) = sample::sample(&mut input) else { return };
    let mesh = mesh(&sample);
    let mesh = mesh.read();
    let workload = mesh.workload(sample::UID).expect("the workload is valid").clone();
    for request in &sample.requests {
        let verdict = mesh.authorize(&Destination::of(&workload), &request.asked);
        let expected = oracle::decide(&sample, request);
        let found = match &verdict.outcome {
            Ok(_) => oracle::Verdict::Allowed,
            Err(_) => oracle::Verdict::Denied,
        };
        assert_eq!(found, expected, "{verdict:?}\nfor {request:?}\nunder {sample:#?}");
    }
});

/// The sample as a control plane would have sent it.
fn mesh(sample: &sample::Sample) -> SharedMesh {
    let mut resources = ResourceSet::default();
    for policy in &sample.policies {
        let name = format!("{}/{}", policy.wire.namespace, policy.wire.name);
        let body = Resource::hashed(policy.wire.encode_to_vec().into());
        resources.of_mut(ResourceType::Authorization).insert(name.into(), body);
    }
    let address = pb::Address { r#type: Some(pb::address::Type::Workload(sample.workload.clone())) };
    let body = Resource::hashed(address.encode_to_vec().into());
    resources.of_mut(ResourceType::Address).insert(sample::UID.into(), body);
    let mesh = SharedMesh::default();
    ConfigReceiver::new(mesh.clone(), XdsStatus::default(), MeshSettings::default()).apply_snapshot(&resources);
    mesh
}

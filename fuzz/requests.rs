//! Policies about requests against an oracle: arbitrary AuthorizationPolicies, as their authors write them, and requests with and without
//! tokens, decided by the mesh, and once more by the plainest reading of what the policies say.
//!
//! Must hold: the two agree on every request; a connection that is admitted, or refused, before it is read has no request about which
//! policy says otherwise; and a request of which it is said that it cannot be allowed whatever its authorizers add is not.
#![no_main]

mod request_oracle;
mod request_paths;
mod request_sample;

use libfuzzer_sys::arbitrary::Unstructured;
use libfuzzer_sys::fuzz_target;
use prost::Message;
use weir::api::model::authorization::{Admission, Destination, HttpRequest};
use weir::api::model::mesh::MeshSettings;
use weir::api::model::peer_authentication::Labels;
use weir::api::proto::envoy::service::discovery::v3 as discovery;
use weir::api::proto::istio::mcp::v1alpha1 as mcp;
use weir::api::proto::istio::workload as pb;
use weir::api::resources::{ObjectKind, Resource, ResourceSet, ResourceType};
use weir::api::state::SharedMesh;
use weir::api::xds::{ConfigReceiver, XdsStatus};

const UID: &str = "uid";
const AUTHORIZATION_POLICY: &str = "type.googleapis.com/istio.security.v1beta1.AuthorizationPolicy";

fuzz_target!(|data: &[u8]| {
    let mut input = Unstructured::new(data);
    let Ok(mut sample) = request_sample::sample(&mut input) else { return };
    let mesh = mesh(&sample);
    let mesh = mesh.read();
    // Of a policy that asks for nothing of HTTP the control plane's own form counts, which is not sent here: the target `authorize`.
    let numbers = 0..sample.policies.len();
    let is_enforced: Vec<bool> = numbers.map(|number| mesh.is_enforced_as_written(&key(&sample, number))).collect();
    let mut is_enforced = is_enforced.into_iter();
    sample.policies.retain(|_| is_enforced.next().expect("one for each"));
    let workload = mesh.workload(UID).expect("the workload is valid").clone();
    let labels: Labels = [("app".to_owned(), request_sample::APPS[0].to_owned())].into();
    let destination = Destination { labels: &labels, ..Destination::of(&workload) };
    let policies = mesh.pod_policies(&destination);
    for request in &sample.requests {
        let http = HttpRequest {
            head: &request.head,
            before_token: &request.before_token,
            claims: request.claims.as_ref(),
            allowed_by_providers: &request.allowed_by,
        };
        let verdict = mesh.authorize_request_under(&policies, &destination, &request.access, &http);
        let found = request_oracle::Expected {
            needs_authorizer: mesh.authorizer_needed(&policies, &destination, &request.access, &http).is_some(),
            is_allowed: verdict.outcome.is_ok(),
            is_audited: verdict.audited_by.is_some(),
        };
        let expected = request_oracle::decide(&sample, request);
        assert_eq!(found, expected, "{verdict:?}\nfor {request:?}\nunder {sample:#?}");
        let about = || format!("{request:?}\nunder {sample:#?}");
        match mesh.admit(&destination, &request.access).outcome {
            Ok(Admission::Bytes(_)) => assert!(found.is_allowed, "nobody looks, and yet\n{}", about()),
            Ok(Admission::Requests) => {}
            Err(_) => assert!(!found.is_allowed, "closed, and yet\n{}", about()),
        }
        let before = HttpRequest::of(&request.before_token);
        if mesh.may_be_allowed(&policies, &destination, &request.access, &before).is_err() {
            assert!(!found.is_allowed, "refused while it waited, and yet\n{}", about());
        }
    }
});

/// The policies as a control plane passes them on, and the pod that they may be about.
fn mesh(sample: &request_sample::Sample) -> SharedMesh {
    let kind = ResourceType::Object(ObjectKind::AuthorizationPolicy);
    let policies = sample.policies.iter().enumerate().map(|(number, policy)| {
        let name = key(sample, number);
        let body = prost_types::Any { type_url: AUTHORIZATION_POLICY.to_owned(), value: policy.spec.encode_to_vec() };
        let metadata = mcp::Metadata { name: name.clone(), ..mcp::Metadata::default() };
        let envelope = mcp::Resource { metadata: Some(metadata), body: Some(body) };
        let body = prost_types::Any { type_url: kind.body_type_url().to_owned(), value: envelope.encode_to_vec() };
        discovery::Resource { name, resource: Some(body), ..discovery::Resource::default() }
    });
    let policies = discovery::DeltaDiscoveryResponse {
        type_url: kind.type_url().to_owned(),
        resources: policies.collect(),
        ..discovery::DeltaDiscoveryResponse::default()
    };
    let workload = pb::Workload {
        uid: UID.to_owned(),
        name: "w".to_owned(),
        namespace: request_sample::NAMESPACES[0].to_owned(),
        ..pb::Workload::default()
    };
    let address = pb::Address { r#type: Some(pb::address::Type::Workload(workload)) };
    let mut resources = ResourceSet::default();
    resources.of_mut(ResourceType::Address).insert(UID.into(), Resource::hashed(address.encode_to_vec().into()));
    let mesh = SharedMesh::default();
    let receiver = ConfigReceiver::new(mesh.clone(), XdsStatus::default(), MeshSettings::default());
    receiver.apply_snapshot(&resources);
    // Those that cannot be understood are told of in the answer, and close.
    let _ = receiver.handle_response(policies);
    mesh
}

fn key(sample: &request_sample::Sample, number: usize) -> String {
    format!("{}/p{number}", sample.policies[number].namespace)
}

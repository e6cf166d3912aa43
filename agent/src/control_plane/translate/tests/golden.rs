//! What a real istiod 1.31 sent for `testdata/istiod-1.31/objects.yaml`, message for message.

use std::collections::BTreeMap;

use prost::Message;

use super::translated;
use crate::proto::envoy::service::discovery::v3::DeltaDiscoveryResponse;
use crate::proto::istio::security::Authorization;
use crate::proto::istio::workload::{Address, address};

const OBJECTS: &str = include_str!("../../../../testdata/istiod-1.31/objects.yaml");
const KUBERNETES: &str = include_str!("../../../../testdata/istiod-1.31/kubernetes.yaml");
const ADDRESSES: &[u8] = include_bytes!("../../../../testdata/istiod-1.31/node/istio.workload.Address.pb");
const AUTHORIZATIONS: &[u8] = include_bytes!("../../../../testdata/istiod-1.31/node/istio.security.Authorization.pb");

/// Resources by name.
fn recorded<T: Message + Default>(response: &[u8]) -> BTreeMap<String, T> {
    let response = DeltaDiscoveryResponse::decode(response).expect("a recorded response");
    let resource = |resource: crate::proto::envoy::service::discovery::v3::Resource| {
        let body = resource.resource.expect("a resource has a body");
        (resource.name, T::decode(body.value.as_slice()).expect("a body of this type"))
    };
    response.resources.into_iter().map(resource).collect()
}

#[test]
fn authorizations_are_istiods_and_a_dry_run() {
    let mut ours = translated(OBJECTS).authorizations;
    let dry_run = ours.remove("bookinfo/deny-cidr").expect("sent as dry run, which istiod only does when told to");
    assert!(dry_run.dry_run);
    let recorded = recorded::<Authorization>(AUTHORIZATIONS);
    assert_eq!(ours.keys().collect::<Vec<_>>(), recorded.keys().collect::<Vec<_>>());
    for (name, expected) in recorded {
        assert_eq!(ours[&name], expected, "{name}");
        assert_eq!(ours[&name].encode_to_vec(), expected.encode_to_vec(), "{name}");
    }
}

#[test]
fn addresses_are_istiods() {
    let ours = translated(&with_kubernetes()).addresses;
    let recorded = recorded::<Address>(ADDRESSES);
    assert_eq!(ours.keys().collect::<Vec<_>>(), recorded.keys().collect::<Vec<_>>());
    for (name, address) in ours {
        assert_eq!(address, as_weir_reads_it(recorded[&name].clone()), "{name}");
    }
}

fn with_kubernetes() -> String {
    format!("{OBJECTS}---\n{KUBERNETES}")
}

/// istiod lists every selector policy for a workload without labels; Weir lists those that match, here none.
fn as_weir_reads_it(mut address: Address) -> Address {
    let selecting = ["bookinfo/details-l4", "bookinfo/ratings-sel-l7"];
    if let Some(address::Type::Workload(workload)) = &mut address.r#type
        && workload.uid.contains("/ServiceEntry/")
    {
        workload.authorization_policies.retain(|key| !selecting.contains(&key.as_str()));
    }
    address
}

#[test]
fn every_object_of_the_fixture_is_accepted() {
    let loaded = super::loaded(&with_kubernetes());
    assert_eq!(loaded.problems, []);
    let not_acted_on = loaded.notices.iter().filter(|notice| notice.reason.contains("not acted on yet")).count();
    assert_eq!((loaded.objects.len(), not_acted_on), (9 + 1 + 6 + 26, 0), "{:#?}", loaded.notices);
}

//! The form that istioctl reads.

use std::collections::BTreeSet;

use prost::Message as _;
use serde_json::{Value, json};

use super::*;
use crate::admin::fixture::{mesh, sources};
use crate::model::mesh::MeshSettings;
use crate::proto::envoy::service::discovery::v3::DeltaDiscoveryResponse;
use crate::resources::{Resource, ResourceSet, ResourceType};
use crate::state::SharedMesh;
use crate::telemetry::ends::Reporter;
use crate::telemetry::fixture::ends;
use crate::telemetry::record::ConnectionRecord;
use crate::xds::{ConfigReceiver, XdsStatus};

fn dumped() -> Value {
    let (_log, sources) = sources();
    let _outbound = ConnectionRecord::open(&sources.metrics, ends(Reporter::Source));
    let _inbound = ConnectionRecord::open(&sources.metrics, ends(Reporter::Destination));
    let bytes = write(&sources, mesh()).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

#[test]
fn keys_are_ztunnels() {
    let dump = dumped();
    let keys: Vec<_> = dump.as_object().unwrap().keys().map(String::as_str).collect();
    let mut expected = [
        "workloads",
        "services",
        "policies",
        "stagedServices",
        "staticConfig",
        "version",
        "config",
        "certificates",
        "workloadState",
        "objects",
    ];
    expected.sort_unstable();
    assert_eq!(keys, expected);
    assert_eq!(dump["version"], json!({"component": "weir", "version": env!("CARGO_PKG_VERSION")}));
    assert_eq!(dump["config"]["xdsAddress"], "https://istiod:15012");
}

#[test]
fn a_workload() {
    let expected = json!({
        "workloadIps": ["10.0.0.2"], "protocol": "HBONE", "networkMode": "Standard",
        "uid": "Kubernetes//Pod/shop/reviews-v1-1234", "name": "reviews-v1-1234", "namespace": "shop",
        "trustDomain": "cluster.local", "serviceAccount": "reviews", "network": "", "workloadName": "reviews-v1",
        "workloadType": "deployment", "canonicalName": "reviews", "canonicalRevision": "v1", "hostname": "",
        "node": "node-1", "nativeTunnel": false, "authorizationPolicies": ["shop/allow-client"],
        "status": "Unhealthy", "clusterId": "Kubernetes", "locality": {"region": "", "zone": "", "subzone": ""},
        "services": ["shop/reviews.shop.svc.cluster.local", "shop/soon.shop.svc.cluster.local"], "capacity": 1,
    });
    assert_eq!(dumped()["workloads"][1], expected);
}

#[test]
fn services_with_their_endpoints() {
    let endpoint = json!({
        "Kubernetes//Pod/shop/reviews-v1-1234":
            {"workloadUid": "Kubernetes//Pod/shop/reviews-v1-1234", "port": {"80": 9080}, "status": "Unhealthy"},
    });
    let dump = dumped();
    let expected = json!([
        {
            "name": "outside", "namespace": "shop", "hostname": "outside.shop.svc.cluster.local",
            "vips": ["other/2001:db8::7"], "cidrVips": [{"network": "", "cidr": "203.0.113.0/24"}],
            "ports": {"80": 9080}, "endpoints": {}, "subjectAltNames": [],
            "waypoint": {"destination": "shop/reviews.shop.svc.cluster.local", "hboneMtlsPort": 15008},
            "canonical": true, "visibility": "Public", "ingressUseWaypoint": false,
        },
        {
            "name": "reviews", "namespace": "shop", "hostname": "reviews.shop.svc.cluster.local",
            "vips": ["/10.96.0.7"], "ports": {"80": 9080}, "endpoints": endpoint, "subjectAltNames": [],
            "canonical": true, "visibility": "Public", "ingressUseWaypoint": false,
        },
    ]);
    assert_eq!(dump["services"], expected);
    assert_eq!(dump["stagedServices"], json!({"shop/soon.shop.svc.cluster.local": endpoint}));
}

#[test]
fn a_policy() {
    let expected = json!([{
        "name": "allow-client", "namespace": "shop", "scope": "WorkloadSelector", "action": "Allow",
        "rules": [[[{
            "principals": [{"Exact": "cluster.local/ns/shop/sa/client"}, {"Suffix": "/sa/admin"}],
            "notNamespaces": [{"Presence": {}}], "sourceIps": ["10.0.0.0/8"], "destinationPorts": [9080],
        }]]],
        "dryRun": false,
    }]);
    assert_eq!(dumped()["policies"], expected);
}

#[test]
fn certificates_without_keys() {
    let expected = json!({
        "identity": "spiffe://cluster.local/ns/shop/sa/client", "state": "Available",
        "certChain": [
            {
                "pem": "LEAF", "serialNumber": "123456789012345678901234567890",
                "validFrom": "2026-11-18T11:06:40Z", "expirationTime": "2099-12-03T16:53:20Z",
            },
            {"pem": "INTERMEDIATE", "serialNumber": "", "validFrom": "", "expirationTime": ""},
        ],
        "rootCerts": [{
            "pem": "ROOT", "serialNumber": "1", "validFrom": "1970-01-01T00:00:00Z",
            "expirationTime": "2100-03-01T00:00:00Z",
        }],
    });
    assert_eq!(dumped()["certificates"][0], expected);
}

#[test]
fn pods_with_their_connections() {
    let info = |app: &str| {
        json!({
            "name": format!("{app}-v1-1234"), "namespace": "shop", "trustDomain": "cluster.local",
            "serviceAccount": app,
        })
    };
    let expected = json!({
        "uid-of-client-v1-1234": {
            "state": "Up", "info": info("client"),
            "connections": {
                "inbound": [],
                "outbound": [{
                    "src": "10.0.0.1:41000", "originalDst": "10.96.0.7:80", "actualDst": "10.0.0.2:15008",
                    "protocol": "HBONE",
                }],
            },
        },
        "uid-of-reviews-v1-1234": {
            "state": "Up", "info": info("reviews"),
            "connections": {
                "inbound": [{
                    "src": "10.0.0.1:41000", "originalDst": "reviews.shop.svc.cluster.local",
                    "actualDst": "10.0.0.2:9080", "protocol": "HBONE",
                }],
                "outbound": [],
            },
        },
    });
    assert_eq!(dumped()["workloadState"], expected);
}

/// What a real istiod sent a node, taken in as the agent does.
fn recorded() -> SharedMesh {
    let mesh = SharedMesh::default();
    let mut resources = ResourceSet::default();
    for (kind, bytes) in [
        (ResourceType::Address, &include_bytes!("../../../../testdata/istiod-1.31/node/istio.workload.Address.pb")[..]),
        (
            ResourceType::Authorization,
            include_bytes!("../../../../testdata/istiod-1.31/node/istio.security.Authorization.pb"),
        ),
    ] {
        let response = DeltaDiscoveryResponse::decode(bytes).unwrap();
        for resource in response.resources {
            let body = Resource::hashed(resource.resource.unwrap().value.into());
            resources.of_mut(kind).insert(resource.name.into(), body);
        }
    }
    ConfigReceiver::new(mesh.clone(), XdsStatus::default(), MeshSettings::default()).apply_snapshot(&resources);
    mesh
}

#[test]
fn everything_that_a_real_istiod_sent_is_there() {
    let mesh = recorded();
    let (_log, mut sources) = sources();
    sources.mesh = mesh.clone();
    let dump: Value = serde_json::from_slice(&config_dump(&sources).unwrap()).unwrap();
    let listed = |key: &str, name: fn(&Value) -> String| -> BTreeSet<String> {
        dump[key].as_array().unwrap().iter().map(name).collect()
    };
    let mesh = mesh.read();
    let uids: BTreeSet<String> = mesh.workloads().map(|workload| workload.uid.to_string()).collect();
    assert_eq!(listed("workloads", |w| w["uid"].as_str().unwrap().to_owned()), uids);
    let keys: BTreeSet<String> = mesh.services().map(|service| service.key.to_string()).collect();
    let key = |s: &Value| format!("{}/{}", s["namespace"].as_str().unwrap(), s["hostname"].as_str().unwrap());
    assert_eq!(listed("services", key), keys);
    let policies: BTreeSet<String> = mesh.authorizations().map(|policy| policy.key.to_string()).collect();
    let policy = |p: &Value| format!("{}/{}", p["namespace"].as_str().unwrap(), p["name"].as_str().unwrap());
    assert_eq!(listed("policies", policy), policies);
    assert_eq!((uids.len() + keys.len(), policies.len()), (26, 4));
}

//! Objects about requests from the API server (`--objects kubernetes`), beside a control plane whose own do not count. The API
//! server is one in small.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use weir_tests::fake_kubernetes::{FakeKubernetes, PodObject};
use weir_tests::http_mesh::{HttpMesh, VERSIONS};
use weir_tests::wait;
use weir_tests::world::N1;

use super::split::answered_by;
use crate::harness::{Case, Check};

pub(crate) const CASES: &[Case] = &[
    Case { name: "http: routes come from the API server where the agent is told so", check: Check::OwnHttp(followed) },
    Case {
        name: "http: without the API server the routes stay as they are, also for an agent that starts",
        check: Check::OwnHttp(away),
    },
    Case {
        name: "http: subsets are told apart by labels of pods that Kubernetes alone knows",
        check: Check::OwnHttp(labels),
    },
    Case {
        name: "http: a route of the API server that is attached to a ServiceEntry counts for its hosts",
        check: Check::OwnHttp(of_entry),
    },
    Case {
        name: "http: routes come from an API server that defines older versions of their kinds alone",
        check: Check::OwnHttp(older),
    },
];

const ISTIO: &str = "networking.istio.io/v1";
const GATEWAY_API: &str = "gateway.networking.k8s.io/v1";
/// What the cluster defines: GRPCRoute is missing.
const DEFINED: [&str; 5] = [
    "networking.istio.io/v1/virtualservices/VirtualService",
    "networking.istio.io/v1/destinationrules/DestinationRule",
    "networking.istio.io/v1/sidecars/Sidecar",
    "telemetry.istio.io/v1/telemetries/Telemetry",
    "gateway.networking.k8s.io/v1/httproutes/HTTPRoute",
];

/// An API server that defines these kinds, which the client's agent asks from now on.
pub(super) fn joined(mesh: &mut HttpMesh, defined: &[&str]) -> Result<FakeKubernetes> {
    joined_on(mesh, &[N1], defined)
}

/// The same for the agents of these nodes.
pub(super) fn joined_on(mesh: &mut HttpMesh, nodes: &[usize], defined: &[&str]) -> Result<FakeKubernetes> {
    let mut kubernetes = FakeKubernetes::start(&mesh.world)?;
    kubernetes.goes_away()?;
    defined.iter().for_each(|kind| kubernetes.define(kind));
    kubernetes.resume()?;
    for node in nodes {
        let agent = &mut mesh.agents[*node];
        agent.kill()?;
        agent.add_flags(kubernetes.flags_for_objects());
        agent.launch()?;
        agent.becomes_ready()?;
    }
    Ok(kubernetes)
}

/// A VirtualService's spec that leads all requests for a service to a version.
fn to(service: &str, version: &str) -> Value {
    json!({"hosts": [service], "http": [{"route": [{"destination": {"host": version}}]}]})
}

fn followed(mesh: &mut HttpMesh) -> Result<()> {
    let kubernetes = joined(mesh, &DEFINED)?;
    let agent = &mesh.agents[N1];
    agent.logs_line(0, &["does not define", "grpc_route"]).context("what is missing is told")?;
    let service = mesh.service("followed")?;
    // The control plane's own do not count, before and after.
    let _others = service.virtual_service("[{route: [{destination: {host: v3}}]}]")?;
    answered_by(&service, &VERSIONS)?;
    kubernetes.object(ISTIO, "VirtualService", "shop", "followed", &to("followed", "v1"))?;
    answered_by(&service, &["v1"])?;
    kubernetes.object(ISTIO, "VirtualService", "shop", "followed", &to("followed", "v2"))?;
    answered_by(&service, &["v2"])?;
    // What is not valid is told, leaves its last valid version, and no other object knows of it.
    let before = agent.log().len();
    let bad = json!({"hosts": ["followed"], "http": [{"timeout": "-1s", "route": [{"destination": {"host": "v3"}}]}]});
    kubernetes.object(ISTIO, "VirtualService", "shop", "followed", &bad)?;
    agent.logs_line(before, &["an object was rejected", "shop/followed", "spec.http[0].timeout"])?;
    answered_by(&service, &["v2"])?;
    let rule = json!({"host": "followed", "subsets": [{"name": "three", "labels": {"version": "v3"}}]});
    kubernetes.object(ISTIO, "DestinationRule", "shop", "followed", &rule)?;
    let subset =
        json!({"hosts": ["followed"], "http": [{"route": [{"destination": {"host": "followed", "subset": "three"}}]}]});
    kubernetes.object(ISTIO, "VirtualService", "shop", "followed", &subset)?;
    answered_by(&service, &["v3"])?;
    kubernetes.remove_object("VirtualService", "shop", "followed")?;
    answered_by(&service, &VERSIONS)?;
    let route = json!({
        "parentRefs": [{"group": "", "kind": "Service", "name": "followed"}],
        "rules": [{"backendRefs": [{"name": "v1", "port": 80}]}],
    });
    kubernetes.object(GATEWAY_API, "HTTPRoute", "shop", "followed", &route)?;
    answered_by(&service, &["v1"])
}

fn away(mesh: &mut HttpMesh) -> Result<()> {
    let mut kubernetes = joined(mesh, &DEFINED)?;
    kubernetes.object(ISTIO, "VirtualService", "shop", "away", &to("away", "v1"))?;
    answered_by(&mesh.service("away")?, &["v1"])?;
    is_saved(mesh)?;
    kubernetes.goes_away()?;
    let agent = &mesh.agents[N1];
    wait::until("the status tells it", Duration::from_secs(10), || {
        let status = agent.weir(&["status"])?.stdout;
        ensure!(status.contains("objects of Kubernetes are not followed"), "{status}");
        Ok(())
    })?;
    answered_by(&mesh.service("away")?, &["v1"])?;
    let agent = &mut mesh.agents[N1];
    agent.restart()?;
    agent.becomes_ready()?;
    let service = mesh.service("away")?;
    answered_by(&service, &["v1"])?;
    // What changed meanwhile counts once the API server is back.
    kubernetes.remove_object("VirtualService", "shop", "away")?;
    kubernetes.object(ISTIO, "VirtualService", "shop", "another", &to("away", "v2"))?;
    kubernetes.resume()?;
    answered_by(&service, &["v2"])
}

fn labels(mesh: &mut HttpMesh) -> Result<()> {
    for (version, node) in [("v1", "n1"), ("v2", "n2"), ("v3", "n2")] {
        mesh.control_plane.objects.put(version, &as_pod(mesh, version, node))?;
    }
    let kubernetes = joined(mesh, &DEFINED)?;
    let put = |version: &'static str, labels: &[(&str, &str)]| {
        let addresses = [mesh.pod(version).ipv4()];
        kubernetes.pod(&PodObject {
            namespace: "shop",
            name: version,
            uid: version,
            node: "elsewhere",
            service_account: "default",
            labels,
            addresses: &addresses,
            host_network: false,
        })
    };
    put("v1", &[("track", "stable")])?;
    put("v2", &[("track", "canary"), ("tier", "gold")])?;
    let service = mesh.service("tracks")?;
    let to_canary = json!({"hosts": ["tracks"], "http": [
        {"match": [{"uri": {"exact": "/gold"}}], "route": [{"destination": {"host": "tracks", "subset": "gold"}}]},
        {"route": [{"destination": {"host": "tracks", "subset": "canary"}}]},
    ]});
    kubernetes.object(ISTIO, "VirtualService", "shop", "tracks", &to_canary)?;
    let subsets = json!([
        {"name": "canary", "labels": {"track": "canary"}},
        {"name": "gold", "labels": {"app": "web", "tier": "gold", "track": "stable"}},
    ]);
    kubernetes.object(ISTIO, "DestinationRule", "shop", "tracks", &json!({"host": "tracks", "subsets": subsets}))?;
    answered_by(&service, &["v2"])?;
    service.comes_to("no pod has all labels of the subset", "/gold", &[], |answer| answer.status == 503)?;
    put("v1", &[("track", "stable"), ("tier", "gold")])?;
    service.comes_to("a pod has all of them now", "/gold", &[], |answer| answer.expect(200, Some("v1")).is_ok())?;
    put("v3", &[("track", "canary")])?;
    answered_by(&service, &["v2", "v3"])?;
    kubernetes.remove_pod("shop", "v2")?;
    answered_by(&service, &["v3"])
}

/// A version as a Pod, as the control plane knows it: without the labels that are asked for.
fn as_pod(mesh: &HttpMesh, version: &str, node: &str) -> String {
    let address = mesh.pod(version).ipv4();
    let metadata = json!({
        "name": version, "namespace": "shop", "labels": {"app": "web", "version": version},
        "annotations": {"ambient.istio.io/redirection": "enabled"},
    });
    let status = json!({
        "phase": "Running", "podIPs": [{"ip": address}], "conditions": [{"type": "Ready", "status": "True"}],
    });
    let spec = json!({"nodeName": node, "serviceAccountName": version});
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": status}).to_string()
}

fn of_entry(mesh: &mut HttpMesh) -> Result<()> {
    let defined = [&DEFINED[..], &["networking.istio.io/v1/serviceentries/ServiceEntry"]].concat();
    let kubernetes = joined(mesh, &defined)?;
    let (service, other) =
        (mesh.host("shop", "entry.example.com", "v1")?, mesh.host("shop", "another.example.com", "v1")?);
    let route = json!({
        "parentRefs": [{"group": "networking.istio.io", "kind": "ServiceEntry", "name": "entry"}],
        "rules": [{"backendRefs": [{"name": "v2", "port": 80}]}],
    });
    kubernetes.object(GATEWAY_API, "HTTPRoute", "shop", "of-entry", &route)?;
    answered_by(&service, &["v1"])?;
    kubernetes.object(ISTIO, "ServiceEntry", "shop", "entry", &json!({"hosts": ["entry.example.com"]}))?;
    answered_by(&service, &["v2"])?;
    kubernetes.object(ISTIO, "ServiceEntry", "shop", "entry", &json!({"hosts": ["another.example.com"]}))?;
    answered_by(&other, &["v2"])?;
    answered_by(&service, &["v1"])
}

fn older(mesh: &mut HttpMesh) -> Result<()> {
    let defined = [
        "networking.istio.io/v1beta1/virtualservices/VirtualService",
        "gateway.networking.k8s.io/v1beta1/httproutes/HTTPRoute",
    ];
    let kubernetes = joined(mesh, &defined)?;
    let (service, other) = (mesh.service("older")?, mesh.service("older-route")?);
    kubernetes.object("networking.istio.io/v1beta1", "VirtualService", "shop", "older", &to("older", "v1"))?;
    answered_by(&service, &["v1"])?;
    let route = json!({
        "parentRefs": [{"group": "", "kind": "Service", "name": "older-route"}],
        "rules": [{"backendRefs": [{"name": "v2", "port": 80}]}],
    });
    kubernetes.object("gateway.networking.k8s.io/v1beta1", "HTTPRoute", "shop", "older", &route)?;
    answered_by(&other, &["v2"])
}

/// Waits until the route is on disk: it is written a moment after it counts.
fn is_saved(mesh: &HttpMesh) -> Result<()> {
    let folder = mesh.agents[N1].folders().state.join("last-good");
    wait::until("the route is on disk", Duration::from_secs(10), || {
        let mut files = std::fs::read_dir(&folder)?.filter_map(|entry| std::fs::read(entry.ok()?.path()).ok());
        let has_name = |bytes: Vec<u8>| bytes.windows(9).any(|part| part == b"shop/away");
        ensure!(files.any(has_name), "no file in {} names it", folder.display());
        Ok(())
    })
}

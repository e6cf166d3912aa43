//! HTTP that leaves the mesh: hosts of ServiceEntries, and destinations that the mesh does not know.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weir_tests::http_mesh::{HttpMesh, serve};
use weir_tests::world::N2;
use weir_tests::{test_app, wait};

use super::split::answered_by;
use super::why::why;
use crate::count::Counter;
use crate::harness::{Case, Check};
use crate::outbound::REGISTRY_ONLY;

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "http: egress: an HTTPRoute attached to a ServiceEntry counts for its hosts",
        check: Check::Http(route_of_entry),
    },
    Case {
        name: "http: egress: under REGISTRY_ONLY a request to what the mesh does not know is answered 502",
        check: Check::Http(registry_only),
    },
    Case {
        name: "http: egress: the outboundTrafficPolicy of a Sidecar counts for the pods that it selects",
        check: Check::Http(sidecar_policy),
    },
];

/// How long a change of an object may take to be in effect.
const DELIVERED: Duration = Duration::from_secs(10);
/// An address that nobody has.
const NOBODY: &str = "203.0.113.9";

fn route_of_entry(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.host("store", "entry.example", "v1")?;
    answered_by(&service, &["v1"])?;
    let route = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: entry, namespace: store}\nspec:\n  \
                 parentRefs: [{group: networking.istio.io, kind: ServiceEntry, name: entry-example}]\n  rules:\n  - matches: [{path: \
                 {value: /v2}}]\n    backendRefs: [{name: v2, namespace: shop, port: 80}]\n  - backendRefs: [{group: \
                 networking.istio.io, kind: Hostname, name: v3.shop.svc.cluster.local, port: 80}]\n";
    let route = mesh.control_plane.objects.put_for_now("entry-route", route)?;
    answered_by(&service, &["v3"])?;
    service.ask("/v2", &[])?.expect(200, Some("v2"))?;
    drop(route);
    answered_by(&service, &["v1"])
}

/// Waits until a request to an address is answered with a status, by the mesh itself.
fn is_answered(mesh: &HttpMesh, address: IpAddr, status: u16) -> Result<()> {
    let what = format!("a request to {address} is answered {status}");
    wait::until(&what, DELIVERED, || {
        let answer = mesh.version("v1").ask_at(address, 80, "/", &[])?;
        ensure!(answer.status == status && answer.body.is_empty(), "{answer:?}");
        Ok(())
    })
    .with_context(|| mesh.said())
}

fn registry_only(mesh: &HttpMesh) -> Result<()> {
    let address: IpAddr = NOBODY.parse()?;
    let labels = [
        ("reporter", "source"),
        ("destination_service_name", "BlackHoleCluster"),
        ("response_code", "502"),
        ("response_flags", "-"),
    ];
    let counted = Counter::of(mesh.agent_of(&mesh.client), "istio_requests_total", &labels)?;
    let _policy = mesh.control_plane.objects.put_for_now("mesh-config", REGISTRY_ONLY)?;
    is_answered(mesh, address, 502)?;
    let over_http2 = mesh.version("v1").ask_at(address, 80, "/", &["--http2-prior-knowledge"])?;
    ensure!(over_http2.status == 502 && over_http2.version == "HTTP/2", "{over_http2:?}");
    counted.grows_by(2.0)?;
    let told = why(mesh, &[&format!("http://{NOBODY}/")])?;
    let because = "answer       502: no service of the mesh has the address, and MeshConfig has the outboundTrafficPolicy REGISTRY_ONLY";
    ensure!(told.contains(because), "{told}");
    // Another protocol, and a port at which no service speaks HTTP.
    for (port, text) in [(80, "\u{1}\u{2}\u{3}\u{4}"), (81, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")] {
        let seen = test_app::probe(&mesh.client.place, address, port, text)?;
        ensure!(seen.refused(), "port {port}: {seen:?}");
    }
    mesh.version("v2").ask("/", &[])?.expect(200, Some("v2"))
}

fn sidecar_policy(mesh: &HttpMesh) -> Result<()> {
    let outside = mesh.world.nodes[N2].pod("outside")?;
    let _server = serve(&outside.place)?;
    let sidecar = |mode: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{name: client, namespace: shop}}\nspec:\n  workloadSelector: \
             {{labels: {{app: client}}}}\n  egress: [{{hosts: [./v1.shop.svc.cluster.local]}}]\n  outboundTrafficPolicy: {{mode: {mode}}}\n"
        )
    };
    let objects = &mesh.control_plane.objects;
    {
        let _sidecar = objects.put_for_now("sidecar-client", &sidecar("REGISTRY_ONLY"))?;
        is_answered(mesh, NOBODY.parse()?, 502)?;
        // What it imports is known to the pod, and nothing else.
        mesh.version("v1").ask("/", &[])?.expect(200, Some("v1"))?;
        is_answered(mesh, mesh.version("v2").vip(), 502)?;
        let told = why(mesh, &["http://v2/"])?;
        let because = "answer       502: Sidecar shop/client does not import shop/v2.shop.svc.cluster.local (egress), and Sidecar shop/client";
        ensure!(told.contains(because), "{told}");
        let seen = test_app::probe(&mesh.client.place, outside.ipv4(), test_app::ECHO, "x")?;
        ensure!(seen.refused(), "{seen:?}");
    }
    let _policy = objects.put_for_now("mesh-config", REGISTRY_ONLY)?;
    is_answered(mesh, NOBODY.parse()?, 502)?;
    let _sidecar = objects.put_for_now("sidecar-client", &sidecar("ALLOW_ANY"))?;
    wait::until("the pod may reach what the mesh does not know", DELIVERED, || {
        let seen = test_app::probe(&mesh.client.place, outside.ipv4(), test_app::ECHO, "x")?;
        ensure!(seen.received == "x", "{seen:?}");
        Ok(())
    })
}

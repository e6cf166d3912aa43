//! Which of several destinations the requests of one rule go to.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};
use weir_tests::http_mesh::{HttpMesh, HttpService};
use weir_tests::wait;

use crate::harness::{Case, Check, note};

pub(crate) const CASES: &[Case] = &[
    Case { name: "http: an HTTPRoute's weights split requests, 80 to 20", check: Check::Http(http_route_weights) },
    Case { name: "http: a VirtualService's weights split requests, 30 to 70", check: Check::Http(virtual_service) },
    Case {
        name: "http: all weights 0 are answered 503, and a backend that is not there 500 for its share",
        check: Check::Http(no_backend),
    },
    Case {
        name: "http: a VirtualService's destination or subset that is not there is answered 503",
        check: Check::Http(no_destination),
    },
    Case { name: "http: the oldest VirtualService of a host counts alone", check: Check::Http(oldest_counts) },
];

/// Requests of which a share is checked, and by how much it may be off: more than six standard deviations.
pub(super) const REQUESTS: u64 = 1000;
pub(super) const TOLERANCE: u64 = 100;
/// Requests by which one sees who answers at all: that one of three pods is missed by chance has a probability of 10⁻¹⁰.
const LOOK: &str = "--requests=60";

/// Waits until exactly these pods answer.
pub(super) fn answered_by(service: &HttpService<'_>, pods: &[&str]) -> Result<()> {
    let expected: BTreeSet<&str> = pods.iter().copied().collect();
    wait::until(&format!("{pods:?} answer"), Duration::from_secs(10), || {
        let seen = service.load(80, &[LOOK])?;
        let found: BTreeSet<&str> = seen.pods.keys().map(String::as_str).collect();
        ensure!(found == expected && seen.failed == 0, "{seen:?}");
        Ok(())
    })
}

/// Checks which share of requests v2 gets, all others going to v1.
fn share_of_v2(service: &HttpService<'_>, percent: u64) -> Result<()> {
    let seen = service.load(80, &["--connections=4", &format!("--requests={REQUESTS}")])?;
    seen.all_are(200)?;
    let (v1, v2, expected) = (seen.by("v1"), seen.by("v2"), REQUESTS * percent / 100);
    note(format!("{v1} of {REQUESTS} requests to v1, {v2} to v2; the weights say {percent} % to v2"));
    ensure!(v1 + v2 == REQUESTS, "another pod answered: {seen:?}");
    ensure!(v2.abs_diff(expected) <= TOLERANCE, "{v2} of {REQUESTS} requests to v2, {expected} expected");
    Ok(())
}

fn http_route_weights(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.service("weights")?;
    answered_by(&service, &["v1", "v2", "v3"])?;
    let backends = |v1, v2| {
        format!("[{{backendRefs: [{{name: v1, port: 80, weight: {v1}}}, {{name: v2, port: 80, weight: {v2}}}]}}]")
    };
    let _route = service.http_route(&backends(80, 20))?;
    answered_by(&service, &["v1", "v2"])?;
    share_of_v2(&service, 20)?;
    let _route = service.http_route(&backends(0, 100))?;
    answered_by(&service, &["v2"])?;
    share_of_v2(&service, 100)
}

fn virtual_service(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.service("vs-weights")?;
    let _route = service
        .virtual_service("[{route: [{destination: {host: v1}, weight: 30}, {destination: {host: v2}, weight: 70}]}]")?;
    answered_by(&service, &["v1", "v2"])?;
    share_of_v2(&service, 70)
}

fn no_backend(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.service("no-backend")?;
    for (what, path, backends, status) in [
        ("all weights are 0", "/zero", "{name: v1, port: 80, weight: 0}, {name: v2, port: 80, weight: 0}", 503),
        ("the only weight is 0", "/one", "{name: v1, port: 80, weight: 0}", 503),
        ("the Service is unknown", "/unknown", "{name: nobody, port: 80}", 500),
        ("the Service has no such port", "/port", "{name: v1, port: 4242}", 500),
    ] {
        let _route = service.http_route(&format!(
            "[{{matches: [{{path: {{value: {path}}}}}], backendRefs: [{backends}]}}, {{backendRefs: [{{name: v3, port: 80}}]}}]"
        ))?;
        service.comes_to(what, path, &[], |answer| answer.status == status)?.expect(status, None)?;
        service.ask("/other", &[])?.expect(200, Some("v3"))?;
    }
    // One of two is not there: its share alone fails.
    let _route = service.http_route("[{backendRefs: [{name: nobody, port: 80}, {name: v1, port: 80}]}]")?;
    service.comes_to("half of the requests are answered 500", "/", &[], |answer| answer.status == 500)?;
    let seen = service.load(80, &["--requests=200"])?;
    ensure!(seen.by("v1") + seen.statuses.get(&500).copied().unwrap_or_default() == 200, "{seen:?}");
    ensure!(seen.by("v1").abs_diff(100) < 50, "{seen:?}");
    Ok(())
}

fn no_destination(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.service("no-destination")?;
    let _rule = service.destination_rule("subsets: [{name: nobody, labels: {version: v9}}]")?;
    for (path, destination, body) in [
        ("/host", "{host: nobody}", ""),
        ("/unknown", "{host: no-destination, subset: unknown}", ""),
        ("/nobody", "{host: no-destination, subset: nobody}", "no healthy upstream"),
    ] {
        let _route = service.virtual_service(&format!(
            "[{{match: [{{uri: {{exact: {path}}}}}], route: [{{destination: {destination}}}]}}]"
        ))?;
        let answer = service.comes_to(destination, path, &[], |answer| answer.status == 503)?;
        answer.expect(503, None)?;
        ensure!(answer.body == body, "{destination}: {answer:?}");
    }
    // The whole Service has no endpoint, with a rule that leads to it and without one. Nobody is waited for.
    let empty = mesh.service_of("empty", ("app", "nobody"))?;
    let _route =
        service.virtual_service("[{match: [{uri: {exact: /empty}}], route: [{destination: {host: empty}}]}]")?;
    service.comes_to("the rule leads there", "/empty", &[], |answer| answer.body == "no healthy upstream")?;
    let call = ["-HContent-Type: application/grpc", "-XPOST", "--http2-prior-knowledge"];
    for (to, path) in [(&service, "/empty"), (&empty, "/")] {
        for port in [80, 8081] {
            let answer = to.ask_at(to.vip(), port, path, &["--max-time", "2"])?;
            answer.expect(503, None)?;
            ensure!(answer.body == "no healthy upstream", "{path}, port {port}: {answer:?}");
        }
        let answer = to.ask_at(to.vip(), 9000, path, &[&call[..], &["--max-time", "2"]].concat())?;
        answer.expect(200, None)?;
        ensure!(answer.header("grpc-status") == Some("14"), "{path}: {answer:?}");
    }
    // A single destination's weight does not count.
    let _route = service.virtual_service("[{route: [{destination: {host: v2}, weight: 0}]}]")?;
    answered_by(&service, &["v2"])
}

fn oldest_counts(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.service("oldest")?;
    let object = |name: &str, created: &str, pod: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}, namespace: shop, \
             creationTimestamp: \"{created}\"}}\nspec: {{hosts: [oldest.shop.svc.cluster.local], http: [{{match: [{{uri: {{prefix: \
             /{pod}}}}}], route: [{{destination: {{host: {pod}}}}}]}}]}}\n"
        )
    };
    let objects = &mesh.control_plane.objects;
    let _younger = objects.put_for_now("oldest-a", &object("oldest-a", "2026-02-01T00:00:00Z", "v2"))?;
    let _older = objects.put_for_now("oldest-b", &object("oldest-b", "2026-01-01T00:00:00Z", "v1"))?;
    service.comes_to("the older one counts", "/v1", &[], |answer| answer.pod() == Some("v1"))?;
    service
        .comes_to("the younger one is not merged into it", "/v2", &[], |answer| answer.status == 404)?
        .expect(404, None)
}

//! What the Gateway API's conformance suite for meshes asks, and what it leaves open. The suite asks again until an answer is
//! right; here every answer has to be. Matches, redirects, rewrites and weights of an HTTPRoute are among the other cases.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weir_tests::http_mesh::{HttpMesh, PORTS, VERSIONS};
use weir_tests::mesh::NAMESPACE;
use weir_tests::wait;
use weir_tests::world::N1;

use super::http2::{CALL, GRPC, HTTP2};
use super::split::{REQUESTS, TOLERANCE, answered_by};
use crate::harness::{Case, Check, note};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "http: Gateway API: a route of a service counts at its address, whatever Host says, and at none of its pods'",
        check: Check::Http(addresses),
    },
    Case { name: "http: Gateway API: a route for a port is none of the other ports", check: Check::Http(ports) },
    Case { name: "http: Gateway API: a GRPCRoute's weights split calls, 70 to 30", check: Check::Http(grpc_weights) },
    Case {
        name: "http: Gateway API: a GRPCRoute's filter changes the fields of what its rule matches, and of nothing else",
        check: Check::Http(grpc_filter),
    },
    Case {
        name: "http: Gateway API: a backend's filter changes that backend's share of the requests alone",
        check: Check::Http(backend_filter),
    },
    Case {
        name: "http: Gateway API: a filter that is not supported is told, and what it is for is answered 500",
        check: Check::Http(unknown_filter),
    },
];

/// How often a request is sent whose answer tells more than who gave it.
const TIMES: usize = 10;
/// How long a change of an object may take to be in effect.
const DELIVERED: Duration = Duration::from_secs(10);

fn addresses(mesh: &HttpMesh) -> Result<()> {
    let (routed, other) = (mesh.service("gw-front")?, mesh.service("gw-beside")?);
    let _route = routed.http_route(
        "[{filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-routed, value: 'yes'}]}}], \
           backendRefs: [{name: v1, port: 80}]}]",
    )?;
    answered_by(&routed, &["v1"])?;
    answered_by(&other, &VERSIONS)?;
    let pod = mesh.pod("v2").ipv4();
    for (what, address, port, host, is_routed) in [
        ("its address", routed.vip(), 80, routed.host(), true),
        ("its address, with another service's host", routed.vip(), 80, other.host(), true),
        ("another service's address, with its host", other.vip(), 80, routed.host(), false),
        ("a pod's address, with its host", pod, PORTS[0].target, routed.host(), false),
    ] {
        for _ in 0..TIMES {
            let answer = routed.ask_at(address, port, "/", &[&format!("-HHost: {host}")]).context(what)?;
            let expected = is_routed.then_some("yes");
            ensure!(answer.status == 200 && answer.header("x-routed") == expected, "{what}: {answer:?}");
            ensure!(!is_routed || answer.pod() == Some("v1"), "{what}: {answer:?}");
            ensure!(address != pod || answer.pod() == Some("v2"), "{what}: {answer:?}");
        }
    }
    Ok(())
}

fn ports(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.service("gw-ports")?;
    let name = service.name();
    let route = |port: u16, pod: &str| {
        format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: {name}-{port}, namespace: {NAMESPACE}}}\n\
             spec:\n  parentRefs: [{{group: \"\", kind: Service, name: {name}, port: {port}}}]\n  \
             rules: [{{backendRefs: [{{name: {pod}, port: 80}}]}}]\n"
        )
    };
    let objects = &mesh.control_plane.objects;
    let _first = objects.put_for_now("gw-ports-80", &route(80, "v1"))?;
    let _second = objects.put_for_now("gw-ports-8081", &route(HTTP2, "v2"))?;
    for (port, more, pods) in
        [(80, "--connections=1", &["v1"][..]), (HTTP2, "--http2", &["v2"]), (GRPC, "--http2", &VERSIONS)]
    {
        wait::until(&format!("{pods:?} answer at port {port}"), DELIVERED, || {
            let seen = service.load(port, &["--requests=60", more])?;
            seen.all_are(200)?;
            ensure!(seen.pods.keys().map(String::as_str).eq(pods.iter().copied()), "{seen:?}");
            Ok(())
        })?;
    }
    Ok(())
}

fn grpc_weights(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.service("gw-grpc-weights")?;
    let backends = [("v1", 70), ("v2", 30), ("v3", 0)];
    let backends = backends.map(|(name, weight)| format!("{{name: {name}, port: {GRPC}, weight: {weight}}}"));
    let _route = service.grpc_route(&format!("[{{backendRefs: [{}]}}]", backends.join(", ")))?;
    answered_by(&service, &["v1", "v2"])?;
    let requests = format!("--requests={REQUESTS}");
    let seen = service.load(GRPC, &[&CALL[..], &["--streams=16", &requests, "--target=/echo.Echo/Unary"]].concat())?;
    let (v1, v2) = (seen.by("v1"), seen.by("v2"));
    note(format!("{v1} of {REQUESTS} calls to v1, {v2} to v2; the weights say 30 % to v2"));
    ensure!(seen.grpc_statuses.get("0") == Some(&REQUESTS) && v1 + v2 == REQUESTS, "{seen:?}");
    ensure!(v2.abs_diff(REQUESTS * 30 / 100) <= TOLERANCE, "{seen:?}");
    Ok(())
}

fn grpc_filter(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.service("gw-grpc-filter")?;
    let rule = |value: &str, changes: &str, pod: &str| {
        format!(
            "{{matches: [{{headers: [{{name: x-case, value: {value}}}]}}], filters: [{{type: RequestHeaderModifier, \
             requestHeaderModifier: {{{changes}}}}}], backendRefs: [{{name: {pod}, port: {GRPC}}}]}}"
        )
    };
    let [set, add, gone] =
        ["set: [{name: x-set, value: rule}]", "add: [{name: x-add, value: rule}]", "remove: [x-gone]"];
    let rules = [rule("set", set, "v1"), rule("add", add, "v1"), rule("remove", gone, "v2")];
    let every = rule("every", &[set, add, gone].join(", "), "v2");
    let _route = service
        .grpc_route(&format!("[{}, {every}, {{backendRefs: [{{name: v3, port: {GRPC}}}]}}]", rules.join(", ")))?;
    answered_by(&service, &["v3"])?;
    // The server tells what came where the content is of another type than gRPC's.
    let sent =
        ["-Hx-set: client", "-Hx-add: client", "-Hx-gone: client", "--http2-prior-knowledge", "--data-binary", "x"];
    for (value, pod, [set, add, gone]) in [
        ("set", "v1", [Some("rule"), Some("client"), Some("client")]),
        ("add", "v1", [Some("client"), Some("client, rule"), Some("client")]),
        ("remove", "v2", [Some("client"), Some("client"), None]),
        ("every", "v2", [Some("rule"), Some("client, rule"), None]),
        ("other", "v3", [Some("client"); 3]),
    ] {
        for _ in 0..3 {
            let which = format!("-Hx-case: {value}");
            let answer = service.ask_at(service.vip(), GRPC, "/echo.Echo/Unary", &[&sent[..], &[&which]].concat())?;
            answer.expect(200, Some(pod)).context(value)?;
            let echo = answer.echo()?;
            for (name, expected) in [("x-set", set), ("x-add", add), ("x-gone", gone)] {
                ensure!(echo.header(name).as_deref() == expected, "{value}: {name}: {expected:?} expected: {echo:?}");
            }
        }
    }
    Ok(())
}

fn backend_filter(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.service("gw-backend")?;
    let filter =
        |changes: &str| format!("filters: [{{type: RequestHeaderModifier, requestHeaderModifier: {{{changes}}}}}]");
    let first = filter("set: [{name: x-backend, value: one}]");
    let second = filter("set: [{name: x-backend, value: two}], remove: [x-gone]");
    let _route = service.http_route(&format!(
        "[{{backendRefs: [{{name: v1, port: 80, {first}}}, {{name: v2, port: 80, {second}}}]}}]"
    ))?;
    answered_by(&service, &["v1", "v2"])?;
    let mut seen = BTreeSet::new();
    // That one of the two is missed by chance has a probability of 10⁻¹².
    for _ in 0..40 {
        let answer = service.ask("/", &["-Hx-gone: client"])?;
        let echo = answer.echo()?;
        let pod = answer.pod().with_context(|| format!("no pod answered: {answer:?}"))?;
        let expected = if pod == "v1" { ("one", Some("client")) } else { ("two", None) };
        let found = (echo.header("x-backend"), echo.header("x-gone"));
        ensure!((found.0.as_deref(), found.1.as_deref()) == (Some(expected.0), expected.1), "{pod}: {echo:?}");
        seen.insert(pod.to_owned());
    }
    ensure!(seen.len() == 2, "only {seen:?} answered");
    Ok(())
}

fn unknown_filter(mesh: &HttpMesh) -> Result<()> {
    const FILTER: &str = "{type: ExtensionRef, extensionRef: {group: x.test, kind: Filter, name: own}}";
    const HALF: u64 = REQUESTS / 2;
    let service = mesh.service("gw-filter")?;
    let _route = service.http_route(&format!(
        "[{{matches: [{{path: {{value: /rule}}}}], filters: [{FILTER}], backendRefs: [{{name: v1, port: 80}}]}}, \
          {{matches: [{{path: {{value: /half}}}}], backendRefs: [{{name: v1, port: 80, filters: [{FILTER}]}}, {{name: v2, port: 80}}]}}, \
          {{backendRefs: [{{name: v3, port: 80}}]}}]"
    ))?;
    service.comes_to("the route counts", "/rule", &[], |answer| answer.status == 500)?;
    let load = |path: &str| service.load(80, &[&format!("--requests={REQUESTS}"), &format!("--target={path}")]);
    load("/rule")?.all_are(500)?;
    let seen = load("/half")?;
    let failed = seen.statuses.get(&500).copied().unwrap_or_default();
    note(format!("{failed} of {REQUESTS} requests answered 500, where one of two backends has such a filter"));
    ensure!(seen.by("v2") + failed == REQUESTS && failed.abs_diff(HALF) <= TOLERANCE, "{seen:?}");
    let seen = load("/other")?;
    ensure!(seen.by("v3") == REQUESTS, "{seen:?}");
    for place in ["spec.rules[0].filters[0].type", "spec.rules[1].backendRefs[0].filters[0].type"] {
        wait::until(&format!("{place} is told"), DELIVERED, || {
            let told = mesh.said() + &mesh.agents[N1].weir(&["status", "--config"])?.stdout;
            let line = told.lines().find(|line| line.contains(place) && line.contains("ExtensionRef"));
            line.map(drop).with_context(|| told.clone())
        })?;
    }
    Ok(())
}

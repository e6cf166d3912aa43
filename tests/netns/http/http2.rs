//! HTTP/2 with prior knowledge, and gRPC over it: every stream is a request of its own.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weir_tests::http_mesh::{HttpMesh, VERSIONS};

use super::balancing::{REQUESTS, is_spread, known};
use super::split::answered_by;
use crate::harness::{Case, Check, note};

pub(crate) const CASES: &[Case] = &[
    Case { name: "http2: requests of one connection are spread over all pods", check: Check::Http(one_connection) },
    Case {
        name: "http2: gRPC calls of one connection are spread over all pods, with their trailers",
        check: Check::Http(grpc),
    },
    Case { name: "http2: a GRPCRoute matches service, method and headers", check: Check::Http(grpc_route) },
    Case {
        name: "http2: answers that the mesh makes for a gRPC client have its status",
        check: Check::Http(grpc_answers),
    },
    Case { name: "http2: bodies of any length pass bit by bit, and trailers after them", check: Check::Http(bodies) },
    Case { name: "http2: an HTTP port takes it, an HTTP/2 port takes HTTP/1", check: Check::Http(either) },
    Case {
        name: "http2: a request that HTTP/1 cannot say is its client's fault, where the server speaks that",
        check: Check::Http(unwritable),
    },
    Case { name: "http2: routes change under load, and no request fails", check: Check::Http(route_changes) },
    Case { name: "http2: many streams on few connections, all exact", check: Check::Http(many_streams) },
];

pub(super) const HTTP2: u16 = 8081;
pub(super) const GRPC: u16 = 9000;
/// Arguments of a load that makes unary calls.
pub(super) const CALL: [&str; 5] =
    ["--http2", "--method=POST", "--field=content-type: application/grpc", "--field=te: trailers", "--bytes=100"];

fn one_connection(mesh: &HttpMesh) -> Result<()> {
    let service = known(mesh, "http2-spread")?;
    let requests = format!("--requests={REQUESTS}");
    for streams in ["--streams=1", "--streams=16"] {
        is_spread(&service.load(HTTP2, &["--http2", streams, &requests])?)?;
    }
    Ok(())
}

fn grpc(mesh: &HttpMesh) -> Result<()> {
    let service = known(mesh, "grpc-spread")?;
    let requests = format!("--requests={REQUESTS}");
    let seen = service.load(GRPC, &[&CALL[..], &["--streams=16", &requests, "--target=/echo.Echo/Unary"]].concat())?;
    is_spread(&seen)?;
    // The message that came back is the one that was sent, with its five bytes of frame.
    ensure!(seen.grpc_statuses.get("0") == Some(&REQUESTS) && seen.bytes == REQUESTS * 105, "{seen:?}");
    let failing =
        service.load(GRPC, &[&CALL[..], &["--requests=10", "--target=/echo.Echo/Unary?grpc_status=7"]].concat())?;
    ensure!(failing.grpc_statuses.get("7") == Some(&10), "{failing:?}");
    Ok(())
}

fn grpc_route(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.service("grpc-route")?;
    let _route = service.grpc_route(
        "[{matches: [{method: {service: echo.Echo, method: One}}], backendRefs: [{name: v1, port: 9000}]}, \
          {matches: [{method: {service: echo.Echo}}], backendRefs: [{name: v2, port: 9000}]}, \
          {matches: [{headers: [{name: x-user, value: eve}]}], backendRefs: [{name: v3, port: 9000}]}]",
    )?;
    let call = |path: &str, more: &str| {
        let target = format!("--target={path}");
        service.load(GRPC, &[&CALL[..], &["--requests=10", &target, more]].concat())
    };
    weir_tests::wait::until("the route counts", Duration::from_secs(10), || {
        let seen = call("/echo.Echo/One", "--field=x-a: b")?;
        ensure!(seen.by("v1") == 10, "{seen:?}");
        Ok(())
    })?;
    for (path, more, pod) in [
        ("/echo.Echo/One", "--field=x-a: b", "v1"),
        ("/echo.Echo/Two", "--field=x-a: b", "v2"),
        ("/other.Echo/Two", "--field=x-user: eve", "v3"),
    ] {
        let seen = call(path, more)?;
        ensure!(seen.by(pod) == 10, "{path} {more}: {pod} expected: {seen:?}");
    }
    let nobodys = call("/other.Echo/Two", "--field=x-a: b")?;
    ensure!(nobodys.pods.is_empty() && nobodys.grpc_statuses.get("12") == Some(&10), "{nobodys:?}");
    Ok(())
}

fn grpc_answers(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.service("grpc-answers")?;
    let _route = service.virtual_service(
        "[{match: [{uri: {prefix: /slow}}], timeout: 0.2s, route: [{destination: {host: v1}}]}, \
          {match: [{uri: {prefix: /nobody}}], route: [{destination: {host: nobody}}]}, \
          {match: [{uri: {prefix: /abort}}], route: [{destination: {host: v1}}], \
           fault: {abort: {grpcStatus: RESOURCE_EXHAUSTED, percentage: {value: 100}}}}]",
    )?;
    service.comes_to("the route counts", "/other", &[], |answer| answer.status == 404)?;
    for (path, status) in [("/slow?delay_ms=3000", "14"), ("/nobody", "14"), ("/none", "12"), ("/abort", "8")] {
        let target = format!("--target={path}");
        let seen = service.load(GRPC, &[&CALL[..], &["--requests=2", &target]].concat())?;
        ensure!(seen.grpc_statuses.get(status) == Some(&2) && seen.statuses.get(&200) == Some(&2), "{path}: {seen:?}");
    }
    Ok(())
}

fn bodies(mesh: &HttpMesh) -> Result<()> {
    for version in ["v1", "v2"] {
        let service = mesh.version(version);
        for bytes in [0_u64, 1, 16_384, 65_536, 3_000_001] {
            let (upload, size) = (format!("--bytes={bytes}"), format!("--target=/?size={bytes}"));
            let seen =
                service.load(HTTP2, &["--http2", "--streams=3", "--requests=6", "--method=POST", &upload, &size])?;
            seen.all_are(200)?;
            ensure!(seen.bytes == bytes * 6, "{version}: {bytes} bytes, six times: {seen:?}");
        }
    }
    let service = mesh.version("v1");
    let trailers = service.ask_at(service.vip(), HTTP2, "/?trailers=1", &["--http2-prior-knowledge"])?;
    ensure!(trailers.version == "HTTP/2" && trailers.body.trim_end().ends_with("x-checked: yes"), "{trailers:?}");
    Ok(())
}

fn either(mesh: &HttpMesh) -> Result<()> {
    for version in ["v1", "v2"] {
        let service = mesh.version(version);
        for (port, arguments, expected) in [
            (80, &["--http2-prior-knowledge"][..], "HTTP/2"),
            (80, &[], "HTTP/1.1"),
            (HTTP2, &["--http2-prior-knowledge"], "HTTP/2"),
            (HTTP2, &[], "HTTP/1.1"),
        ] {
            let answer = service.ask_at(service.vip(), port, "/", arguments)?;
            answer.expect(200, Some(version)).with_context(|| format!("port {port}, {expected}"))?;
            ensure!(answer.version == expected, "port {port}: {expected} expected: {answer:?}");
            // The server is spoken to as its port declares.
            let spoken = if port == HTTP2 { "HTTP/2.0" } else { "HTTP/1.1" };
            ensure!(answer.echo()?.version == spoken, "port {port}: {answer:?}");
        }
    }
    Ok(())
}

/// An authority that HTTP/2 lets pass and `Host` may not be, as h2load sends it for an IPv6 address.
fn unwritable(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.version("v2");
    let asked = ["--http2-prior-knowledge", "-HHost: a::b"];
    let answer = service.ask_at(service.vip(), 80, "/?key=unwritable", &asked)?;
    answer.expect(400, None)?;
    ensure!(mesh.arrived("unwritable")? == [0, 0, 0]);
    Ok(())
}

fn route_changes(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.service("http2-changing")?;
    answered_by(&service, &VERSIONS)?;
    let load = service.start_load(HTTP2, &["--http2", "--streams=8"])?;
    for version in VERSIONS {
        let _route = service.http_route(&format!("[{{backendRefs: [{{name: {version}, port: 8081}}]}}]"))?;
        answered_by(&service, &[version])?;
    }
    answered_by(&service, &VERSIONS)?;
    let seen = load.end()?;
    note(format!("{} requests, {} failed, during 4 changes", seen.answered, seen.failed));
    seen.all_are(200)?;
    ensure!(VERSIONS.iter().all(|version| seen.by(version) > 0), "{seen:?}");
    Ok(())
}

fn many_streams(mesh: &HttpMesh) -> Result<()> {
    let service = known(mesh, "http2-many")?;
    let seen = service.load(
        HTTP2,
        &["--http2", "--connections=4", "--streams=32", "--requests=3000", "--bytes=300", "--target=/?size=2000"],
    )?;
    seen.all_are(200)?;
    ensure!(seen.bytes == 3000 * 2000, "{seen:?}");
    Ok(())
}

//! What clients say that reaches no application: fields that are between proxies, and targets that are none.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use weir_tests::http_mesh::{Echo, HttpMesh};
use weir_tests::test_app;

use super::inbound::decided_about;
use crate::harness::{Case, Check};

pub(crate) const CASES: &[Case] = &[
    Case { name: "http: what only a trusted proxy may say reaches no application", check: Check::Http(control_fields) },
    Case {
        name: "http: the path before a rule rewrote it is the one that was sent, whatever the client says",
        check: Check::Http(original_path),
    },
    Case { name: "http: targets of foreign schemes and beyond ASCII are answered 400", check: Check::Http(targets) },
];

/// Where http-echo serves in a pod.
const ECHO: u16 = 8080;
/// What an Envoy reads of proxies that it trusts, and tells them. The agent of a client reads some of them of the pod's own requests.
const SENT: [&str; 7] = [
    "-HX-Envoy-Internal: true",
    "-Hx-envoy-force-trace: 1",
    "-Hx_envoy_internal: true",
    "-Hx-envoy-ip-tags: trusted",
    "-Hx-envoy-max-retries: 3",
    "-Hx-envoy-retry-on: 5xx",
    "-Hx-envoy-upstream-rq-timeout-ms: 9000",
];

fn control_fields(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.version("v2");
    let reaches = |echo: &Echo| -> Vec<String> {
        let names = echo.headers.iter().map(|(name, _)| name.to_ascii_lowercase());
        names
            .filter(|name| SENT.iter().any(|sent| sent.to_ascii_lowercase().starts_with(&format!("-h{name}:"))))
            .collect()
    };
    // At the client's agent, and at the pod's alone, where the client's moves bytes.
    let _read = decided_about(mesh, "v2")?;
    for (port, more) in [(80, &[][..]), (8081, &["--http2-prior-knowledge"]), (8082, &[])] {
        let sent = [&SENT[..], &["-Hx-envoy-original-path: /before"], more].concat();
        let echo = service.ask_at(service.vip(), port, "/", &sent)?.echo()?;
        ensure!(reaches(&echo).is_empty(), "port {port}: {echo:?}");
        // As through a sidecar: what a proxy before has done is passed on, as nobody has rewritten anything here.
        ensure!(echo.header("x-envoy-original-path").as_deref() == Some("/before"), "port {port}: {echo:?}");
    }
    Ok(())
}

fn original_path(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.service("original-path")?;
    let _route = service.virtual_service(
        "[{match: [{uri: {prefix: /old/}}], rewrite: {uri: /new/}, route: [{destination: {host: v1}}]}]",
    )?;
    service.comes_to("the route counts", "/none", &[], |answer| answer.status == 404)?;
    let forged = ["-Hx-envoy-original-path: /forged", "-HX_Envoy_Original_Path: /forged"];
    for sent in [&[][..], &forged] {
        let echo = service.ask("/old/a?q=1", sent)?.echo().with_context(|| format!("{sent:?}"))?;
        let said = echo.headers.iter().filter(|(name, _)| name.replace('_', "-") == "x-envoy-original-path");
        let said: Vec<&str> = said.map(|(_, value)| &**value).collect();
        ensure!(echo.target == "/new/a?q=1" && said == ["/old/a?q=1"], "{sent:?}: {echo:?}");
    }
    Ok(())
}

fn targets(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.version("v2");
    let _read = decided_about(mesh, "v2")?;
    let (host, pod) = (service.host(), SocketAddr::new(mesh.pod("v2").ipv4(), ECHO));
    for (target, status) in [
        (format!("http://{host}/?key=targets"), 200),
        ("/%C3%A9?key=targets".to_owned(), 200),
        (format!("ftp://{host}/?key=foreign"), 400),
        (format!("view-source://{host}/?key=foreign"), 400),
        ("/\u{e9}?key=foreign".to_owned(), 400),
        ("/?key=foreign&\u{e9}".to_owned(), 400),
    ] {
        // At the client's agent, and at the pod's alone.
        let text = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        for to in [SocketAddr::new(service.vip(), 80), pod] {
            let seen = test_app::probe(&mesh.client.place, to.ip(), to.port(), &text)?;
            ensure!(seen.received.starts_with(&format!("HTTP/1.1 {status} ")), "{target} at {to}: {seen:?}");
        }
    }
    ensure!(mesh.arrived("foreign")? == [0, 0, 0], "the application was asked");
    Ok(())
}

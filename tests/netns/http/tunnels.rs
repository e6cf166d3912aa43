//! Connections that are to carry something else than requests: tunnels, and an upgrade that is never made.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde::Deserialize;
use weir_tests::http_mesh::{Answer, HttpMesh};
use weir_tests::test_app;

use super::http2::HTTP2;
use crate::harness::{Case, Check};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "http: a tunnel by CONNECT carries bytes both ways, in each version of HTTP",
        check: Check::Http(tunnel),
    },
    Case { name: "http: an upgrade to h2c is a request of HTTP/1, and never made", check: Check::Http(never_h2c) },
];

/// What a client of a tunnel prints.
#[derive(Debug, PartialEq, Deserialize)]
struct Seen {
    status: u16,
    pod: Option<String>,
    bytes: u64,
    exact: bool,
}

fn tunnel(mesh: &HttpMesh) -> Result<()> {
    // On the node of the client, and on another one.
    for version in ["v1", "v2"] {
        let service = mesh.version(version);
        for (port, more) in [(80, &[][..]), (HTTP2, &["--http2"])] {
            for bytes in [0_u64, 5, 3_000_001] {
                let [at, to] = [SocketAddr::new(service.vip(), port).to_string(), format!("{}:{port}", service.host())];
                let own = ["tunnel".to_owned(), at, bytes.to_string(), format!("--to={to}")];
                let arguments: Vec<&str> = own.iter().map(String::as_str).chain(more.iter().copied()).collect();
                let seen: Seen = test_app::client(&mesh.client.place, Duration::from_secs(20), &arguments)?;
                let expected = Seen { status: 200, pod: Some(version.to_owned()), bytes, exact: true };
                ensure!(seen == expected, "{version} port {port}: {seen:?}");
            }
        }
    }
    Ok(())
}

fn never_h2c(mesh: &HttpMesh) -> Result<()> {
    for version in ["v1", "v2"] {
        let service = mesh.version(version);
        let asks = format!(
            "GET /h2c HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: \
             AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n",
            service.host()
        );
        // The connection goes on as it was.
        let again = format!("GET /again HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", service.host());
        let seen = service.raw(&(asks + &again))?;
        ensure!(seen.end == "eof" && !seen.received.contains("HTTP/1.1 101"), "{seen:?}");
        let second = seen.received.rfind("HTTP/1.1 200 ").unwrap_or_default();
        let (first, second) = seen.received.split_at(second);
        for (text, target) in [(first, "/h2c"), (second, "/again")] {
            let answer = Answer::parse(text)?;
            answer.expect(200, Some(version))?;
            let echo = answer.echo()?;
            ensure!(echo.target == target && answer.header("upgrade").is_none(), "{answer:?}");
            for name in ["upgrade", "http2-settings", "connection"] {
                ensure!(echo.header(name).is_none(), "{name} came to the application: {echo:?}");
            }
        }
        // A client that asks so by itself, and is content with HTTP/1.
        let curl = service.ask("/", &["--http2"])?;
        curl.expect(200, Some(version))?;
        ensure!(curl.version == "HTTP/1.1", "{curl:?}");
    }
    Ok(())
}

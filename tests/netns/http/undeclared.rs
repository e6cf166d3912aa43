//! Ports of which nobody has declared what they carry: whoever speaks first says it.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weir_tests::agent::binary;
use weir_tests::http_mesh::{HttpMesh, HttpService, Port};
use weir_tests::mesh::NAMESPACE;
use weir_tests::objects::ForNow;
use weir_tests::program::Program;
use weir_tests::test_app::{self, BANNER, Seen};
use weir_tests::wait;

use super::inbound::policy;
use crate::harness::{Case, Check};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "http detection: where nothing is declared a server that speaks first is heard, and requests take their routes",
        check: Check::Http(at_the_source),
    },
    Case {
        name: "http detection: with policy about requests a server that speaks first is heard where policy allows its bytes",
        check: Check::Http(at_the_destination),
    },
];

/// The port whose server speaks HTTP.
const WEB: u16 = 8082;
/// Where http-echo serves in a pod.
const ECHO_OF_REQUESTS: u16 = 8080;
/// Longer than a client is waited for before its server may speak.
const LATE: Duration = Duration::from_millis(300);
/// How long a change of an object may take to be in effect.
const DELIVERED: Duration = Duration::from_secs(10);
/// What the server says that speaks first.
const GREETING: &str = "220 ready\r\n";

/// Starts a server in the pod of a version that speaks first.
fn serve_banner(mesh: &HttpMesh, version: &str) -> Result<Program> {
    let command =
        [&binary("weir-test-app")?.display().to_string(), "serve", &format!("banner:{BANNER}")].map(str::to_owned);
    let mut server = mesh.pod(version).place.spawn(&command)?;
    server.listens_on(BANNER)?;
    Ok(server)
}

/// A service of one version whose ports declare nothing: for requests, for a server that speaks first, and for one that returns
/// every byte.
fn service<'a>(mesh: &'a HttpMesh, name: &str, version: &str) -> Result<HttpService<'a>> {
    let port = |name, number, target| Port { name, number, target };
    let ports =
        [port("a", WEB, ECHO_OF_REQUESTS), port("b", BANNER, BANNER), port("c", test_app::ECHO, test_app::ECHO)];
    mesh.service_at_ports(name, version, &ports)
}

fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
}

fn is_status(seen: &Seen, status: u16) -> Result<()> {
    ensure!(seen.received.starts_with(&format!("HTTP/1.1 {status} ")), "{status} expected: {seen:?}");
    Ok(())
}

/// A client that is silent hears the server, and so does one that begins with what could become HTTP.
fn is_heard(mesh: &HttpMesh, address: IpAddr) -> Result<()> {
    let place = &mesh.client.place;
    for (sent, late) in [("", false), ("x", false), ("x", true), ("x\r\n", false)] {
        let silent = if late { LATE } else { Duration::ZERO };
        let seen = test_app::probe_late(place, address, BANNER, silent, sent)?;
        ensure!(seen.received == format!("{GREETING}{sent}") && seen.end == "open", "{sent:?} {late}: {seen:?}");
    }
    Ok(())
}

fn at_the_source(mesh: &HttpMesh) -> Result<()> {
    for version in ["v1", "v2"] {
        let _server = serve_banner(mesh, version)?;
        let service = service(mesh, &format!("undeclared-{version}"), version)?;
        let _route = service.virtual_service(&format!(
            "[{{match: [{{uri: {{exact: /routed}}}}], directResponse: {{status: 299}}}}, {{route: [{{destination: {{host: {}}}}}]}}]",
            service.name()
        ))?;
        wait::until("the route counts", DELIVERED, || {
            service.ask_at(service.vip(), WEB, "/routed", &[])?.expect(299, None)
        })
        .with_context(|| mesh.said())?;
        let place = &mesh.client.place;
        for vip in [service.vip(), service.vip6()] {
            let check = || {
                is_heard(mesh, vip)?;
                for silent in [Duration::ZERO, LATE] {
                    is_status(&test_app::probe_late(place, vip, WEB, silent, &request("/routed"))?, 299)?;
                    is_status(&test_app::probe_late(place, vip, WEB, silent, &request("/"))?, 200)?;
                    // Neither speaks first: what the client says could become HTTP, and does not.
                    let seen = test_app::probe_late(place, vip, test_app::ECHO, silent, "PING")?;
                    ensure!(seen.received == "PING", "{seen:?}");
                }
                Ok(())
            };
            check().with_context(|| format!("{version} at {vip}"))?;
        }
    }
    Ok(())
}

/// A RequestAuthentication about a version's pod: its requests are looked into, and its bytes are nobody's to forbid.
fn tokens<'a>(mesh: &'a HttpMesh, version: &str) -> Result<ForNow<'a>> {
    const KEYS: &str = r#"{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "1", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    let yaml = format!(
        "apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {{name: undeclared, namespace: {NAMESPACE}}}\nspec:\n  \
         selector: {{matchLabels: {{version: {version}}}}}\n  jwtRules: [{{issuer: undeclared, jwks: '{KEYS}'}}]\n"
    );
    mesh.control_plane.objects.put_for_now("undeclared", &yaml)
}

fn at_the_destination(mesh: &HttpMesh) -> Result<()> {
    for version in ["v1", "v2"] {
        let _server = serve_banner(mesh, version)?;
        let service = service(mesh, &format!("judged-{version}"), version)?;
        let (place, pod) = (&mesh.client.place, mesh.pod(version).ipv4());
        let asked = |silent: Duration, request: &str, status: u16| {
            is_status(&test_app::probe_late(place, pod, ECHO_OF_REQUESTS, silent, request)?, status)
        };
        let comes_to = |what: &str, request: &str, status: u16| {
            wait::until(&format!("{version}: {what}"), DELIVERED, || asked(Duration::ZERO, request, status))
        };
        {
            let _tokens = tokens(mesh, version)?;
            let with_token = request("/").replace("host: a", "host: a\r\nauthorization: Bearer a.b.c");
            comes_to("tokens are verified", &with_token, 401)?;
            for address in [service.vip(), pod] {
                is_heard(mesh, address).with_context(|| format!("{version} at {address}"))?;
            }
            asked(LATE, &with_token, 401)?;
            asked(LATE, &request("/"), 200)?;
        }
        {
            // What a rule of DENY asks about requests, it does not ask about other bytes: it denies all of these.
            let _policy = policy(mesh, version, "DENY", "[{to: [{operation: {paths: [/never]}}]}]")?;
            comes_to("requests are judged", &request("/never"), 403)?;
            wait::until("the server that speaks first is not heard", DELIVERED, || {
                let seen = test_app::probe_late(place, pod, BANNER, LATE, "x\r\n")?;
                ensure!(seen.refused_by_answer(), "{seen:?}");
                Ok(())
            })?;
            asked(LATE, &request("/never"), 403)?;
            asked(LATE, &request("/"), 200)?;
        }
        comes_to("no policy is left", &request("/never"), 200)?;
    }
    Ok(())
}

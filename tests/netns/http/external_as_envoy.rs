//! External authorization beside a real Envoy: the same authorizer, asked with the same configuration, makes the same of the same request.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use weir_tests::envoy::{Envoy, bootstrap};
use weir_tests::http_mesh::{Answer, HttpMesh};
use weir_tests::world::N1;

use super::external_authorization::{ALLOW, AUTHORIZER, authorizers, custom};
use super::inbound::is_denied;
use crate::harness::{Case, Check};

pub(crate) const CASES: &[Case] = &[Case {
    name: "external authorization: the authorizer decides as it does for Envoy",
    check: Check::Http(as_envoy),
}];

/// Where http-echo serves in a pod.
const ECHO: u16 = 8080;

/// Providers, the ports at which Envoy asks in the same way, and its configurations for that.
fn of_envoy() -> [(&'static str, u16, Value); 4] {
    let grpc = |cluster: &str| json!({ "envoy_grpc": { "cluster_name": cluster }, "timeout": "5s" });
    let names = |patterns: &[Value]| json!({ "patterns": patterns });
    let override_field = json!({ "key": "x-ext-authz-additional-header-override", "value": "by-weir" });
    let http = json!({
        "server_uri": { "uri": "http://authz", "cluster": "http", "timeout": "5s" },
        "authorization_request": { "headers_to_add": [override_field] },
        "authorization_response": {
            "allowed_upstream_headers": names(&[json!({ "exact": "x-ext-authz-check-result" })]),
            "allowed_client_headers_on_success": names(&[json!({ "prefix": "x-ext-authz-additional-" })]),
            "allowed_client_headers": names(&[json!({ "prefix": "x-ext-authz-check-" })]),
        },
    });
    let v3 = "V3";
    [
        ("over-grpc", 9401, json!({ "grpc_service": grpc("grpc"), "transport_api_version": v3 })),
        (
            "over-http",
            9402,
            json!({
                "http_service": http, "transport_api_version": v3,
                "allowed_headers": names(&[json!({ "exact": "x-ext-authz" })]),
            }),
        ),
        (
            "away",
            9403,
            json!({ "grpc_service": grpc("away"), "transport_api_version": v3, "status_on_error": { "code": 503 } }),
        ),
        (
            "whole",
            9404,
            json!({
                "grpc_service": grpc("grpc"), "transport_api_version": v3, "with_request_body": { "max_request_bytes": 64 },
            }),
        ),
    ]
}

/// What there is to compare of an answer: of a denial all that the client sees, else what the application does.
fn compared(answer: &Answer) -> Result<String> {
    let field = |name: &str| answer.header(name).map(str::to_owned);
    if answer.status == 200 && field("grpc-status").is_none() {
        let echo = answer.echo()?;
        let seen = ["x-ext-authz-check-result", "x-ext-authz-additional-header-override"].map(|name| echo.header(name));
        let given = field("x-ext-authz-additional-header-override");
        return Ok(format!("{} {} {seen:?} {given:?} {}", echo.method, echo.target, echo.body_bytes));
    }
    let result = field("x-ext-authz-check-result");
    let grpc = (field("grpc-status"), field("grpc-message"));
    Ok(format!("{} {:?} {result:?} {:?} {grpc:?}", answer.status, answer.body, field("content-type")))
}

fn as_envoy(mesh: &HttpMesh) -> Result<()> {
    let _authorizers = authorizers(mesh)?;
    let asker = mesh.world.nodes[N1].pod("asker")?;
    let [grpc, http, away] = AUTHORIZER.map(|port| SocketAddr::new(mesh.pod("v3").ipv4(), port.target));
    let clusters = [("grpc", grpc, true), ("http", http, false), ("away", away, true)];
    let kinds = of_envoy();
    let filters = kinds.clone().map(|(_, port, config)| (port, vec![bootstrap::ext_authz(&config)]));
    let application = SocketAddr::new(mesh.pod("v3").ipv4(), ECHO);
    let bootstrap = bootstrap::asking(application, &clusters, &filters);
    let _envoy = Envoy::start(&asker.place, mesh.world.run(), &bootstrap)?;
    let service = mesh.version("v2");
    let large = "x".repeat(65);
    let requests: [(&str, &[&str]); 7] = [
        ("/guarded?x=1", &[ALLOW]),
        ("/guarded", &["-Hx-ext-authz: never"]),
        (
            "/guarded",
            &[ALLOW, "-Hx-ext-authz-check-result: forged", "-Hx-ext-authz-additional-header-override: forged"],
        ),
        ("/guarded", &[ALLOW, "--data-binary", "some-content"]),
        ("/guarded", &[ALLOW, "--data-binary", &large]),
        ("/guarded", &["--head"]),
        (
            "/guarded.Echo/Unary",
            &["--http2-prior-knowledge", "-HContent-Type: application/grpc", "-HTE: trailers", "-XPOST"],
        ),
    ];
    for (provider, port, _) in kinds {
        let status = if provider == "away" { 503 } else { 403 };
        let policy = custom(mesh, "v2", provider)?;
        service
            .comes_to(&format!("{provider} decides"), "/guarded", &[], |answer| {
                answer.status == status && !is_denied(answer)
            })
            .with_context(|| mesh.logs())?;
        for (path, more) in requests {
            let url = format!("http://127.0.0.1:{port}{path}");
            let command = [&["curl", "-sS", "--include", "--path-as-is", "--max-time", "20"], more, &[&*url]].concat();
            let by_envoy = Answer::parse(&asker.place.run(&command)?)?;
            let by_weir = service.ask_at(service.vip(), 8082, path, more)?;
            let [by_envoy, by_weir] = [&by_envoy, &by_weir].map(compared);
            let (by_envoy, by_weir) = (by_envoy?, by_weir?);
            ensure!(by_envoy == by_weir, "{provider}, {path} {more:?}:\nEnvoy {by_envoy}\nWeir  {by_weir}");
        }
        drop(policy);
        service.comes_to("nobody is asked any more", "/guarded", &[], |answer| answer.status == 200)?;
    }
    Ok(())
}

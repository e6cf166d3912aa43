//! Limits that a rate limit service keeps: Envoy's own server decides for Weir as for Envoy, and what comes of one that is away, slow
//! or no such service.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::json;
use weir_tests::envoy::Envoy;
use weir_tests::http_mesh::{Answer, HttpMesh, HttpService, Port};
use weir_tests::peers;
use weir_tests::place::Place;
use weir_tests::program::Program;

use super::rate_limits::{V2, are_gone, limits};
use crate::count::Counter;
use crate::harness::{Case, Check};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "rate limit service: Envoy's own server decides for Weir as for Envoy, also while it is away",
        check: Check::Http(as_envoy),
    },
    Case {
        name: "rate limit service: one that is slow, or none at all, lets pass or refuses as the limit says, and is told",
        check: Check::Http(faulty),
    },
];

/// Where the server listens in the pod `v3`.
const PORT: u16 = 18_081;
/// Where http-echo serves.
const ECHO: u16 = 8080;
/// Where Envoy does.
const ENVOY: u16 = 18_090;
/// Each tenant has three requests in an hour.
const CONFIG: &str = "domain: shop\ndescriptors:\n- key: tenant\n  rate_limit: {unit: hour, requests_per_unit: 3}\n";

/// Envoy's rate limit server with its store, in the pod `v3`.
struct Server {
    server: Program,
    _store: Program,
}

impl Server {
    fn start(mesh: &HttpMesh) -> Result<Self> {
        let place = &mesh.pod("v3").place;
        let folder = mesh.world.run().folder().join("ratelimit");
        fs::create_dir_all(folder.join("limits/config"))?;
        fs::write(folder.join("limits/config/shop.yaml"), CONFIG)?;
        let mut store = place.spawn(&["redis-server", "--port", "6379", "--save", "", "--bind", "127.0.0.1"])?;
        store.listens_on(6379)?;
        let mut command = vec!["env".to_owned()];
        let root = format!("RUNTIME_ROOT={}", folder.display());
        let settings = [
            "USE_STATSD=false",
            "REDIS_SOCKET_TYPE=tcp",
            "REDIS_URL=127.0.0.1:6379",
            "RUNTIME_SUBDIRECTORY=limits",
            "RUNTIME_WATCH_ROOT=false",
            "LOG_LEVEL=warn",
            "PORT=18080",
            "DEBUG_PORT=16070",
            "GRPC_PORT=18081",
            &root,
        ];
        command.extend(settings.map(str::to_owned));
        command.push(peers::go("ratelimit")?);
        let mut server = place.spawn(&command)?;
        server.listens_on(PORT)?;
        Ok(Self { server, _store: store })
    }
}

/// A limit on `/tenants` that a service keeps.
fn global(service: &str, port: u16, fail_open: bool) -> String {
    format!(
        "limits: [{{name: tenants, match: [{{to: [{{operation: {{paths: [/tenants]}}}}]}}], global: {{service: {service}, port: {port}, \
         domain: shop, timeout: 500ms, failOpen: {fail_open}, descriptors: [{{entries: [{{key: tenant, header: x-tenant}}]}}]}}}}]"
    )
}

/// An Envoy in the pod `v3` that asks the server there about each request, before http-echo of the same pod.
fn envoy(mesh: &HttpMesh, fails_open: bool) -> Result<Envoy> {
    let limit = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimit",
        "domain": "shop", "timeout": "0.5s", "failure_mode_deny": !fails_open, "enable_x_ratelimit_headers": "DRAFT_VERSION_03",
        "rate_limit_service": {"transport_api_version": "V3", "grpc_service": {"envoy_grpc": {"cluster_name": "limits"}}},
    });
    let action = json!({"actions": [{"request_headers": {"header_name": "x-tenant", "descriptor_key": "tenant"}}]});
    let route = json!({
        "match": {"prefix": "/"}, "route": {"cluster": "echo", "rate_limits": [action]},
    });
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in", "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            {"name": "limit", "typed_config": limit},
            {"name": "router", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}},
        ],
    });
    let socket = |port: u16| json!({"socket_address": {"address": "127.0.0.1", "port_value": port}});
    let endpoint = |name: &str, port: u16| json!({"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": socket(port)}}]}]});
    let http2 = json!({
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    });
    let bootstrap = json!({
        "admin": {"address": socket(9901)},
        "static_resources": {
            "listeners": [{"name": "in", "address": socket(ENVOY),
                "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}]}],
            "clusters": [
                {"name": "limits", "type": "STATIC", "connect_timeout": "1s", "load_assignment": endpoint("limits", PORT),
                    "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2}},
                {"name": "echo", "type": "STATIC", "connect_timeout": "1s", "load_assignment": endpoint("echo", ECHO)},
            ],
        },
    });
    Envoy::start(&mesh.pod("v3").place, mesh.world.run(), &bootstrap)
}

fn ask_envoy(place: &Place, tenant: &str) -> Result<Answer> {
    let url = format!("http://127.0.0.1:{ENVOY}/tenants");
    let output =
        place.output(&["curl", "-sS", "--include", "--max-time", "20", &format!("-Hx-tenant: {tenant}"), &url])?;
    ensure!(output.success, "curl {url}: {}", output.summary());
    Answer::parse(&output.stdout)
}

fn ask(service: &HttpService<'_>, tenant: &str) -> Result<Answer> {
    service.ask("/tenants", &[&format!("-Hx-tenant: {tenant}")])
}

fn as_envoy(mesh: &HttpMesh) -> Result<()> {
    let mut running = Server::start(mesh)?;
    let port = Port { name: "grpc", number: 8081, target: PORT };
    let _server = mesh.service_at_ports("ratelimit", "v3", &[port])?;
    let (service, place) = (mesh.version("v2"), &mesh.pod("v3").place);
    for fails_open in [true, false] {
        let _limits = limits(mesh, &["v2"], V2, &global("ratelimit", 8081, fails_open))?;
        let mut envoy = envoy(mesh, fails_open)?;
        let mut differences = Vec::new();
        for (number, tenant) in ["a", "a", "a", "a", "b", "a", "b"].into_iter().enumerate() {
            let ours = ask(&service, &format!("weir-{fails_open}-{tenant}"))?;
            let theirs = ask_envoy(place, &format!("envoy-{fails_open}-{tenant}"))?;
            let facts = |answer: &Answer| {
                let header = |name| answer.header(name).map(str::to_owned);
                (answer.status, header("x-envoy-ratelimited"))
            };
            if facts(&ours) != facts(&theirs) {
                differences.push(format!("{number} {tenant}: {ours:?}\n{theirs:?}"));
            }
            if ours.status == 429 {
                // Envoy says the limit and its window.
                let limit = theirs.header("x-ratelimit-limit").and_then(|text| text.split(',').next());
                ensure!(ours.header("x-ratelimit-limit") == limit && limit == Some("3"), "{ours:?}\n{theirs:?}");
                ensure!(ours.body == theirs.body, "{ours:?}\n{theirs:?}");
            }
        }
        ensure!(differences.is_empty(), "{}", differences.join("\n"));
        // Without what the descriptor is made of, nobody is asked.
        service.ask("/tenants", &[])?.expect(200, Some("v2"))?;
        running.server.signal(Signal::SIGKILL)?;
        running.server.ended(Duration::from_secs(5))?;
        let (ours, theirs) = (ask(&service, "away")?, ask_envoy(place, "away")?);
        let expected = if fails_open { 200 } else { 500 };
        ensure!((ours.status, theirs.status) == (expected, expected), "away: {ours:?}\n{theirs:?}");
        envoy.kill()?;
        if fails_open {
            drop(running);
            running = Server::start(mesh)?;
        }
    }
    Ok(())
}

fn faulty(mesh: &HttpMesh) -> Result<()> {
    let running = Server::start(mesh)?;
    let port = Port { name: "grpc", number: 8081, target: PORT };
    let _server = mesh.service_at_ports("ratelimit", "v3", &[port])?;
    let service = mesh.version("v2");
    let agent = mesh.agent_of(mesh.pod("v2"));
    running.server.signal(Signal::SIGSTOP)?;
    for (what, host, port) in [
        ("slow", "ratelimit", 8081),
        ("no such service", "nowhere", 8081),
        ("no such port", "ratelimit", 8099),
        ("a server of something else", "v3", 8081),
    ] {
        for (fails_open, expected) in [(true, 200), (false, 500)] {
            let limit = limits(mesh, &["v2"], V2, &global(host, port, fails_open))?;
            let labels = [("object", "shop/limits"), ("limit", "tenants"), ("outcome", "error")];
            let errors = Counter::of(agent, "weir_rate_limit_requests_total", &labels)?;
            let before = agent.log().len();
            let answer = ask(&service, "any").context(what)?;
            ensure!(answer.status == expected, "{what}: {answer:?}");
            errors.grows_by_exactly(1.0).context(what)?;
            agent.logs_line(before, &["a rate limit service gave no answer", "shop/limits[tenants]"]).context(what)?;
            if !fails_open {
                let words = ["request complete", "path=\"/tenants\"", "status=500", "RLSE", "rate_limiter_error"];
                agent.logs_line(before, &words).context(what)?;
            }
            drop(limit);
            are_gone(mesh, &["v2"])?;
        }
    }
    running.server.signal(Signal::SIGCONT)
}

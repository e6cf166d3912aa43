//! What a DestinationRule, or MeshConfig, says of the connections to endpoints: how many requests each carries, and how dead
//! peers are found.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use weir_tests::http_mesh::{HttpMesh, HttpService, Port};
use weir_tests::{agent, wait};

use super::split::answered_by;
use crate::harness::{Case, Check};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "http: maxRequestsPerConnection counts in HTTP/1 and HTTP/2, also where MeshConfig says it",
        check: Check::Http(requests_per_connection),
    },
    Case {
        name: "http: http2KeepAlive gives up a connection whose server has stopped",
        check: Check::Http(http2_keepalive),
    },
    Case {
        name: "http: tcpKeepalive of a DestinationRule, or of MeshConfig, counts on connections without HBONE",
        check: Check::Http(tcp_keepalive),
    },
    Case {
        name: "http: a retry budget of an interval counts requests that are over",
        check: Check::Http(budget_interval),
    },
];

/// How long a change of an object may take to be in effect.
const DELIVERED: Duration = Duration::from_secs(10);
/// A port at which nothing else in a pod of the HTTP mesh serves.
const OWN_PORT: u16 = 8071;

fn mesh_config(spec: &str) -> String {
    format!(
        "apiVersion: mesh.istio.io/v1alpha1\nkind: MeshConfig\nmetadata: {{name: mesh, namespace: istio-system}}\nspec: {{{spec}}}\n"
    )
}

/// The highest number that a request has on its connection to the server, of many requests at the ports that declare HTTP/1 and
/// HTTP/2.
fn longest(service: &HttpService<'_>) -> Result<[u64; 2]> {
    let longest_at = |port: u16| {
        let numbers = (0..12).map(|_| {
            let answer = service.ask_at(service.vip(), port, "/", &[])?;
            answer.expect(200, Some("v1"))?;
            Ok(answer.echo()?.request)
        });
        let numbers = numbers.collect::<Result<Vec<u64>>>()?;
        Ok::<_, anyhow::Error>(numbers.into_iter().max().unwrap_or_default())
    };
    Ok([longest_at(80)?, longest_at(8081)?])
}

fn requests_per_connection(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.service_of("per-connection", ("version", "v1"))?;
    answered_by(&service, &["v1"])?;
    let numbers = longest(&service)?;
    ensure!(numbers.iter().all(|number| *number > 3), "connections are kept: {numbers:?}");
    let comes_to = |what: &str, most: u64| {
        wait::until(what, DELIVERED, || {
            let numbers = longest(&service)?;
            ensure!(numbers == [most; 2], "{numbers:?}");
            Ok(())
        })
        .with_context(|| mesh.said())
    };
    {
        let limit = "trafficPolicy: {connectionPool: {http: {maxRequestsPerConnection: 3}}}";
        let _rule = service.destination_rule(limit)?;
        comes_to("three on each connection", 3)?;
    }
    let limit = "defaultTrafficPolicy: {connectionPool: {http: {maxRequestsPerConnection: 2}}}";
    let _config = mesh.control_plane.objects.put_for_now("mesh-config", &mesh_config(limit))?;
    comes_to("two on each connection", 2)?;
    // A block of a rule takes the place of the mesh's.
    let _rule = service.destination_rule("trafficPolicy: {connectionPool: {http: {maxRequestsPerConnection: 1}}}")?;
    comes_to("one on each connection", 1)
}

fn http2_keepalive(mesh: &HttpMesh) -> Result<()> {
    let port = Port { name: "http2", number: 8081, target: OWN_PORT };
    let program = agent::binary("weir-test-app")?.display().to_string();
    let mut server =
        mesh.pod("v2").place.spawn(&[&*program, "serve", "--pod=stops", &format!("http-echo:{OWN_PORT}")])?;
    server.listens_on(OWN_PORT)?;
    let service = mesh.service_at_ports("stops", "v2", &[port])?;
    let ask = |more: &[&str]| service.ask_at(service.vip(), port.number, "/", more);
    let _rule = service.destination_rule(
        "trafficPolicy: {connectionPool: {http: {http2KeepAlive: {interval: 1s, timeout: 1s}, maxRequestsPerConnection: 50}}}",
    )?;
    // Once a 51st request has a connection of its own, the rule counts.
    wait::until("the rule counts", DELIVERED, || {
        let first = ask(&[])?.echo()?;
        let numbers = (0..60).map(|_| Ok(ask(&[])?.echo()?.request)).collect::<Result<Vec<u64>>>()?;
        ensure!(numbers.iter().all(|number| *number <= 50), "from {}: {numbers:?}", first.request);
        Ok(())
    })?;
    server.signal(Signal::SIGSTOP)?;
    let answer = ask(&[]);
    server.signal(Signal::SIGCONT)?;
    let answer = answer?;
    ensure!(answer.status == 503 && answer.header("x-pod").is_none(), "{answer:?}");
    wait::until("the server answers again", DELIVERED, || ask(&[])?.expect(200, Some("stops")))
}

fn tcp_keepalive(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.host("shop", "probed.example.com", "v3")?;
    answered_by(&service, &["v3"])?;
    let endpoint = format!("{}:8080", mesh.pod("v3").ipv4());
    // In minutes, as `ss` shows the timer of a connection that was just used.
    let comes_to = |what: &str, minutes: [&str; 2]| {
        wait::until(what, DELIVERED, || {
            // A new connection for each request.
            service.ask("/", &["-HConnection: close"])?.expect(200, Some("v3"))?;
            let sockets = mesh.client.place.run(&["ss", "-Htno", "state", "established", "dst", &endpoint])?;
            ensure!(minutes.iter().any(|minutes| sockets.contains(&format!("keepalive,{minutes}min"))), "{sockets}");
            Ok(())
        })
        .with_context(|| mesh.said())
    };
    let limits = "http: {maxRequestsPerConnection: 3}";
    let config = mesh_config("tcpKeepalive: {time: 3600s, probes: 5}");
    let _config = mesh.control_plane.objects.put_for_now("mesh-config", &config)?;
    let rule = service.destination_rule(&format!("trafficPolicy: {{connectionPool: {{{limits}}}}}"))?;
    comes_to("as MeshConfig says", ["59", "60"])?;
    drop(rule);
    let own = format!("trafficPolicy: {{connectionPool: {{tcp: {{tcpKeepalive: {{time: 7200s}}}}, {limits}}}}}");
    let _rule = service.destination_rule(&own)?;
    comes_to("as the rule says", ["119", "120"])
}

fn budget_interval(mesh: &HttpMesh) -> Result<()> {
    // Of so many requests at one time a fifth, or one, may be tried again at one time.
    const AT_ONCE: u64 = 10;
    let service = mesh.service_of("budget", ("version", "v1"))?;
    answered_by(&service, &["v1"])?;
    let _route = service.virtual_service(
        "[{retries: {attempts: 1, retryOn: '503', backoff: 1ms}, route: [{destination: {host: budget}}]}]",
    )?;
    // Each fails at first, and is slow; how many the client sees fail.
    let failed = |what: &str, turn: u64| -> Result<u64> {
        // Requests that are over by then.
        service.load(80, &["--requests=100"])?.all_are(200)?;
        let target = format!("--target=/?key=budget-{what}-{turn}-{{n}}&fail_first=1&delay_ms=200");
        let all = [&format!("--connections={AT_ONCE}"), &format!("--requests={AT_ONCE}"), &target];
        let seen = service.load(80, &all.map(String::as_str))?;
        ensure!(seen.answered == AT_ONCE, "{seen:?}");
        Ok(seen.statuses.get(&503).copied().unwrap_or_default())
    };
    let comes_to = |what: &str, meets: &dyn Fn(u64) -> bool| {
        let mut turn = 0;
        wait::until(what, DELIVERED * 2, || {
            turn += 1;
            let failed = failed(what, turn)?;
            ensure!(meets(failed), "{failed} of {AT_ONCE} failed");
            Ok(())
        })
    };
    comes_to("unlimited", &|failed| failed == 0)?;
    {
        let _rule = service.destination_rule("trafficPolicy: {retryBudget: {percent: 20, minRetryConcurrency: 1}}")?;
        comes_to("moment", &|failed| failed > 0)?;
    }
    let budget = "trafficPolicy: {retryBudget: {percent: 20, minRetryConcurrency: 1, budgetInterval: 60s}}";
    let _rule = service.destination_rule(budget)?;
    comes_to("minute", &|failed| failed == 0)
}

//! Envoy opens HBONE, Weir accepts it: who is believed, what limits and short lives of Envoy's connections do, and what
//! Weir's refusals and its own drain do to connections that come from Envoy.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use weir_tests::certificates::Presented;
use weir_tests::envoy::bootstrap::Http2;
use weir_tests::mesh::{Mesh, NAMESPACE, principal};
use weir_tests::objects::authorization_policy;
use weir_tests::test_app::{self, ECHO, WATCH};
use weir_tests::wait;

use super::held::Held;
use super::limits;
use super::setup::{CLOSED_PORT, ENVOY, FromEnvoy};
use crate::count::{Counter, OPENED};
use crate::harness::{Case, Check, note};

pub(crate) const CASES: &[Case] = &[
    Case { name: "interop: from Envoy, each side proves who it is", check: Check::Mesh(identities) },
    Case {
        name: "interop: from Envoy, one of a foreign trust domain is refused and counted",
        check: Check::Mesh(foreign),
    },
    Case { name: "interop: from Envoy, a pod that Envoy refuses is counted", check: Check::Mesh(refused_pod) },
    Case { name: "interop: from Envoy, 450 connections at once", check: Check::Mesh(many_streams) },
    Case { name: "interop: from Envoy, 450 connections before it knows Weir's limit", check: Check::Mesh(strangers) },
    Case { name: "interop: from Envoy, 6000 connections, 400 at a time", check: Check::Mesh(at_the_limit) },
    Case {
        name: "interop: from Envoy, 1, 10 or 100 streams per connection carry 150",
        check: Check::Mesh(stream_limits),
    },
    Case { name: "interop: from Envoy, connections of 10 requests lose nothing", check: Check::Mesh(short_count) },
    Case { name: "interop: from Envoy, connections of 0.3 s lose nothing", check: Check::Mesh(short_life) },
    Case { name: "interop: from Envoy, its PINGs are answered", check: Check::Mesh(pings) },
    Case { name: "interop: from Envoy, what policy denies is refused and counted", check: Check::Mesh(denied) },
    Case { name: "interop: from Envoy, a closed port is refused and counted", check: Check::Mesh(closed_port) },
    Case { name: "interop: from Envoy, a client's reset reaches the server", check: Check::Mesh(client_resets) },
    Case { name: "interop: from Envoy, a stopping agent finishes what is open", check: Check::OwnMesh(agent_drains) },
];

const FAILED: &str = "istio_tcp_connections_failed_total";
const HANDSHAKES_FAILED: &str = "weir_tls_handshake_failures_total";

fn identities(mesh: &Mesh) -> Result<()> {
    let setup = FromEnvoy::start(mesh, &Http2::default())?;
    let destination = principal(&mesh.far);
    let labels = [
        ("reporter", "destination"),
        ("source_principal", ENVOY),
        ("destination_principal", &*destination),
        ("connection_security_policy", "mutual_tls"),
        ("response_flags", "-"),
    ];
    let opened = Counter::of(mesh.agent_of(&mesh.far), OPENED, &labels)?;
    let echo = setup.way().to(ECHO);
    test_app::echoes(setup.way().client, echo.ip(), echo.port())?;
    opened.grows_by(1.0)?;
    wait::until("Envoy has logged who the pod is", Duration::from_secs(5), || {
        let log = setup.envoy.access_log();
        ensure!(log.iter().any(|line| line["upstream_peer"] == *destination), "{log:?}");
        Ok(())
    })
}

fn foreign(mesh: &Mesh) -> Result<()> {
    let foreign = Presented::Identity("spiffe://evil.example/ns/shop/sa/envoy");
    let setup = FromEnvoy::start_as(mesh, foreign, &principal(&mesh.far), &Http2::default())?;
    refused(mesh, &setup, "wrong_trust_domain")
}

/// Envoy expects somebody else at the pod's address.
fn refused_pod(mesh: &Mesh) -> Result<()> {
    let expected = "spiffe://cluster.local/ns/shop/sa/bank";
    let setup = FromEnvoy::start_as(mesh, Presented::Identity(ENVOY), expected, &Http2::default())?;
    refused(mesh, &setup, "tls")?;
    setup.envoy.reaches("cluster.hbone.ssl.fail_verify_san", 1)
}

fn refused(mesh: &Mesh, setup: &FromEnvoy<'_>, reason: &str) -> Result<()> {
    let agent = mesh.agent_of(&mesh.far);
    let handshakes = Counter::of(agent, HANDSHAKES_FAILED, &[("side", "downstream"), ("reason", reason)])?;
    let opened = Counter::of(agent, OPENED, &[("reporter", "destination")])?;
    let echo = setup.way().to(ECHO);
    let seen = test_app::probe(setup.way().client, echo.ip(), echo.port(), "let me in")?;
    ensure!(seen.refused(), "{reason}: {seen:?}");
    handshakes.grows_by(1.0)?;
    opened.stays().with_context(|| format!("{reason}: no connection gets through"))
}

/// An Envoy that knows how many streams Weir allows. One that does not puts all that waits for its first connection onto
/// it, and would give up what is refused; so it does with another Envoy.
fn acquainted(mesh: &Mesh) -> Result<FromEnvoy<'_>> {
    let setup = FromEnvoy::start(mesh, &Http2::default())?;
    setup.way().many(&["--count", "1"])?;
    Ok(setup)
}

/// More than Weir allows on one connection.
fn many_streams(mesh: &Mesh) -> Result<()> {
    let setup = acquainted(mesh)?;
    setup.way().many(&["--count", "450", "--concurrent", "256", "--hold"])?;
    let connections = setup.connections()?;
    ensure!(connections > 1, "one connection carried all 450");
    note(format!("{connections} connections carried 450 streams"));
    Ok(())
}

/// The same from an Envoy that has had no word from Weir yet.
fn strangers(mesh: &Mesh) -> Result<()> {
    let setup = FromEnvoy::start(mesh, &Http2::default())?;
    setup.way().many(&["--count", "450", "--concurrent", "450", "--hold"])?;
    let reset = setup.envoy.stat("cluster.hbone.http2.rx_reset")?;
    ensure!(reset == 0, "{reset} streams were reset");
    Ok(())
}

/// Streams come and go at Weir's limit: the next may come as soon as Envoy knows that one has ended.
fn at_the_limit(mesh: &Mesh) -> Result<()> {
    let setup = acquainted(mesh)?;
    setup.way().many(&["--count", "6000", "--concurrent", "400"])?;
    let reset = setup.envoy.stat("cluster.hbone.http2.rx_reset")?;
    ensure!(reset == 0, "{reset} streams were reset");
    note(format!("{} connections carried 6000 streams, 400 at a time", setup.connections()?));
    Ok(())
}

fn stream_limits(mesh: &Mesh) -> Result<()> {
    for limit in [1, 10, 100] {
        let setup = FromEnvoy::start(mesh, &limits::streams_per_connection(limit))?;
        limits::carry_150_at_a_time(setup.way(), limit, || setup.connections())?;
    }
    Ok(())
}

fn short_count(mesh: &Mesh) -> Result<()> {
    let setup = FromEnvoy::start(mesh, &limits::ten_requests_per_connection())?;
    limits::carry_2000(setup.way(), 2000 / 10, || setup.connections())
}

fn short_life(mesh: &Mesh) -> Result<()> {
    let setup = FromEnvoy::start(mesh, &limits::short_life())?;
    limits::carry_until(setup.way(), || Ok(setup.connections()? >= 6))
}

fn pings(mesh: &Mesh) -> Result<()> {
    let setup = FromEnvoy::start(mesh, &limits::frequent_pings())?;
    limits::connections_stay(setup.way(), 0, || setup.connections())?;
    ensure!(setup.envoy.stat("cluster.hbone.http2.keepalive_timeout")? == 0, "a PING was not answered");
    Ok(())
}

fn denied(mesh: &Mesh) -> Result<()> {
    let setup = FromEnvoy::start(mesh, &Http2::default())?;
    let echo = setup.way().to(ECHO);
    let rules = format!("[{{from: [{{source: {{principals: [\"{}\"]}}}}]}}]", ENVOY.trim_start_matches("spiffe://"));
    let policy = authorization_policy("no-envoy", NAMESPACE, "far", "DENY", &rules);
    let labels = [("reporter", "destination"), ("source_principal", ENVOY), ("response_flags", "DENY")];
    let counter = Counter::of(mesh.agent_of(&mesh.far), FAILED, &labels)?;
    {
        let _policy = mesh.control_plane.objects.put_for_now("no-envoy", &policy)?;
        wait::until("Envoy is refused", Duration::from_secs(10), || {
            let seen = test_app::probe(setup.way().client, echo.ip(), echo.port(), "let me in")?;
            ensure!(seen.refused(), "{seen:?}");
            Ok(())
        })?;
        counter.grows_by(1.0)?;
    }
    wait::until("Envoy is let in again", Duration::from_secs(10), || {
        test_app::echoes(setup.way().client, echo.ip(), echo.port()).map(drop)
    })
}

fn closed_port(mesh: &Mesh) -> Result<()> {
    let setup = FromEnvoy::start(mesh, &Http2::default())?;
    let labels = [("reporter", "destination"), ("source_principal", ENVOY), ("response_flags", "CONNECT")];
    let counter = Counter::of(mesh.agent_of(&mesh.far), FAILED, &labels)?;
    let to = setup.way().to(CLOSED_PORT);
    let seen = test_app::probe(setup.way().client, to.ip(), to.port(), "x")?;
    ensure!(seen.refused_by_answer(), "{seen:?}");
    counter.grows_by(1.0)
}

fn client_resets(mesh: &Mesh) -> Result<()> {
    let setup = FromEnvoy::start(mesh, &Http2::default())?;
    let server = &mesh.servers.far;
    let before = server.stdout().matches("ConnectionReset").count();
    let to = setup.way().to(WATCH).to_string();
    let _: Value = test_app::client(setup.way().client, Duration::from_secs(10), &["abort", &to])?;
    wait::until("the server sees a reset", Duration::from_secs(5), || {
        let now = server.stdout();
        ensure!(now.matches("ConnectionReset").count() > before, "it saw {:?}", now.lines().last());
        Ok(())
    })
}

fn agent_drains(mesh: &mut Mesh) -> Result<()> {
    let mut agent = mesh.agents.pop().context("there are two agents")?;
    // The mesh keeps one agent for its logs: the setup needs no more of it than pods and control plane.
    let setup = FromEnvoy::start(mesh, &Http2::default())?;
    let held = Held::open(setup.way(), 10, 1 << 30)?;
    let stopped = std::thread::scope(|scope| {
        let stopping = scope.spawn(|| agent.stop(Duration::from_secs(90)));
        let goaway = setup.envoy.reaches("cluster.hbone.upstream_cx_close_notify", 1);
        let finished = held.finish();
        let stopped = stopping.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        goaway.context("Envoy got no GOAWAY")?;
        finished?;
        stopped
    })?;
    ensure!(stopped.success, "the agent ended badly: {}", stopped.summary());
    Ok(())
}

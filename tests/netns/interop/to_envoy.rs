//! Weir opens HBONE, Envoy accepts it: who is believed, what an Envoy's limits, drains, refusals and death do to the
//! connections of a pod.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use weir_tests::certificates::Presented;
use weir_tests::envoy::bootstrap::{Http2, REFUSALS, REFUSE};
use weir_tests::mesh::{Mesh, principal};
use weir_tests::program::Program;
use weir_tests::test_app::{self, ECHO, Seen};
use weir_tests::world::N1;
use weir_tests::{agent, wait};

use super::held::Held;
use super::limits;
use super::setup::{ENVOY, ToEnvoy, keep_on};
use crate::count::{Counter, OPENED};
use crate::harness::{Case, Check};

pub(crate) const CASES: &[Case] = &[
    Case { name: "interop: to Envoy, each side proves who it is", check: Check::Mesh(identities) },
    Case {
        name: "interop: to Envoy, one that is another workload is refused and counted",
        check: Check::Mesh(impostor),
    },
    Case { name: "interop: to Envoy, a source that Envoy refuses is counted", check: Check::Mesh(refused_source) },
    Case {
        name: "interop: to Envoy, 1, 10 or 100 streams per connection carry 150",
        check: Check::Mesh(stream_limits),
    },
    Case { name: "interop: to Envoy, a drain loses nothing", check: Check::Mesh(drain) },
    Case { name: "interop: to Envoy, connections of 10 requests lose nothing", check: Check::Mesh(short_count) },
    Case { name: "interop: to Envoy, connections of 0.3 s lose nothing", check: Check::Mesh(short_life) },
    Case { name: "interop: to Envoy, connections that it closes when idle lose nothing", check: Check::Mesh(idle) },
    Case { name: "interop: to Envoy, its PINGs are answered", check: Check::Mesh(pings) },
    Case { name: "interop: to Envoy, large and ever new headers are read", check: Check::Mesh(headers) },
    Case {
        name: "interop: to Envoy, a refused CONNECT is a reset, counted with its flag",
        check: Check::Mesh(refusals),
    },
    Case { name: "interop: to Envoy, a client's reset reaches it", check: Check::Mesh(client_resets) },
    Case { name: "interop: to Envoy, its death is a reset, and its successor is found", check: Check::Mesh(death) },
];

const FAILED: &str = "istio_tcp_connections_failed_total";
const HANDSHAKES_FAILED: &str = "weir_tls_handshake_failures_total";

fn identities(mesh: &Mesh) -> Result<()> {
    ToEnvoy::run(mesh, &Http2::default(), |setup| {
        let source = principal(&mesh.client);
        let labels = [
            ("reporter", "source"),
            ("source_principal", &*source),
            ("destination_principal", ENVOY),
            ("connection_security_policy", "mutual_tls"),
            ("response_flags", "-"),
        ];
        let opened = Counter::of(mesh.agent_of(&mesh.client), OPENED, &labels)?;
        test_app::echoes(&mesh.client.place, mesh.outsider.ipv4(), ECHO)?;
        opened.grows_by(1.0)?;
        let expected =
            json!({ "peer": source, "tls": "TLSv1.3", "authority": setup.way().to(ECHO).to_string(), "code": 200 });
        wait::until("Envoy has logged who the client is", Duration::from_secs(5), || {
            let log = setup.envoy.access_log();
            let says = |line: &Value| {
                expected.as_object().is_some_and(|all| all.iter().all(|(key, value)| line[key] == *value))
            };
            ensure!(log.iter().any(says), "{log:?}");
            Ok(())
        })
    })
}

fn impostor(mesh: &Mesh) -> Result<()> {
    for (presented, reason) in [
        (Presented::Identity("spiffe://cluster.local/ns/shop/sa/thief"), "wrong_identity"),
        (Presented::Identity("spiffe://evil.example/ns/shop/sa/envoy"), "wrong_trust_domain"),
    ] {
        ToEnvoy::run_as(mesh, presented, &Http2::default(), &[], |setup| {
            let agent = mesh.agent_of(&mesh.client);
            let handshakes = Counter::of(agent, HANDSHAKES_FAILED, &[("side", "upstream"), ("reason", reason)])?;
            let failed = failed(mesh, "client", "TLS_FAILURE")?;
            let seen = test_app::probe(&mesh.client.place, mesh.outsider.ipv4(), ECHO, "my password")?;
            ensure!(was_reset(&seen), "{reason}: {seen:?}");
            handshakes.grows_by(1.0)?;
            failed.grows_by(1.0)?;
            ensure!(setup.envoy.stat("http.hbone.downstream_rq_total")? == 0, "{reason}: Envoy got a request");
            Ok(())
        })?;
    }
    Ok(())
}

/// `near` has a good certificate, but Envoy accepts `client` only.
fn refused_source(mesh: &Mesh) -> Result<()> {
    ToEnvoy::run(mesh, &Http2::default(), |setup| {
        let before = setup.envoy.stat("listener.hbone.ssl.fail_verify_san")?;
        // In TLS 1.3 the client is done before the server judges: what fails is what comes next.
        let counters = [failed(mesh, "near", "TLS_FAILURE")?, failed(mesh, "near", "H2_HANDSHAKE_FAILURE")?];
        let seen = test_app::probe(&mesh.near.place, mesh.outsider.ipv4(), ECHO, "let me in")?;
        ensure!(was_reset(&seen), "{seen:?}");
        setup.envoy.reaches("listener.hbone.ssl.fail_verify_san", before + 1)?;
        wait::until("the refusal is counted", Duration::from_secs(10), || {
            let grown = counters.iter().map(Counter::grown).sum::<Result<f64>>()?;
            ensure!(grown == 1.0, "counters grew by {grown}");
            Ok(())
        })?;
        test_app::echoes(&mesh.client.place, mesh.outsider.ipv4(), ECHO).map(drop)
    })
}

fn stream_limits(mesh: &Mesh) -> Result<()> {
    for limit in [1, 10, 100] {
        ToEnvoy::run(mesh, &limits::streams_per_connection(limit), |setup| {
            limits::carry_150_at_a_time(setup.way(), limit, || setup.connections())
        })?;
    }
    Ok(())
}

/// While its health check is failed on purpose, Envoy answers every first request of a connection with a GOAWAY.
fn drain(mesh: &Mesh) -> Result<()> {
    ToEnvoy::run(mesh, &Http2::default(), |setup| {
        let mut held = Held::open(setup.way(), 10, 1 << 30)?;
        let before = setup.connections()?;
        setup.envoy.tell("/healthcheck/fail")?;
        let many = || setup.way().many(&["--count", "100", "--concurrent", "20"]);
        keep_on("new connections go elsewhere", many, || Ok(setup.connections()? > before + 2))?;
        ensure!(held.is_busy(), "the long streams were over before the drain was");
        setup.envoy.tell("/healthcheck/ok")?;
        held.finish()
    })
}

fn short_count(mesh: &Mesh) -> Result<()> {
    // Besides its ten, a connection carries what was under way when its GOAWAY was read.
    ToEnvoy::run(mesh, &limits::ten_requests_per_connection(), |setup| {
        limits::carry_2000(setup.way(), 2000 / (10 + 20), || setup.connections())
    })
}

fn short_life(mesh: &Mesh) -> Result<()> {
    ToEnvoy::run(mesh, &limits::short_life(), |setup| {
        let gone = || setup.envoy.stat("http.hbone.downstream_cx_max_duration_reached");
        limits::carry_until(setup.way(), || Ok(gone()? >= 5))
    })
}

fn idle(mesh: &Mesh) -> Result<()> {
    let http2 = Http2 { common: json!({ "idle_timeout": "0.02s" }), ..Http2::default() };
    ToEnvoy::run(mesh, &http2, |setup| {
        let echo = || test_app::echoes(&mesh.client.place, mesh.outsider.ipv4(), ECHO);
        let closed = || setup.envoy.stat("http.hbone.downstream_cx_idle_timeout");
        keep_on("ten idle connections were closed", echo, || Ok(closed()? >= 10))
    })
}

fn pings(mesh: &Mesh) -> Result<()> {
    ToEnvoy::run(mesh, &limits::frequent_pings(), |setup| {
        // Each worker of the agent has a connection of its own, which it opens for its first stream.
        let workers = std::thread::available_parallelism()?.get().try_into()?;
        limits::connections_stay(setup.way(), workers, || setup.connections())?;
        ensure!(setup.envoy.stat("http2.keepalive_timeout")? == 0, "a PING was not answered");
        Ok(())
    })
}

/// 12 KiB in one header, and forty that differ in every answer: the table of the header compression turns over.
fn headers(mesh: &Mesh) -> Result<()> {
    let mut added = vec![("x-large", "0123456789abcdef".repeat(768))];
    const NAMES: [&str; 8] = ["x-a", "x-b", "x-c", "x-d", "x-e", "x-f", "x-g", "x-h"];
    added.extend(
        NAMES.map(|name| (name, format!("{name} %START_TIME(%s.%9f)% %DOWNSTREAM_REMOTE_ADDRESS% %STREAM_ID%"))),
    );
    ToEnvoy::run_as(mesh, Presented::Identity(ENVOY), &Http2::default(), &added, |setup| {
        setup.way().many(&["--count", "1000", "--concurrent", "20"])?;
        ensure!(setup.envoy.stat("http2.rx_reset")? == 0, "we have reset streams");
        Ok(())
    })
}

/// What the application sees is a connection that ends at once; which answer it was is in the metrics.
fn refusals(mesh: &Mesh) -> Result<()> {
    ToEnvoy::run(mesh, &Http2::default(), |setup| {
        let held = Held::open(setup.way(), 3, 1 << 20)?;
        for status in REFUSALS {
            let flag = if matches!(status, 401 | 403) { "DENY" } else { "CONNECT" };
            let counter = failed(mesh, "client", flag)?;
            let seen = test_app::probe(&mesh.client.place, mesh.outsider.ipv4(), REFUSE + status, "x")?;
            ensure!(was_reset(&seen), "{status}: {seen:?}");
            counter.grows_by(1.0).map_err(|error| error.context(format!("{status} is counted as {flag}")))?;
        }
        held.finish()
    })
}

fn client_resets(mesh: &Mesh) -> Result<()> {
    ToEnvoy::run(mesh, &Http2::default(), |setup| {
        let before = setup.envoy.stat("http.hbone.downstream_rq_rx_reset")?;
        let to = setup.way().to(ECHO).to_string();
        let _: Value = test_app::client(&mesh.client.place, Duration::from_secs(10), &["abort", &to])?;
        setup.envoy.reaches("http.hbone.downstream_rq_rx_reset", before + 1)
    })
}

fn death(mesh: &Mesh) -> Result<()> {
    ToEnvoy::run(mesh, &Http2::default(), |setup| {
        let to = setup.way().to(ECHO).to_string();
        let app = agent::binary("weir-test-app")?.display().to_string();
        let hold = || mesh.client.place.spawn(&[&*app, "hold", &to]);
        let held: Vec<Program> = (0..5).map(|_| hold()).collect::<Result<_>>()?;
        for program in &held {
            wait::until("a connection is open", Duration::from_secs(5), || {
                ensure!(program.stdout().contains("open"), "{}", program.stderr());
                Ok(())
            })?;
        }
        setup.restart()?;
        for program in held {
            let output = program.finish(Duration::from_secs(5))?;
            ensure!(output.stdout.contains("ConnectionReset"), "{}", output.summary());
        }
        test_app::echoes(&mesh.client.place, mesh.outsider.ipv4(), ECHO).map(drop)
    })
}

/// The application has a reset and nothing else, at once; whether connect(2) still sees it is a matter of luck.
fn was_reset(seen: &Seen) -> bool {
    let how = if seen.connect == "ok" { &seen.end } else { &seen.connect };
    seen.refused() && how == "ConnectionReset"
}

/// Failed connections of a workload of the first node, with a flag.
fn failed<'a>(mesh: &'a Mesh, source: &'a str, flag: &'a str) -> Result<Counter<'a>> {
    let labels = [("reporter", "source"), ("source_workload", source), ("response_flags", flag)];
    Counter::of(&mesh.agents[N1], FAILED, &labels)
}

//! Certificates change while bytes move: Envoy's, replaced in the files that it watches, and Weir's, which live for a
//! few seconds only. Neither may break a stream or refuse a connection.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::{Value, json};
use weir_tests::certificates::Presented;
use weir_tests::envoy::Envoy;
use weir_tests::envoy::bootstrap::Http2;
use weir_tests::envoy::identity::EnvoyIdentity;
use weir_tests::mesh::Mesh;
use weir_tests::wait;

use super::held::Held;
use super::setup::{ENVOY, FromEnvoy, ToEnvoy, Way, keep_on};
use crate::harness::{Case, Check, Skip, note};

pub(crate) const CASES: &[Case] = &[
    Case { name: "interop: to Envoy, its certificate rotates under traffic", check: Check::Mesh(to_rotating_envoy) },
    Case {
        name: "interop: from Envoy, its certificate rotates under traffic",
        check: Check::Mesh(from_rotating_envoy),
    },
    Case { name: "interop: to and from Envoy, ours rotate under traffic", check: Check::Alone(ours_rotate) },
];

/// How often Envoy's certificate is replaced.
const ROTATIONS: u64 = 3;
/// How long a certificate of ours lives; it is renewed at half of it.
const SHORT_LIVED: &str = "--certificate-seconds=6";
const SEVERAL_LIVES: Duration = Duration::from_secs(14);

/// Connections are short, so that new handshakes meet new certificates.
fn short_connections() -> Http2 {
    Http2 { common: json!({ "max_requests_per_connection": 20 }), ..Http2::default() }
}

fn to_rotating_envoy(mesh: &Mesh) -> Result<()> {
    ToEnvoy::run(mesh, &short_connections(), |setup| {
        let updates = "listener.hbone.server_ssl_socket_factory.ssl_context_update_by_sds";
        rotate(mesh, setup.way(), &setup.envoy, &setup.identity, updates)
    })
}

fn from_rotating_envoy(mesh: &Mesh) -> Result<()> {
    let setup = FromEnvoy::start(mesh, &short_connections())?;
    let updates = "cluster.hbone.client_ssl_socket_factory.ssl_context_update_by_sds";
    rotate(mesh, setup.way(), &setup.envoy, &setup.identity, updates)
}

fn rotate(mesh: &Mesh, way: Way<'_>, envoy: &Envoy, identity: &EnvoyIdentity, updates: &str) -> Result<()> {
    let authority = mesh.control_plane.authority()?;
    let held = Held::open(way, 10, 1 << 30)?;
    for _ in 0..ROTATIONS {
        let before = envoy.stat(updates)?;
        identity.rotate(&authority, Presented::Identity(ENVOY))?;
        let many = || way.many(&["--count", "100", "--concurrent", "10"]);
        keep_on("Envoy has taken its new certificate", many, || Ok(envoy.stat(updates)? > before))?;
        many()?;
    }
    held.finish()
}

fn ours_rotate() -> Result<()> {
    let mesh = Mesh::start_with("t", &[SHORT_LIVED]).context("bringing up a mesh")?;
    both_ways(&mesh).map_err(|error| if error.is::<Skip>() { error } else { anyhow!("{error:#}\n{}", mesh.logs()) })
}

fn both_ways(mesh: &Mesh) -> Result<()> {
    ToEnvoy::run(mesh, &short_connections(), |setup| {
        lives_pass(setup.way())?;
        several(&setup.envoy, "serial", "the client's")
    })?;
    let setup = FromEnvoy::start(mesh, &short_connections())?;
    lives_pass(setup.way())?;
    several(&setup.envoy, "upstream_valid_until", "the server's")
}

/// Connections come one after another, and some stay, for several lives of a certificate.
fn lives_pass(way: Way<'_>) -> Result<()> {
    let held = Held::open(way, 10, 1 << 30)?;
    let start = Instant::now();
    let many = || way.many(&["--count", "50", "--concurrent", "5"]);
    keep_on("several certificates have expired", many, || Ok(start.elapsed() > SEVERAL_LIVES))?;
    held.finish()
}

/// Envoy has seen more than one certificate of ours.
fn several(envoy: &Envoy, field: &str, whose: &str) -> Result<()> {
    let (streams, certificates) = wait::until("Envoy has logged three certificates", Duration::from_secs(10), || {
        let log = envoy.access_log();
        let seen: BTreeSet<&str> = log.iter().filter_map(|line| line.get(field).and_then(Value::as_str)).collect();
        ensure!(seen.len() >= 3, "{whose} certificates that Envoy saw: {seen:?}");
        Ok((log.len(), seen.len()))
    })?;
    note(format!("{streams} streams, {certificates} of {whose} certificates"));
    Ok(())
}

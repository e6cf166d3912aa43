//! How direct connections end.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use weir_tests::agent::binary;
use weir_tests::test_app::{self, Bulk, RESET, SINK, WATCH};
use weir_tests::wait;
use weir_tests::world::N1;

use super::stage::{SOON, becomes_direct, mesh};
use crate::count::{Counter, FAILED};
use crate::harness::{Case, Check};

pub(crate) const CASES: &[Case] = &[Case {
    name: "direct: half-close, resets and closed ports are as without capture",
    check: Check::Alone(faithful),
}];

fn faithful() -> Result<()> {
    let mesh = mesh()?;
    let to = SocketAddr::new(mesh.near.ipv4(), SINK).to_string();
    becomes_direct(&mesh, mesh.near.ipv4(), SINK)?;
    let sent: Bulk = test_app::client(&mesh.client.place, Duration::from_secs(20), &["upload", &to, "1000003"])?;
    ensure!(sent.bytes == 1_000_003 && sent.exact, "{sent:?}");
    let seen = becomes_direct(&mesh, mesh.near.ipv4(), RESET)?;
    ensure!(seen.end == "ConnectionReset", "{seen:?}");
    let watch = SocketAddr::new(mesh.near.ipv4(), WATCH).to_string();
    becomes_direct(&mesh, mesh.near.ipv4(), WATCH)?;
    let before = mesh.servers.near.stdout().matches("ConnectionReset").count();
    let _: serde_json::Value = test_app::client(&mesh.client.place, Duration::from_secs(10), &["abort", &watch])?;
    wait::until("the server sees a reset", Duration::from_secs(5), || {
        ensure!(mesh.servers.near.stdout().matches("ConnectionReset").count() > before, "it does not");
        Ok(())
    })?;
    // A server that was there and is no more.
    let app = binary("weir-test-app")?.display().to_string();
    let mut server = mesh.near.place.spawn(&[app.as_str(), "serve", "echo:7099"])?;
    server.listens_on(7099)?;
    becomes_direct(&mesh, mesh.near.ipv4(), 7099)?;
    let failed = Counter::of(&mesh.agents[N1], FAILED, &[("reporter", "source"), ("response_flags", "CONNECT")])?;
    drop(server);
    let seen = wait::until("nobody listens", SOON, || {
        let seen = test_app::probe(&mesh.client.place, mesh.near.ipv4(), 7099, "x")?;
        ensure!(seen.connect != "ok", "{seen:?}");
        Ok(seen)
    })?;
    ensure!(seen.connect == "ConnectionRefused", "{seen:?}");
    failed.grows_by(1.0)
}

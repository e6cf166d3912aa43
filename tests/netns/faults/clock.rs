//! A node whose clock jumps: what goes on, what is refused for as long as the clock is wrong, and that nothing is left
//! of it when the clock is right again. Only the agent's clock jumps: libfaketime is between it and the kernel.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use weir_tests::mesh::{Mesh, NAMESPACE, principal};
use weir_tests::test_app::{self, ECHO, Seen};
use weir_tests::wait;
use weir_tests::world::N1;

use super::connections::{failed, hold};
use crate::count::Counter;
use crate::harness::{Case, Check, Skip, note};

pub(crate) const CASES: &[Case] = &[
    Case { name: "faults: a clock that jumps an hour ends nothing", check: Check::OwnMesh(an_hour) },
    Case {
        name: "faults: a clock that jumps past expiry fails closed, and recovers",
        check: Check::OwnMesh(past_expiry),
    },
];

const HANDSHAKES: &str = "weir_tls_handshake_failures_total";
const EXPIRY: &str = "weir_certificate_expiry_seconds";
const HOUR: i64 = 3600;

/// The wall clock of an agent, to be set.
struct Clock {
    file: PathBuf,
}

impl Clock {
    /// Starts the agent of n1 anew under a clock that is right for now.
    fn of(mesh: &mut Mesh) -> Result<Self> {
        let libraries = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu"];
        let library = libraries.map(|folder| format!("{folder}/faketime/libfaketimeMT.so.1"));
        let library = library.into_iter().find(|library| Path::new(library).exists());
        let library = library.ok_or_else(|| Skip("libfaketime is not installed (package faketime)".to_owned()))?;
        let clock = Self { file: mesh.world.run().folder().join("clock") };
        clock.set(0)?;
        let agent = &mut mesh.agents[N1];
        agent.kill()?;
        agent.run_under([
            "env".to_owned(),
            format!("LD_PRELOAD={library}"),
            format!("FAKETIME_TIMESTAMP_FILE={}", clock.file.display()),
            "FAKETIME_CACHE_DURATION=1".to_owned(),
            // Only the wall clock jumps: neither timers nor the times of files do.
            "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
            "NO_FAKE_STAT=1".to_owned(),
        ]);
        agent.launch()?;
        agent.becomes_ready()?;
        mesh.carries_traffic()?;
        Ok(clock)
    }

    /// Makes it wrong by so many seconds.
    fn set(&self, seconds: i64) -> Result<()> {
        let new = self.file.with_extension("new");
        fs::write(&new, format!("{seconds:+}\n"))?;
        Ok(fs::rename(&new, &self.file)?)
    }
}

/// Waits until the agent's own figure shows the jump: so many seconds more or less are left of a certificate.
fn shows(mesh: &Mesh, before: f64, jump: i64) -> Result<()> {
    let identity = principal(&mesh.client);
    wait::until("the agent sees the jump", Duration::from_secs(20), || {
        let left = mesh.agents[N1].metrics()?.sum(EXPIRY, &[("identity", &identity)]);
        let seen = before - left;
        ensure!((seen - jump as f64).abs() < 120.0, "{left} seconds are left, {before} before");
        Ok(())
    })
}

fn left(mesh: &Mesh) -> Result<f64> {
    Ok(mesh.agents[N1].metrics()?.sum(EXPIRY, &[("identity", &principal(&mesh.client))]))
}

fn an_hour(mesh: &mut Mesh) -> Result<()> {
    let clock = Clock::of(mesh)?;
    let mut open = hold(&mesh.client, &mesh.far)?;
    let before = left(mesh)?;
    let early = Counter::of(&mesh.agents[N1], HANDSHAKES, &[("reason", "expired")])?;
    for jump in [HOUR, -HOUR] {
        clock.set(jump)?;
        shows(mesh, before, jump)?;
        test_app::echoes(&mesh.client.place, mesh.far.ipv4(), ECHO).with_context(|| format!("after {jump:+} s"))?;
        ensure!(open.is_running(), "{jump:+} s ended an open connection: {}", open.tail());
        let seen = newcomer(mesh, &format!("newcomer{}", jump.is_positive()))?;
        // To a clock that is behind, certificates of the last hour are of the future.
        ensure!(seen.refused() == jump.is_negative(), "a pod that dials anew after {jump:+} s: {seen:?}");
        clock.set(0)?;
        shows(mesh, before, 0)?;
    }
    early.grows_by(1.0)?;
    let seen = newcomer(mesh, "newcomer-again")?;
    ensure!(!seen.refused() && open.is_running(), "with the right time all is well: {seen:?} {}", open.tail());
    Ok(())
}

/// What a pod that is enrolled now, and shares the client's identity, sees of far.
fn newcomer(mesh: &Mesh, name: &str) -> Result<Seen> {
    let pod = mesh.world.nodes[N1].pod(name)?;
    mesh.agents[N1].enroll(&pod, NAMESPACE, mesh.client.name())?;
    test_app::probe(&pod.place, mesh.far.ipv4(), ECHO, "hello")
}

fn past_expiry(mesh: &mut Mesh) -> Result<()> {
    let clock = Clock::of(mesh)?;
    let mut open = hold(&mesh.client, &mesh.far)?;
    let before = left(mesh)?;
    let counter = failed(mesh, &mesh.client, "IDENTITY_ERROR")?;
    clock.set(25 * HOUR)?;
    shows(mesh, before, 25 * HOUR)?;
    // The client's own connections to peers are open already; a newcomer must dial.
    let logged = mesh.agents[N1].log().len();
    let seen = newcomer(mesh, "too-late")?;
    // It may have waited for a certificate as long as the probe for an answer.
    ensure!(seen.received.is_empty(), "an expired certificate was used: {seen:?}");
    let why = mesh.agents[N1].logs_line(logged, &["no certificate for", "expired"]);
    why.context("the access log says why")?;
    ensure!(open.is_running(), "an open connection ended: {}", open.tail());
    clock.set(0)?;
    let start = Instant::now();
    shows(mesh, before, 0)?;
    let seen = newcomer(mesh, "in-time")?;
    ensure!(!seen.refused(), "with the right time all is well: {seen:?}");
    note(format!("well again {} ms after the clock was put right", start.elapsed().as_millis()));
    counter.stays().context("nothing of the client's is lost on the connections it has")?;
    mesh.carries_traffic()
}

//! What the network and other nodes do to connections: loss, delay, cut links, black holes, peers that die. What the
//! application sees, what is counted, and that all is well again without a restart of the agent.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use weir_tests::agent::binary;
use weir_tests::bad_link::{BadLink, BlackHole, CutLink};
use weir_tests::mesh::{Mesh, NAMESPACE};
use weir_tests::objects::peer_authentication;
use weir_tests::test_app::{self, Bulk, ECHO, Many, SINK, SOURCE};
use weir_tests::wait;
use weir_tests::world::{N1, N2};

use super::connections::{failed, hold, recovers};
use crate::count::{Counter, FAILED};
use crate::harness::{Case, Check, Skip, note};

pub(crate) const CASES: &[Case] = &[
    Case { name: "faults: loss and delay change no byte and lose no connection", check: Check::OwnMesh(lossy) },
    Case { name: "faults: a link that is cut for a moment costs nothing", check: Check::OwnMesh(moment) },
    Case { name: "faults: a peer's agent that is killed is a reset, at once", check: Check::OwnMesh(peer_killed) },
    Case { name: "faults: nobody waits for a black hole for ever", check: Check::OwnMesh(black_hole) },
    Case { name: "faults: a control plane that flaps is not noticed by connections", check: Check::OwnMesh(flapping) },
];

/// By when the death of a peer's agent must be seen; its kernel says so at once, only a busy machine takes its time.
const AT_ONCE: Duration = Duration::from_secs(10);
/// Bound on an agent's patience with a peer that acknowledges nothing: `USER_TIMEOUT` of the proxy's connector, and
/// what a busy machine adds.
const DEAD_PEER: Duration = Duration::from_secs(60);

fn lossy(mesh: &mut Mesh) -> Result<()> {
    const BYTES: u64 = 4 << 20;
    if let Some(missing) = BadLink::missing() {
        return Err(Skip(missing).into());
    }
    let failures = Counter::of(&mesh.agents[N1], FAILED, &[])?;
    let _link = BadLink::between(&mesh.world, &mesh.world.nodes[N1], Duration::from_millis(10), 10)?;
    let to = SocketAddr::new(mesh.far.ipv4(), ECHO).to_string();
    let place = &mesh.client.place;
    let bulk: Bulk = test_app::client(place, Duration::from_secs(60), &["echo", &to, &BYTES.to_string()])?;
    ensure!(bulk.bytes == BYTES && bulk.exact, "{bulk:?}");
    let arguments = ["many", &to, "--count", "300", "--concurrent", "32", "--hold"];
    let many: Many = test_app::client(place, Duration::from_secs(60), &arguments)?;
    ensure!(many.ok == 300 && many.failed == 0, "{many:?}");
    failures.stays().context("no connection fails")?;
    note(format!("1 % loss, 10 ms each way: {:.1} MB/s there and back", BYTES as f64 / bulk.seconds / 1e6));
    note(format!("300 connections in {:.1} s", many.seconds));
    Ok(())
}

fn moment(mesh: &mut Mesh) -> Result<()> {
    let to = SocketAddr::new(mesh.far.ipv4(), SINK).to_string();
    let app = binary("weir-test-app")?.display().to_string();
    let mut idle = hold(&mesh.client, &mesh.far)?;
    let sent = Counter::sent(mesh, &mesh.client)?;
    let upload = mesh.client.place.spawn(&[app.as_str(), "upload", &to, "2147483648"])?;
    sent.grows_by(1.0)?;
    let cut = CutLink::of(&mesh.world, &mesh.world.nodes[N2])?;
    wait::throughout("the idle connection is open", Duration::from_secs(2), || {
        ensure!(idle.is_running(), "it ended: {}", idle.tail());
        Ok(())
    })?;
    drop(cut);
    let output = upload.finish(Duration::from_secs(60))?;
    ensure!(output.success && output.stdout.contains("\"exact\":true"), "{}", output.summary());
    ensure!(idle.is_running(), "the idle connection ended: {}", idle.tail());
    Ok(())
}

fn peer_killed(mesh: &mut Mesh) -> Result<()> {
    let mut idle = hold(&mesh.client, &mesh.far)?;
    let source = SocketAddr::new(mesh.far.ipv4(), SOURCE).to_string();
    let app = binary("weir-test-app")?.display().to_string();
    let sent = Counter::sent(mesh, &mesh.client)?;
    let mut download = mesh.client.place.spawn(&[app.as_str(), "download", &source, "1099511627776"])?;
    sent.grows_by(1.0).context("the download is under way")?;
    let agent = mesh.agents[N1].id()?;
    let broken_streams =
        |mesh: &Mesh| -> Result<f64> { Ok(mesh.agents[N1].metrics()?.sum(FAILED, &[("response_flags", "-")])) };
    let before = broken_streams(mesh)?;
    mesh.agents[N2].kill()?;
    idle.ended(AT_ONCE).context("the idle stream")?;
    download.ended(AT_ONCE).context("the busy stream")?;
    ensure!(idle.stdout().contains("ConnectionReset"), "a broken stream is a reset: {}", idle.tail());
    ensure!(!download.stdout().contains("exact"), "half a download is no download: {}", download.tail());
    wait::until("both are counted as failed", AT_ONCE, || {
        let grown = broken_streams(mesh)? - before;
        ensure!(grown == 2.0, "{grown} are");
        Ok(())
    })?;
    let (broken, refused) = (failed(mesh, &mesh.client, "-")?, failed(mesh, &mesh.client, "CONNECT")?);
    let seen = test_app::probe(&mesh.client.place, mesh.far.ipv4(), ECHO, "anybody there")?;
    ensure!(seen.refused_by_answer(), "while it is away: {seen:?}");
    refused.grows_by(1.0).context("while it is away")?;
    broken.stays().context("it never was a connection")?;
    mesh.agents[N2].launch()?;
    let start = Instant::now();
    recovers(mesh)?;
    note(format!("{} ms from its successor's start to the first connection", start.elapsed().as_millis()));
    ensure!(mesh.agents[N1].id()? == agent, "the client's agent is the same all the time");
    Ok(())
}

fn black_hole(mesh: &mut Mesh) -> Result<()> {
    let sink = SocketAddr::new(mesh.far.ipv4(), SINK).to_string();
    let app = binary("weir-test-app")?.display().to_string();
    let sent = Counter::sent(mesh, &mesh.client)?;
    let mut busy = mesh.client.place.spawn(&[app.as_str(), "upload", &sink, "1099511627776"])?;
    sent.grows_by(1.0).context("the upload is under way")?;
    let (broken, refused) = (failed(mesh, &mesh.client, "-")?, failed(mesh, &mesh.client, "CONNECT")?);
    let newcomer = mesh.world.nodes[N1].pod("newcomer")?;
    mesh.agents[N1].enroll(&newcomer, NAMESPACE, mesh.client.name())?;
    let hole = BlackHole::before(&mesh.world.nodes[N2], &mesh.far)?;
    let start = Instant::now();
    // One that must open an HBONE connection first, and one that finds an open one, which is dead.
    let address = SocketAddr::new(mesh.far.ipv4(), ECHO).to_string();
    let mut fresh = newcomer.place.spawn(&[app.as_str(), "hold", &address])?;
    let mut pooled = mesh.client.place.spawn(&[app.as_str(), "hold", &address])?;
    for (what, program, bound) in [
        ("a connection that must dial", &mut fresh, Duration::from_secs(30)),
        ("a stream that may find an open connection", &mut pooled, Duration::from_secs(40)),
        ("a busy stream", &mut busy, DEAD_PEER),
    ] {
        program.ended(bound).with_context(|| what.to_owned())?;
        note(format!("{what}: an error after {:.1} s", start.elapsed().as_secs_f64()));
    }
    ensure!(busy.stderr().contains("reset by peer"), "a broken stream is a reset: {}", busy.tail());
    refused.grows_by(1.0).context("the stream that was not answered")?;
    broken.grows_by(1.0).context("the one that was open")?;
    test_app::echoes(&mesh.client.place, mesh.near.ipv4(), ECHO).context("others go on meanwhile")?;
    drop(hole);
    recovers(mesh)
}

fn flapping(mesh: &mut Mesh) -> Result<()> {
    const LASTING: Duration = Duration::from_secs(6);
    const TERMINATIONS: &str = "istio_xds_connection_terminations_total";
    let ended = mesh.agents[N1].metrics()?.sum(TERMINATIONS, &[]);
    let mut idle = hold(&mesh.client, &mesh.far)?;
    let (place, to) = (mesh.client.place.clone(), SocketAddr::new(mesh.far.ipv4(), ECHO).to_string());
    let start = Instant::now();
    let traffic = std::thread::spawn(move || -> Result<u64> {
        let mut carried = 0;
        while start.elapsed() < LASTING {
            let arguments = ["many", &to, "--count", "50", "--concurrent", "8"];
            let many: Many = test_app::client(&place, Duration::from_secs(30), &arguments)?;
            ensure!(many.failed == 0, "{many:?}");
            carried += many.ok;
        }
        Ok(carried)
    });
    let mut restarts = 0;
    while start.elapsed() < LASTING {
        mesh.control_plane.stop()?;
        mesh.control_plane.resume()?;
        restarts += 1;
        let next = start + Duration::from_secs(1) * restarts;
        wait::until("a second is over", Duration::from_secs(2), || {
            ensure!(Instant::now() >= next, "not yet");
            Ok(())
        })?;
    }
    let carried = traffic.join().map_err(|_| anyhow::anyhow!("the traffic panicked"))??;
    ensure!(idle.is_running(), "the idle connection ended: {}", idle.tail());
    note(format!("{restarts} restarts, {carried} connections, none lost"));
    wait::until("the flapping is counted", Duration::from_secs(10), || {
        let now = mesh.agents[N1].metrics()?.sum(TERMINATIONS, &[]);
        ensure!(now > ended, "{ended} ended streams before, {now} now");
        Ok(())
    })?;
    mesh.control_plane.objects.put("strict", &peer_authentication("strict", NAMESPACE, Some("far"), "STRICT"))?;
    wait::until("the stream is up again, and a change arrives", Duration::from_secs(20), || {
        let seen = test_app::probe(&mesh.outsider.place, mesh.far.ipv4(), ECHO, "let me in")?;
        ensure!(seen.refused(), "{seen:?}");
        Ok(())
    })
}

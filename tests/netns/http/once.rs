//! A request that may not be repeated reaches an application at most once, whatever fails on its way.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use weir_tests::bad_link::CutLink;
use weir_tests::http_mesh::{self, HttpLoad, HttpMesh, HttpSeen, VERSIONS};
use weir_tests::wait;
use weir_tests::world::{N1, N2};

use super::split::answered_by;
use crate::harness::{Case, Check, note};

pub(crate) const CASES: &[Case] = &[
    Case { name: "http: a POST arrives at most once, whatever its server does", check: Check::OwnHttp(servers) },
    Case {
        name: "http: a POST is lost to a server that closes idle connections only until its agent has seen that",
        check: Check::OwnHttp(idle_closes),
    },
    Case {
        name: "http: a POST arrives at most once, whatever happens to servers, agents and the network",
        check: Check::OwnHttp(under_load),
    },
];

/// How long a load goes on before and after what happens to it.
const AROUND: Duration = Duration::from_millis(500);
/// The ports that declare HTTP/1 and HTTP/2, and how a load speaks to each.
const PORTS: [(u16, &[&str]); 2] = [(80, &["--connections=8"]), (8081, &["--http2", "--streams=8"])];

/// How often each numbered request of a name has arrived, as the servers have printed it; also those that are dead by now.
fn arrivals(mesh: &HttpMesh, name: &str) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    let beginning = format!("arrived {name}-");
    for printed in mesh.servers.iter().map(weir_tests::program::Program::stdout) {
        for number in printed.lines().filter_map(|line| line.strip_prefix(&beginning)) {
            *counts.entry(number.to_owned()).or_default() += 1;
        }
    }
    counts
}

/// Arguments of a load of numbered POST requests with a wish for the server.
fn posts(name: &str, wish: &str, more: &[&str]) -> Vec<String> {
    let target = format!("--target=/{name}?once={name}-{{n}}&{wish}");
    let own = ["--method=POST".to_owned(), "--patience=4".to_owned(), target];
    own.into_iter().chain(more.iter().map(|argument| (*argument).to_owned())).collect()
}

fn slices(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

/// No request has arrived twice, and each that a pod has answered has arrived. How many a pod has not answered.
fn at_most_once(mesh: &HttpMesh, name: &str, seen: &HttpSeen) -> Result<u64> {
    let arrived = arrivals(mesh, name);
    let answered: u64 = seen.pods.values().sum();
    let lost = seen.failed + seen.answered - answered;
    note(format!("{name}: {} arrived, {answered} answered by a pod, {lost} not", arrived.len()));
    let twice: Vec<_> = arrived.iter().filter(|(_, count)| **count > 1).collect();
    ensure!(twice.is_empty(), "{name}: arrived more than once: {twice:?}");
    ensure!(arrived.len() as u64 >= answered, "{name}: {answered} were answered: {seen:?}");
    Ok(lost)
}

fn servers(mesh: &mut HttpMesh) -> Result<()> {
    let service = mesh.service("once")?;
    answered_by(&service, &VERSIONS)?;
    for (port, connections) in PORTS {
        for (name, wish, more, status) in [
            ("reset-after-reading", "reset=before", &["--requests=200", "--bytes=300"][..], Some(503)),
            ("reset-unread", "reset=before&unread=1", &["--requests=200", "--bytes=200000"], Some(503)),
            ("reset-midway", "reset=midway", &["--requests=100"], None),
            // The server ends the connection after such an answer, without a word.
            ("answered-unread", "unread=1", &["--requests=200", "--bytes=30000"], None),
            ("closes", "close=1", &["--requests=400"], Some(200)),
            // The server closes as the next request is on its way: some are lost, for nobody could tell whether it had them.
            ("fin-on-idle", "idle_close_ms=3", &["--requests=400", "--pause-ms=3"], None),
            ("goaway", "goaway=1", &["--requests=600", "--bytes=300"], Some(200)),
            ("goaway-midway", "goaway=1&delay_ms=3", &["--requests=600"], Some(200)),
        ] {
            let name = format!("{name}-{port}");
            let more = [connections, more].concat();
            let arguments = posts(&name, wish, &more);
            let seen = service.load(port, &slices(&arguments))?;
            at_most_once(mesh, &name, &seen)?;
            if let Some(status) = status {
                seen.all_are(status).with_context(|| name)?;
            }
        }
    }
    Ok(())
}

/// Requests at a pace at which the server closes the connection just as the next one comes. The first of them may meet the close;
/// from then on its agent takes no connection that was idle for that long.
fn idle_closes(mesh: &mut HttpMesh) -> Result<()> {
    const MOST: u64 = 4;
    let service = mesh.service_of("once-idle", ("version", "v2"))?;
    answered_by(&service, &["v2"])?;
    for (port, more) in [(80, &[][..]), (8081, &["--http2"][..])] {
        let name = format!("idle-closes-{port}");
        let more = [&["--requests=400", "--pause-ms=3"], more].concat();
        let seen = service.load(port, &slices(&posts(&name, "idle_close_ms=3", &more)))?;
        let lost = at_most_once(mesh, &name, &seen)?;
        ensure!(lost <= MOST, "{name}: {lost} lost: {seen:?}");
    }
    Ok(())
}

/// A load of POST requests to all three pods, and something that happens meanwhile.
fn meanwhile(mesh: &HttpMesh, name: &str, happens: impl Fn(&HttpMesh, &mut HttpLoad) -> Result<()>) -> Result<()> {
    for (port, connections) in PORTS {
        let name = format!("{name}-{port}");
        let service = mesh.service(&format!("once-{name}"))?;
        answered_by(&service, &VERSIONS)?;
        let mut load = service.start_load(port, &slices(&posts(&name, "delay_ms=2", connections)))?;
        load.goes_on(AROUND)?;
        happens(mesh, &mut load).with_context(|| name.clone())?;
        load.goes_on(AROUND)?;
        let seen = load.end()?;
        at_most_once(mesh, &name, &seen)?;
        ensure!(VERSIONS.iter().all(|version| seen.by(version) > 0), "{name}: {seen:?}");
        // All is well again afterwards.
        answered_by(&service, &VERSIONS)?;
    }
    Ok(())
}

pub(super) fn under_load(mesh: &mut HttpMesh) -> Result<()> {
    meanwhile(mesh, "source-agent-killed", |mesh, _| mesh.agents[N1].kill_worker())?;
    meanwhile(mesh, "destination-agent-killed", |mesh, _| mesh.agents[N2].kill_worker())?;
    meanwhile(mesh, "network-gone", |mesh, load| {
        let _cut = CutLink::of(&mesh.world, &mesh.world.nodes[N2])?;
        load.goes_on(AROUND * 2)
    })?;
    for (port, connections) in PORTS {
        let name = format!("server-killed-{port}");
        let service = mesh.service(&format!("once-{name}"))?;
        answered_by(&service, &VERSIONS)?;
        let mut load = service.start_load(port, &slices(&posts(&name, "delay_ms=2", connections)))?;
        load.goes_on(AROUND)?;
        let victim = mesh.servers.last().expect("the last that was started serves v3");
        victim.signal(Signal::SIGKILL)?;
        answered_by(&service, &["v1", "v2"])?;
        load.goes_on(AROUND)?;
        let seen = load.end()?;
        at_most_once(mesh, &name, &seen)?;
        let again = http_mesh::serve(&mesh.pod("v3").place)?;
        drop(service);
        mesh.servers.push(again);
    }
    wait::until("v3 serves again", Duration::from_secs(10), || {
        mesh.version("v3").ask("/", &[])?.expect(200, Some("v3"))
    })
}

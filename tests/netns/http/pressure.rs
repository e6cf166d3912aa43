//! What becomes of requests at a high rate while endpoints die, servers close idle connections, and routes change: none fails.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use nix::sys::signal::Signal;
use weir_tests::http_mesh::{self, HttpMesh, HttpSeen, VERSIONS};
use weir_tests::wait;

use super::balancing::known;
use super::split::answered_by;
use crate::harness::{Case, Check, note};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "http: an endpoint is killed under 2000 requests a second, and none fails",
        check: Check::OwnHttp(endpoint_killed),
    },
    Case {
        name: "http: routes change 100 times under 5000 requests a second: none fails, each counts within 100 ms",
        check: Check::Http(route_changes),
    },
    Case {
        name: "http: a server that closes idle connections at its clients' pace costs no request",
        check: Check::Http(|mesh| closed_while_idle(mesh, Duration::from_secs(15))),
    },
];

/// Forms that take minutes; each says how many.
pub(crate) const LONG: &[Case] = &[Case {
    name: "http: a server that closes idle connections at its clients' pace costs no request (long: ten minutes)",
    check: Check::Http(|mesh| closed_while_idle(mesh, Duration::from_secs(600))),
}];

/// How long a route that the agent got may take to be in force, until a request by it has ended.
const IN_FORCE_WITHIN: Duration = Duration::from_millis(100);

/// How long a load goes on before and after what happens to it.
const AROUND: Duration = Duration::from_millis(700);

fn rate(seen: &HttpSeen) -> f64 {
    seen.answered as f64 / seen.seconds
}

/// The default retry policy: what never reached the endpoint is tried elsewhere, and what it had may be repeated by its method.
fn endpoint_killed(mesh: &mut HttpMesh) -> Result<()> {
    for (port, more) in [(80, &["--connections=24"][..]), (8081, &["--http2", "--connections=2", "--streams=12"])] {
        let service = known(mesh, &format!("killed-{port}"))?;
        let mut load = service.start_load(port, &[&["--rate=2000"], more].concat())?;
        load.goes_on(AROUND)?;
        let victim = mesh.servers.last().expect("the last that was started serves v3");
        victim.signal(Signal::SIGKILL)?;
        answered_by(&service, &["v1", "v2"])?;
        load.goes_on(AROUND)?;
        let seen = load.end()?;
        let again = http_mesh::serve(&mesh.pod("v3").place)?;
        drop(service);
        mesh.servers.push(again);
        note(format!(
            "port {port}: {} requests, {:.0} a second, {} failed, {:?}; the slowest took {:.0} ms",
            seen.answered,
            rate(&seen),
            seen.failed,
            seen.statuses,
            seen.slowest_ms
        ));
        seen.all_are(200).with_context(|| format!("port {port}"))?;
        seen.keeps_pace(2000.0).with_context(|| format!("port {port}"))?;
        ensure!(seen.by("v3") > 0, "{seen:?}");
    }
    Ok(())
}

fn route_changes(mesh: &HttpMesh) -> Result<()> {
    const CHANGES: usize = 100;
    let service = known(mesh, "changes")?;
    let mut load = service.start_load(80, &["--rate=5000", "--connections=16"])?;
    let agent = mesh.agent_of(&mesh.client);
    agent.log_more("weir::xds=debug")?;
    let (logged, mut delivered) = (agent.log().len(), Duration::ZERO);
    for (change, version) in (1..=CHANGES).zip(VERSIONS.into_iter().cycle()) {
        let mark = format!("change-{change}.");
        let start = Instant::now();
        let route = service.http_route(&format!(
            "[{{filters: [{{type: ResponseHeaderModifier, responseHeaderModifier: {{set: [{{name: x-change, value: {mark}}}]}}}}], \
             backendRefs: [{{name: {version}, port: 80}}]}}]"
        ))?;
        wait::until("the client's agent has the route", Duration::from_secs(10), || {
            ensure!(agent.config_dump()?.to_string().contains(&mark), "it has not");
            Ok(())
        })?;
        delivered = delivered.max(start.elapsed());
        let answer = service.ask("/", &[])?;
        answer.expect(200, Some(version)).with_context(|| format!("after change {change}"))?;
        ensure!(answer.header("x-change") == Some(&*mark), "after change {change}: {answer:?}");
        // The next one is written over it.
        std::mem::forget(route);
    }
    let log = agent.log();
    drop(service.http_route("[]")?);
    load.goes_on(AROUND)?;
    let seen = load.end()?;
    agent.log_more("weir::xds=info")?;
    let answered = times_to_first_answers(log.get(logged..).unwrap_or_default(), &service.host(), CHANGES)?;
    let slowest = answered.iter().max().copied().unwrap_or_default();
    note(format!(
        "{CHANGES} changes, {} requests, {:.0} a second, {} failed; at most {delivered:.0?} until the agent shows the route; from when \
         the agent gets it to the first answer by it {:.1?} in the middle, {slowest:.1?} at most",
        seen.answered,
        rate(&seen),
        seen.failed,
        answered.get(CHANGES / 2).copied().unwrap_or_default()
    ));
    seen.all_are(200)?;
    seen.keeps_pace(5000.0)?;
    ensure!(slowest <= IN_FORCE_WITHIN, "a route was in force after {slowest:?}");
    ensure!(VERSIONS.iter().all(|version| seen.by(version) > 0), "{seen:?}");
    Ok(())
}

/// From the arrival of each change of a route at the agent to the first request by it that has ended, shortest first, as the agent's own
/// log tells it. Changes lead to one version after the other.
fn times_to_first_answers(log: &str, host: &str, changes: usize) -> Result<Vec<Duration>> {
    let with = |words: [&str; 2]| -> Result<Vec<Duration>> {
        log.lines().filter(|line| words.iter().all(|word| line.contains(word))).map(time_of_day).collect()
    };
    let arrivals = with(["response arrives", "HTTPRoute"])?;
    ensure!(arrivals.len() == changes, "{} changes have arrived", arrivals.len());
    let asked = format!("authority={host:?}");
    let answers = VERSIONS.map(|version| with([&asked, &format!("dst.workload={version:?}")]));
    let mut times = Vec::new();
    for (arrival, answers) in arrivals.iter().zip(answers.iter().cycle()) {
        let answers = answers.as_ref().map_err(|error| anyhow!("{error:#}"))?;
        let first = answers.iter().find(|answer| *answer >= arrival).context("no answer by a route that has come")?;
        times.push(*first - *arrival);
    }
    times.sort_unstable();
    Ok(times)
}

/// When a line was logged: `…T14:03:22.060000Z`, since midnight. A day that ends meanwhile fails the case.
fn time_of_day(line: &str) -> Result<Duration> {
    let time = line.split_once('Z').and_then(|(time, _)| time.split_once('T')).context("a line without a time")?.1;
    let parts: Vec<f64> = time.split(':').map(str::parse).collect::<Result<_, _>>()?;
    let [hours, minutes, seconds] = parts[..] else { bail!("{time} is no time") };
    Ok(Duration::from_secs_f64((hours * 60.0 + minutes) * 60.0 + seconds))
}

/// Requests that may be repeated, at an interval within which any connection is used again; and such that may not, at one at
/// which no connection is. Each has a server of its own: a POST may take any connection that was used a moment ago.
fn closed_while_idle(mesh: &HttpMesh, lasting: Duration) -> Result<()> {
    let get = ["--connections=40", "--pause-ms=50", "--target=/?idle_close_ms=50"];
    let post = ["--connections=40", "--method=POST", "--bytes=100", "--pause-ms=1100", "--target=/?idle_close_ms=1100"];
    let mut loads = [mesh.version("v2").start_load(80, &get)?, mesh.version("v3").start_load(80, &post)?];
    loads[0].goes_on(lasting)?;
    for (load, what) in loads.into_iter().zip(["GET", "POST"]) {
        let seen = load.end()?;
        note(format!("{what}: {} requests on {} connections, {} failed", seen.answered, seen.connections, seen.failed));
        seen.all_are(200).context(what)?;
        ensure!(seen.connections == 40, "{what}: connections of clients ended with those of the server: {seen:?}");
    }
    Ok(())
}

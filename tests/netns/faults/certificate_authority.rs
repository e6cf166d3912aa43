//! What becomes of pods while the certificate authority errs, lies, says nothing or is away: who is refused and with
//! which words, who goes on, and that a good answer is enough for all to be well again.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use weir_tests::agent::{Agent, binary};
use weir_tests::fake_ca::FakeCa;
use weir_tests::mesh::{Mesh, NAMESPACE, principal};
use weir_tests::program::Program;
use weir_tests::test_app::{self, ECHO};
use weir_tests::wait;
use weir_tests::world::{N1, Pod};

use super::connections::{failed, hold, recovers};
use crate::count::Counter;
use crate::harness::{Case, Check, note};

pub(crate) const CASES: &[Case] = &[
    Case { name: "faults: what a CA answers is used only if it is right", check: Check::OwnMesh(nonsense) },
    Case { name: "faults: a CA that is away is felt when certificates expire", check: Check::OwnMesh(expires) },
];

const REQUESTS: &str = "weir_certificate_requests_total";
const EXPIRY: &str = "weir_certificate_expiry_seconds";
/// Seconds that certificates live while it is tested what happens once they have expired.
const SHORT_LIFE: u64 = 6;
/// A first request that waits for an answer gives up after this (`GET_TIMEOUT` of the agent's certificates).
const FIRST_WAIT: Duration = Duration::from_secs(5);
/// Requests to a CA that is back are made at most this much later: the backoff that few failures lead to.
const BACK_IN_USE: Duration = Duration::from_secs(25);

/// What a pod of that name is answered, and what log and status must say of it.
const ANSWERS: [(&str, &str); 7] = [
    ("error", "certificate authority answered Internal"),
    ("hang", "certificate authority did not answer within 10s"),
    ("garbage", "certificate authority's answer cannot be used"),
    ("empty", "chain is empty"),
    ("wrong-name", "somebody-else"),
    ("wrong-key", "certificate is not for this key"),
    ("expired", "expired"),
];

fn nonsense(mesh: &mut Mesh) -> Result<()> {
    let ca = FakeCa::start(mesh, "by-account")?;
    ca.takes_over(&mut mesh.agents[N1])?;
    mesh.carries_traffic()?;
    let agent = &mesh.agents[N1];
    let failures = Counter::of(agent, REQUESTS, &[("result", "failure")])?;
    let mut pods = BTreeMap::new();
    for (name, _) in ANSWERS {
        let pod = mesh.world.nodes[N1].pod(name)?;
        agent.enroll(&pod, NAMESPACE, name)?;
        pods.insert(name, pod);
    }
    for (name, reason) in ANSWERS {
        reports_reason(agent, &pods[name], reason).with_context(|| name.to_owned())?;
    }
    failures.grows_by(ANSWERS.len() as f64)?;
    for pod in pods.values() {
        refused(mesh, pod)?;
    }
    test_app::echoes(&mesh.client.place, mesh.far.ipv4(), ECHO).context("others go on meanwhile")?;
    ca.answers("good")?;
    let start = Instant::now();
    for (name, pod) in &pods {
        wait::until(&format!("{name} gets a certificate"), BACK_IN_USE, || {
            test_app::echoes(&pod.place, mesh.far.ipv4(), ECHO).map(drop)
        })?;
    }
    note(format!("all have certificates {:.1} s after the first good answer", start.elapsed().as_secs_f64()));
    Ok(())
}

/// Waits until log and status name the pod's identity and the reason.
fn reports_reason(agent: &Agent, pod: &Pod, reason: &str) -> Result<()> {
    wait::until("log and status say why there is no certificate", Duration::from_secs(12), || {
        let identity = principal(pod);
        let log = agent.log();
        let line = log.lines().find(|line| line.contains("no new certificate") && line.contains(&identity));
        let line = line.with_context(|| format!("no line about {identity} in\n{}", agent.tail()))?;
        ensure!(line.contains(reason), "{reason:?} is not in {line:?}");
        let status = agent.weir(&["status"])?.stdout;
        let warned = status
            .lines()
            .any(|line| line.contains(&format!("there is no certificate for {identity}")) && line.contains(reason));
        ensure!(warned, "status says\n{status}");
        Ok(())
    })
}

/// A pod without a certificate reaches nobody, and that is counted.
fn refused(mesh: &Mesh, pod: &Pod) -> Result<()> {
    let counter = failed(mesh, pod, "IDENTITY_ERROR")?;
    let held = connect(pod, &mesh.far)?.finish(FIRST_WAIT * 2)?;
    ensure!(!held.stdout.contains("open"), "{} got through: {}", pod.name(), held.summary());
    counter.grows_by(1.0).with_context(|| pod.name().to_owned())
}

/// A connection to an echo that lasts until it is refused.
fn connect(from: &Pod, to: &Pod) -> Result<Program> {
    let address = SocketAddr::new(to.ipv4(), ECHO).to_string();
    from.place.spawn(&[binary("weir-test-app")?.display().to_string(), "hold".into(), address])
}

fn expires(mesh: &mut Mesh) -> Result<()> {
    let mut ca = FakeCa::start(mesh, &format!("good-for-{SHORT_LIFE}"))?;
    ca.takes_over(&mut mesh.agents[N1])?;
    recovers(mesh)?;
    let mut open = hold(&mesh.client, &mesh.far)?;
    renewed(mesh)?;
    ensure!(open.is_running(), "a renewal ended an open connection: {}", open.tail());
    ca.goes_away()?;
    let agent = &mesh.agents[N1];
    let identity = principal(&mesh.client);
    // Renewal began to fail when half of the life was left: by then that is longer ago than anybody waits.
    wait::until("the certificates have expired", Duration::from_secs(SHORT_LIFE) + FIRST_WAIT, || {
        let left = agent.metrics()?.sum(EXPIRY, &[("identity", &identity)]);
        ensure!(left <= -3.0, "{left} seconds are left");
        Ok(())
    })?;
    ensure!(open.is_running(), "what is open stays open: {}", open.tail());
    // Nobody has dialled near yet; what is dialled anew needs a certificate.
    let counter = failed(mesh, &mesh.client, "IDENTITY_ERROR")?;
    let logged = agent.log().len();
    let seen = test_app::probe(&mesh.client.place, mesh.near.ipv4(), ECHO, "let me in")?;
    ensure!(seen.refused(), "an expired certificate was used: {seen:?}");
    counter.grows_by(1.0)?;
    note(format!("refused after {} ms", seen.ms));
    ensure!(Duration::from_millis(seen.ms) < FIRST_WAIT, "known trouble is no reason to wait: {seen:?}");
    let why = agent.logs_line(logged, &["no certificate for", &identity, "refused"]);
    why.context("the access log says why")?;
    wait::until("the status says so", Duration::from_secs(5), || {
        let status = agent.weir(&["status"])?.stdout;
        ensure!(status.contains(&format!("the certificate of {identity} expired")), "{status}");
        Ok(())
    })?;
    ca.answers("good")?;
    ca.resume()?;
    let start = Instant::now();
    wait::until("certificates are renewed", BACK_IN_USE, || {
        test_app::echoes(&mesh.client.place, mesh.near.ipv4(), ECHO).map(drop)
    })?;
    note(format!("{:.1} s after the CA's return all is well", start.elapsed().as_secs_f64()));
    ensure!(open.is_running(), "what was open all the time stays open: {}", open.tail());
    Ok(())
}

/// Waits until the client has got a second certificate.
fn renewed(mesh: &Mesh) -> Result<()> {
    let serial = |mesh: &Mesh| -> Result<String> {
        let dump = mesh.agents[N1].config_dump()?;
        let certificates = dump["certificates"].as_array().context("certificates are shown")?.clone();
        let own = certificates.iter().find(|entry| entry["identity"] == principal(&mesh.client));
        Ok(own.context("the client's is among them")?.to_string())
    };
    let first = serial(mesh)?;
    wait::until("the certificate is renewed", Duration::from_secs(SHORT_LIFE), || {
        ensure!(serial(mesh)? != first, "it is the first one");
        Ok(())
    })
}

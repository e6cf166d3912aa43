//! Limits of what a pod may hold for its requests and for those to it: at its limit that pod is served as `docs/limits.md` says, another
//! notices nothing.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use weir_tests::http_mesh::HttpMesh;
use weir_tests::mesh::NAMESPACE;
use weir_tests::tokens::SigningKey;
use weir_tests::wait;
use weir_tests::world::Pod;

use super::external_authorization::{ALLOW, authorizers, custom, is_denied_by_authorizer};
use super::inbound::ask_pod;
use super::rate_limits::{V2, limits};
use super::tokens::{ISSUER, authentication, bearer, rule};
use crate::count::{Counter, grow_by_exactly};
use crate::harness::{Case, Check};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "limits: at its limit of HTTP upstreams a pod is answered 503, another is not",
        check: Check::Alone(upstreams),
    },
    Case {
        name: "limits: at its limit of requests of the agent a pod's further ones count as unanswered, another's are answered",
        check: Check::Alone(agent_requests),
    },
    Case {
        name: "limits: beyond its limit of series a pod's requests are counted together, another's are not",
        check: Check::Alone(series),
    },
    Case {
        name: "limits: beyond its limit of sources a pod's rate limit counts the further ones together",
        check: Check::Alone(sources),
    },
    Case {
        name: "limits: beyond its limit of remembered tokens a pod's tokens are verified all the same",
        check: Check::Alone(tokens),
    },
];

const REQUESTS: &str = "istio_requests_total";
const DURATIONS: &str = "istio_request_duration_milliseconds_count";
const WITHIN: Duration = Duration::from_secs(10);

/// A mesh whose agents have one limit at this maximum, and a check of it.
fn with_limit(flag: &str, maximum: u32, check: impl Fn(&HttpMesh) -> Result<()>) -> Result<()> {
    let mesh = HttpMesh::start_with("t", &[&format!("{flag}={maximum}"), "--worker-threads=1"])?;
    check(&mesh).with_context(|| mesh.logs())
}

/// Waits until the limit is counted, and shown for this pod alone.
fn is_told(mesh: &HttpMesh, pod: &Pod, limit: &str) -> Result<()> {
    let agent = mesh.agent_of(pod);
    wait::until("the limit is counted and shown", WITHIN, || {
        let times = agent.metrics()?.sum("weir_limit_reached_total", &[("limit", limit)]);
        ensure!(times >= 1.0, "it was reached {times} times");
        let status = agent.weir(&["status"])?.stdout;
        let shown: Vec<&str> = status.lines().filter(|line| line.contains("has reached its limit")).collect();
        let [one] = &*shown else { anyhow::bail!("{status}") };
        let expected = format!("{NAMESPACE}/{} has reached its limit {limit} ", pod.name());
        ensure!(one.contains(&expected), "{status}");
        Ok(())
    })
}

fn upstreams() -> Result<()> {
    // Some are kept to each version since the mesh came up.
    with_limit("--max-http-upstreams-per-pod", 8, |mesh| {
        let service = mesh.version("v2");
        let mut load = service.start_load(80, &["--connections=20", "--target=/?delay_ms=100", "--pause-ms=20"])?;
        is_told(mesh, &mesh.client, "http_upstreams")?;
        for _ in 0..20 {
            ask_pod(&mesh.pod("v1").place, mesh.pod("v2").ipv4(), "/", &[])?.expect(200, Some("v2"))?;
        }
        load.goes_on(Duration::from_millis(200))?;
        let seen = load.end()?;
        let refused = seen.statuses.get(&503).copied().unwrap_or_default();
        ensure!(refused > 0 && seen.by("v2") > 0 && seen.failed == 0, "{seen:?}");
        ensure!(refused + seen.by("v2") == seen.answered, "{seen:?}");
        service.load(80, &["--connections=2", "--requests=40"])?.all_are(200)
    })
}

fn agent_requests() -> Result<()> {
    const MOST: u32 = 2;
    with_limit("--max-agent-requests-per-pod", MOST, |mesh| {
        let _authorizers = authorizers(mesh)?;
        let (service, pod, other) = (mesh.version("v2"), mesh.pod("v2"), mesh.version("v3"));
        let _slow = custom(mesh, "v2", "slower")?;
        let name = "of-another";
        let _prompt = mesh.control_plane.objects.put_for_now(
            name,
            &format!(
                "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: {name}, namespace: {NAMESPACE}}}\nspec:\n  \
                 selector: {{matchLabels: {{version: v3}}}}\n  action: CUSTOM\n  provider: {{name: over-grpc}}\n  \
                 rules: [{{to: [{{operation: {{paths: [\"/guarded*\"]}}}}]}}]\n"
            ),
        )?;
        other.comes_to("the other pod's requests are decided about", "/guarded", &[], is_denied_by_authorizer)?;
        let waits = || {
            let output = service.curl("/guarded", &["--max-time", "1"])?;
            ensure!(!output.success, "it was answered: {}", output.summary());
            Ok(())
        };
        wait::until("requests wait for the authorizer", WITHIN, waits)?;
        let url = format!("http://{}/guarded/held", service.vip());
        let curl = ["curl", "-sS", "--max-time", "120", "--output", "/dev/null", &url];
        let hold = || mesh.client.place.spawn(&curl);
        let mut held = (0..MOST).map(|_| hold()).collect::<Result<Vec<_>>>()?;
        let agent = mesh.agent_of(pod);
        let before = agent.log().len();
        wait::until("a further one counts as one that nobody answers", WITHIN, || {
            // One that came before an earlier one had left was a further one itself, was answered, and holds nothing.
            for request in &mut held {
                if !request.is_running() {
                    *request = hold()?;
                }
            }
            let output = service.curl("/guarded/further", &["--max-time", "1"])?;
            ensure!(output.success && output.stdout.contains(" 403 "), "{}", output.summary());
            Ok(())
        })?;
        let words = ["path=\"/guarded/further\"", "ext_authz_error", "the limit agent_requests allows"];
        agent.logs_line(before, &words)?;
        is_told(mesh, pod, "agent_requests")?;
        other.ask("/guarded", &[ALLOW])?.expect(200, Some("v3")).context("another pod")?;
        service.ask("/open", &[])?.expect(200, Some("v2")).context("the pod, where nobody is asked")?;
        drop(held);
        wait::until("requests wait again, once those have left", WITHIN, waits)
    })
}

fn series() -> Result<()> {
    with_limit("--max-metric-series-per-pod", 2, |mesh| {
        // Of one metric of four: the others have no such label, and need no place.
        let spec = "{metrics: [{overrides: [{match: {metric: REQUEST_COUNT, mode: CLIENT}, tagOverrides: {asked_path: {value: \
                    request.url_path}}}]}]}";
        let _object = mesh.control_plane.objects.put_for_now(
            "telemetry-series",
            &format!(
                "apiVersion: telemetry.istio.io/v1\nkind: Telemetry\nmetadata: {{name: series, namespace: {NAMESPACE}}}\nspec: {spec}\n"
            ),
        )?;
        let (service, neighbour) = (mesh.version("v2"), mesh.pod("v1"));
        let agent = mesh.agent_of(neighbour);
        let of = |pod: &'static str, path| [("source_workload", pod), ("asked_path", path)];
        wait::until("requests are counted by their path", WITHIN, || {
            service.ask("/first", &[])?.expect(200, Some("v2"))?;
            ensure!(agent.metrics()?.sum(REQUESTS, &of("client", "/first")) > 0.0, "not yet");
            Ok(())
        })?;
        let second = Counter::of(agent, REQUESTS, &of("client", "/second"))?;
        let together = Counter::of(agent, REQUESTS, &of("client", "overflow"))?;
        let timed = Counter::of(agent, DURATIONS, &[("source_workload", "client")])?;
        let other = Counter::of(agent, REQUESTS, &of("v1", "/third"))?;
        for path in ["/second", "/third", "/fourth", "/second"] {
            service.ask(path, &[])?.expect(200, Some("v2"))?;
        }
        let url = format!("http://{}/third", service.vip());
        neighbour.place.run(&["curl", "-sS", "--fail", "--output", "/dev/null", &*url])?;
        grow_by_exactly(&[(&second, 2.0), (&together, 2.0), (&timed, 4.0), (&other, 1.0)])
            .with_context(|| agent.metrics_text().unwrap_or_default())?;
        is_told(mesh, &mesh.client, "metric_series")
    })
}

fn sources() -> Result<()> {
    with_limit("--max-rate-limit-sources-per-pod", 1, |mesh| {
        let rules = "[{to: [{operation: {paths: [/each]}}]}]";
        let spec = format!("limits: [{{name: each, match: {rules}, local: {{requests: 2, per: hour, by: source}}}}]");
        let _limits = limits(mesh, &["v2"], V2, &spec)?;
        let to = mesh.pod("v2").ipv4();
        for (place, expected) in [
            (&mesh.client.place, [200, 200, 429]),
            // The two are counted together.
            (&mesh.pod("v1").place, [200, 200, 429]),
            (&mesh.pod("v3").place, [429, 429, 429]),
        ] {
            let mut seen = [0; 3];
            for status in &mut seen {
                *status = ask_pod(place, to, "/each", &[])?.status;
            }
            ensure!(seen == expected, "{seen:?} instead of {expected:?} from {place:?}");
        }
        is_told(mesh, mesh.pod("v2"), "rate_limit_sources")
    })
}

fn tokens() -> Result<()> {
    with_limit("--max-remembered-tokens-per-pod", 2, |mesh| {
        let (service, key) = (mesh.version("v2"), SigningKey::make("one")?);
        let _object = authentication(mesh, "v2", &format!("[{}]", rule(ISSUER, &key, "")))?;
        let none = ["-HAuthorization: Bearer none"];
        service.comes_to("tokens are verified", "/", &none, |answer| answer.status == 401)?;
        let tokens = ["a", "b", "c", "d"].map(|subject| key.token(ISSUER, subject, &json!({})));
        for token in tokens.into_iter().collect::<Result<Vec<_>>>()?.iter().cycle().take(8) {
            service.ask("/", &[&bearer(token)])?.expect(200, Some("v2"))?;
        }
        is_told(mesh, mesh.pod("v2"), "remembered_tokens")
    })
}

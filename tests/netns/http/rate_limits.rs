//! Rate limits: the agent of the pod that is called counts requests, and answers those beyond a limit.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weir_tests::http_mesh::{Answer, HttpMesh};
use weir_tests::mesh::NAMESPACE;
use weir_tests::objects::ForNow;
use weir_tests::wait;
use weir_tests::world::N1;

use super::inbound::ask_pod;
use crate::count::{Counter, grow_by_exactly};
use crate::harness::{Case, Check};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "rate limit: requests beyond it are answered 429 by every way, and all others pass",
        check: Check::Http(beyond),
    },
    Case {
        name: "rate limit: each source is counted by itself, and all plaintext as one",
        check: Check::Http(by_source),
    },
    Case {
        name: "rate limit: pods count by themselves, and those of one node together where the object says so",
        check: Check::Http(by_pod_and_node),
    },
    Case { name: "rate limit: one that is used up harms no other pod", check: Check::Http(bystander) },
    Case { name: "rate limit: a dry run lets all pass, counts and tells", check: Check::Http(dry_run) },
    Case {
        name: "rate limit: requests under way are bounded, and one that ends makes room",
        check: Check::Http(concurrency),
    },
    Case { name: "rate limit: a client of gRPC is told in its own terms", check: Check::Http(grpc) },
    Case { name: "rate limit: it is counted and logged with object and limit", check: Check::Http(told) },
    Case {
        name: "rate limit: a Service as its target means the ports that the Service leads to",
        check: Check::Http(of_service),
    },
];

/// What Envoy answers beyond a local limit.
const LIMITED: &str = "local_rate_limited";

/// The number of the last witness.
static WITNESSES: AtomicU32 = AtomicU32::new(0);

/// The pod `v2`, as it was enrolled.
pub(super) const V2: &str = "selector: {matchLabels: {app: v2}}, ";

/// A RateLimit, in force at these versions. With it comes a witness, whose path is answered 429 from then on.
pub(super) fn limits<'a>(mesh: &'a HttpMesh, versions: &[&str], target: &str, spec: &str) -> Result<ForNow<'a>> {
    let object = |name: &str, spec: &str| {
        format!(
            "apiVersion: weir.dev/v1alpha1\nkind: RateLimit\nmetadata: {{name: {name}, namespace: {NAMESPACE}}}\n\
             spec: {{{target}{spec}}}\n"
        )
    };
    let mark = WITNESSES.fetch_add(1, Ordering::Relaxed) + 1;
    let witness = format!(
        "limits: [{{name: mark-{mark}, match: [{{to: [{{operation: {{paths: [/mark-{mark}]}}}}]}}], local: {{requests: 1, per: hour}}}}]"
    );
    let both = format!("{}---\n{}", object("limits", spec), object("witness", &witness));
    let limits = mesh.control_plane.objects.put_for_now("limits", &both)?;
    for version in versions {
        let service = mesh.version(version);
        service.comes_to("the limits are in force", &format!("/mark-{mark}"), &[], |answer| answer.status == 429)?;
    }
    Ok(limits)
}

/// Waits until no limit counts for the pods of these versions, once the last [`limits`] are dropped.
pub(super) fn are_gone(mesh: &HttpMesh, versions: &[&str]) -> Result<()> {
    let mark = format!("/mark-{}", WITNESSES.load(Ordering::Relaxed));
    for version in versions {
        mesh.version(version).comes_to("no limit counts any more", &mark, &[], |answer| answer.status == 200)?;
    }
    Ok(())
}

fn is_limited(answer: &Answer) -> bool {
    answer.status == 429 && answer.body == LIMITED
}

pub(super) fn number(answer: &Answer, header: &str) -> Result<u64> {
    let value = answer.header(header).with_context(|| format!("no {header}: {answer:?}"))?;
    value.parse().with_context(|| format!("{header}: {value}"))
}

fn beyond(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.version("v2");
    let rules = "[{to: [{operation: {methods: [GET], paths: [\"/few*\"]}}]}]";
    let limit = format!(
        "limits: [{{name: few, match: {rules}, local: {{requests: 3, per: hour}}}}], response: {{quotaHeaders: always}}"
    );
    let _limits = limits(mesh, &["v2"], V2, &limit)?;
    let before = mesh.arrived("beyond")?;
    for left in [2, 1, 0] {
        let answer = service.ask("/few?key=within", &[])?;
        answer.expect(200, Some("v2"))?;
        ensure!(
            number(&answer, "x-ratelimit-limit")? == 3 && number(&answer, "x-ratelimit-remaining")? == left,
            "{answer:?}"
        );
    }
    let http2 = ["--http2-prior-knowledge"];
    let pod = mesh.pod("v2");
    for (way, answer) in [
        ("by its service", service.ask("/few/x?key=beyond", &[])),
        ("in another spelling", service.ask("/x/../%66ew?key=beyond", &[])),
        ("by IPv6", service.ask_at(service.vip6(), 80, "/few?key=beyond", &[])),
        ("by HTTP/2", service.ask_at(service.vip(), 8081, "/few?key=beyond", &http2)),
        ("as bytes to the client's agent", service.ask_at(service.vip(), 8082, "/few?key=beyond", &[])),
        ("by the pod's address", ask_pod(&mesh.client.place, pod.ipv4(), "/few?key=beyond", &[])),
        ("by the pod's other address", ask_pod(&mesh.client.place, pod.ipv6(), "/few?key=beyond", &http2)),
        ("in plaintext", ask_pod(&mesh.world.nodes[N1].place, pod.ipv4(), "/few?key=beyond", &[])),
    ] {
        let answer = answer.context(way)?;
        ensure!(is_limited(&answer) && answer.header("x-envoy-ratelimited") == Some("true"), "{way}: {answer:?}");
        ensure!(
            number(&answer, "x-ratelimit-limit")? == 3 && number(&answer, "x-ratelimit-remaining")? == 0,
            "{way}: {answer:?}"
        );
        let wait = number(&answer, "retry-after")?;
        ensure!((1..=1200).contains(&wait) && number(&answer, "x-ratelimit-reset")? > 1200, "{way}: {answer:?}");
    }
    ensure!(mesh.arrived("beyond")? == before, "one arrived");
    service.ask("/other", &[])?.expect(200, Some("v2"))?;
    service.ask("/few", &["-XPUT"])?.expect(200, Some("v2"))
}

fn by_source(mesh: &HttpMesh) -> Result<()> {
    let rules = "[{to: [{operation: {paths: [/each]}}]}]";
    let _limits = limits(
        mesh,
        &["v2"],
        V2,
        &format!("limits: [{{name: each, match: {rules}, local: {{requests: 2, per: hour, by: source}}}}]"),
    )?;
    let (stranger, neighbour) = (mesh.world.nodes[N1].pod("stranger")?, mesh.world.nodes[N1].pod("another")?);
    let to = mesh.pod("v2").ipv4();
    for (place, expected) in [
        (&mesh.client.place, [200, 200, 429]),
        (&mesh.pod("v1").place, [200, 200, 429]),
        (&mesh.pod("v3").place, [200, 200, 429]),
        (&stranger.place, [200, 200, 429]),
        (&neighbour.place, [429, 429, 429]),
    ] {
        let mut seen = [0; 3];
        for status in &mut seen {
            *status = ask_pod(place, to, "/each", &[])?.status;
        }
        ensure!(seen == expected, "{seen:?} instead of {expected:?} from {place:?}");
    }
    Ok(())
}

fn by_pod_and_node(mesh: &HttpMesh) -> Result<()> {
    let limit = |by: &str| {
        format!(
            "{{name: {by}, match: [{{to: [{{operation: {{paths: [/{by}]}}}}]}}], local: {{requests: 2, per: hour, by: {by}}}}}"
        )
    };
    {
        let _limits = limits(mesh, &["v1", "v2", "v3"], "", &format!("limits: [{}, {}]", limit("pod"), limit("node")))?;
        // v1 is on a node of its own, v2 and v3 share one.
        for (path, expected) in [("/pod", [2, 2, 2]), ("/node", [2, 2, 0])] {
            let mut passed = [0; 3];
            for (version, passed) in ["v1", "v2", "v3"].into_iter().zip(&mut passed) {
                for _ in 0..4 {
                    *passed += usize::from(mesh.version(version).ask(path, &[])?.status == 200);
                }
            }
            ensure!(passed == expected, "{path}: {passed:?} passed, not {expected:?}");
        }
    }
    are_gone(mesh, &["v1", "v2", "v3"])
}

fn bystander(mesh: &HttpMesh) -> Result<()> {
    let (service, other) = (mesh.version("v2"), mesh.version("v3"));
    let every = limits(mesh, &["v2"], V2, "limits: [{name: few, local: {requests: 5, per: second}}]")?;
    let mut flood = service.start_load(80, &["--connections=8", "--target=/flood"])?;
    let seen = other.load(80, &["--requests=500", "--connections=2"])?;
    seen.all_are(200)?;
    flood.goes_on(Duration::from_millis(500))?;
    let flooded = flood.end()?;
    let count = |status| flooded.statuses.get(&status).copied().unwrap_or_default();
    ensure!(flooded.failed == 0 && count(429) > 100, "{flooded:?}");
    #[expect(clippy::cast_precision_loss, reason = "a few requests")]
    let passed = count(200) as f64;
    ensure!(passed >= 1.0 && passed <= 5.0 * (flooded.seconds + 1.0) + 1.0, "more than the rate passed: {flooded:?}");
    drop(every);
    are_gone(mesh, &["v2"])
}

fn dry_run(mesh: &HttpMesh) -> Result<()> {
    let (service, agent) = (mesh.version("v2"), mesh.agent_of(mesh.pod("v2")));
    {
        let rules = "[{to: [{operation: {paths: [/dry]}}]}]";
        let spec = format!("dryRun: true, limits: [{{name: dry, match: {rules}, local: {{requests: 2, per: hour}}}}]");
        let _limits = limits(mesh, &["v2"], V2, &spec)?;
        service.ask("/dry", &[])?.expect(200, Some("v2"))?;
        let labels = |outcome: &'static str| [("object", "shop/limits"), ("limit", "dry"), ("outcome", outcome)];
        let counter = |outcome| Counter::of(agent, "weir_rate_limit_requests_total", &labels(outcome));
        let (allowed, would, limited) = (counter("allowed")?, counter("dry_run")?, counter("limited")?);
        let before = agent.log().len();
        for _ in 0..4 {
            service.ask("/dry", &[])?.expect(200, Some("v2"))?;
        }
        grow_by_exactly(&[(&allowed, 1.0), (&would, 3.0), (&limited, 0.0)])?;
        agent.logs_line(before, &["dry-run rate limit would refuse", "shop/limits[dry]"])?;
    }
    are_gone(mesh, &["v2"])
}

fn concurrency(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.version("v2");
    let rules = "[{to: [{operation: {paths: [/slow]}}]}]";
    let _limits =
        limits(mesh, &["v2"], V2, &format!("limits: [{{name: slow, match: {rules}, concurrency: {{requests: 2}}}}]"))?;
    let url = format!("http://{}:8082/slow?stream=100000&pause_ms=20", service.vip());
    let slow = |version: &str| mesh.client.place.spawn(&["curl", "-sSN", version, "--max-time", "60", &url]);
    let mut under_way = vec![slow("--http1.1")?, slow("--http2-prior-knowledge")?];
    wait::until("two requests are under way", Duration::from_secs(10), || {
        ensure!(under_way.iter().all(|one| !one.stdout().is_empty()), "one waits");
        Ok(())
    })?;
    let answer = service.ask("/slow", &[])?;
    ensure!(answer.status == 429 && answer.body == "reached concurrency limit", "{answer:?}");
    ensure!(number(&answer, "x-ratelimit-limit")? == 2 && number(&answer, "retry-after")? == 1, "{answer:?}");
    service.ask("/other", &[])?.expect(200, Some("v2"))?;
    for mut one in under_way.drain(..) {
        ensure!(one.is_running(), "it ended: {}", one.tail());
        drop(one);
        service.comes_to("there is room again", "/slow", &[], |answer| answer.status == 200)?;
    }
    Ok(())
}

fn grpc(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.version("v2");
    let limit = "limits: [{name: unary, match: [{to: [{operation: {paths: [/echo.Echo/Unary]}}]}], local: {requests: 1, per: hour}}]";
    let call = || {
        let more =
            ["--http2-prior-knowledge", "-HContent-Type: application/grpc", "-HTE: trailers", "--data-binary", ""];
        service.ask_at(service.vip(), 9000, "/echo.Echo/Unary", &more)
    };
    for (response, status) in [("", "14"), (", response: {grpcStatus: RESOURCE_EXHAUSTED}", "8")] {
        let one = limits(mesh, &["v2"], V2, &format!("{limit}{response}"))?;
        let limited = wait::until("a call is beyond the limit", Duration::from_secs(10), || {
            let answer = call()?;
            ensure!(answer.header("retry-after").is_some(), "{answer:?}");
            Ok(answer)
        })?;
        ensure!(
            (limited.status, limited.header("grpc-status")) == (200, Some(status))
                && limited.header("grpc-message") == Some(LIMITED)
                && limited.body.is_empty(),
            "{limited:?}"
        );
        drop(one);
        are_gone(mesh, &["v2"])?;
    }
    Ok(())
}

fn told(mesh: &HttpMesh) -> Result<()> {
    let (service, agent) = (mesh.version("v2"), mesh.agent_of(mesh.pod("v2")));
    let rules = "[{to: [{operation: {paths: [/told]}}]}]";
    let _limits = limits(
        mesh,
        &["v2"],
        V2,
        &format!("limits: [{{name: told, match: {rules}, local: {{requests: 1, per: hour}}}}]"),
    )?;
    service.ask("/told", &[])?.expect(200, Some("v2"))?;
    let labels = [("object", "shop/limits"), ("limit", "told"), ("outcome", "limited")];
    let limited = Counter::of(agent, "weir_rate_limit_requests_total", &labels)?;
    let labels = [("reporter", "destination"), ("response_code", "429"), ("response_flags", "RL")];
    let requests = Counter::of(agent, "istio_requests_total", &labels)?;
    let before = agent.log().len();
    ensure!(is_limited(&service.ask("/told", &[])?), "it passes");
    grow_by_exactly(&[(&limited, 1.0), (&requests, 1.0)])?;
    let line = agent.logs_line(before, &["request complete", "path=\"/told\"", "status=429"])?;
    for part in ["direction=\"inbound\"", "RL", LIMITED, "shop/limits[told]"] {
        ensure!(line.contains(part), "{part}: {line}");
    }
    Ok(())
}

fn of_service(mesh: &HttpMesh) -> Result<()> {
    let target = "targetRefs: [{kind: Service, name: v2}], ";
    {
        let _limits = limits(mesh, &["v2"], target, "limits: [{name: few, local: {requests: 1, per: hour}}]")?;
        let service = mesh.version("v2");
        service.comes_to("it is used up", "/", &[], |answer| answer.status == 429)?;
        // By the pod's address it is the same port, and by another service, too.
        ensure!(
            is_limited(&ask_pod(&mesh.client.place, mesh.pod("v2").ipv4(), "/", &[])?),
            "the pod's address is a way past it"
        );
        mesh.version("v3").ask("/", &[])?.expect(200, Some("v3"))?;
    }
    are_gone(mesh, &["v2"])
}

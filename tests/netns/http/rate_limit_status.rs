//! What agents say of rate limits in their status, against an API server in small: the one on a real cluster is in `tests/k8s/http`.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use weir_tests::fake_kubernetes::FakeKubernetes;
use weir_tests::http_mesh::HttpMesh;
use weir_tests::wait;
use weir_tests::world::{N1, N2};

use super::from_kubernetes::joined_on;
use crate::harness::{Case, Check};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "rate limit: its status says whether it counts, by one agent of two, and is left alone afterwards",
        check: Check::OwnHttp(said),
    },
    Case {
        name: "rate limit: an agent that may not write its status says so once, and the limit counts",
        check: Check::OwnHttp(forbidden),
    },
];

const VERSION: &str = "weir.dev/v1alpha1";
const KIND: &str = "RateLimit";
const DEFINITION: &str = "weir.dev/v1alpha1/ratelimits/RateLimit";
/// Longer than an agent waits for others before it writes.
const QUIET: Duration = Duration::from_secs(4);
/// How long a status may take: agents wait for what is missing and for each other, on a busy machine.
const WRITTEN: Duration = Duration::from_secs(20);

/// Type, status and reason.
type Condition<'a> = (&'a str, &'a str, &'a str);

const GOOD: [Condition<'_>; 2] = [("Accepted", "True", "Accepted"), ("ResolvedRefs", "True", "ResolvedRefs")];
const NOWHERE: [Condition<'_>; 2] =
    [("Accepted", "False", "TargetNotFound"), ("ResolvedRefs", "False", "TargetNotFound")];

/// A limit that nobody reaches, for a Service.
fn spec(service: &str, per: &str) -> Value {
    let limits = json!([{"name": "many", "local": {"requests": 1000, "per": per}}]);
    json!({"targetRefs": [{"kind": "Service", "name": service}], "limits": limits})
}

/// Waits until an object has just these conditions for a generation; gives them.
fn becomes(kubernetes: &FakeKubernetes, name: &str, generation: u64, expected: &[Condition<'_>]) -> Result<Vec<Value>> {
    let what = format!("what is said of {name}, generation {generation}");
    wait::until(&what, WRITTEN, || {
        let object = kubernetes.object_now(KIND, "shop", name)?;
        let conditions = object["status"]["conditions"].as_array().context("it has no conditions")?;
        let text = |condition: &Value, field: &str| condition[field].as_str().unwrap_or_default().to_owned();
        let found: Vec<_> =
            conditions.iter().map(|one| ["type", "status", "reason"].map(|field| text(one, field))).collect();
        let expected: Vec<_> = expected.iter().map(|(kind, status, reason)| [*kind, *status, *reason]).collect();
        ensure!(found == expected, "{conditions:?}");
        ensure!(conditions.iter().all(|one| one["observedGeneration"] == generation), "{conditions:?}");
        Ok(conditions.clone())
    })
}

/// How many writes the API server has taken.
fn taken(kubernetes: &FakeKubernetes) -> usize {
    kubernetes.status_writes().iter().filter(|line| line.ends_with(": 200")).count()
}

fn said(mesh: &mut HttpMesh) -> Result<()> {
    let kubernetes = joined_on(mesh, &[N1, N2], &[DEFINITION])?;
    let apply = |name: &str, spec: &Value| kubernetes.object(VERSION, KIND, "shop", name, spec);
    apply("good", &spec("v1", "hour"))?;
    apply("bad", &spec("v1", "fortnight"))?;
    apply("nowhere", &spec("late", "hour"))?;
    let good = becomes(&kubernetes, "good", 1, &GOOD)?;
    let bad = becomes(&kubernetes, "bad", 1, &[("Accepted", "False", "Invalid")])?;
    let message = bad[0]["message"].as_str().unwrap_or_default();
    ensure!(message.starts_with("spec.limits[0].local.per: \"fortnight\" is no period: use"), "{message}");
    let nowhere = becomes(&kubernetes, "nowhere", 1, &NOWHERE)?;
    ensure!(
        nowhere[0]["message"] == "spec.targetRefs[0]: there is no service late.shop.svc.cluster.local",
        "{nowhere:?}"
    );
    // What is changed is judged anew.
    apply("good", &spec("v1", "minute"))?;
    apply("bad", &spec("v1", "day"))?;
    let later = becomes(&kubernetes, "good", 2, &GOOD)?;
    let since =
        |conditions: &[Value]| conditions.iter().map(|one| one["lastTransitionTime"].clone()).collect::<Vec<_>>();
    ensure!(since(&later) == since(&good), "it has been good all the time: {later:?}");
    becomes(&kubernetes, "bad", 2, &[("Accepted", "False", "Invalid")])?;
    apply("bad", &spec("v1", "minute"))?;
    becomes(&kubernetes, "bad", 3, &GOOD)?;
    let late = mesh.service("late")?;
    becomes(&kubernetes, "nowhere", 1, &GOOD)?;
    drop(late);
    becomes(&kubernetes, "nowhere", 1, &NOWHERE)?;
    is_quiet(&kubernetes, 8)?;
    let agent = &mut mesh.agents[N1];
    agent.restart()?;
    agent.becomes_ready()?;
    is_quiet(&kubernetes, 8).context("an agent has started that finds all said")
}

/// So many writes were taken, and for a while nobody tries another. An object has its status a moment before the API server tells of it.
fn is_quiet(kubernetes: &FakeKubernetes, expected: usize) -> Result<()> {
    wait::until("the API server tells of all writes", WRITTEN, || {
        let writes = kubernetes.status_writes();
        ensure!(taken(kubernetes) >= expected, "{writes:?}");
        Ok(())
    })?;
    let tries = 2 * expected;
    wait::throughout("no status is written", QUIET, || {
        let writes = kubernetes.status_writes();
        ensure!(taken(kubernetes) == expected && writes.len() <= tries, "{writes:?}");
        Ok(())
    })
}

fn forbidden(mesh: &mut HttpMesh) -> Result<()> {
    let mut kubernetes = joined_on(mesh, &[N1], &[DEFINITION])?;
    kubernetes.goes_away()?;
    kubernetes.forbid_status(true);
    kubernetes.resume()?;
    let (service, agent) = (mesh.version("v1"), mesh.agent_of(mesh.pod("v1")));
    let before = agent.log().len();
    let limits = json!([{"name": "few", "local": {"requests": 1, "per": "hour"}}]);
    let spec = json!({"selector": {"matchLabels": {"app": "v1"}}, "limits": limits});
    kubernetes.object(VERSION, KIND, "shop", "few", &spec)?;
    let told = ["a status could not be written", "403", "deploy/kubernetes-objects/rights.yaml"];
    agent.logs_line(before, &told)?;
    wait::until("it is tried again", WRITTEN, || {
        let writes = kubernetes.status_writes();
        ensure!(writes.len() > 1 && writes.iter().all(|line| line.ends_with(": 403")), "{writes:?}");
        Ok(())
    })?;
    let log = agent.log();
    let lines = log[before..].lines().filter(|line| told.iter().all(|word| line.contains(word))).count();
    ensure!(lines == 1, "it is told {lines} times");
    service.comes_to("the limit counts and is used up", "/", &[], |answer| answer.status == 429)?;
    kubernetes.goes_away()?;
    kubernetes.forbid_status(false);
    kubernetes.resume()?;
    becomes(&kubernetes, "few", 1, &GOOD).map(drop)
}

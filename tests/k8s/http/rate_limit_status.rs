//! What agents say of RateLimits in their status, as kubectl shows it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use weir_tests::cluster::Cluster;
use weir_tests::cluster::kubectl::Kubectl;
use weir_tests::table::note;
use weir_tests::wait;

use crate::harness::{Case, Check};
use crate::{mesh, overlays};

pub(crate) const CASES: &[Case] = &[Case {
    name: "http: the status of a RateLimit says whether it counts, and two agents then leave it alone",
    check: Check::OwnMesh(told),
}];

const READY: Duration = Duration::from_secs(60);
/// How long a status may take: agents wait for what is missing and for each other.
const WRITTEN: Duration = Duration::from_secs(30);
/// Longer than an agent waits before it writes.
const QUIET: Duration = Duration::from_secs(6);

/// The API server takes all three: of what is wrong with `bad` its schema says nothing.
const OBJECTS: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: limits}
---
apiVersion: v1
kind: Service
metadata: {name: orders, namespace: limits}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: weir.dev/v1alpha1
kind: RateLimit
metadata: {name: good, namespace: limits}
spec: {targetRefs: [{kind: Service, name: orders}], limits: [{name: a, local: {requests: 10, per: second}}]}
---
apiVersion: weir.dev/v1alpha1
kind: RateLimit
metadata: {name: bad, namespace: limits}
spec: {targetRefs: [{kind: Service, name: orders}], limits: [{name: a, local: {requests: 10, per: fortnight}}]}
---
apiVersion: weir.dev/v1alpha1
kind: RateLimit
metadata: {name: nowhere, namespace: limits}
spec: {dryRun: true, targetRefs: [{kind: Service, name: nobody}], limits: [{name: a, local: {requests: 10, per: second}}]}
";
/// The same with what was wrong put right, and the Service that there was none of.
const REPAIRED: &str = "
apiVersion: weir.dev/v1alpha1
kind: RateLimit
metadata: {name: bad, namespace: limits}
spec: {targetRefs: [{kind: Service, name: orders}], limits: [{name: a, local: {requests: 10, per: 336h}}]}
---
apiVersion: v1
kind: Service
metadata: {name: nobody, namespace: limits}
spec: {ports: [{name: http, port: 80}]}
";
const REPAIRED_AGAIN: &str = "
apiVersion: weir.dev/v1alpha1
kind: RateLimit
metadata: {name: bad, namespace: limits}
spec: {targetRefs: [{kind: Service, name: orders}], limits: [{name: a, local: {requests: 10, per: 24h}}]}
";
/// A schema's own refusal, which no agent hears of.
const REFUSED: &str = "
apiVersion: weir.dev/v1alpha1
kind: RateLimit
metadata: {name: refused, namespace: limits}
spec: {limits: [{name: a, local: {requests: 0, per: second}}]}
";

/// Of an object: name, generation, and its conditions as `type=status reason`.
type Said<'a> = (&'a str, i64, &'a [&'a str]);

const GOOD: &[&str] = &["Accepted=True Accepted", "ResolvedRefs=True ResolvedRefs"];
const INVALID: &[&str] = &["Accepted=False Invalid"];
const NOWHERE: &[&str] = &["Accepted=False TargetNotFound", "ResolvedRefs=False TargetNotFound"];

fn told(cluster: &mut Cluster) -> Result<()> {
    let kubectl = &cluster.kubectl;
    kubectl.run(&["apply", "--kustomize", &overlays::folder("kubernetes-objects")?])?;
    kubectl.rolled_out(mesh::NAMESPACE, "daemonset/weir", READY)?;
    kubectl.apply(OBJECTS)?;
    ensure!(kubectl.apply(REFUSED).is_err(), "the schema lets any number of requests through");
    says(kubectl, &[("good", 1, GOOD), ("bad", 1, INVALID), ("nowhere", 1, NOWHERE)])?;
    let shown = kubectl.run(&["get", "ratelimits", "--namespace", "limits"])?;
    for line in [
        &["NAME", "ACCEPTED", "REASON", "DRY", "RUN", "AGE"][..],
        &["good", "True", "Accepted"],
        &["bad", "False", "Invalid"],
        &["nowhere", "False", "TargetNotFound", "true"],
    ] {
        let is_it = |found: &str| found.split_whitespace().take(line.len()).eq(line.iter().copied());
        ensure!(shown.lines().any(is_it), "no line {line:?}:\n{shown}");
    }
    let wide = kubectl.run(&["get", "ratelimits", "--namespace", "limits", "--output", "wide"])?;
    for message in
        ["spec.limits[0].local.per: \"fortnight\" is no period", "there is no service nobody.limits.svc.cluster.local"]
    {
        ensure!(wide.contains(message), "{wide}");
    }
    stands_still(cluster)?;
    kubectl.apply(REPAIRED)?;
    says(kubectl, &[("good", 1, GOOD), ("bad", 2, INVALID), ("nowhere", 1, GOOD)])?;
    kubectl.apply(REPAIRED_AGAIN)?;
    says(kubectl, &[("bad", 3, GOOD)])?;
    stands_still(cluster)?;
    let failed = writes(cluster, "failed")?;
    note(format!("{} writes by two agents for 3 objects and 3 changes", writes(cluster, "written")?));
    ensure!(failed == 0.0, "{failed} writes failed");
    may_only_write_status(kubectl)
}

fn says(kubectl: &Kubectl, expected: &[Said<'_>]) -> Result<()> {
    kubectl.until("the status says so", WRITTEN, |kubectl| {
        for (name, generation, conditions) in expected {
            let object = kubectl.get(&["ratelimit", name, "--namespace", "limits"])?;
            let found =
                object["status"]["conditions"].as_array().with_context(|| format!("{name} has no conditions"))?;
            let of = |condition: &Value, field: &str| condition[field].as_str().unwrap_or_default().to_owned();
            let text = |one: &Value| format!("{}={} {}", of(one, "type"), of(one, "status"), of(one, "reason"));
            ensure!(found.iter().map(text).eq(conditions.iter().copied()), "{name}: {found:?}");
            ensure!(found.iter().all(|one| one["observedGeneration"] == *generation), "{name}: {found:?}");
        }
        Ok(())
    })
}

/// Once what is to be said stands, no agent writes any status, not even the same again, and no object changes in any way.
fn stands_still(cluster: &Cluster) -> Result<()> {
    let seen = || {
        let path = "jsonpath={range .items[*]}{.metadata.name}={.metadata.resourceVersion} {end}";
        let versions = cluster.kubectl.run(&["get", "ratelimits", "--namespace", "limits", "--output", path])?;
        anyhow::Ok((versions, writes(cluster, "written")?, writes(cluster, "failed")?))
    };
    let before = seen()?;
    wait::throughout("no status is written", QUIET, || {
        let now = seen()?;
        ensure!(now == before, "{before:?} became {now:?}");
        Ok(())
    })
}

/// How many writes of all agents came to this.
fn writes(cluster: &Cluster, result: &str) -> Result<f64> {
    mesh::sum(cluster, "weir_object_status_writes_total", &[("result", result)])
}

/// An agent may not change the objects.
fn may_only_write_status(kubectl: &Kubectl) -> Result<()> {
    let account = format!("--as=system:serviceaccount:{}:ztunnel", mesh::NAMESPACE);
    for (words, expected) in [
        (&["patch", "ratelimits.weir.dev", "--subresource=status"][..], "yes"),
        (&["update", "ratelimits.weir.dev", "--subresource=status"], "no"),
        (&["patch", "ratelimits.weir.dev"], "no"),
        (&["update", "ratelimits.weir.dev"], "no"),
        (&["delete", "ratelimits.weir.dev"], "no"),
    ] {
        let all = [&["auth", "can-i"][..], words, &["--namespace=limits", &account]].concat();
        let answer = kubectl.output(READY, &all)?.stdout;
        ensure!(answer.trim() == expected, "{words:?}: {answer}");
    }
    Ok(())
}

//! What is told of policies: what a dry run would have denied, and what istiod writes into the status of a policy that needs HTTP,
//! beside what becomes of requests.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weir_tests::cluster::{CLIENT_NODE, Cluster, SERVER_NODE};
use weir_tests::wait;

use super::stage::{Actor, Call, DENIED, Stage, call, server};
use crate::harness::{Case, Check};
use crate::mesh;

pub(super) const CASES: &[Case] = &[
    Case {
        name: "policy: a dry run denies nothing, and what it would deny is counted and logged",
        check: Check::Mesh(dry_run),
    },
    Case {
        name: "policy: what istiod's status says a ztunnel cannot enforce is enforced, and weir why says so",
        check: Check::Mesh(status),
    },
];

/// How long istiod may take to write a status, and the agents to tell of what they have done.
const TOLD: Duration = Duration::from_secs(20);
const SERVED: &str = "200 server";
/// `near` is on the server's node.
const ACTORS: [Actor; 3] = [
    server("client", "client", CLIENT_NODE),
    server("near", "near", SERVER_NODE),
    server("server", "server", SERVER_NODE),
];

const DRY_RUN: &str = "
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-admin, namespace: dry-run, annotations: {istio.io/dry-run: 'true'}}
spec:
  selector: {matchLabels: {app: server}}
  action: DENY
  rules: [{to: [{operation: {paths: [/admin*]}}]}]
";

fn dry_run(cluster: &mut Cluster) -> Result<()> {
    let stage = Stage::start(&cluster.kubectl, "dry-run", &ACTORS)?;
    let denials = || mesh::sum(cluster, "weir_dry_run_denials_total", &[]);
    let from_all = |path: &'static str, outcome| {
        ["client", "near"].map(|from| (call(from, "server").path(path), outcome)).into_iter()
    };
    let before = denials()?;
    stage.apply(DRY_RUN)?;
    let calls: Vec<(Call, &str)> = from_all("/admin/users", SERVED).chain(from_all("/", SERVED)).collect();
    // Until it counts nothing is counted; then each look has two of its requests counted.
    wait::until("what it would deny is counted", TOLD, || {
        stage.comes_to("with a dry run", &calls)?;
        ensure!(denials()? > before, "nothing was counted");
        Ok(())
    })?;
    let before = denials()?;
    stage.outcomes(from_all("/", SERVED).map(|(call, _)| call).collect::<Vec<_>>().iter())?;
    ensure!(denials()? == before, "other paths are counted, too");
    let agent = mesh::agent_of(cluster, SERVER_NODE)?;
    let log = cluster.kubectl.run(&["logs", "--namespace", mesh::NAMESPACE, &agent.name, "--tail=2000"])?;
    let words = ["dry-run policy would deny", "dry-run/no-admin", "sa/client"];
    let told = log.lines().any(|line| words.iter().all(|word| line.contains(word)));
    ensure!(told, "no line with {words:?} in the end of the log");
    // What was announced happens once the policy is in force.
    let annotation = ["annotate", "--namespace", stage.namespace, "authorizationpolicy/no-admin", "istio.io/dry-run-"];
    cluster.kubectl.run(&annotation)?;
    let calls: Vec<(Call, &str)> = from_all("/admin/users", DENIED).chain(from_all("/", SERVED)).collect();
    stage.comes_to("without the annotation", &calls)
}

/// A policy; its condition `ZtunnelAccepted`: status and a part of the message; and what becomes of a GET and of a DELETE.
struct Told {
    spec: &'static str,
    status: &'static str,
    message: &'static str,
    outcomes: [&'static str; 2],
}

const POLICIES: [Told; 3] = [
    Told {
        spec: "{action: DENY, rules: [{to: [{operation: {methods: [DELETE]}}]}]}",
        status: "True",
        message: "DENY policy with HTTP attributes is enforced without the HTTP rules.",
        outcomes: [SERVED, DENIED],
    },
    Told {
        spec: "{action: ALLOW, rules: [{to: [{operation: {methods: [DELETE]}}]}]}",
        status: "True",
        message: "Within an ALLOW policy, rules matching HTTP attributes are omitted.",
        outcomes: [DENIED, SERVED],
    },
    Told {
        spec: "{action: CUSTOM, provider: {name: nobody}, rules: [{to: [{operation: {methods: [DELETE]}}]}]}",
        status: "False",
        message: "ztunnel does not support the CUSTOM action",
        outcomes: [SERVED, DENIED],
    },
];

fn status(cluster: &mut Cluster) -> Result<()> {
    let stage = Stage::start(&cluster.kubectl, "told", &ACTORS)?;
    let agent = mesh::agent_of(cluster, SERVER_NODE)?;
    let weir = |words: &[&str]| cluster.kubectl.exec(mesh::NAMESPACE, &agent.name, &[&["weir"][..], words].concat());
    for Told { spec, status, message, outcomes } in POLICIES {
        let metadata = "{name: methods, namespace: told}";
        stage.apply(&format!(
            "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {metadata}\nspec: {spec}\n"
        ))?;
        let calls = ["client", "near"].map(|from| {
            let (get, delete) = (call(from, "server"), call(from, "server").with("-XDELETE"));
            [(get, outcomes[0]), (delete, outcomes[1])]
        });
        stage.comes_to(spec, &calls.concat())?;
        cluster.kubectl.until("istiod has written the status", TOLD, |kubectl| {
            let policy = kubectl.get(&["authorizationpolicy", "methods", "--namespace", stage.namespace])?;
            let conditions = policy["status"]["conditions"].as_array().context("there are no conditions")?;
            let accepted = conditions.iter().find(|condition| condition["type"] == "ZtunnelAccepted");
            let accepted = accepted.with_context(|| format!("ZtunnelAccepted is not among {conditions:?}"))?;
            let text = accepted["message"].as_str().unwrap_or_default();
            ensure!(accepted["status"] == status && text.contains(message), "{accepted}");
            ensure!(accepted["reason"] == "UnsupportedValue", "{accepted}");
            Ok(())
        })?;
        let shown = weir(&["status"])?;
        let enforced = shown.split_once("policies enforced as they are written\n").context("none are listed")?.1;
        ensure!(enforced.lines().any(|line| line.trim() == "- told/methods"), "{shown}");
        let denied = if outcomes[0] == DENIED { "GET" } else { "DELETE" };
        let why = weir(&["why", "told/near", "http://server.told:8000/", "-X", denied])?;
        ensure!(why.contains("authorization: ") && !why.contains("authorization: allowed"), "{why}");
        ensure!(outcomes[0] == DENIED || why.contains("it is enforced as it is written"), "{why}");
    }
    Ok(())
}

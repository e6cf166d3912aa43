//! Istio's task "HTTP Traffic": from a namespace that allows nothing to one in which each service of the sample application is
//! reached by those alone that need it. The objects are the task's; stand-ins have the names and accounts of the application.

use anyhow::Result;
use weir_tests::cluster::{CLIENT_NODE, Cluster, SERVER_NODE};

use super::stage::{Actor, Call, DENIED, Stage, call, server};
use crate::harness::{Case, Check};

pub(super) const CASES: &[Case] = &[Case {
    name: "policy: Istio's task about HTTP traffic: nothing is allowed, then each service to those that need it",
    check: Check::Mesh(task),
}];

const NODES: [&str; 2] = [CLIENT_NODE, SERVER_NODE];
/// What becomes of a client in plaintext that no request would be allowed: its connection is closed.
const REFUSED: &str = "000";

/// `gateway` is in no mesh, as the ingress of the task may be; `curl` is a pod like any other.
const ACTORS: [Actor; 6] = [
    Actor { is_in_mesh: false, ..server("gateway", "gateway", NODES[0]) },
    server("curl", "curl", NODES[0]),
    server("productpage", "bookinfo-productpage", NODES[1]),
    server("details", "bookinfo-details", NODES[0]),
    server("reviews", "bookinfo-reviews", NODES[1]),
    server("ratings", "bookinfo-ratings", NODES[1]),
];

/// Each step: the object that it adds, and how many of the calls are allowed then, of those that the application needs.
const STEPS: [(&str, &str, usize); 5] = [
    (
        "allow-nothing",
        "
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: allow-nothing, namespace: default}
spec: {}
",
        0,
    ),
    (
        "productpage-viewer",
        "
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: productpage-viewer, namespace: default}
spec:
  selector: {matchLabels: {app: productpage}}
  action: ALLOW
  rules: [{to: [{operation: {methods: [GET]}}]}]
",
        2,
    ),
    (
        "details-viewer",
        "
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: details-viewer, namespace: default}
spec:
  selector: {matchLabels: {app: details}}
  action: ALLOW
  rules:
  - from: [{source: {principals: [cluster.local/ns/default/sa/bookinfo-productpage]}}]
    to: [{operation: {methods: [GET]}}]
",
        3,
    ),
    (
        "reviews-viewer",
        "
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: reviews-viewer, namespace: default}
spec:
  selector: {matchLabels: {app: reviews}}
  action: ALLOW
  rules:
  - from: [{source: {principals: [cluster.local/ns/default/sa/bookinfo-productpage]}}]
    to: [{operation: {methods: [GET]}}]
",
        4,
    ),
    (
        "ratings-viewer",
        "
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: ratings-viewer, namespace: default}
spec:
  selector: {matchLabels: {app: ratings}}
  action: ALLOW
  rules:
  - from: [{source: {principals: [cluster.local/ns/default/sa/bookinfo-reviews]}}]
    to: [{operation: {methods: [GET]}}]
",
        5,
    ),
];

/// A call, who answers it, and what becomes of it where it is not allowed.
type Asked = (Call, &'static str, &'static str);

/// Calls that the application needs, in the order in which the steps allow them.
fn needed() -> [Asked; 5] {
    [
        (call("gateway", "productpage"), "200 productpage", REFUSED),
        (call("curl", "productpage"), "200 productpage", DENIED),
        (call("productpage", "details"), "200 details", DENIED),
        (call("productpage", "reviews"), "200 reviews", DENIED),
        (call("reviews", "ratings"), "200 ratings", DENIED),
    ]
}

/// Calls that no step allows: of others, and with another method.
fn never_allowed() -> [Asked; 6] {
    [
        (call("curl", "productpage").with("-XPOST"), "200 productpage", DENIED),
        (call("gateway", "details"), "200 details", REFUSED),
        (call("curl", "reviews"), "200 reviews", DENIED),
        (call("productpage", "ratings"), "200 ratings", DENIED),
        (call("productpage", "reviews").with("-XDELETE"), "200 reviews", DENIED),
        (call("reviews", "details"), "200 details", DENIED),
    ]
}

fn task(cluster: &mut Cluster) -> Result<()> {
    let stage = Stage::start(&cluster.kubectl, "default", &ACTORS)?;
    let all: Vec<Asked> = needed().into_iter().chain(never_allowed()).collect();
    // So many of them are allowed, from the first on.
    let expected = |allowed: usize| -> Vec<(Call, &str)> {
        let outcome = |(at, asked): (usize, &Asked)| (asked.0.clone(), if at < allowed { asked.1 } else { asked.2 });
        all.iter().enumerate().map(outcome).collect()
    };
    stage.comes_to("without a policy", &expected(all.len()))?;
    for (step, object, allowed) in STEPS {
        stage.apply(object)?;
        stage.comes_to(step, &expected(allowed))?;
    }
    Ok(())
}

//! Routes and rate limits from the API server itself, by the overlay for that: what is applied counts while no istiod runs.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weir_tests::cluster::Cluster;
use weir_tests::wait;

use super::case::{HttpCase, ask, destination_rule, http_route, rate_limit, virtual_service};
use super::pods::HttpPods;
use crate::harness::{Case, Check};
use crate::istiod::with_istiod;
use crate::{mesh, overlays};

pub(crate) const CASES: &[Case] = &[Case {
    name: "http: agents read routes and rate limits from the API server, by the overlay for that, also while istiod is away",
    check: Check::OwnMesh(without_istiod),
}];

const READY: Duration = Duration::from_secs(60);

/// With both: objects of every kind that the agents follow, but Sidecar.
const BESIDE_ISTIOD: HttpCase = HttpCase {
    services: "shop",
    older: &[],
    objects: &[
        destination_rule("{host: WEB, subsets: [{name: three, labels: {version: v3}}]}"),
        virtual_service("{hosts: [WEB], http: [{route: [{destination: {host: WEB, subset: three}}]}]}"),
        http_route(
            "{parentRefs: [{group: '', kind: Service, name: ALT}], rules: [{backendRefs: [{name: v2, port: 80}]}]}",
        ),
    ],
    requests: &[ask("/").by("v3"), ask("/").alt().by("v2")],
};

/// RateLimits, which no control plane sends. Each lets one request of a day through: what looks before have asked is over.
const LIMITED: HttpCase = HttpCase {
    services: "shop",
    older: &[],
    objects: &[
        rate_limit(
            "
  targetRefs: [{kind: Service, name: v1}]
  limits:
  - {name: writes, match: [{to: [{operation: {methods: [POST]}}]}], local: {requests: 1, per: 24h}}",
        ),
        rate_limit("{selector: {matchLabels: {version: v2}}, dryRun: true, limits: [{name: all, local: {requests: 1, per: 24h}}]}")
            .named("dry-WEB"),
    ],
    requests: &[
        ask("/").to("v1").with(&["-XPOST"]).refused(429).body("local_rate_limited").headers(&[
            ("x-ratelimit-limit", Some("1")),
            ("x-ratelimit-remaining", Some("0")),
        ]),
        ask("/").to("v1").by("v1"),
        ask("/").to("v3").with(&["-XPOST"]).by("v3"),
        ask("/").to("v2").by("v2"),
    ],
};

/// About a service that there is none of.
const NOWHERE: &str = "
apiVersion: weir.dev/v1alpha1
kind: RateLimit
metadata: {name: nowhere, namespace: shop}
spec: {targetRefs: [{kind: Service, name: nobody}], limits: [{name: all, local: {requests: 1, per: second}}]}
";

/// Of services that istiod has told of before.
const WITHOUT_ISTIOD: HttpCase = HttpCase {
    services: "shop",
    older: &[],
    objects: &[
        virtual_service("{hosts: [v1], http: [{route: [{destination: {host: v2}}]}]}"),
        http_route(
            "{parentRefs: [{group: '', kind: Service, name: v3}], rules: [{backendRefs: [{name: v1, port: 80}]}]}",
        ),
    ],
    requests: &[ask("/").to("v1").by("v2"), ask("/").to("v3").by("v1")],
};

/// The same once they are gone.
const AFTERWARDS: HttpCase = HttpCase {
    services: "shop",
    older: &[],
    objects: &[],
    requests: &[ask("/").to("v1").by("v1"), ask("/").to("v3").by("v3")],
};

fn without_istiod(cluster: &mut Cluster) -> Result<()> {
    cluster.kubectl.run(&["apply", "--kustomize", &overlays::folder("kubernetes-objects")?])?;
    cluster.kubectl.rolled_out(mesh::NAMESPACE, "daemonset/weir", READY)?;
    let mut pods = HttpPods::start(&cluster.kubectl)?;
    pods.check(&BESIDE_ISTIOD).context("beside istiod")?;
    pods.check(&LIMITED).context("limits")?;
    let would = mesh::sum(cluster, "weir_rate_limit_requests_total", &[("limit", "all"), ("outcome", "dry_run")])?;
    ensure!(would > 0.0, "nothing beyond the limit of a dry run was counted");
    cluster.kubectl.apply(NOWHERE)?;
    wait::until("the agents tell of a limit that is about nobody", READY, || {
        for agent in mesh::agents(cluster)? {
            let told = cluster.kubectl.exec(mesh::NAMESPACE, &agent.name, &["weir", "status", "--config"])?;
            let at = told.find("RateLimit shop/nowhere\n").with_context(|| told.clone())?;
            ensure!(told[at..].contains("nobody"), "{told}");
        }
        Ok(())
    })?;
    let asked = [("url", "networking.istio.io/v1/VirtualService")];
    let messages = mesh::sum(cluster, "istio_xds_message_total", &asked)?;
    ensure!(messages == 0.0, "agents asked istiod for routes, {messages} answers came");
    with_istiod(cluster, |_, istiod| {
        istiod.kill();
        pods.check(&WITHOUT_ISTIOD).context("while istiod is away")?;
        pods.check(&AFTERWARDS).context("after the objects are gone, while istiod is away")?;
        istiod.restart()
    })
}

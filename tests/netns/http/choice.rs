//! What a DestinationRule says about which endpoint a request goes to: turns, new endpoints, places, labels, the dialled address.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use weir_tests::http_mesh::{HttpMesh, HttpService, VERSIONS};
use weir_tests::wait;

use super::split::answered_by;
use crate::harness::{Case, Check, note};

pub(crate) const CASES: &[Case] = &[
    Case { name: "http: ROUND_ROBIN takes the pods exactly in turn", check: Check::Http(turns) },
    Case { name: "http: a pod that joins warms up", check: Check::Http(warmup) },
    Case {
        name: "http: localityLbSetting distributes by place, prefers by label, and fails over",
        check: Check::Http(places),
    },
    Case { name: "http: subsets are told apart by any label of the pods", check: Check::Http(labels) },
    Case { name: "http: PASSTHROUGH goes to the address that was dialled", check: Check::Http(passthrough) },
    Case { name: "http: connectTimeout bounds an endpoint that does not answer", check: Check::Http(connect_timeout) },
];

fn turns(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.service("turns")?;
    answered_by(&service, &VERSIONS)?;
    let _rule = service.destination_rule("trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}")?;
    wait::until("all get the same", Duration::from_secs(10), || {
        let seen = service.load(80, &["--requests=90"])?;
        seen.all_are(200)?;
        ensure!(VERSIONS.iter().all(|version| seen.by(version) == 30), "{seen:?}");
        Ok(())
    })
}

fn warmup(mesh: &HttpMesh) -> Result<()> {
    const REQUESTS: u64 = 400;
    let service = mesh.service_of("warms", ("warms", "yes"))?;
    let joined = |pod: &'static str| mesh.relabel(pod, &[("app", "web"), ("version", pod), ("warms", "yes")]);
    let _v1 = joined("v1")?;
    answered_by(&service, &["v1"])?;
    for policy in ["simple: ROUND_ROBIN", "simple: LEAST_REQUEST"] {
        let rule = format!("trafficPolicy: {{loadBalancer: {{{policy}, warmup: {{duration: 600s}}}}}}");
        let _rule = service.destination_rule(&rule)?;
        let ready = "[{match: [{uri: {exact: /ready}}], directResponse: {status: 299}}, {route: [{destination: {host: warms}}]}]";
        let _route = service.virtual_service(ready)?;
        service.comes_to("the rule counts", "/ready", &[], |answer| answer.status == 299)?;
        // From here on those that come are new.
        service.load(80, &["--requests=10"])?.all_are(200)?;
        let v2 = joined("v2")?;
        answered_by(&service, &["v1", "v2"])?;
        let seen = service.load(80, &[&format!("--requests={REQUESTS}")])?;
        note(format!("{policy}: {} of {REQUESTS} requests to a pod that has just joined", seen.by("v2")));
        seen.all_are(200)?;
        // A tenth of the other's weight: 36 of 400.
        ensure!(seen.by("v2") > 0 && seen.by("v2") < 100, "{seen:?}");
        drop(v2);
        answered_by(&service, &["v1"])?;
    }
    Ok(())
}

/// Gives a service of [`HttpMesh::host`] endpoints in YAML flow, another address if it is to have one, and other ports.
fn with_endpoints(mesh: &HttpMesh, service: &HttpService<'_>, vip: IpAddr, endpoints: &str, port: u16) -> Result<()> {
    let (host, name) = (service.host(), service.name());
    mesh.control_plane.objects.put(
        &format!("host-{name}"),
        &format!(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}, namespace: shop}}\nspec:\n  \
             hosts: [{host}]\n  addresses: [{vip}]\n  resolution: STATIC\n  location: MESH_INTERNAL\n  endpoints: [{endpoints}]\n  \
             ports: [{{number: {port}, name: http, protocol: HTTP, targetPort: 8080}}]\n"
        ),
    )
}

fn endpoint(mesh: &HttpMesh, version: &str, place: &str) -> String {
    format!("{{address: {}, locality: {place}}}", mesh.pod(version).ipv4())
}

fn places(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.host("shop", "places.example.com", "v1")?;
    let all = ["eu/a", "us/b", "asia/c"].iter().zip(VERSIONS).map(|(place, version)| endpoint(mesh, version, place));
    with_endpoints(mesh, &service, service.vip(), &all.collect::<Vec<_>>().join(", "), 80)?;
    answered_by(&service, &VERSIONS)?;
    let rule = |setting: &str| {
        service.destination_rule(&format!(
            "trafficPolicy: {{loadBalancer: {{localityLbSetting: {setting}}}, outlierDetection: {{consecutive5xxErrors: 2, \
             interval: 0.2s, baseEjectionTime: 60s, maxEjectionPercent: 100}}}}"
        ))
    };
    let distribution = rule("{distribute: [{from: '*', to: {'eu/*': 25, us/b: 75}}]}")?;
    answered_by(&service, &["v1", "v2"])?;
    let seen = service.load(80, &["--requests=800"])?;
    note(format!("{} of 800 requests to the place with 25 %", seen.by("v1")));
    ensure!(seen.by("v1").abs_diff(200) < 80 && seen.by("v1") + seen.by("v2") == 800, "{seen:?}");
    drop(distribution);
    let _preference = rule("{failoverPriority: [topology.kubernetes.io/region=us]}")?;
    answered_by(&service, &["v2"])?;
    wait::until("others take the place of one that fails", Duration::from_secs(10), || {
        let seen = service.load(80, &["--requests=40", "--target=/?status=500&only=v2"])?;
        ensure!(seen.by("v2") == 0 && seen.by("v1") > 0 && seen.by("v3") > 0, "{seen:?}");
        seen.all_are(200)
    })
}

fn labels(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.service("labelled")?;
    answered_by(&service, &VERSIONS)?;
    let _gold = mesh.relabel("v3", &[("app", "web"), ("version", "v3"), ("tier", "gold")])?;
    let _rule = service.destination_rule("subsets: [{name: gold, labels: {app: web, tier: gold}}]")?;
    let _route = service.virtual_service("[{route: [{destination: {host: labelled, subset: gold}}]}]")?;
    answered_by(&service, &["v3"])
}

fn passthrough(mesh: &HttpMesh) -> Result<()> {
    const PORT: u16 = 8080;
    let service = mesh.host("shop", "passthrough.example.com", "v1")?;
    // The address of one pod; the endpoint is another one.
    let vip = mesh.pod("v2").ipv4();
    with_endpoints(mesh, &service, vip, &endpoint(mesh, "v1", "eu"), PORT)?;
    let answers = |what: &str, pod: &str| {
        wait::until(what, Duration::from_secs(10), || service.ask_at(vip, PORT, "/", &[])?.expect(200, Some(pod)))
    };
    answers("an endpoint answers", "v1")?;
    let _rule = service.destination_rule("trafficPolicy: {loadBalancer: {simple: PASSTHROUGH}}")?;
    answers("the address that was dialled answers", "v2")
}

fn connect_timeout(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.host("shop", "silent.example.com", "v1")?;
    // An address of the node's network that nobody has.
    with_endpoints(mesh, &service, service.vip(), "{address: 10.77.1.250}", 80)?;
    let _rule = service.destination_rule("trafficPolicy: {connectionPool: {tcp: {connectTimeout: 0.2s}}}")?;
    let _route =
        service.virtual_service("[{retries: {attempts: 0}, route: [{destination: {host: silent.example.com}}]}]")?;
    wait::until("the time of the rule is the limit", Duration::from_secs(20), || {
        let start = Instant::now();
        let answer = service.ask("/", &[])?;
        let taken = start.elapsed();
        answer.expect(503, None)?;
        ensure!(answer.body.contains("connection timeout") && taken < Duration::from_secs(1), "{taken:?}: {answer:?}");
        Ok(())
    })
}

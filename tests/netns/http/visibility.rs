//! Which objects count for a client: by namespace, export, host, age and kind. The client's namespace is `shop`.

use anyhow::{Result, ensure};
use weir_tests::http_mesh::HttpMesh;
use weir_tests::objects::ForNow;

use super::split::answered_by;
use crate::harness::{Case, Check};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "http: the oldest public VirtualService counts, unless the client's namespace has its own",
        check: Check::Http(exported),
    },
    Case {
        name: "http: an exact host goes before a wildcard, also where it yields no rule",
        check: Check::Http(hosts),
    },
    Case { name: "http: a VirtualService for gateways alone is none of a pod's", check: Check::Http(gateways) },
    Case {
        name: "http: an HTTPRoute of the client's namespace goes before the service's, one of a third counts for nobody",
        check: Check::Http(consumer),
    },
    Case { name: "http: a delegate's rules stand where the root names it", check: Check::Http(delegate) },
    Case {
        name: "http: the client's DestinationRule counts before the service's, and of one host both subsets",
        check: Check::Http(destination_rules),
    },
    Case {
        name: "http: the settings of a port stand in the place of those of all ports",
        check: Check::Http(port_settings),
    },
    Case {
        name: "http: an HTTPRoute's backend time-out without retries is the time-out",
        check: Check::Http(backend_timeout),
    },
];

/// Writes a VirtualService until it is dropped: `spec` without hosts, as lines of YAML.
fn virtual_service<'a>(mesh: &'a HttpMesh, namespace: &str, name: &str, year: u32, spec: &str) -> Result<ForNow<'a>> {
    written(mesh, "networking.istio.io/v1", "VirtualService", namespace, name, year, spec)
}

fn destination_rule<'a>(mesh: &'a HttpMesh, namespace: &str, name: &str, year: u32, spec: &str) -> Result<ForNow<'a>> {
    written(mesh, "networking.istio.io/v1", "DestinationRule", namespace, name, year, spec)
}

fn written<'a>(
    mesh: &'a HttpMesh,
    version: &str,
    kind: &str,
    namespace: &str,
    name: &str,
    year: u32,
    spec: &str,
) -> Result<ForNow<'a>> {
    let yaml = format!(
        "apiVersion: {version}\nkind: {kind}\nmetadata: {{name: {name}, namespace: {namespace}, creationTimestamp: \
         \"{year}-01-01T00:00:00Z\"}}\nspec:\n  {spec}\n"
    );
    mesh.control_plane.objects.put_for_now(&format!("{namespace}-{name}"), &yaml)
}

/// A rule for everything that leads to a version.
fn to(version: &str) -> String {
    format!("http: [{{route: [{{destination: {{host: {version}.shop.svc.cluster.local}}}}]}}]")
}

fn exported(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.host("store", "exported.example", "v1")?;
    answered_by(&service, &["v1"])?;
    let spec = |more: &str, version: &str| format!("hosts: [exported.example]\n  {more}{}", to(version));
    let _younger = virtual_service(mesh, "shop", "exported", 2025, &spec("", "v3"))?;
    answered_by(&service, &["v3"])?;
    let _older = virtual_service(mesh, "other", "exported", 2024, &spec("", "v2"))?;
    answered_by(&service, &["v2"])?;
    let _private = virtual_service(mesh, "shop", "exported", 2025, &spec("exportTo: ['.']\n  ", "v3"))?;
    answered_by(&service, &["v3"])?;
    // Nobody else's private one counts.
    let _nobodys = virtual_service(mesh, "other", "exported", 2024, &spec("exportTo: ['.']\n  ", "v2"))?;
    let _gone = virtual_service(mesh, "shop", "exported", 2025, &spec("exportTo: [other]\n  ", "v3"))?;
    answered_by(&service, &["v1"])
}

fn hosts(mesh: &HttpMesh) -> Result<()> {
    let (exact, other) = (mesh.host("store", "a.hosts.example", "v1")?, mesh.host("store", "b.hosts.example", "v1")?);
    let wildcard = format!("hosts: ['*.hosts.example']\n  {}", to("v2"));
    let _wildcard = virtual_service(mesh, "store", "wildcard", 2024, &wildcard)?;
    answered_by(&exact, &["v2"])?;
    answered_by(&other, &["v2"])?;
    let _exact = virtual_service(mesh, "store", "exact", 2025, &format!("hosts: [a.hosts.example]\n  {}", to("v3")))?;
    answered_by(&exact, &["v3"])?;
    answered_by(&other, &["v2"])?;
    // Its only rule is for other sources: the default route counts, not the wildcard.
    let none = "hosts: [a.hosts.example]\n  http: [{match: [{sourceLabels: {app: another}}], route: [{destination: {host: \
                v3.shop.svc.cluster.local}}]}]";
    let _none = virtual_service(mesh, "store", "exact", 2025, none)?;
    answered_by(&exact, &["v1"])
}

fn gateways(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.host("store", "gateways.example", "v1")?;
    let spec =
        |gateways: &str, version: &str| format!("hosts: [gateways.example]\n  gateways: {gateways}\n  {}", to(version));
    let _older = virtual_service(mesh, "store", "edge", 2024, &spec("[edge]", "v2"))?;
    let _younger = virtual_service(mesh, "store", "both", 2025, &spec("[edge, mesh]", "v3"))?;
    answered_by(&service, &["v3"])
}

fn consumer(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.service_in("store", "consumer", "v1")?;
    let spec = |version: &str| {
        format!(
            "parentRefs: [{{group: \"\", kind: Service, name: consumer, namespace: store}}]\n  rules: \
             [{{backendRefs: [{{name: {version}, namespace: shop, port: 80}}]}}]"
        )
    };
    let route = |namespace: &str, version: &str| {
        written(mesh, "gateway.networking.k8s.io/v1", "HTTPRoute", namespace, "consumer", 2025, &spec(version))
    };
    let _third = route("third", "v3")?;
    let producers = route("store", "v2")?;
    answered_by(&service, &["v2"])?;
    let consumers = route("shop", "v3")?;
    answered_by(&service, &["v3"])?;
    drop(consumers);
    answered_by(&service, &["v2"])?;
    drop(producers);
    answered_by(&service, &["v1"])
}

fn delegate(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.host("store", "delegate.example", "v1")?;
    let root = "hosts: [delegate.example]\n  http: [{match: [{uri: {prefix: /a}}], delegate: {name: part, namespace: store}, timeout: 0.3s}]";
    let _root = virtual_service(mesh, "store", "root", 2024, root)?;
    let part = "http: [{match: [{uri: {prefix: /b}}], route: [{destination: {host: v2.shop.svc.cluster.local}}]}, \
                {match: [{uri: {prefix: /a/b}}], route: [{destination: {host: v3.shop.svc.cluster.local}}]}]";
    let _part = virtual_service(mesh, "store", "part", 2024, part)?;
    service.comes_to("the delegate's rule counts", "/a/b", &[], |answer| answer.pod() == Some("v3"))?;
    // What the root's match excludes is dropped.
    service.ask("/b", &[])?.expect(404, None)?;
    // The root's time-out is the delegate's, too.
    service.ask("/a/b?delay_ms=5000", &[])?.expect(504, None)
}

fn destination_rules(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.service("rules")?;
    let subsets = |name: &str, version: &str| {
        format!("host: rules.shop.svc.cluster.local\n  subsets: [{{name: {name}, labels: {{version: {version}}}}}]")
    };
    let _one = destination_rule(mesh, "shop", "rules-1", 2024, &subsets("one", "v1"))?;
    let _two = destination_rule(mesh, "shop", "rules-2", 2025, &subsets("two", "v2"))?;
    for (subset, version) in [("one", "v1"), ("two", "v2")] {
        let _route =
            service.virtual_service(&format!("[{{route: [{{destination: {{host: rules, subset: {subset}}}}}]}}]"))?;
        answered_by(&service, &[version])?;
    }
    // A name that both have is the older one's.
    let _again = destination_rule(mesh, "shop", "rules-2", 2025, &subsets("one", "v2"))?;
    let _route = service.virtual_service("[{route: [{destination: {host: rules, subset: one}}]}]")?;
    answered_by(&service, &["v1"])
}

fn port_settings(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.service("ports")?;
    let _rule = service.destination_rule(
        "trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x-user}}, portLevelSettings: [{port: {number: 8081}, \
         loadBalancer: {simple: ROUND_ROBIN}}]}",
    )?;
    let pods = |port: u16, more: &[&str]| -> Result<usize> {
        let seen = service.load(port, &[&["--requests=60", "--field=x-user: one"][..], more].concat())?;
        seen.all_are(200)?;
        Ok(seen.pods.len())
    };
    weir_tests::wait::until("a key has one pod", std::time::Duration::from_secs(10), || {
        let count = pods(80, &[])?;
        ensure!(count == 1, "it has {count}");
        Ok(())
    })?;
    ensure!(pods(8081, &[])? == 3, "the port has a policy of its own");
    Ok(())
}

fn backend_timeout(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.service("backend-timeout")?;
    let _route = service
        .http_route("[{timeouts: {request: 15s, backendRequest: 300ms}, backendRefs: [{name: v1, port: 80}]}]")?;
    let start = std::time::Instant::now();
    service
        .comes_to("the time-out counts", "/?delay_ms=5000", &[], |answer| answer.status == 504)?
        .expect(504, None)?;
    ensure!(start.elapsed() < std::time::Duration::from_secs(14), "it took {:?}", start.elapsed());
    Ok(())
}

//! Services and workloads of ServiceEntry and WorkloadEntry.

use prost::Message as _;

use super::{objects_of, service, translated, workload};
use crate::control_plane::translate::{Options, VipAllocations, translate};
use crate::model::workload::LABELS_EXTENSION;
use crate::objects::PARENT_HOSTS;
use crate::proto::istio::workload::{
    AppProtocol, LoadBalancing, PortList, Service, TunnelProtocol, load_balancing::HealthPolicy, load_balancing::Mode,
    load_balancing::Scope,
};
use crate::resources::ObjectKind;

fn entry(name: &str, rest: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}, {rest}}}\nspec: {{{spec}}}\n"
    )
}

fn workload_entry(name: &str, rest: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{name: {name}, {rest}}}\nspec: {{{spec}}}\n"
    )
}

const TCP: &str = "ports: [{number: 80, name: tcp, protocol: TCP}]";

fn ports(list: &PortList) -> Vec<(u32, u32)> {
    list.ports.iter().map(|port| (port.service_port, port.target_port)).collect()
}

fn addresses(service: &Service) -> Vec<(Vec<u8>, Option<u32>)> {
    service.addresses.iter().map(|address| (address.address.clone(), address.length)).collect()
}

#[test]
fn a_block_is_masked_and_passes_through() {
    let found = translated(&entry(
        "e",
        "namespace: n",
        &format!("hosts: [a.com], addresses: [10.0.0.5/24], resolution: NONE, {TCP}"),
    ));
    let service = service(&found, "n/a.com");
    assert_eq!(addresses(&service), [(vec![10, 0, 0, 0], Some(24))]);
    let expected = LoadBalancing {
        mode: Mode::Passthrough.into(),
        health_policy: HealthPolicy::AllowAll.into(),
        ..LoadBalancing::default()
    };
    assert_eq!(service.load_balancing, Some(expected));
}

#[test]
fn an_address_written_as_a_block_of_one_has_no_length() {
    let found = translated(&entry(
        "e",
        "namespace: n",
        &format!("hosts: [a.com], addresses: [1.2.3.4/32], resolution: DNS, {TCP}"),
    ));
    assert_eq!(addresses(&service(&found, "n/a.com")), [(vec![1, 2, 3, 4], None)]);
}

#[test]
fn traffic_distribution_is_the_objects_then_the_namespaces() {
    let near = [Scope::Network, Scope::Region, Scope::Zone].as_slice();
    let node = [Scope::Network, Scope::Region, Scope::Zone, Scope::Subzone, Scope::Node].as_slice();
    let note = |value: &str| format!(", annotations: {{networking.istio.io/traffic-distribution: {value}}}");
    let cases = [
        (String::new(), String::new(), [].as_slice()),
        (note("PreferClose"), String::new(), near),
        (note("prefersamezone"), note("PreferSameNode"), near),
        (String::new(), note("PreferSameNode"), node),
        (note("Whatever"), note("PreferSameNode"), &[]),
    ];
    for (own, namespace, expected) in cases {
        let spec = format!("hosts: [a.com], resolution: DNS, {TCP}");
        let yaml = entry("e", &format!("namespace: n{own}"), &spec)
            + &format!("---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: n{namespace}}}\n");
        let found = service(&translated(&yaml), "n/a.com").load_balancing.unwrap_or_default();
        let expected: Vec<i32> = expected.iter().map(|scope| (*scope).into()).collect();
        assert_eq!(found.routing_preference, expected, "{own} {namespace}");
        assert_eq!(found.mode, if expected.is_empty() { 0 } else { i32::from(Mode::Failover) });
    }
}

#[test]
fn protocols_come_from_the_protocol_alone() {
    let cases = [
        ("HTTP", AppProtocol::Http11),
        ("http2", AppProtocol::Http2),
        ("GRPC", AppProtocol::Grpc),
        ("HTTPS", AppProtocol::Tls),
        ("TLS", AppProtocol::Tls),
        ("TCP", AppProtocol::Tcp),
        ("MONGO", AppProtocol::Unknown),
        ("\"\"", AppProtocol::Unknown),
    ];
    for (protocol, expected) in cases {
        let spec =
            format!("hosts: [a.com], resolution: DNS, ports: [{{number: 80, name: http, protocol: {protocol}}}]");
        let found = service(&translated(&entry("e", "namespace: n", &spec)), "n/a.com");
        assert_eq!(found.ports[0].app_protocol(), expected, "{protocol}");
    }
}

#[test]
fn the_oldest_object_of_a_namespace_owns_a_host() {
    let spec = "hosts: [a.com], resolution: STATIC, endpoints: [{address: 10.0.0.1}]";
    let yaml = entry("young", "namespace: n, creationTimestamp: 2026-02-01T00:00:00Z", spec)
        + &entry("old", "namespace: n, creationTimestamp: 2026-01-01T00:00:00Z", spec)
        + &entry("undated", "namespace: n", spec)
        + &entry("other", "namespace: m, creationTimestamp: 2026-03-01T00:00:00Z", spec);
    let found = translated(&yaml);
    let (own, other) = (service(&found, "n/a.com"), service(&found, "m/a.com"));
    assert_eq!((own.name.as_str(), own.canonical, other.canonical), ("old", true, false));
    assert_eq!(found.addresses.len(), 4, "losers have no endpoints: {:?}", found.addresses.keys());
}

#[test]
fn a_younger_object_adds_the_ports_that_the_owner_of_a_host_does_not_have() {
    let dated = |name: &str, month: u8, rest: &str, spec: &str| {
        entry(name, &format!("namespace: n, creationTimestamp: 2026-0{month}-01T00:00:00Z{rest}"), spec)
    };
    let spec = |resolution: &str, ports: &[u16], endpoint: &str| {
        let ports: Vec<String> =
            ports.iter().map(|port| format!("{{number: {port}, name: p{port}, protocol: TCP}}")).collect();
        format!(
            "hosts: [a.com], resolution: {resolution}, ports: [{}], endpoints: [{{address: {endpoint}}}]",
            ports.join(", ")
        )
    };
    let owner = dated("a", 1, "", &spec("STATIC", &[80], "10.0.0.1"));
    let other = "it has no effect: it belongs to the older ServiceEntry \"a\", and";
    // The younger object, the ports of the service, the endpoints with the ports they serve, and what is told.
    let rows = [
        (
            dated("b", 2, "", &spec("STATIC", &[81], "10.0.0.2")),
            vec![80, 81],
            vec![("a", 80), ("b", 81)],
            String::new(),
        ),
        (
            dated("b", 2, "", &spec("STATIC", &[80, 81], "10.0.0.2")),
            vec![80, 81],
            vec![("a", 80), ("b", 81)],
            "port 80 has no effect: the older ServiceEntry \"a\" has it".to_owned(),
        ),
        (
            dated("b", 2, "", &spec("STATIC", &[80], "10.0.0.2")),
            vec![80],
            vec![("a", 80)],
            "port 80 has no effect: the older ServiceEntry \"a\" has it".to_owned(),
        ),
        (
            dated("b", 2, "", &spec("DNS", &[81], "10.0.0.2")),
            vec![80],
            vec![("a", 80)],
            format!("{other} spec.resolution is not the same there"),
        ),
        (
            dated("b", 2, ", labels: {istio.io/use-waypoint: w}", &spec("STATIC", &[81], "10.0.0.2")),
            vec![80],
            vec![("a", 80)],
            format!("{other} metadata.labels is not the same there"),
        ),
    ];
    for (younger, expected_ports, endpoints, told) in rows {
        let found = translated(&format!("{younger}{owner}"));
        let service = service(&found, "n/a.com");
        assert_eq!(service.ports.iter().map(|port| port.service_port).collect::<Vec<_>>(), expected_ports, "{younger}");
        assert_eq!(service.addresses.len(), 2 * endpoints.len(), "each object that counts has addresses for the host");
        let of = |name: &str| {
            let address = if name == "a" { "10.0.0.1" } else { "10.0.0.2" };
            ports(&workload(&found, &format!("ServiceEntry/n/{name}/{address}")).services["n/a.com"])
        };
        for (name, port) in &endpoints {
            assert_eq!(of(name), [(*port, *port)], "{younger}");
        }
        assert_eq!(found.addresses.len(), 1 + endpoints.len(), "{:?}", found.addresses.keys());
        let expected = (!told.is_empty()).then(|| format!("ServiceEntry n/b: host \"a.com\": {told}"));
        assert_eq!(
            found.notices.iter().filter(|notice| notice.contains("n/b")).collect::<Vec<_>>(),
            expected.iter().collect::<Vec<_>>()
        );
    }
}

#[test]
fn workloads_that_two_merged_objects_select_serve_the_ports_of_both() {
    let spec = |port: u16| {
        format!(
            "hosts: [a.com], resolution: STATIC, workloadSelector: {{labels: {{app: a}}}}, ports: [{{number: {port}, name: p{port}, protocol: TCP}}]"
        )
    };
    let yaml = entry("a", "namespace: n", &spec(80))
        + &entry("b", "namespace: n", &spec(81))
        + &workload_entry("w", "namespace: n, labels: {app: a}", "address: 10.0.0.1");
    let found = workload(&translated(&yaml), "WorkloadEntry/n/w");
    assert_eq!(ports(&found.services["n/a.com"]), [(80, 80), (81, 81)]);
}

#[test]
fn a_namespace_visible_owner_leaves_no_canonical_service() {
    let spec = "hosts: [a.com], resolution: NONE";
    let mesh = "---\napiVersion: mesh.istio.io/v1alpha1\nkind: MeshConfig\nspec:\n  serviceEntryVisibility:\n    policies: [{visibility: VIS, matchingRules: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: n}}}]}]\n";
    let yaml = entry("old", "namespace: n", spec) + &entry("other", "namespace: m", spec);
    let found = translated(&(yaml.clone() + &mesh.replace("VIS", "NAMESPACE")));
    assert_eq!(service(&found, "n/a.com").visibility, 1);
    assert!(!service(&found, "n/a.com").canonical && service(&found, "m/a.com").canonical);
    let found = translated(&(yaml + &mesh.replace("VIS", "NONE")));
    assert_eq!(found.addresses.keys().collect::<Vec<_>>(), ["m/a.com"]);
}

#[test]
fn hosts_found_by_dns_are_a_workload_each() {
    let spec =
        "hosts: [a.example.com, b.example.com], resolution: DNS, ports: [{number: 443, name: tls, protocol: TLS}]";
    let found = translated(&entry("e", "namespace: n", spec));
    for host in ["a.example.com", "b.example.com"] {
        let workload = workload(&found, &format!("ServiceEntry/n/e/{host}"));
        assert_eq!((workload.hostname.as_str(), workload.name.as_str()), (host, "e"));
        assert_eq!(workload.services.keys().collect::<Vec<_>>(), [&format!("n/{host}")]);
        assert!(workload.addresses.is_empty());
    }
}

#[test]
fn endpoints_take_labels_from_their_service_entry_and_place_from_their_own() {
    let spec = format!(
        "hosts: [a.com], resolution: STATIC, {TCP}, endpoints: [{{address: 2.3.4.5, ports: {{tcp: 8080}}, labels: {{app: mine, kubernetes.io/hostname: node-1}}}}, {{address: 'fd00::1', network: far}}]"
    );
    let found = translated(&entry("e", "namespace: n, labels: {app: entry}", &spec));
    let first = workload(&found, "ServiceEntry/n/e/2.3.4.5");
    assert_eq!((first.canonical_name.as_str(), first.node.as_str()), ("entry", "node-1"));
    assert_eq!(ports(&first.services["n/a.com"]), [(80, 8080)]);
    let second = workload(&found, "ServiceEntry/n/e/fd00::1");
    assert_eq!((second.network.as_str(), second.node.as_str(), second.addresses[0].len()), ("far", "", 16));
    assert_eq!(ports(&second.services["n/a.com"]), [(80, 80)]);
}

#[test]
fn a_workload_entry_serves_what_selects_it() {
    let ports_of = "ports: [{number: 80, name: p80, targetPort: 8080, protocol: HTTP}, {number: 81, name: p81, protocol: HTTP}, {number: 82, name: p82, protocol: HTTP}]";
    let by = |selector: &str| {
        format!(
            "hosts: [{selector}.com], resolution: STATIC, {ports_of}, workloadSelector: {{labels: {{app: {selector}}}}}"
        )
    };
    let yaml = entry("e", "namespace: n", &by("a"))
        + &entry("f", "namespace: n", &by("b"))
        + &entry("g", "namespace: m", &by("a"))
        + &workload_entry(
            "w",
            "namespace: n, labels: {app: a}",
            "address: 10.0.0.1, labels: {app: b, version: v2}, ports: {p81: 8180}, serviceAccount: sa, weight: 7, locality: r/z/s",
        );
    let found = workload(&translated(&yaml), "WorkloadEntry/n/w");
    assert_eq!(found.services.keys().collect::<Vec<_>>(), ["n/a.com"], "metadata's labels win");
    assert_eq!(ports(&found.services["n/a.com"]), [(80, 8080), (81, 8180), (82, 82)]);
    let locality = found.locality.clone().expect("a locality was given");
    assert_eq!([locality.region, locality.zone, locality.subzone], ["r", "z", "s"]);
    assert_eq!((found.service_account.as_str(), found.capacity), ("sa", Some(7)));
    assert_eq!(
        (found.canonical_name.as_str(), found.canonical_revision.as_str(), found.workload_name.as_str()),
        ("a", "v2", "w")
    );
}

#[test]
fn a_workload_entry_is_reached_by_hbone_if_captured_or_if_it_says_so() {
    let cases = [
        ("namespace: n", TunnelProtocol::None, false),
        ("namespace: n, annotations: {ambient.istio.io/redirection: enabled}", TunnelProtocol::Hbone, false),
        ("namespace: n, labels: {networking.istio.io/tunnel: http}", TunnelProtocol::Hbone, true),
    ];
    for (metadata, protocol, native) in cases {
        let found = workload(&translated(&workload_entry("w", metadata, "address: 10.0.0.1")), "WorkloadEntry/n/w");
        assert_eq!((found.tunnel_protocol(), found.native_tunnel), (protocol, native), "{metadata}");
    }
}

#[test]
fn a_workload_entry_may_have_several_addresses_or_none() {
    let both = "namespace: n, annotations: {weir.dev/addresses: '10.0.0.1, fd00::1'}";
    let cases = [
        (both, "address: 10.0.0.1", vec![4, 16], ""),
        (both, "network: x", vec![4, 16], ""),
        ("namespace: n", "network: x", vec![], ""),
        ("namespace: n", "address: db.example.com", vec![], "db.example.com"),
    ];
    for (metadata, spec, lengths, hostname) in cases {
        let found = workload(&translated(&workload_entry("w", metadata, spec)), "WorkloadEntry/n/w");
        let found_lengths: Vec<usize> = found.addresses.iter().map(|address| address.len()).collect();
        assert_eq!((found_lengths, found.hostname.as_str()), (lengths, hostname), "{spec}");
    }
}

#[test]
fn trust_domain_cluster_and_network_are_the_meshs() {
    let yaml = workload_entry("w", "namespace: n", "address: 10.0.0.1")
        + &entry("e", "namespace: n", &format!("hosts: [a.com], addresses: [10.1.1.1], resolution: NONE, {TCP}"))
        + "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\ndata:\n  mesh: |\n    trustDomain: example.org\n    accessLogFile: /dev/stdout\n";
    let options = Options { cluster_id: String::new(), network: "net".to_owned(), ..Options::default() };
    let found = translate(&objects_of(&yaml), &options, &mut VipAllocations::default());
    let keys: Vec<&String> = found.addresses.keys().collect();
    assert_eq!(keys, ["/networking.istio.io/WorkloadEntry/n/w", "n/a.com"]);
    let address = service(&found, "n/a.com").addresses[0].clone();
    assert_eq!(address.network, "net");
    assert_eq!(found.mesh_config.trust_domain(), "example.org");
}

#[test]
fn objects_outside_the_mesh_do_not_count() {
    let mesh = "---\napiVersion: mesh.istio.io/v1alpha1\nkind: MeshConfig\nspec: {discoverySelectors: [{matchExpressions: [{key: mesh, operator: In, values: [\"on\"]}]}]}\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: in, labels: {mesh: \"on\"}}\n";
    let yaml = workload_entry("w", "namespace: in", "address: 10.0.0.1")
        + &workload_entry("w", "namespace: out", "address: 10.0.0.2")
        + &workload_entry("canary", "namespace: in, labels: {istio.io/rev: canary}", "address: 10.0.0.3")
        + mesh;
    let keys: Vec<String> = translated(&yaml).addresses.into_keys().collect();
    assert_eq!(keys, ["Kubernetes/networking.istio.io/WorkloadEntry/in/w"]);
}

#[test]
fn a_route_comes_with_the_hosts_of_the_service_entries_that_it_is_attached_to() {
    let route = |annotations: &str, parent: &str| {
        let text = format!(
            "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: r, namespace: n, annotations: \
             {{{annotations}}}}}\nspec: {{parentRefs: [{parent}]}}\n"
        );
        let spec = "hosts: [a.com, b.com], resolution: DNS, ports: [{number: 80, name: http, protocol: HTTP}]";
        let found = translated(&(entry("e", "namespace: n", spec) + &text));
        let sent = &found.objects[&(ObjectKind::HttpRoute, "n/r".to_owned())];
        sent.metadata.as_ref().and_then(|metadata| metadata.annotations.get(PARENT_HOSTS).cloned())
    };
    let parent = |kind: &str, name: &str| format!("{{group: networking.istio.io, kind: {kind}, name: {name}}}");
    assert_eq!(route("", &parent("ServiceEntry", "e")).as_deref(), Some("n/e=a.com,b.com"));
    for (annotations, parent) in [
        ("", parent("ServiceEntry", "other")),
        // What a user writes does not count.
        ("weir.dev/parent-hosts: n/other=c.com", parent("ServiceEntry", "other")),
        ("weir.dev/parent-hosts: n/e=c.com", "{group: \"\", kind: Service, name: e}".to_owned()),
    ] {
        assert_eq!(route(annotations, &parent), None, "{annotations:?} {parent}");
    }
}

#[test]
fn labels_that_destination_rules_ask_for_are_sent() {
    let workload = "{apiVersion: networking.istio.io/v1, kind: WorkloadEntry, metadata: {name: w, namespace: n, labels: {app: a, tier: gold, zone: z, other: o, version: v1}}, spec: {address: 10.0.0.1}}\n";
    let rule = |spec: &str| {
        format!(
            "---\n{{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {{name: d, namespace: n}}, spec: {{host: a, {spec}}}}}\n"
        )
    };
    let priority = "trafficPolicy: {portLevelSettings: [{port: {number: 80}, loadBalancer: {localityLbSetting: {failoverPriority: [zone]}}}]}";
    for (rule, expected) in [
        (String::new(), &[][..]),
        (rule("subsets: [{name: v1, labels: {version: v1, app: a}}]"), &[]),
        (rule("subsets: [{name: gold, labels: {tier: gold, app: a, none: x}}]"), &[("tier", "gold")]),
        (rule(&format!("subsets: [{{name: b, labels: {{version: v2}}}}], {priority}")), &[("zone", "z")]),
    ] {
        let found = super::workload(&translated(&format!("{workload}{rule}")), "WorkloadEntry/n/w");
        let labels = found.extensions.iter().filter(|extension| extension.name == LABELS_EXTENSION);
        let labels = labels.flat_map(|extension| {
            let config = extension.config.as_ref().expect("it has labels");
            prost_types::Struct::decode(&*config.value).expect("a struct").fields
        });
        let labels: Vec<_> = labels.map(|(name, value)| (name, value.kind)).collect();
        let text = |value: &str| Some(prost_types::value::Kind::StringValue(value.to_owned()));
        let expected: Vec<_> = expected.iter().map(|(name, value)| ((*name).to_owned(), text(value))).collect();
        assert_eq!(labels, expected, "{rule}");
    }
}

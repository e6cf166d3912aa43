//! Kubernetes Services and Pods, and waypoints.

use super::{service, translated};
use crate::model::workload::TERMINATING_EXTENSION;
use crate::proto::istio::workload::{
    AppProtocol, ApplicationTunnel, IpFamilies, LoadBalancing, NetworkMode, Service, Workload, WorkloadStatus, address,
    gateway_address::Destination, load_balancing::HealthPolicy, load_balancing::Mode, load_balancing::Scope,
};

fn object(api: &str, kind: &str, name: &str, metadata: &str, rest: &str) -> String {
    format!("---\napiVersion: {api}\nkind: {kind}\nmetadata: {{name: {name}, namespace: n{metadata}}}\n{rest}\n")
}

fn svc(name: &str, metadata: &str, spec: &str) -> String {
    object("v1", "Service", name, metadata, &format!("spec: {{{spec}}}"))
}

fn pod(metadata: &str, spec: &str, status: &str) -> String {
    object("v1", "Pod", "p", metadata, &format!("spec: {{containers: [], {spec}}}\nstatus: {{{status}}}"))
}

fn one_service(spec: &str) -> Service {
    service(&translated(&svc("s", "", spec)), "n/s.n.svc.cluster.local")
}

fn the_pod(yaml: &str) -> Option<Workload> {
    match translated(yaml).addresses.remove("Kubernetes//Pod/n/p")?.r#type {
        Some(address::Type::Workload(workload)) => Some(workload),
        _ => None,
    }
}

#[test]
fn ports_and_addresses_of_a_service() {
    let found = one_service(
        "clusterIPs: [10.96.0.1, 'fd00::1'], ports: [{name: http, port: 80, targetPort: 81}, {name: http-alt, port: 8080, targetPort: something}, {name: dns, port: 53, targetPort: 5300, protocol: UDP}, {name: dns-tcp, port: 53, targetPort: 5353}, {name: sctp, port: 54, protocol: SCTP}]",
    );
    let ports: Vec<_> =
        found.ports.iter().map(|port| (port.service_port, port.target_port, port.app_protocol())).collect();
    assert_eq!(ports, [(80, 81, AppProtocol::Http11), (8080, 0, AppProtocol::Http11), (53, 5353, AppProtocol::Tcp)]);
    assert!(found.canonical);
    assert_eq!((found.addresses.len(), found.ip_families()), (2, IpFamilies::Dual));
    let headless = one_service("clusterIP: None, ipFamilies: [IPv6]");
    assert_eq!((headless.addresses.len(), headless.ip_families()), (0, IpFamilies::Ipv6Only));
    assert!(translated(&svc("s", "", "type: ExternalName, externalName: a.com")).addresses.is_empty());
}

#[test]
fn protocols_come_from_app_protocol_then_name() {
    let cases = [
        ("name: grpc-web, port: 80", AppProtocol::Unknown),
        ("name: GRPC-x, port: 80", AppProtocol::Grpc),
        ("name: tcp, port: 80, appProtocol: https", AppProtocol::Tls),
        ("name: x, port: 80, appProtocol: kubernetes.io/h2c", AppProtocol::Http2),
        ("name: kubernetes.io, port: 80", AppProtocol::Unknown),
        ("port: 3306", AppProtocol::Tcp),
        ("name: mysql, port: 3306", AppProtocol::Unknown),
    ];
    for (port, expected) in cases {
        assert_eq!(one_service(&format!("ports: [{{{port}}}]")).ports[0].app_protocol(), expected, "{port}");
    }
}

#[test]
fn balancing_of_a_service() {
    let scopes = |scopes: &[Scope]| scopes.iter().map(|scope| i32::from(*scope)).collect::<Vec<_>>();
    let near = [Scope::Network, Scope::Region, Scope::Zone];
    let cases = [
        ("", None),
        ("trafficDistribution: PreferClose", Some((near.as_slice(), Mode::Failover))),
        ("trafficDistribution: preferclose", None),
        ("trafficDistribution: PreferClose, internalTrafficPolicy: Local", Some((&[Scope::Node], Mode::Strict))),
    ];
    for (spec, expected) in cases {
        let expected = expected.map(|(preference, mode)| LoadBalancing {
            routing_preference: scopes(preference),
            mode: mode.into(),
            ..LoadBalancing::default()
        });
        assert_eq!(one_service(spec).load_balancing, expected, "{spec}");
    }
    let not_ready = one_service("publishNotReadyAddresses: true").load_balancing.expect("a health policy");
    assert_eq!((not_ready.health_policy(), not_ready.mode()), (HealthPolicy::AllowAll, Mode::UnspecifiedMode));
}

const RUNNING: &str = "phase: Running, podIP: 10.0.0.1, conditions: [{type: Ready, status: 'True'}]";

#[test]
fn a_pod_counts_while_it_has_an_address() {
    let cases = [
        (RUNNING, Some(WorkloadStatus::Healthy)),
        ("phase: Pending, podIPs: [{ip: 10.0.0.1}, {ip: 'fd00::1'}]", Some(WorkloadStatus::Unhealthy)),
        ("phase: Pending", None),
        ("phase: Succeeded, podIP: 10.0.0.1", None),
    ];
    for (status, expected) in cases {
        assert_eq!(the_pod(&pod("", "", status)).map(|workload| workload.status()), expected, "{status}");
    }
    let leaving =
        the_pod(&pod(", deletionTimestamp: 2026-01-01T00:00:00Z", "hostNetwork: true", RUNNING)).expect("a workload");
    assert_eq!((leaving.status(), leaving.network_mode()), (WorkloadStatus::Unhealthy, NetworkMode::HostNetwork));
    assert_eq!(leaving.service_account, "default");
    let told = |workload: &Workload| workload.extensions.iter().map(|told| told.name.clone()).collect::<Vec<_>>();
    assert_eq!(told(&leaving), [TERMINATING_EXTENSION]);
    let gone = RUNNING.replace("True", "False");
    let gone = the_pod(&pod(", deletionTimestamp: 2026-01-01T00:00:00Z", "", &gone)).expect("a workload");
    assert_eq!((gone.status(), told(&gone)), (WorkloadStatus::Unhealthy, Vec::new()));
}

#[test]
fn a_pod_is_named_after_what_made_it() {
    let owned = |kind: &str, name: &str| {
        format!(
            ", generateName: x-, ownerReferences: [{{kind: {kind}, name: {name}, controller: true, apiVersion: a, uid: u}}]"
        )
    };
    let cases = [
        (String::new(), "p"),
        (owned("ReplicaSet", "web-5d4f") + ", labels: {pod-template-hash: 5d4f}", "web"),
        (owned("ReplicaSet", "web-5d4f"), "web-5d4f"),
        (owned("Job", "backup-28000000"), "backup"),
        (owned("Job", "backup-1"), "backup-1"),
        (owned("StatefulSet", "db"), "db"),
        (owned("StatefulSet", "db") + ", labels: {service.istio.io/workload-name: own}", "own"),
    ];
    for (metadata, expected) in cases {
        let found = the_pod(&pod(&metadata, "", RUNNING)).expect("a workload");
        assert_eq!((found.workload_name.as_str(), found.canonical_name.as_str()), (expected, expected), "{metadata}");
    }
}

/// Services of a workload, with the ports it serves them on.
fn ports(workload: &Workload) -> Vec<(String, Vec<(u32, u32)>)> {
    let of = |list: &crate::proto::istio::workload::PortList| {
        list.ports.iter().map(|port| (port.service_port, port.target_port)).collect()
    };
    workload.services.iter().map(|(key, list)| (key.clone(), of(list))).collect()
}

#[test]
fn pods_and_workload_entries_serve_what_selects_them() {
    let entry = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: e, namespace: n}\nspec: {hosts: [e.com], resolution: STATIC, ports: [{number: 8002, name: http, protocol: HTTP}, {number: 81, name: other, protocol: HTTP}], workloadSelector: {labels: {app: a}}}\n";
    let services = svc(
        "s",
        "",
        "selector: {app: a}, ports: [{name: http, port: 80, targetPort: 8080}, {name: x, port: 81, targetPort: '81-target'}, {name: y, port: 82, targetPort: absent}]",
    ) + &svc("none", "", "ports: [{port: 80}]");
    let container = "containers: [{ports: [{name: 81-target, containerPort: 9090}, {name: http, containerPort: 8000}, {name: absent, containerPort: 53, protocol: UDP}]}]";
    let pod = pod(", labels: {app: a}", "", RUNNING).replace("containers: [], ", container);
    let found = the_pod(&format!("{entry}{services}{pod}")).expect("a workload");
    let expected = [
        ("n/e.com".to_owned(), vec![(8002, 8000), (81, 81)]),
        ("n/s.n.svc.cluster.local".to_owned(), vec![(80, 8080), (81, 9090)]),
    ];
    assert_eq!(ports(&found), expected);

    let workload = "---\napiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: w, namespace: n, labels: {app: a}}\nspec: {address: 10.0.0.2, ports: {http: 8180, 81-target: 9191}}\n";
    let found = super::workload(&translated(&format!("{entry}{services}{workload}")), "WorkloadEntry/n/w");
    let expected = [
        ("n/e.com".to_owned(), vec![(8002, 8180), (81, 81)]),
        ("n/s.n.svc.cluster.local".to_owned(), vec![(80, 8180), (81, 9191)]),
    ];
    assert_eq!(ports(&found), expected);
}

#[test]
fn a_kubernetes_service_owns_its_name() {
    let entry = |namespace: &str| {
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: e, namespace: {namespace}, creationTimestamp: 2020-01-01T00:00:00Z}}\nspec: {{hosts: [s.n.svc.cluster.local], resolution: NONE}}\n"
        )
    };
    let found = translated(&(entry("n") + &entry("m") + &svc("s", "", "")));
    assert_eq!(service(&found, "n/s.n.svc.cluster.local").name, "s");
    assert!(!service(&found, "m/s.n.svc.cluster.local").canonical);
}

/// The waypoint a service gets, with a Gateway, labels of the service and labels of its namespace.
fn waypoint(gateway: (&str, &str, &str), own: &str, inherited: &str) -> Option<Destination> {
    let (namespace, labels, spec) = gateway;
    let yaml = format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: w, namespace: {namespace}, labels: {{{labels}}}}}\nspec: {{gatewayClassName: istio-waypoint, {spec}}}\n---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: n, labels: {{{inherited}}}}}\n"
    ) + &svc("s", &format!(", labels: {{{own}}}"), "");
    service(&translated(&yaml), "n/s.n.svc.cluster.local").waypoint?.destination
}

#[test]
fn a_waypoint_is_named_by_the_object_or_its_namespace() {
    let use_it = "istio.io/use-waypoint: w";
    let from_m = "istio.io/use-waypoint: w, istio.io/use-waypoint-namespace: m";
    let at = "addresses: [{value: 10.0.0.9}]";
    let open = "addresses: [{value: 10.0.0.9}], listeners: [{name: mesh, port: 15008, protocol: HBONE, allowedRoutes: {namespaces: {from: All}}}]";
    let selecting = "addresses: [{value: 10.0.0.9}], listeners: [{name: mesh, port: 15008, protocol: HBONE, allowedRoutes: {namespaces: {from: Selector, selector: {matchLabels: {kubernetes.io/metadata.name: n}}}}}]";
    let cases = [
        (("n", "", at), "", "", false),
        (("n", "", at), use_it, "", true),
        (("n", "", at), "", use_it, true),
        (("n", "", at), "istio.io/use-waypoint: none", use_it, false),
        (("n", "", at), "istio.io/use-waypoint: other", use_it, false),
        (("n", "", ""), use_it, "", false),
        (("n", "istio.io/waypoint-for: workload", at), use_it, "", false),
        (("n", "istio.io/waypoint-for: all", at), use_it, "", true),
        (("m", "", at), from_m, "", false),
        (("m", "", open), from_m, "", true),
        (("m", "", selecting), "", from_m, true),
        (("n", "", at), "istio.io/use-waypoint: w, gateway.istio.io/managed: istio.io-mesh-controller", "", false),
    ];
    for (gateway, own, inherited, expected) in cases {
        assert_eq!(waypoint(gateway, own, inherited).is_some(), expected, "{gateway:?} {own} {inherited}");
    }
    let named = "addresses: [{value: 10.0.0.9}, {type: Hostname, value: w.n.svc.cluster.local}]";
    assert!(matches!(waypoint(("n", "", named), use_it, ""), Some(Destination::Hostname(_))));
}

#[test]
fn a_waypoints_own_pods_have_none_and_say_how_they_take_connections() {
    let gateway = "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: w, namespace: n, labels: {istio.io/waypoint-for: all}, annotations: {ambient.istio.io/waypoint-inbound-binding: PROXY/15088}}\nspec: {addresses: [{value: 10.0.0.9}]}\n";
    let labels = ", labels: {istio.io/use-waypoint: w, gateway.networking.k8s.io/gateway-name: w}";
    let found = the_pod(&format!("{gateway}{}", pod(labels, "", RUNNING))).expect("a workload");
    assert_eq!(found.waypoint, None);
    assert_eq!(found.application_tunnel, Some(ApplicationTunnel { protocol: 1, port: 15088 }));
}

#[test]
fn an_endpoint_slice_serves_a_service_without_a_selector() {
    let slice = "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: db-1, namespace: n, labels: {kubernetes.io/service-name: db}}\naddressType: IPv4\nports: [{name: sql, port: 5433}, {name: udp, port: 53, protocol: UDP}]\nendpoints:\n- {addresses: [192.0.2.1]}\n- {addresses: [192.0.2.2], conditions: {ready: false}}\n- {addresses: [10.0.0.1], targetRef: {kind: Pod, name: p, namespace: n}}\n";
    let service = svc("db", "", "clusterIP: 10.96.0.1, ports: [{name: sql, port: 5432}, {name: other, port: 80}]");
    let found = translated(&format!("{service}{slice}{}", pod("", "", RUNNING)));
    let served = vec![("n/db.n.svc.cluster.local".to_owned(), vec![(5432, 5433)])];
    for (address, status) in [("192.0.2.1", WorkloadStatus::Healthy), ("192.0.2.2", WorkloadStatus::Unhealthy)] {
        let uid = format!("Kubernetes/discovery.k8s.io/EndpointSlice/n/db-1/{address}");
        let Some(address::Type::Workload(workload)) = found.addresses[&uid].r#type.clone() else { panic!("{uid}") };
        assert_eq!(
            (ports(&workload), workload.status(), workload.network_mode()),
            (served.clone(), status, NetworkMode::HostNetwork)
        );
    }
    let Some(address::Type::Workload(of_pod)) = found.addresses["Kubernetes//Pod/n/p"].r#type.clone() else {
        panic!("a pod")
    };
    assert_eq!(ports(&of_pod), served);
    assert_eq!(found.addresses.len(), 4, "a Pod's endpoint is the Pod itself: {:?}", found.addresses.keys());
    // Another Pod of that name, or a service that finds its Pods by a selector.
    let moved = translated(&format!("{service}{slice}{}", pod("", "", &RUNNING.replace("10.0.0.1", "10.0.0.9"))));
    let selected = translated(&format!(
        "{}{slice}{}",
        service.replace("clusterIP", "selector: {a: b}, clusterIP"),
        pod("", "", RUNNING)
    ));
    for found in [moved, selected] {
        let Some(address::Type::Workload(of_pod)) = found.addresses["Kubernetes//Pod/n/p"].r#type.clone() else {
            panic!("a pod")
        };
        assert!(of_pod.services.is_empty(), "{:?}", of_pod.services);
    }
    // Without its Service a slice is nothing.
    assert!(translated(slice).addresses.is_empty());
}

//! Where connections go, as tables: each case is a small mesh, a destination and what becomes of it.

use super::*;
use crate::model::address::OriginalDst;
use crate::model::balance::Choice;
use crate::model::mesh::{Mesh, MeshSettings, MeshUpdate, OutboundTrafficPolicy};
use crate::model::sample::{balanced, gateway_at, gateway_named, mesh, service, serving, text, workload};
use crate::model::service::{BalancingMode, GatewayAddress, LoadBalancing, Service, ServiceKey};
use crate::model::workload::{ApplicationTunnel, HealthStatus, NetworkMode, TunnelProtocol, Workload};

fn source() -> Workload {
    workload("source", &["10.0.9.9", "fd00::9"])
}

fn plain(workload: Workload) -> Workload {
    Workload { protocol: TunnelProtocol::None, ..workload }
}

fn mode(mode: BalancingMode) -> LoadBalancing {
    LoadBalancing { mode, ..LoadBalancing::default() }
}

/// One line: how, to which workload, for which service; or why not.
fn outcome_from(mesh: &Mesh, source: &Workload, destination: &str) -> String {
    let upstream = match mesh.resolve(source, OriginalDst(destination.parse().unwrap()), || 0) {
        Ok(upstream) => upstream,
        Err(unresolved) => return unresolved.to_string(),
    };
    let transport = match upstream.transport {
        Transport::Hbone { peer, authority, identities } => {
            let identities: Vec<String> = identities.iter().map(|identity| identity.principal()).collect();
            format!("hbone {peer} {authority} {}", identities.join(","))
        }
        Transport::Passthrough(address) => format!("plain {address}"),
        Transport::ResolveHostname { hostname, port } => format!("lookup {hostname}:{port}"),
        Transport::Tls { server_name, .. } => format!("TLS with {server_name}"),
    };
    let workload = upstream.workload.as_ref().map_or("-", |workload| &workload.name);
    let service = upstream.service.as_ref().map_or("-", |service| &service.name);
    format!("{transport} | {workload} | {service}")
}

fn check(mesh: &Mesh, cases: &[(&str, &str)]) {
    for (destination, expected) in cases {
        assert_eq!(outcome_from(mesh, &source(), destination), *expected, "{destination}");
    }
}

fn reviews() -> Workload {
    serving(
        workload("reviews", &["10.0.0.1", "fd00::1"]),
        &[("reviews", 80, 8080), ("reviews", 81, 0), ("reviews", 82, 0)],
    )
}

#[test]
fn a_virtual_address_leads_to_an_endpoint_of_its_service() {
    let named_elsewhere = Service {
        subject_alt_names: ["spiffe://td/ns/a/sa/b", "not-a-spiffe-id", "spiffe://cluster.local/ns/bookinfo/sa/sans"]
            .map(text)
            .to_vec(),
        ..service("sans", &["10.1.0.3"], &[(80, 80)])
    };
    let mesh = mesh([
        reviews().into(),
        service("reviews", &["10.1.0.1", "fd01::1"], &[(80, 8080), (81, 8181), (82, 0), (83, 83)]).into(),
        plain(serving(workload("vm", &["10.0.0.2"]), &[("vm", 80, 8080)])).into(),
        service("vm", &["10.1.0.2", "fd01::2"], &[(80, 8080)]).into(),
        serving(workload("sans", &["10.0.0.3"]), &[("sans", 80, 80)]).into(),
        named_elsewhere.into(),
        service("empty", &["10.1.0.4"], &[(80, 80)]).into(),
        Workload { status: HealthStatus::Unhealthy, ..serving(workload("sick", &["10.0.0.5"]), &[("sick", 80, 80)]) }
            .into(),
        service("sick", &["10.1.0.5"], &[(80, 80)]).into(),
    ]);
    let reviews = "cluster.local/ns/bookinfo/sa/reviews | reviews | reviews";
    check(
        &mesh,
        &[
            ("10.1.0.1:80", &format!("hbone 10.0.0.1:15008 10.0.0.1:8080 {reviews}")),
            ("[::ffff:10.1.0.1]:80", &format!("hbone 10.0.0.1:15008 10.0.0.1:8080 {reviews}")),
            ("[fd01::1]:80", &format!("hbone [fd00::1]:15008 [fd00::1]:8080 {reviews}")),
            ("10.1.0.1:81", &format!("hbone 10.0.0.1:15008 10.0.0.1:8181 {reviews}")),
            ("10.1.0.1:82", &format!("hbone 10.0.0.1:15008 10.0.0.1:82 {reviews}")),
            ("10.1.0.1:83", "service bookinfo/reviews has no healthy endpoint for port 83"),
            ("10.1.0.1:84", "plain 10.1.0.1:84 | - | -"),
            ("10.1.0.2:80", "plain 10.0.0.2:8080 | vm | vm"),
            ("[fd01::2]:80", "plain 10.0.0.2:8080 | vm | vm"),
            (
                "10.1.0.3:80",
                "hbone 10.0.0.3:15008 10.0.0.3:80 cluster.local/ns/bookinfo/sa/sans,td/ns/a/sa/b | sans | sans",
            ),
            ("10.1.0.4:80", "service bookinfo/empty has no healthy endpoint for port 80"),
            ("10.1.0.5:80", "service bookinfo/sick has no healthy endpoint for port 80"),
        ],
    );
}

#[test]
fn a_workloads_own_address_leads_to_it() {
    let node = Workload { network_mode: NetworkMode::HostNetwork, ..workload("node-agent", &["192.168.0.1"]) };
    let twin = Workload { network_mode: NetworkMode::HostNetwork, ..workload("node-exporter", &["192.168.0.1"]) };
    let alone = Workload { network_mode: NetworkMode::HostNetwork, ..workload("alone", &["192.168.0.2"]) };
    let elsewhere = Workload { network: text("net2"), ..workload("elsewhere", &["10.0.0.7"]) };
    let mesh = mesh([
        reviews().into(),
        plain(workload("vm", &["10.0.0.2"])).into(),
        Workload { status: HealthStatus::Unhealthy, ..workload("sick", &["10.0.0.5"]) }.into(),
        node.into(),
        twin.into(),
        alone.into(),
        elsewhere.into(),
    ]);
    check(
        &mesh,
        &[
            ("10.0.0.1:9080", "hbone 10.0.0.1:15008 10.0.0.1:9080 cluster.local/ns/bookinfo/sa/reviews | reviews | -"),
            (
                "[fd00::1]:9080",
                "hbone [fd00::1]:15008 [fd00::1]:9080 cluster.local/ns/bookinfo/sa/reviews | reviews | -",
            ),
            ("10.0.0.2:22", "plain 10.0.0.2:22 | vm | -"),
            ("10.0.0.5:80", "hbone 10.0.0.5:15008 10.0.0.5:80 cluster.local/ns/bookinfo/sa/sick | sick | -"),
            ("192.168.0.1:10250", "plain 192.168.0.1:10250 | - | -"),
            ("192.168.0.2:10250", "plain 192.168.0.2:10250 | - | -"),
            ("10.0.0.7:80", "plain 10.0.0.7:80 | - | -"),
        ],
    );
}

#[test]
fn what_the_mesh_does_not_know_follows_the_outbound_policy() {
    let mut mesh = mesh([
        balanced(service("listed", &["10.1.0.1"], &[(443, 443)]), mode(BalancingMode::Passthrough)).into(),
        Workload { network_mode: NetworkMode::HostNetwork, ..workload("node", &["192.168.0.1"]) }.into(),
    ]);
    check(
        &mesh,
        &[
            ("1.1.1.1:443", "plain 1.1.1.1:443 | - | -"),
            ("[::ffff:1.1.1.1]:443", "plain 1.1.1.1:443 | - | -"),
            ("10.1.0.1:443", "plain 10.1.0.1:443 | - | listed"),
            ("10.1.0.1:80", "plain 10.1.0.1:80 | - | -"),
        ],
    );
    mesh.apply(MeshUpdate::Settings(MeshSettings {
        outbound_traffic_policy: OutboundTrafficPolicy::RegistryOnly,
        ..MeshSettings::default()
    }));
    let refused = Unresolved::RegistryOnly.to_string();
    check(
        &mesh,
        &[
            ("1.1.1.1:443", &refused),
            ("10.1.0.1:443", "plain 10.1.0.1:443 | - | listed"),
            ("10.1.0.1:80", &refused),
            ("192.168.0.1:80", "plain 192.168.0.1:80 | - | -"),
        ],
    );
}

#[test]
fn a_port_that_a_service_does_not_have_is_no_destination_of_the_mesh() {
    let mut mesh = mesh([
        serving(workload("pod", &["10.0.0.1"]), &[("named", 80, 80), ("world", 80, 80), ("allocated", 80, 80)]).into(),
        workload("other", &["10.0.0.2"]).into(),
        service("named", &["10.1.0.1", "10.0.0.2"], &[(80, 80)]).into(),
        service("allocated", &["240.240.0.1", "2001:2::1"], &[(80, 80)]).into(),
        service("world", &["0.0.0.0/0"], &[(80, 80)]).into(),
    ]);
    let pod = "hbone 10.0.0.1:15008 10.0.0.1:80 cluster.local/ns/bookinfo/sa/pod | pod";
    let known = [
        ("10.1.0.1:80", format!("{pod} | named")),
        ("1.1.1.1:80", format!("{pod} | world")),
        // An address that is a workload's own leads to it at ports that the service does not have.
        ("10.0.0.2:22", "hbone 10.0.0.2:15008 10.0.0.2:22 cluster.local/ns/bookinfo/sa/other | other | -".to_owned()),
        // Nobody else answers at an address that was allocated for the mesh.
        ("240.240.0.1:81", "service bookinfo/allocated has no port 81".to_owned()),
        ("[2001:2::1]:81", "service bookinfo/allocated has no port 81".to_owned()),
    ];
    let known: Vec<(&str, &str)> = known.iter().map(|(to, expected)| (*to, &**expected)).collect();
    check(&mesh, &known);
    check(&mesh, &[("10.1.0.1:81", "plain 10.1.0.1:81 | - | -"), ("1.1.1.1:443", "plain 1.1.1.1:443 | - | -")]);
    mesh.apply(MeshUpdate::Settings(MeshSettings {
        outbound_traffic_policy: OutboundTrafficPolicy::RegistryOnly,
        ..MeshSettings::default()
    }));
    let refused = Unresolved::RegistryOnly.to_string();
    check(&mesh, &known);
    check(&mesh, &[("10.1.0.1:81", &refused), ("1.1.1.1:443", &refused)]);
}

#[test]
fn connections_to_a_kubernetes_service_without_any_endpoint_are_left_to_kube_proxy() {
    let of_kubernetes = |name: &str, vip: &str| Service {
        name: text(name),
        ..service(&format!("{name}.bookinfo.svc.cluster.local"), &[vip], &[(80, 80)])
    };
    let mut mesh = mesh([
        of_kubernetes("db", "10.1.0.1").into(),
        of_kubernetes("sick", "10.1.0.2").into(),
        serving(
            Workload { status: HealthStatus::Unhealthy, ..workload("sick", &["10.0.0.5"]) },
            &[("sick.bookinfo.svc.cluster.local", 80, 80)],
        )
        .into(),
        service("entry", &["10.1.0.3"], &[(80, 80)]).into(),
    ]);
    let refused = |name: &str| format!("service bookinfo/{name} has no healthy endpoint for port 80");
    let (sick, entry) = (refused("sick.bookinfo.svc.cluster.local"), refused("entry"));
    check(&mesh, &[("10.1.0.1:80", "plain 10.1.0.1:80 | - | db"), ("10.1.0.2:80", &sick), ("10.1.0.3:80", &entry)]);
    // A request is answered.
    let (source, key) =
        (workload("source", &["10.0.0.9"]), ServiceKey::new("bookinfo", "db.bookinfo.svc.cluster.local"));
    let dialled = OriginalDst("10.1.0.1:80".parse().expect("an address"));
    let request = EndpointRequest { service: &key, port: 80, dialled, choice: Choice::default() };
    let resolved = mesh.resolve_request(&source, request, |_| false, || 0).map(|upstream| upstream.transport);
    assert_eq!(resolved, Err(Unresolved::NoHealthyEndpoint(key.to_string(), 80)));
    mesh.apply(MeshUpdate::Settings(MeshSettings {
        outbound_traffic_policy: OutboundTrafficPolicy::RegistryOnly,
        ..MeshSettings::default()
    }));
    check(&mesh, &[("10.1.0.1:80", &refused("db.bookinfo.svc.cluster.local"))]);
}

#[test]
fn the_most_specific_address_decides() {
    let mesh = mesh([
        workload("pod", &["10.0.0.1"]).into(),
        workload("behind", &["10.0.0.2"]).into(),
        serving(workload("serving", &["10.0.0.3"]), &[("single", 80, 80)]).into(),
        service("single", &["10.0.0.2"], &[(80, 80)]).into(),
        balanced(service("block", &["10.0.0.0/8"], &[(80, 80)]), mode(BalancingMode::Passthrough)).into(),
    ]);
    check(
        &mesh,
        &[
            ("10.0.0.1:80", "hbone 10.0.0.1:15008 10.0.0.1:80 cluster.local/ns/bookinfo/sa/pod | pod | -"),
            ("10.0.0.2:80", "hbone 10.0.0.3:15008 10.0.0.3:80 cluster.local/ns/bookinfo/sa/serving | serving | single"),
            ("10.0.0.4:80", "plain 10.0.0.4:80 | - | block"),
        ],
    );
}

/// A waypoint for services and workloads, named by hostname, by its service's address and by its own.
fn waypoint_mesh() -> Mesh {
    let through = |name: &str, vip: &str, waypoint| {
        MeshUpdate::from(Service { waypoint: Some(waypoint), ..service(name, &[vip], &[(80, 80)]) })
    };
    let behind = |name: &str, address: &str, waypoint: GatewayAddress| {
        MeshUpdate::from(Workload { waypoint: Some(waypoint.into()), ..workload(name, &[address]) })
    };
    mesh([
        serving(workload("waypoint", &["10.0.5.1", "fd00::51"]), &[("waypoint", 15008, 15008)]).into(),
        service("waypoint", &["10.1.5.1"], &[(15008, 15008)]).into(),
        service("idle", &["10.1.5.2"], &[(15008, 15008)]).into(),
        through("named", "10.1.0.1", gateway_named("waypoint")),
        through("at-service", "10.1.0.2", gateway_at("10.1.5.1")),
        through("at-workload", "10.1.0.3", gateway_at("10.0.5.1")),
        through("lost", "10.1.0.4", gateway_named("absent")),
        through("lost-at", "10.1.0.5", gateway_at("10.9.9.9")),
        through("idle-waypoint", "10.1.0.6", gateway_named("idle")),
        through("v6", "fd01::7", gateway_named("waypoint")),
        behind("pod", "10.0.0.1", gateway_named("waypoint")),
        behind("pod-lost", "10.0.0.2", gateway_at("10.9.9.9")),
        serving(
            workload("endpoint", &["10.0.0.3"]),
            &[("named", 80, 80), ("at-service", 80, 80), ("at-workload", 80, 80)],
        )
        .into(),
    ])
}

#[test]
fn a_waypoint_comes_first() {
    let hbone = "hbone 10.0.5.1:15008";
    let waypoint = "cluster.local/ns/bookinfo/sa/waypoint | waypoint";
    check(
        &waypoint_mesh(),
        &[
            ("10.1.0.1:80", &format!("{hbone} 10.1.0.1:80 {waypoint} | named")),
            ("10.1.0.1:81", &format!("{hbone} 10.1.0.1:81 {waypoint} | named")),
            ("10.1.0.2:80", &format!("{hbone} 10.1.0.2:80 {waypoint} | at-service")),
            ("10.1.0.3:80", &format!("{hbone} 10.1.0.3:80 {waypoint} | at-workload")),
            ("10.1.0.4:80", "waypoint or gateway bookinfo/absent is not known"),
            ("10.1.0.5:80", "waypoint or gateway /10.9.9.9 is not known"),
            ("10.1.0.6:80", "service bookinfo/idle has no healthy endpoint for port 15008"),
            ("[fd01::7]:80", &format!("hbone [fd00::51]:15008 [fd01::7]:80 {waypoint} | v6")),
            ("10.0.0.1:9080", &format!("{hbone} 10.0.0.1:9080 {waypoint} | -")),
            ("10.0.0.2:9080", "waypoint or gateway /10.9.9.9 is not known"),
            (
                "10.0.0.3:9080",
                "hbone 10.0.0.3:15008 10.0.0.3:9080 cluster.local/ns/bookinfo/sa/endpoint | endpoint | -",
            ),
        ],
    );
}

#[test]
fn a_waypoint_does_not_go_through_itself() {
    let mesh = waypoint_mesh();
    let waypoint = mesh.workload("Kubernetes//Pod/bookinfo/waypoint").unwrap();
    let sandwiched =
        Workload { application_tunnel: Some(ApplicationTunnel { proxy_protocol: true, port: 0 }), ..source() };
    let endpoint = "hbone 10.0.0.3:15008 10.0.0.3:80 cluster.local/ns/bookinfo/sa/endpoint | endpoint";
    let pod = "hbone 10.0.0.1:15008 10.0.0.1:80 cluster.local/ns/bookinfo/sa/pod | pod | -";
    for (source, destination, expected) in [
        (&**waypoint, "10.1.0.1:80", format!("{endpoint} | named")),
        (waypoint, "10.1.0.2:80", format!("{endpoint} | at-service")),
        (waypoint, "10.1.0.3:80", format!("{endpoint} | at-workload")),
        (waypoint, "10.0.0.1:80", pod.to_owned()),
        (&sandwiched, "10.0.0.1:80", pod.to_owned()),
    ] {
        assert_eq!(outcome_from(&mesh, source, destination), expected, "{} to {destination}", source.name);
    }
}

#[test]
fn endpoints_without_a_dialable_address_are_looked_up_or_refused() {
    let hostname = |name: &str| Workload { hostname: text("example.com"), ..plain(workload(name, &[])) };
    let remote = Workload {
        network: text("net2"),
        network_gateway: Some(gateway_at("10.0.8.8").into()),
        ..workload("remote", &["10.0.0.3"])
    };
    let flat = Workload { network: text("net2"), ..workload("flat", &["10.0.0.4"]) };
    let mesh = mesh([
        serving(hostname("dns"), &[("dns", 443, 8443)]).into(),
        service("dns", &["240.240.0.1"], &[(443, 443)]).into(),
        serving(workload("nowhere", &[]), &[("nowhere", 80, 80)]).into(),
        service("nowhere", &["10.1.0.2"], &[(80, 80)]).into(),
        serving(remote, &[("remote", 80, 80)]).into(),
        service("remote", &["10.1.0.3"], &[(80, 80)]).into(),
        serving(flat, &[("flat", 80, 80)]).into(),
        service("flat", &["10.1.0.4"], &[(80, 80)]).into(),
    ]);
    check(
        &mesh,
        &[
            ("240.240.0.1:443", "lookup example.com:8443 | dns | dns"),
            ("10.1.0.2:80", "endpoint Kubernetes//Pod/bookinfo/nowhere has no address"),
            (
                "10.1.0.3:80",
                "waypoint or gateway /10.0.8.8 of network \"net2\" (connections between networks are not supported) is not known",
            ),
            ("10.1.0.4:80", "hbone 10.0.0.4:15008 10.0.0.4:80 cluster.local/ns/bookinfo/sa/flat | flat | flat"),
        ],
    );
}

#[test]
fn a_pod_reaches_itself_without_hbone() {
    let itself = serving(source(), &[("own", 80, 8080)]);
    let alias =
        serving(Workload { uid: text("Kubernetes/alias"), ..workload("alias", &["10.0.9.9"]) }, &[("alias", 80, 8080)]);
    let guarded = Workload { waypoint: Some(gateway_named("waypoint").into()), ..itself.clone() };
    let mesh = mesh([
        guarded.into(),
        alias.into(),
        service("own", &["10.1.0.1"], &[(80, 80)]).into(),
        service("alias", &["10.1.0.2"], &[(80, 80)]).into(),
    ]);
    check(
        &mesh,
        &[
            ("10.1.0.1:80", "plain 10.0.9.9:8080 | source | own"),
            ("10.1.0.2:80", "plain 10.0.9.9:8080 | alias | alias"),
            ("10.0.9.9:80", "plain 10.0.9.9:80 | source | -"),
        ],
    );
}

#[test]
fn a_pod_of_which_the_mesh_says_that_it_speaks_no_hbone_could_be_reached_over_it() {
    let on_host = Workload { network_mode: NetworkMode::HostNetwork, ..plain(workload("host", &["10.0.0.3"])) };
    let vm = Workload {
        uid: text("Kubernetes/networking.istio.io/WorkloadEntry/a/vm"),
        ..plain(workload("vm", &["10.0.0.4"]))
    };
    let mesh = mesh([
        plain(serving(workload("plain", &["10.0.0.1"]), &[("plain", 80, 8080)])).into(),
        service("plain", &["10.1.0.1"], &[(80, 8080)]).into(),
        workload("hbone", &["10.0.0.2"]).into(),
        on_host.into(),
        vm.into(),
    ]);
    for (destination, expected) in [
        ("10.0.0.1:80", Some("10.0.0.1:80")),
        ("10.1.0.1:80", Some("10.0.0.1:8080")),
        ("10.0.0.2:80", None),
        ("10.0.0.3:80", None),
        ("10.0.0.4:80", None),
        ("10.0.0.9:80", None),
    ] {
        let upstream = mesh.resolve(&source(), OriginalDst(destination.parse().unwrap()), || 0).unwrap();
        let expected = expected.map(|authority| Transport::Hbone {
            peer: "10.0.0.1:15008".parse().unwrap(),
            authority: authority.to_owned(),
            identities: vec![workload("plain", &[]).identity()],
        });
        assert_eq!(upstream.over_hbone(), expected, "{destination}");
    }
}

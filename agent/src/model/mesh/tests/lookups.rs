//! Lookups by name and address, and what updates and removals do to them.

use std::net::IpAddr;
use std::sync::Arc;

use crate::model::mesh::{Mesh, MeshSettings, MeshUpdate, VipKind};
use crate::model::pod::PodKey;
use crate::model::sample::{mesh, service, serving, text, workload};
use crate::model::service::{Service, ServiceKey, Visibility};
use crate::model::workload::{NetworkMode, TunnelProtocol, Workload};

/// As connections look it up: a single address before any block.
fn by_vip<'a>(mesh: &'a Mesh, network: &str, ip: IpAddr, from: &str) -> Option<&'a Arc<Service>> {
    let kinds = [VipKind::Single, VipKind::Block];
    kinds.into_iter().find_map(|kind| mesh.services.by_vip(network, ip, from, kind))
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn host_network(name: &str, addresses: &[&str]) -> Workload {
    Workload { network_mode: NetworkMode::HostNetwork, ..workload(name, addresses) }
}

fn owner<'a>(mesh: &'a Mesh, address: &str) -> Option<&'a str> {
    mesh.workload_by_address("", ip(address)).map(|workload| &*workload.name)
}

#[test]
fn an_address_belongs_to_one_workload() {
    let other_network = Workload { network: text("net2"), ..workload("far", &["10.0.0.1"]) };
    let mesh = mesh([
        workload("near", &["10.0.0.1", "fd00::1"]).into(),
        other_network.into(),
        workload("mapped", &["::ffff:10.0.0.2"]).into(),
        workload("twin-b", &["10.0.0.3"]).into(),
        workload("twin-a", &["10.0.0.3"]).into(),
        host_network("cni", &["192.168.0.1"]).into(),
        host_network("proxy", &["192.168.0.1"]).into(),
        host_network("alone", &["192.168.0.2"]).into(),
        host_network("beside", &["192.168.0.3"]).into(),
        workload("owner", &["192.168.0.3"]).into(),
    ]);
    for (address, expected) in [
        ("10.0.0.1", Some("near")),
        ("fd00::1", Some("near")),
        ("::ffff:10.0.0.1", Some("near")),
        ("10.0.0.2", Some("mapped")),
        ("10.0.0.3", Some("twin-a")),
        ("192.168.0.1", None),
        ("192.168.0.2", Some("alone")),
        ("192.168.0.3", Some("owner")),
        ("10.9.9.9", None),
    ] {
        assert_eq!(owner(&mesh, address), expected, "{address}");
    }
    let far = mesh.workload_by_address("net2", ip("10.0.0.1")).unwrap();
    assert_eq!(&*far.name, "far");
    assert!(mesh.workload_by_address("net3", ip("10.0.0.1")).is_none());
}

#[test]
fn a_changed_workload_leaves_nothing_of_its_old_self_behind() {
    let old = serving(workload("pod", &["10.0.0.1", "10.0.0.2"]), &[("a", 80, 80), ("b", 80, 80)]);
    let new = serving(workload("pod", &["10.0.0.2", "10.0.0.3"]), &[("b", 80, 80), ("c", 80, 80)]);
    let mut mesh = mesh([old.into(), new.into()]);
    assert_eq!(
        ["10.0.0.1", "10.0.0.2", "10.0.0.3"].map(|address| owner(&mesh, address)),
        [None, Some("pod"), Some("pod")]
    );
    let endpoints =
        |mesh: &Mesh| ["a", "b", "c"].map(|name| mesh.endpoints(&ServiceKey::new("bookinfo", name)).count());
    assert_eq!(endpoints(&mesh), [0, 1, 1]);
    mesh.apply(MeshUpdate::RemoveAddress(text("Kubernetes//Pod/bookinfo/pod")));
    assert_eq!(owner(&mesh, "10.0.0.2"), None);
    assert_eq!(endpoints(&mesh), [0, 0, 0]);
    assert_eq!(mesh.workloads().count(), 0);
}

#[test]
fn the_last_of_those_who_shared_an_address_has_it_alone() {
    let mut mesh = mesh([
        host_network("a", &["192.168.0.1"]).into(),
        host_network("b", &["192.168.0.1"]).into(),
        workload("c", &["192.168.0.1"]).into(),
    ]);
    let remove = |name: &str| MeshUpdate::RemoveAddress(text(&format!("Kubernetes//Pod/bookinfo/{name}")));
    assert_eq!(owner(&mesh, "192.168.0.1"), Some("c"));
    mesh.apply(remove("c"));
    assert_eq!(owner(&mesh, "192.168.0.1"), None);
    mesh.apply(remove("a"));
    assert_eq!(owner(&mesh, "192.168.0.1"), Some("b"));
    mesh.apply(remove("b"));
    mesh.apply(remove("b"));
    assert_eq!(owner(&mesh, "192.168.0.1"), None);
}

#[test]
fn an_enrolled_pod_is_found_by_name_and_address_together() {
    let renamed = Workload { name: text("cart-1"), service_account: text("cart"), ..workload("x", &["10.0.0.1"]) };
    let account_only = Workload { name: text("vm-7"), service_account: text("cart"), ..workload("y", &["10.0.0.2"]) };
    let foreign = Workload { namespace: text("other"), ..workload("cart-1", &["10.0.0.3"]) };
    let mesh = mesh([renamed.into(), account_only.into(), foreign.into()]);
    for (name, addresses, expected) in [
        ("cart-1", vec!["10.0.0.1"], Some("x")),
        ("cart-1", vec!["10.0.0.2", "::ffff:10.0.0.1"], Some("x")),
        ("cart", vec!["10.0.0.2"], Some("y")),
        ("vm-7", vec!["10.0.0.2", "10.0.0.1"], Some("y")),
        ("cart-1", vec!["10.0.0.2"], None),
        ("cart-1", vec!["10.0.0.3"], None),
        ("stranger", vec!["10.0.0.1"], None),
        ("cart-1", vec![], None),
    ] {
        let addresses: Vec<IpAddr> = addresses.into_iter().map(ip).collect();
        let found = mesh.workload_of_pod(PodKey { namespace: "bookinfo", name, addresses: &addresses });
        let expected = expected.map(|uid| format!("Kubernetes//Pod/bookinfo/{uid}"));
        assert_eq!(found.map(|workload| &*workload.uid), expected.as_deref(), "{name} {addresses:?}");
    }
}

#[test]
fn pods_are_looked_for_in_the_network_of_the_node() {
    let far = Workload { network: text("net2"), ..workload("cart", &["10.0.0.1"]) };
    let plain = Workload { protocol: TunnelProtocol::None, network: text("net2"), ..workload("web", &["10.0.0.2"]) };
    let mut mesh = mesh([far.into(), plain.into()]);
    let (cart, web) = ([ip("10.0.0.1")], [ip("10.0.0.2")]);
    let cart = PodKey { namespace: "bookinfo", name: "cart", addresses: &cart };
    let web = PodKey { namespace: "bookinfo", name: "web", addresses: &web };
    assert!(mesh.workload_of_pod(cart).is_none() && !mesh.says_hbone(cart));
    mesh.apply(MeshUpdate::Settings(MeshSettings { network: text("net2"), ..MeshSettings::default() }));
    assert_eq!([cart, web].map(|pod| mesh.workload_of_pod(pod).is_some()), [true, true]);
    assert_eq!([cart, web].map(|pod| mesh.says_hbone(pod)), [true, false]);
}

#[test]
fn virtual_addresses_match_exactly_and_then_by_the_longest_block() {
    let hidden =
        Service { visibility: Visibility::Namespace, canonical: false, ..service("hidden", &["10.1.2.0/30"], &[]) };
    let mesh = mesh([
        service("single", &["10.1.2.3", "fd00::3"], &[]).into(),
        service("wide", &["10.0.0.0/8", "::ffff:11.0.0.0/104"], &[]).into(),
        service("narrow", &["10.1.2.9/24"], &[]).into(),
        service("all-v6", &["::/0"], &[]).into(),
        hidden.into(),
    ]);
    for (address, from, expected) in [
        ("10.1.2.3", "x", Some("single")),
        ("::ffff:10.1.2.3", "x", Some("single")),
        ("fd00::3", "x", Some("single")),
        ("10.1.2.1", "x", Some("narrow")),
        ("10.1.2.1", "bookinfo", Some("hidden")),
        ("10.1.3.1", "x", Some("wide")),
        ("11.9.9.9", "x", Some("wide")),
        ("fd00::4", "x", Some("all-v6")),
        ("12.0.0.1", "x", None),
    ] {
        let found = by_vip(&mesh, "", ip(address), from).map(|service| &*service.name);
        assert_eq!(found, expected, "{address} from {from}");
    }
    assert!(by_vip(&mesh, "net2", ip("10.1.2.3"), "x").is_none());
}

/// A service named for its namespace, of a hostname and address that all of these claim.
fn claimant(namespace: &str, canonical: bool, visibility: Visibility) -> Service {
    let shared = service("api.example.com", &["240.240.0.1"], &[]);
    Service {
        key: ServiceKey::new(namespace, "api.example.com"),
        name: text(namespace),
        canonical,
        visibility,
        ..shared
    }
}

#[test]
fn of_several_claimants_the_own_namespace_wins_then_the_canonical_one() {
    use Visibility::{Namespace, Public};
    let cases: [(&str, Vec<Service>, &str, Option<&str>); 6] = [
        ("own first", vec![claimant("b", true, Public), claimant("me", false, Public)], "me", Some("me")),
        (
            "own, hidden from others",
            vec![claimant("a", true, Public), claimant("me", false, Namespace)],
            "me",
            Some("me"),
        ),
        ("canonical", vec![claimant("a", false, Public), claimant("b", true, Public)], "me", Some("b")),
        ("first by key", vec![claimant("c", false, Public), claimant("b", false, Public)], "me", Some("b")),
        ("hidden", vec![claimant("a", true, Namespace), claimant("b", false, Public)], "me", Some("b")),
        ("nothing visible", vec![claimant("a", true, Namespace)], "me", None),
    ];
    for (name, services, from, expected) in cases {
        let mesh = mesh(services.into_iter().map(MeshUpdate::from));
        let by_hostname = mesh.service_by_hostname("api.example.com", from).map(|service| &*service.name);
        let by_vip = by_vip(&mesh, "", ip("240.240.0.1"), from).map(|service| &*service.name);
        assert_eq!((by_hostname, by_vip), (expected, expected), "{name}");
    }
}

#[test]
fn host_names_are_compared_as_dns_does() {
    for written in ["api.example.com", "API.example.com", "api.example.com.", "Api.Example.Com."] {
        let mut mesh = mesh([service(written, &["10.1.0.1"], &[(80, 80)]).into()]);
        for asked in ["api.example.com", "api.EXAMPLE.com", "api.example.com."] {
            assert!(mesh.service_by_hostname(asked, "bookinfo").is_some(), "{written}, asked for {asked}");
        }
        assert!(mesh.service_by_hostname("api.example.co", "bookinfo").is_none());
        mesh.apply(MeshUpdate::RemoveAddress(text(&format!("bookinfo/{written}"))));
        assert!(mesh.service_by_hostname("api.example.com", "bookinfo").is_none(), "{written} is removed");
    }
}

#[test]
fn a_changed_or_removed_service_gives_up_its_addresses_and_keeps_its_endpoints() {
    let key = ServiceKey::new("bookinfo", "a");
    let mut mesh = mesh([
        serving(workload("pod", &["10.0.0.1"]), &[("a", 80, 80)]).into(),
        service("a", &["10.1.0.1", "10.2.0.0/16"], &[(80, 80)]).into(),
        service("a", &["10.1.0.2", "10.3.0.0/16"], &[(80, 80)]).into(),
    ]);
    let found = |mesh: &Mesh| {
        ["10.1.0.1", "10.2.0.9", "10.1.0.2", "10.3.0.9"].map(|address| by_vip(mesh, "", ip(address), "x").is_some())
    };
    assert_eq!(found(&mesh), [false, false, true, true]);
    assert_eq!(mesh.services().count(), 1);
    mesh.apply(MeshUpdate::RemoveAddress(text("bookinfo/a")));
    assert_eq!(found(&mesh), [false; 4]);
    assert!(mesh.service(&key).is_none() && mesh.service_by_hostname("a", "bookinfo").is_none());
    assert_eq!(mesh.endpoints(&key).count(), 1);
    mesh.apply(service("a", &["10.1.0.2"], &[(80, 80)]).into());
    assert_eq!(found(&mesh), [false, false, true, false]);
}

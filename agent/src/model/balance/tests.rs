//! Who may be picked, in which order of preference, and in which proportion.

use std::collections::BTreeMap;

use std::sync::Arc;

use super::endpoints::{SLOTS_LOOKED_THROUGH, VIEWS_MAX};
use super::*;
use crate::model::sample::{balanced, gateway_at, service, serving, text, workload};
use crate::model::service::{BalancingMode, LoadBalancing, Scope, Service};
use crate::model::workload::{HealthStatus, Locality, Workload};
use BalancingMode::{Failover, Strict, Unspecified};

/// An endpoint of port 80; `place` is `network/cluster/region/zone/subzone/node`.
fn endpoint(name: &str, place: &str) -> Workload {
    let mut parts = place.split('/').map(text);
    let mut next = || parts.next().expect("six parts");
    Workload {
        network: next(),
        cluster_id: next(),
        locality: Locality { region: next(), zone: next(), subzone: next() }.into(),
        node: next(),
        ..serving(workload(name, &["10.0.0.1"]), &[("a", 80, 8080)])
    }
}

fn preferring(mode: BalancingMode, scopes: &[Scope]) -> Arc<Service> {
    let preference = LoadBalancing { routing_preference: scopes.to_vec(), mode, allow_unhealthy: false };
    Arc::new(balanced(service("a", &[], &[(80, 8080)]), preference))
}

fn endpoints(workloads: impl IntoIterator<Item = Workload>) -> Endpoints {
    let mut endpoints = Endpoints::default();
    for workload in workloads {
        endpoints.insert(&Arc::new(workload));
    }
    endpoints
}

/// How often each endpoint is picked in 1000 picks spread evenly over what is random.
fn shares(endpoints: &Endpoints, service: &Arc<Service>, source: &Workload) -> BTreeMap<String, u32> {
    let mut shares = BTreeMap::new();
    for step in 0..1000 {
        let random = u64::MAX / 1000 * step + u64::MAX / 2000;
        if let Some(picked) =
            endpoints.pick(service, RequestedPort::Service(80), source, Choice::default(), |_| false, &mut || random)
        {
            *shares.entry(picked.name.to_string()).or_default() += 1;
        }
    }
    shares
}

fn picked(endpoints: &Endpoints, service: &Arc<Service>, source: &Workload) -> Vec<String> {
    shares(endpoints, service, source).into_keys().collect()
}

#[test]
fn preferences_order_endpoints_scope_by_scope() {
    use Scope::{Cluster, Network, Node, Region, Subzone, Zone};
    let source = endpoint("source", "net/east/eu/a//n1");
    // Named for what is shared with the source.
    let all = [
        endpoint("node", "net/east/eu/a//n1"),
        endpoint("zone", "net/east/eu/a//n2"),
        endpoint("region", "net/east/eu/b//n3"),
        endpoint("same-zone-name", "net/east/us/a//n4"),
        endpoint("same-node-name", "net/west/us/b//n1"),
        endpoint("other-network", "net2/east/eu/a//n1"),
    ];
    let close = [Network, Region, Zone, Subzone, Node];
    /// What is tested, mode, scopes, who is absent, who may be picked.
    type Case<'a> = (&'a str, BalancingMode, &'a [Scope], Vec<&'a str>, Vec<&'a str>);
    let cases: [Case<'_>; 13] = [
        ("failover, best", Failover, &close, vec![], vec!["node"]),
        ("failover, second", Failover, &close, vec!["node"], vec!["zone"]),
        ("failover, third", Failover, &close, vec!["node", "zone"], vec!["region"]),
        (
            "failover, fourth",
            Failover,
            &close,
            vec!["node", "zone", "region"],
            vec!["same-node-name", "same-zone-name"],
        ),
        (
            "failover, at last",
            Failover,
            &close,
            vec!["node", "zone", "region", "same-node-name", "same-zone-name"],
            vec!["other-network"],
        ),
        ("strict node", Strict, &[Node], vec![], vec!["node", "other-network"]),
        ("strict node, none left", Strict, &[Node], vec!["node", "other-network"], vec![]),
        ("strict zone", Strict, &[Network, Zone], vec![], vec!["node", "zone"]),
        ("strict region and zone", Strict, &[Region, Zone], vec!["other-network"], vec!["node", "zone"]),
        ("strict cluster", Strict, &[Cluster, Network], vec![], vec!["node", "region", "same-zone-name", "zone"]),
        (
            "a first miss ends the comparison",
            Failover,
            &[Cluster, Zone],
            vec!["node", "zone", "other-network"],
            vec!["region", "same-zone-name"],
        ),
        (
            "scopes without a mode",
            Unspecified,
            &close,
            vec!["other-network", "region", "same-zone-name"],
            vec!["node", "same-node-name", "zone"],
        ),
        (
            "failover without scopes",
            Failover,
            &[],
            vec!["other-network", "region", "same-zone-name"],
            vec!["node", "same-node-name", "zone"],
        ),
    ];
    for (name, mode, scopes, without, expected) in cases {
        let present = all.iter().filter(|workload| !without.contains(&&*workload.name)).cloned();
        assert_eq!(picked(&endpoints(present), &preferring(mode, scopes), &source), expected, "{name}");
    }
}

#[test]
fn an_unknown_node_is_shared_with_nobody() {
    let source = endpoint("source", "net/east////");
    let there = || endpoints([endpoint("unknown", "net/east////")]);
    assert_eq!(picked(&there(), &preferring(Strict, &[Scope::Zone, Scope::Subzone]), &source), ["unknown"]);
    assert!(picked(&there(), &preferring(Strict, &[Scope::Node]), &source).is_empty());
}

#[test]
fn endpoints_that_terminate_serve_while_none_is_healthy() {
    use Scope::{Node, Zone};
    let source = endpoint("source", "net/east/eu/a//n1");
    let at = |name: &str, node: &str, status| Workload { status, ..endpoint(name, &format!("net/east/eu/a//{node}")) };
    let ends = at("ends", "n1", HealthStatus::Terminating);
    let (ends_afar, sick) =
        (at("ends afar", "n2", HealthStatus::Terminating), at("sick", "n1", HealthStatus::Unhealthy));
    let healthy = at("healthy", "n2", HealthStatus::Healthy);
    for (mode, scopes, present, expected) in [
        (Unspecified, &[][..], vec![&ends, &sick], vec!["ends"]),
        (Unspecified, &[], vec![&ends, &healthy], vec!["healthy"]),
        (Failover, &[Zone, Node], vec![&ends, &healthy], vec!["healthy"]),
        (Strict, &[Node], vec![&ends, &ends_afar, &healthy], vec!["ends"]),
        (Strict, &[Node], vec![&ends_afar, &sick], vec![]),
    ] {
        let service = preferring(mode, scopes);
        let endpoints = endpoints(present.into_iter().cloned());
        assert_eq!(picked(&endpoints, &service, &source), expected, "{mode:?}");
    }
}

#[test]
fn health_port_and_reach_decide_who_may_be_picked() {
    let source = endpoint("source", "net/c////n1");
    let here = |name: &str| endpoint(name, "net/c////n1");
    let unhealthy = |name: &str| Workload { status: HealthStatus::Unhealthy, ..here(name) };
    let other_port = |name: &str| serving(here(name), &[("a", 81, 8080), ("b", 80, 8080)]);
    let no_port = |name: &str| serving(here(name), &[]);
    let addressless = |name: &str| Workload { addresses: vec![], ..here(name) };
    let named = |name: &str| Workload { addresses: vec![], hostname: text("example.com"), ..here(name) };
    let flat = |name: &str| endpoint(name, "net2/c////n1");
    let remote = |name: &str| Workload { network_gateway: Some(gateway_at("1.1.1.1").into()), ..flat(name) };
    let weightless = |name: &str| Workload { capacity: 0, ..here(name) };
    let cases: [(&str, Vec<Workload>, Vec<&str>); 9] = [
        ("no endpoint", vec![], vec![]),
        ("healthy only", vec![here("a"), unhealthy("b")], vec!["a"]),
        ("all unhealthy", vec![unhealthy("b")], vec![]),
        ("those with the port", vec![here("a"), other_port("b"), no_port("c")], vec!["a"]),
        ("an address or a name", vec![here("a"), addressless("b"), named("c")], vec!["a", "c"]),
        ("nothing but no address", vec![addressless("b")], vec!["b"]),
        ("networks without a gateway are one", vec![here("a"), flat("b"), remote("c")], vec!["a", "b"]),
        ("nothing but another network", vec![remote("c"), unhealthy("a")], vec!["c"]),
        ("no share", vec![here("a"), weightless("b")], vec!["a"]),
    ];
    for (name, workloads, expected) in cases {
        let there = endpoints(workloads);
        assert_eq!(picked(&there, &Arc::new(service("a", &[], &[(80, 0)])), &source), expected, "{name}");
    }
    let lenient = LoadBalancing { allow_unhealthy: true, ..LoadBalancing::default() };
    let lenient = Arc::new(balanced(service("a", &[], &[(80, 0)]), lenient));
    assert_eq!(picked(&endpoints([here("a"), unhealthy("b")]), &lenient, &source), ["a", "b"]);
    let any = endpoints([other_port("b")]);
    assert!(any.pick(&lenient, RequestedPort::Service(80), &source, Choice::default(), |_| false, &mut || 0).is_none());
    assert!(any.pick(&lenient, RequestedPort::Any, &source, Choice::default(), |_| false, &mut || 0).is_some());
}

#[test]
fn capacity_is_the_share_and_follows_every_change() {
    let source = endpoint("source", "net/c////n1");
    let of_capacity = |name: &str, capacity| Arc::new(Workload { capacity, ..endpoint(name, "net/c////n1") });
    let uid = |name: &str| format!("Kubernetes//Pod/bookinfo/{name}");
    let service = Arc::new(service("a", &[], &[(80, 0)]));
    let mut there = Endpoints::default();
    let mut shares_after = |change: &dyn Fn(&mut Endpoints)| {
        change(&mut there);
        shares(&there, &service, &source).into_iter().map(|(name, share)| format!("{name}={share}")).collect::<Vec<_>>()
    };
    assert!(shares_after(&|_| {}).is_empty());
    assert_eq!(shares_after(&|all| all.insert(&of_capacity("a", 1))), ["a=1000"]);
    assert_eq!(shares_after(&|all| all.insert(&of_capacity("b", 3))), ["a=250", "b=750"]);
    assert_eq!(shares_after(&|all| all.remove(&uid("a"))), ["b=1000"]);
    assert_eq!(shares_after(&|all| all.insert(&of_capacity("c", 1))), ["b=750", "c=250"]);
    assert_eq!(shares_after(&|all| all.insert(&of_capacity("a", 1))), ["a=200", "b=600", "c=200"]);
    assert_eq!(shares_after(&|all| all.remove("nobody")), ["a=200", "b=600", "c=200"]);
    assert_eq!(shares_after(&Endpoints::service_changed), ["a=200", "b=600", "c=200"]);
    assert!(shares_after(&|all| ["a", "b", "c"].iter().for_each(|name| all.remove(&uid(name)))).is_empty());
    assert!(there.is_empty() && there.iter().next().is_none());
}

#[test]
fn views_are_bounded_and_right_for_every_source() {
    let service = preferring(Strict, &[Scope::Node]);
    let places = || (0..3 * VIEWS_MAX).map(|number| (format!("on-{number}"), format!("net/c////n{number}")));
    let there = endpoints(places().map(|(name, place)| endpoint(&name, &place)));
    for _ in 0..2 {
        for (name, place) in places() {
            assert_eq!(picked(&there, &service, &endpoint("source", &place)), [name]);
        }
    }
    assert_eq!(there.views.read().len(), VIEWS_MAX);
}

#[test]
fn many_endpoints_come_and_go_as_few_do() {
    let service = preferring(Unspecified, &[]);
    let source = endpoint("source", "net/east/eu/a//n1");
    let named = |number: usize| endpoint(&format!("pod-{number}"), "net/east/eu/a//n1");
    let mut endpoints = endpoints((0..3 * SLOTS_LOOKED_THROUGH).map(named));
    assert_eq!(picked(&endpoints, &service, &source).len(), 3 * SLOTS_LOOKED_THROUGH);
    for number in 0..3 * SLOTS_LOOKED_THROUGH - 1 {
        endpoints.remove(&named(number).uid);
    }
    let last = format!("pod-{}", 3 * SLOTS_LOOKED_THROUGH - 1);
    assert_eq!(picked(&endpoints, &service, &source), std::slice::from_ref(&last));
    endpoints.insert(&Arc::new(named(0)));
    assert_eq!(picked(&endpoints, &service, &source), ["pod-0".to_owned(), last.clone()]);
    for uid in [named(0).uid, named(3 * SLOTS_LOOKED_THROUGH - 1).uid, named(1).uid] {
        endpoints.remove(&uid);
    }
    assert!(endpoints.is_empty() && picked(&endpoints, &service, &source).is_empty());
}

#[test]
fn a_client_keeps_its_endpoint_while_others_come_and_go() {
    let service = Arc::new(Service { client_ip_affinity: true, ..service("a", &[], &[(80, 8080)]) });
    let named = |n: usize, capacity| Workload { capacity, ..endpoint(&format!("e{n}"), "/////") };
    let clients: Vec<Workload> =
        (0..1000).map(|n| workload(&format!("c{n}"), &[&format!("10.0.{}.{}", n / 250, n % 250)])).collect();
    let pick = |endpoints: &Endpoints, client: &Workload, random: u64| {
        let picked =
            endpoints.pick(&service, RequestedPort::Service(80), client, Choice::default(), |_| false, &mut || random);
        picked.expect("there are endpoints").name.to_string()
    };
    let picks = |endpoints: &Endpoints| clients.iter().map(|client| pick(endpoints, client, 0)).collect::<Vec<_>>();
    let mut endpoints = endpoints((0..4).map(|n| named(n, if n == 3 { 2 } else { 1 })));
    let before = picks(&endpoints);
    assert_eq!(clients.iter().map(|client| pick(&endpoints, client, u64::MAX)).collect::<Vec<_>>(), before);
    let share = |name: &str| before.iter().filter(|picked| *picked == name).count();
    for (name, expected) in [("e0", 200), ("e1", 200), ("e2", 200), ("e3", 400)] {
        assert!(share(name).abs_diff(expected) < 60, "{name} has {} of 1000 clients", share(name));
    }
    endpoints.insert(&Arc::new(named(4, 1)));
    for (before, after) in before.iter().zip(picks(&endpoints)) {
        assert!(*before == after || after == "e4", "from {before} to {after}");
    }
    endpoints.remove(&endpoint("e4", "/////").uid);
    assert_eq!(picks(&endpoints), before);
    endpoints.remove(&endpoint("e0", "/////").uid);
    for (before, after) in before.iter().zip(picks(&endpoints)) {
        assert!(*before == after || before == "e0", "from {before} to {after}");
    }
}

#[test]
fn a_preference_of_the_client_takes_the_place_of_the_services() {
    let source = endpoint("source", "net/c/eu/a/x/n1");
    // Named for what is shared with the source.
    let all = [
        endpoint("subzone", "net/c/eu/a/x/n1"),
        endpoint("zone", "net/c/eu/a/y/n2"),
        endpoint("region", "net/c/eu/b/x/n3"),
        endpoint("us", "net/c/us/a/x/n4"),
        endpoint("asia", "net/c/asia/a/x/n5"),
    ];
    let pattern = LocalityPattern::parse;
    let label = |name: &str, value: Option<&str>| FailoverLabel { name: name.into(), value: value.map(Box::from) };
    let failover = || LocalityRule::Failover(vec![(text("eu"), text("us"))]);
    let distribute = |from: &str| {
        let to = vec![(pattern("eu/a/*"), 20), (pattern("us"), 80), (pattern("none"), 900)];
        LocalityRule::Distribute(vec![Distribution { from: pattern(from), to }])
    };
    let region = "topology.kubernetes.io/region";
    let to_us = || LocalityRule::Labels(vec![label(region, Some("us"))]);
    let by_region = || LocalityRule::Labels(vec![label(region, None), label("topology.kubernetes.io/zone", None)]);
    /// What is tested, the rule, who is absent, who is picked how often in 1000.
    type Case<'a> = (&'a str, LocalityRule, &'a [&'a str], &'a [(&'a str, u32)]);
    let cases: [Case<'_>; 12] = [
        (
            "anywhere",
            LocalityRule::Anywhere,
            &[],
            &[("asia", 200), ("region", 200), ("subzone", 200), ("us", 200), ("zone", 200)],
        ),
        ("failover, subzone", failover(), &[], &[("subzone", 1000)]),
        ("failover, zone", failover(), &["subzone"], &[("zone", 1000)]),
        ("failover, region", failover(), &["subzone", "zone"], &[("region", 1000)]),
        ("failover, the region in its place", failover(), &["subzone", "zone", "region"], &[("us", 1000)]),
        ("failover, the rest", failover(), &["subzone", "zone", "region", "us"], &[("asia", 1000)]),
        ("labels", by_region(), &[], &[("subzone", 500), ("zone", 500)]),
        ("fewer labels", by_region(), &["subzone", "zone"], &[("region", 1000)]),
        ("a label's value", to_us(), &[], &[("us", 1000)]),
        ("shares", distribute("eu"), &["zone"], &[("subzone", 200), ("us", 800)]),
        ("a share without endpoints", distribute("*"), &["us"], &[("subzone", 500), ("zone", 500)]),
        ("shares of others", distribute("us/*"), &["us", "asia", "region"], &[("subzone", 500), ("zone", 500)]),
    ];
    let close = preferring(Strict, &[Scope::Node]);
    for (name, rule, absent, expected) in cases {
        let there = all.iter().filter(|endpoint| !absent.contains(&&*endpoint.name)).cloned();
        let endpoints = endpoints(there);
        let preference = Arc::new(LocalityPreference { rule, yields_to_service: false });
        let choice = Choice { preference: Some(&preference), ..Choice::default() };
        let mut seen = BTreeMap::new();
        let mut draws = (1..).map(mixed);
        for _ in 0..1000 {
            let picked = endpoints.pick(&close, RequestedPort::Service(80), &source, choice, |_| false, &mut || {
                draws.next().expect("it has no end")
            });
            *seen.entry(picked.expect("one is there").name.to_string()).or_insert(0_u32) += 1;
        }
        let expected: Vec<_> = expected.iter().map(|(name, share)| ((*name).to_owned(), *share)).collect();
        let close = |(one, share): &(String, u32), (other, wanted): &(String, u32)| {
            one == other && share.abs_diff(*wanted) <= 60
        };
        let seen: Vec<_> = seen.into_iter().collect();
        assert!(
            seen.len() == expected.len() && seen.iter().zip(&expected).all(|(one, other)| close(one, other)),
            "{name}: {seen:?}"
        );
    }
    let preference = Arc::new(LocalityPreference { rule: failover(), yields_to_service: true });
    let choice = Choice { preference: Some(&preference), ..Choice::default() };
    let picked = |service: &Arc<Service>| {
        // Endpoints belong to one service.
        let endpoints = endpoints([endpoint("near", "net/c/eu/a/x/n2"), endpoint("node", "net/c/us/b/x/n1")]);
        let picked = endpoints.pick(service, RequestedPort::Service(80), &source, choice, |_| false, &mut || 0);
        picked.map(|endpoint| endpoint.name.to_string())
    };
    assert_eq!(picked(&close).as_deref(), Some("node"), "the service says where");
    assert_eq!(picked(&preferring(Unspecified, &[])).as_deref(), Some("near"), "the service says nothing");
}

#[test]
fn a_new_endpoint_has_a_part_of_its_share() {
    let service = Arc::new(service("a", &[], &[(80, 0)]));
    let source = endpoint("source", "/////");
    let endpoints = endpoints([endpoint("new", "/////"), endpoint("old", "/////")]);
    let warming = Warming::of([("Kubernetes//Pod/bookinfo/new".into(), 25)]).expect("one is new");
    for order in [Order::Chance, Order::Turn(0)] {
        let mut picked = 0;
        for step in 0..1000_u64 {
            let order = if order == Order::Chance { order } else { Order::Turn(step) };
            let choice = Choice { order, warming: Some(&warming), ..Choice::default() };
            let random = u64::MAX / 1000 * step + u64::MAX / 2000;
            let found =
                endpoints.pick(&service, RequestedPort::Service(80), &source, choice, |_| false, &mut || random);
            picked += u32::from(found.is_some_and(|endpoint| &*endpoint.name == "new"));
        }
        assert_eq!(picked, 200, "{order:?}: a quarter of the other's");
    }
    assert_eq!(Warming::of([]), None);
}

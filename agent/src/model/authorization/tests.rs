//! What one policy matches, rule by rule. How policies decide together is tested in `mesh`.

use ipnet::IpNet;

use super::matching::Matched;
use super::principal::TrustDomains;
use super::subject::{Content, Subject};
use super::*;
use crate::model::identity::{DEFAULT_TRUST_DOMAIN, TrustDomain};
use crate::model::sample::{mesh, text, workload};

fn exact(value: &str) -> StringMatch {
    StringMatch::Exact(text(value))
}

fn account(namespace: &str, service_account: &str) -> ServiceAccountMatch {
    ServiceAccountMatch { namespace: text(namespace), service_account: text(service_account) }
}

fn block(value: &str) -> IpNet {
    value.parse().unwrap()
}

fn port(port: u16) -> Match {
    Match { destination_ports: vec![port], ..Match::default() }
}

fn clause(matches: Vec<Match>) -> Clause {
    Clause { matches }
}

fn group(clauses: Vec<Clause>) -> Group {
    Group { clauses, ..Group::default() }
}

/// From `spiffe://cluster.local/ns/shop/sa/cart` at 10.0.0.1 to 10.0.0.2:80.
fn request() -> AccessRequest {
    AccessRequest {
        source: Some("spiffe://cluster.local/ns/shop/sa/cart".parse().unwrap()),
        source_ip: "10.0.0.1".parse().unwrap(),
        destination: "10.0.0.2:80".parse().unwrap(),
    }
}

fn plaintext() -> AccessRequest {
    AccessRequest { source: None, ..request() }
}

fn holds(groups: Vec<Group>, request: &AccessRequest) -> bool {
    let policy = Authorization {
        key: text("shop/policy"),
        namespace: text("shop"),
        scope: PolicyScope::Global,
        action: Action::Deny,
        dry_run: false,
        provider: "".into(),
        groups: groups.into(),
        invalid: None,
    };
    let own = TrustDomain::new(DEFAULT_TRUST_DOMAIN);
    let subject = Subject::new(request, TrustDomains { own: &own, aliases: &[] }, Content::Bytes);
    match policy.matching(&subject) {
        Matched::No => false,
        Matched::Rule(_) => true,
        Matched::Maybe => panic!("no rule asks for anything of a request"),
    }
}

fn match_holds(one: Match, request: &AccessRequest) -> bool {
    holds(vec![group(vec![clause(vec![one])])], request)
}

#[test]
fn groups_clauses_and_matches_combine() {
    let (yes, no) = (|| port(80), || port(81));
    let cases: [(&str, Vec<Group>, bool); 12] = [
        ("no group matches nothing", vec![], false),
        ("a group without clauses matches everything", vec![group(vec![])], true),
        ("a clause without matches is true", vec![group(vec![clause(vec![])])], true),
        ("an empty match never matches", vec![group(vec![clause(vec![Match::default()])])], false),
        (
            "an empty match spoils its clause",
            vec![group(vec![clause(vec![Match::default()]), clause(vec![yes()])])],
            false,
        ),
        ("a sibling saves the clause", vec![group(vec![clause(vec![Match::default(), yes()])])], true),
        ("groups: any", vec![group(vec![clause(vec![no()])]), group(vec![clause(vec![yes()])])], true),
        ("groups: none", vec![group(vec![clause(vec![no()])]), group(vec![clause(vec![no()])])], false),
        ("clauses: all", vec![group(vec![clause(vec![yes()]), clause(vec![yes()])])], true),
        ("clauses: one fails", vec![group(vec![clause(vec![yes()]), clause(vec![no()])])], false),
        ("matches: any", vec![group(vec![clause(vec![no(), yes()])])], true),
        ("matches: none", vec![group(vec![clause(vec![no(), no()])])], false),
    ];
    for (name, groups, expected) in cases {
        assert_eq!(holds(groups, &request()), expected, "{name}");
    }
}

#[test]
fn fields_compare_with_their_part_of_the_request() {
    let unset = Match::default;
    let cases: Vec<(&str, Match, bool)> = vec![
        ("namespace", Match { namespaces: vec![exact("shop")], ..unset() }, true),
        ("other namespace", Match { namespaces: vec![exact("shops")], ..unset() }, false),
        ("any value suffices", Match { namespaces: vec![exact("x"), exact("shop")], ..unset() }, true),
        ("not namespace", Match { not_namespaces: vec![exact("x")], ..unset() }, true),
        ("no value of a not field", Match { not_namespaces: vec![exact("x"), exact("shop")], ..unset() }, false),
        ("principal", Match { principals: vec![exact("cluster.local/ns/shop/sa/cart")], ..unset() }, true),
        ("scheme", Match { principals: vec![exact("spiffe://cluster.local/ns/shop/sa/cart")], ..unset() }, false),
        ("prefix", Match { principals: vec![StringMatch::Prefix(text("cluster.local/"))], ..unset() }, true),
        ("other prefix", Match { principals: vec![StringMatch::Prefix(text("ns/"))], ..unset() }, false),
        ("suffix", Match { principals: vec![StringMatch::Suffix(text("/sa/cart"))], ..unset() }, true),
        ("other suffix", Match { principals: vec![StringMatch::Suffix(text("/sa/car"))], ..unset() }, false),
        ("presence", Match { principals: vec![StringMatch::Presence], ..unset() }, true),
        ("not presence", Match { not_principals: vec![StringMatch::Presence], ..unset() }, false),
        ("service account", Match { service_accounts: vec![account("shop", "cart")], ..unset() }, true),
        ("its namespace counts", Match { service_accounts: vec![account("other", "cart")], ..unset() }, false),
        ("not service account", Match { not_service_accounts: vec![account("shop", "cart")], ..unset() }, false),
        ("source ip", Match { source_ips: vec![block("10.0.0.1/32")], ..unset() }, true),
        ("host bits do not count", Match { source_ips: vec![block("10.0.0.9/24")], ..unset() }, true),
        ("other block", Match { source_ips: vec![block("10.0.1.0/24")], ..unset() }, false),
        ("other family", Match { source_ips: vec![block("::/0")], ..unset() }, false),
        ("mapped block", Match { source_ips: vec![block("::ffff:10.0.0.0/104")], ..unset() }, true),
        ("not source ip", Match { not_source_ips: vec![block("10.0.0.0/8")], ..unset() }, false),
        ("destination ip", Match { destination_ips: vec![block("10.0.0.2/32")], ..unset() }, true),
        ("not destination ip", Match { not_destination_ips: vec![block("10.0.0.2/31")], ..unset() }, false),
        ("port", port(80), true),
        ("not port", Match { not_destination_ports: vec![80], ..unset() }, false),
        ("not other port", Match { not_destination_ports: vec![81], ..unset() }, true),
        ("all fields", Match { destination_ports: vec![80], namespaces: vec![exact("shop")], ..unset() }, true),
        ("one field fails", Match { destination_ports: vec![80], namespaces: vec![exact("x")], ..unset() }, false),
        (
            "a not field fails",
            Match { not_destination_ports: vec![80], namespaces: vec![exact("shop")], ..unset() },
            false,
        ),
    ];
    for (name, one, expected) in cases {
        assert_eq!(match_holds(one, &request()), expected, "{name}");
    }
}

#[test]
fn without_an_identity_nothing_about_one_holds() {
    let unset = Match::default;
    let cases: Vec<(&str, Match, bool)> = vec![
        ("principal presence", Match { principals: vec![StringMatch::Presence], ..unset() }, false),
        ("empty prefix of a principal", Match { principals: vec![StringMatch::Prefix(text(""))], ..unset() }, false),
        ("not principal presence", Match { not_principals: vec![StringMatch::Presence], ..unset() }, true),
        ("service account", Match { service_accounts: vec![account("", "")], ..unset() }, false),
        ("not service account", Match { not_service_accounts: vec![account("shop", "cart")], ..unset() }, true),
        ("namespace", Match { namespaces: vec![exact("shop")], ..unset() }, false),
        ("namespace presence", Match { namespaces: vec![StringMatch::Presence], ..unset() }, false),
        ("not namespace", Match { not_namespaces: vec![exact("shop")], ..unset() }, true),
        ("not namespace presence", Match { not_namespaces: vec![StringMatch::Presence], ..unset() }, true),
    ];
    for (name, one, expected) in cases {
        assert_eq!(match_holds(one, &plaintext()), expected, "{name}");
    }
}

#[test]
fn mapped_addresses_are_the_ipv4_ones_they_carry() {
    let mapped = AccessRequest {
        source_ip: "::ffff:10.0.0.1".parse().unwrap(),
        destination: "[::ffff:10.0.0.2]:80".parse().unwrap(),
        ..request()
    };
    let one = || Match {
        source_ips: vec![block("10.0.0.0/24")],
        destination_ips: vec![block("10.0.0.2/32")],
        ..Match::default()
    };
    assert!(match_holds(one(), &mapped));
    let not = Match { not_source_ips: vec![block("10.0.0.0/24")], ..Match::default() };
    assert!(!match_holds(not, &mapped));
    let native = AccessRequest { source_ip: "fd00::1".parse().unwrap(), ..request() };
    assert!(match_holds(Match { source_ips: vec![block("fd00::/8")], ..Match::default() }, &native));
    assert!(!match_holds(Match { source_ips: vec![block("0.0.0.0/0")], ..Match::default() }, &native));
}

#[test]
fn a_permit_names_what_it_permits() {
    let destination = workload("reviews", &["10.0.0.2"]);
    let policy = Authorization {
        key: text("shop/allow"),
        namespace: text("shop"),
        scope: PolicyScope::Global,
        action: Action::Allow,
        dry_run: false,
        provider: "".into(),
        groups: vec![Group::default()].into(),
        invalid: None,
    };
    for (updates, request, policy) in
        [(vec![policy.into()], request(), Some("shop/allow")), (vec![], request(), None), (vec![], plaintext(), None)]
    {
        let permit = mesh(updates).authorize(&Destination::of(&destination), &request).outcome.unwrap();
        let permitted = (permit.source(), permit.source_ip(), permit.destination());
        assert_eq!(permitted, (request.source.as_ref(), request.source_ip, request.destination));
        assert_eq!((&**permit.workload(), permit.policy().map(|key| &**key)), (&*destination.uid, policy));
    }
}

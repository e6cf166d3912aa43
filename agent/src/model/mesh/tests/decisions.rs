//! Authorization over several policies: a table of the rules, and a comparison with a slow and obvious oracle.

use std::net::IpAddr;

use crate::model::authorization::{
    AccessRequest, Action, Authorization, Clause, Destination, Group, Match, Permit, PolicyScope, ServiceAccountMatch,
    StringMatch,
};
use crate::model::mesh::{Mesh, MeshSettings, MeshUpdate};
use crate::model::sample::{Draw, mesh, policy, service, text, workload};
use crate::model::workload::{TunnelProtocol, Workload};
use Action::{Allow, Deny};
use PolicyScope::{Global, Namespace, WorkloadSelector};

fn request() -> AccessRequest {
    AccessRequest {
        source: Some("spiffe://cluster.local/ns/shop/sa/cart".parse().unwrap()),
        source_ip: "10.0.0.1".parse().unwrap(),
        destination: "10.0.0.2:80".parse().unwrap(),
    }
}

fn everything() -> Vec<Group> {
    vec![Group::default()]
}

fn dry(policy: Authorization) -> Authorization {
    Authorization { dry_run: true, ..policy }
}

fn invalid(policy: Authorization) -> Authorization {
    Authorization { invalid: Some(text("ambiguous")), ..policy }
}

fn elsewhere(policy: Authorization) -> Authorization {
    Authorization { namespace: text("elsewhere"), key: format!("elsewhere/{}", policy.key).into(), ..policy }
}

/// What is tested, the policies there are, the keys the destination lists, and what is decided.
type Case = (&'static str, Vec<Authorization>, Vec<&'static str>, &'static str);

fn check(cases: Vec<Case>) {
    for (name, policies, listed, expected) in cases {
        let mesh = mesh(policies.into_iter().map(MeshUpdate::from));
        let authorization_policies = listed.into_iter().map(text).collect();
        let destination = Workload { authorization_policies, ..workload("reviews", &["10.0.0.2"]) };
        let decided =
            match mesh.authorize(&Destination::of(&destination), &request()).outcome.as_ref().map(Permit::policy) {
                Ok(None) => "allowed".to_owned(),
                Ok(Some(key)) => format!("allowed by {key}"),
                Err(denied) => denied.to_string(),
            };
        assert_eq!(decided, expected, "{name}");
    }
}

fn matching(name: &str, scope: PolicyScope, action: Action) -> Authorization {
    policy(name, scope, action, everything())
}

fn never(name: &str, scope: PolicyScope, action: Action) -> Authorization {
    policy(name, scope, action, vec![])
}

#[test]
fn deny_comes_first_then_allow() {
    let (by_d, no_allow) = ("denied by policy bookinfo/d", "not matched by any of the ALLOW policies in force");
    check(vec![
        ("no policy", vec![], vec![], "allowed"),
        ("deny wins", vec![matching("a", Global, Allow), matching("d", Namespace, Deny)], vec![], by_d),
        ("a deny that does not match", vec![never("d", Global, Deny)], vec![], "allowed"),
        ("allow matches", vec![matching("a", Namespace, Allow)], vec![], "allowed by bookinfo/a"),
        ("an allow without groups", vec![never("a", Namespace, Allow)], vec![], no_allow),
        (
            "one allow suffices",
            vec![never("a", Global, Allow), matching("b", Namespace, Allow)],
            vec![],
            "allowed by bookinfo/b",
        ),
        ("dry-run deny", vec![dry(matching("d", Global, Deny))], vec![], "allowed"),
        ("dry-run allow does not restrict", vec![dry(never("a", Global, Allow))], vec![], "allowed"),
        ("nor allow", vec![dry(matching("a", Global, Allow)), never("b", Global, Allow)], vec![], no_allow),
    ]);
}

#[test]
fn a_workload_that_leaves_is_outside_once_the_mesh_has_it_outside() {
    let mesh = mesh([MeshUpdate::from(matching("d", Namespace, Deny))]);
    for (protocol, allowed) in [(TunnelProtocol::Hbone, false), (TunnelProtocol::None, true)] {
        let destination = Workload { protocol, ..workload("reviews", &["10.0.0.2"]) };
        assert_eq!(
            mesh.authorize(&Destination { is_leaving: true, ..Destination::of(&destination) }, &request())
                .outcome
                .is_ok(),
            allowed,
            "{protocol:?}"
        );
        assert!(mesh.authorize(&Destination::of(&destination), &request()).outcome.is_err(), "who stays is not let go");
    }
}

#[test]
fn scope_and_listing_say_what_is_in_force() {
    let (by_d, no_allow) = ("denied by policy bookinfo/d", "not matched by any of the ALLOW policies in force");
    let unknown = "policy bookinfo/gone is in force for the workload but not known";
    check(vec![
        ("another namespace's", vec![elsewhere(matching("d", Namespace, Deny))], vec![], "allowed"),
        ("selector, not listed", vec![matching("d", WorkloadSelector, Deny)], vec![], "allowed"),
        ("selector, listed", vec![matching("d", WorkloadSelector, Deny)], vec!["bookinfo/d"], by_d),
        (
            "selector, of another namespace",
            vec![elsewhere(never("a", WorkloadSelector, Allow))],
            vec!["elsewhere/bookinfo/a"],
            no_allow,
        ),
        ("listed as well as in scope", vec![matching("d", Global, Deny)], vec!["bookinfo/d"], by_d),
        ("listed but unknown", vec![matching("a", Global, Allow)], vec!["bookinfo/gone"], unknown),
        ("deny before unknown", vec![matching("d", Global, Deny)], vec!["bookinfo/gone"], by_d),
    ]);
}

#[test]
fn what_cannot_be_understood_denies_its_scope() {
    let a = "policy bookinfo/a cannot be understood (ambiguous) and denies its scope";
    let d = "policy bookinfo/d cannot be understood (ambiguous) and denies its scope";
    check(vec![
        ("allow", vec![invalid(matching("a", Namespace, Allow))], vec![], a),
        ("deny", vec![invalid(never("d", Global, Deny))], vec![], d),
        ("beside an allow", vec![matching("a", Global, Allow), invalid(never("d", Global, Deny))], vec![], d),
        ("another namespace's", vec![elsewhere(invalid(never("d", Namespace, Deny)))], vec![], "allowed"),
        ("selector, not listed", vec![invalid(never("d", WorkloadSelector, Deny))], vec![], "allowed"),
        ("selector, listed", vec![invalid(never("d", WorkloadSelector, Deny))], vec!["bookinfo/d"], d),
        ("dry run", vec![dry(invalid(never("d", Global, Deny)))], vec![], "allowed"),
    ]);
}

#[test]
fn dry_run_policies_are_reported() {
    let destination = workload("reviews", &["10.0.0.2"]);
    let mut mesh = mesh([
        dry(policy("deny", Global, Deny, everything())).into(),
        dry(policy("deny-not", Global, Deny, vec![])).into(),
        dry(policy("allow-not", Namespace, Allow, vec![])).into(),
        policy("deny-really", Namespace, Deny, everything()).into(),
    ]);
    let report = mesh.authorize(&Destination::of(&destination), &request()).dry_run;
    assert_eq!((report.would_deny, report.would_allow), (vec![text("bookinfo/deny")], vec![]));
    assert!(report.no_allow_matched);
    mesh.apply(dry(policy("allow", Global, Allow, everything())).into());
    let report = mesh.authorize(&Destination::of(&destination), &request()).dry_run;
    assert_eq!((report.would_allow, report.no_allow_matched), (vec![text("bookinfo/allow")], false));
}

#[test]
fn a_changed_or_removed_policy_leaves_its_old_scope() {
    let destination = workload("reviews", &["10.0.0.2"]);
    let mut mesh = mesh([policy("d", Global, Deny, everything()).into()]);
    let mut allowed_after = |update: MeshUpdate| {
        mesh.apply(update);
        (mesh.authorize(&Destination::of(&destination), &request()).outcome.is_ok(), mesh.authorizations().count())
    };
    assert_eq!(allowed_after(policy("d", WorkloadSelector, Deny, everything()).into()), (true, 1));
    assert_eq!(allowed_after(policy("d", Namespace, Deny, everything()).into()), (false, 1));
    assert_eq!(allowed_after(policy("d", Namespace, Allow, everything()).into()), (true, 1));
    assert_eq!(allowed_after(policy("d", Namespace, Deny, everything()).into()), (false, 1));
    assert_eq!(allowed_after(MeshUpdate::RemoveAuthorization(text("bookinfo/d"))), (true, 0));
    assert_eq!(allowed_after(MeshUpdate::RemoveAuthorization(text("bookinfo/d"))), (true, 0));
}

/// Istio's rules written down once more, as plainly as possible: is the connection allowed?
mod oracle {
    use super::*;

    pub(super) fn allows(policies: &[Authorization], destination: &Workload, request: &AccessRequest) -> bool {
        let listed = |policy: &Authorization| destination.authorization_policies.contains(&policy.key);
        let in_force: Vec<&Authorization> = policies
            .iter()
            .filter(|policy| {
                policy.scope == Global
                    || (policy.scope == Namespace && policy.namespace == destination.namespace)
                    || listed(policy)
            })
            .collect();
        let all_known =
            destination.authorization_policies.iter().all(|key| policies.iter().any(|policy| policy.key == *key));
        let enforced: Vec<&&Authorization> = in_force.iter().filter(|policy| !policy.dry_run).collect();
        let denied = enforced.iter().any(|policy| policy.action == Deny && matches(policy, request));
        let invalid = enforced.iter().any(|policy| policy.invalid.is_some());
        let allows: Vec<_> = enforced.iter().filter(|policy| policy.action == Allow).collect();
        let allowed = allows.is_empty() || allows.iter().any(|policy| matches(policy, request));
        all_known && !denied && !invalid && allowed
    }

    fn matches(policy: &Authorization, request: &AccessRequest) -> bool {
        let mut any_group = false;
        for group in policy.groups.iter() {
            let mut all_clauses = true;
            for clause in &group.clauses {
                let mut any_match = clause.matches.is_empty();
                for one in &clause.matches {
                    any_match |= match_holds(one, request);
                }
                all_clauses &= any_match;
            }
            any_group |= all_clauses;
        }
        any_group
    }

    fn match_holds(one: &Match, request: &AccessRequest) -> bool {
        if *one == Match::default() {
            return false;
        }
        let namespace = request.source.as_ref().map_or(String::new(), |identity| identity.namespace.to_string());
        let principal = request.source.as_ref().map(|identity| identity.to_string().replace("spiffe://", ""));
        let account = request.source.as_ref().map(|source| (source.namespace.clone(), source.service_account.clone()));
        let by_namespace = |value: &StringMatch| string_holds(value, &namespace);
        let by_principal = |value: &StringMatch| principal.as_ref().is_some_and(|text| string_holds(value, text));
        let by_account =
            |value: &ServiceAccountMatch| account == Some((value.namespace.clone(), value.service_account.clone()));
        let by_port = |port: &u16| *port == request.destination.port();
        let by_source = |block: &ipnet::IpNet| ip_holds(block, request.source_ip);
        let by_destination = |block: &ipnet::IpNet| ip_holds(block, request.destination.ip());
        (one.namespaces.is_empty() || one.namespaces.iter().any(by_namespace))
            && one.not_namespaces.iter().all(|value| !by_namespace(value))
            && (one.principals.is_empty() || one.principals.iter().any(by_principal))
            && one.not_principals.iter().all(|value| !by_principal(value))
            && (one.service_accounts.is_empty() || one.service_accounts.iter().any(by_account))
            && one.not_service_accounts.iter().all(|value| !by_account(value))
            && (one.destination_ports.is_empty() || one.destination_ports.iter().any(by_port))
            && one.not_destination_ports.iter().all(|value| !by_port(value))
            && (one.source_ips.is_empty() || one.source_ips.iter().any(by_source))
            && one.not_source_ips.iter().all(|value| !by_source(value))
            && (one.destination_ips.is_empty() || one.destination_ips.iter().any(by_destination))
            && one.not_destination_ips.iter().all(|value| !by_destination(value))
    }

    fn string_holds(value: &StringMatch, text: &str) -> bool {
        let bytes = text.as_bytes();
        match value {
            StringMatch::Exact(exact) => exact.as_bytes() == bytes,
            StringMatch::Prefix(prefix) => bytes.iter().take(prefix.len()).eq(prefix.as_bytes()),
            StringMatch::Suffix(suffix) => bytes.iter().rev().take(suffix.len()).eq(suffix.as_bytes().iter().rev()),
            StringMatch::Presence => !text.is_empty(),
        }
    }

    /// In 128 bits, where IPv4 lies within the mapped range.
    fn ip_holds(block: &ipnet::IpNet, ip: IpAddr) -> bool {
        let wide = |ip: IpAddr| match ip {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
            IpAddr::V6(v6) => v6.to_bits(),
        };
        let bits = u32::from(block.prefix_len()) + if block.addr().is_ipv4() { 96 } else { 0 };
        let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
        wide(block.addr()) & mask == wide(ip) & mask
    }
}

const NAMESPACES: [&str; 3] = ["shop", "bookinfo", "shopping"];
const ACCOUNTS: [&str; 3] = ["cart", "default", "art"];
const ADDRESSES: [&str; 5] = ["10.0.0.1", "10.0.0.2", "::ffff:10.0.0.1", "10.1.0.1", "fd00::1"];
const BLOCKS: [&str; 6] = ["10.0.0.1/32", "10.0.0.7/24", "::ffff:10.0.0.0/104", "fd00::/8", "0.0.0.0/0", "fd00::1/128"];

fn some<T>(draw: &mut Draw, mut value: impl FnMut(&mut Draw) -> T) -> Vec<T> {
    match draw.below(8) {
        0 => vec![value(draw)],
        1 => vec![value(draw), value(draw)],
        _ => Vec::new(),
    }
}

fn random_string(draw: &mut Draw, values: &[String]) -> StringMatch {
    let value = draw.one_of(values).clone();
    let cut = draw.below(value.len() + 1);
    match draw.below(4) {
        0 => StringMatch::Exact(value.into()),
        1 => StringMatch::Prefix(value[..cut].into()),
        2 => StringMatch::Suffix(value[cut..].into()),
        _ => StringMatch::Presence,
    }
}

fn random_match(draw: &mut Draw) -> Match {
    let namespaces = NAMESPACES.map(str::to_owned);
    let principals = NAMESPACES.map(|namespace| format!("cluster.local/ns/{namespace}/sa/cart"));
    let namespace = |draw: &mut Draw| random_string(draw, &namespaces);
    let principal = |draw: &mut Draw| random_string(draw, &principals);
    let block = |draw: &mut Draw| draw.one_of(&BLOCKS).parse().unwrap();
    let port = |draw: &mut Draw| *draw.one_of(&[80, 81]);
    let account = |draw: &mut Draw| ServiceAccountMatch {
        namespace: text(draw.one_of::<&str>(&NAMESPACES)),
        service_account: text(draw.one_of::<&str>(&ACCOUNTS)),
    };
    Match {
        namespaces: some(draw, namespace),
        not_namespaces: some(draw, namespace),
        principals: some(draw, principal),
        not_principals: some(draw, principal),
        source_ips: some(draw, block),
        not_source_ips: some(draw, block),
        destination_ips: some(draw, block),
        not_destination_ips: some(draw, block),
        destination_ports: some(draw, port),
        not_destination_ports: some(draw, port),
        service_accounts: some(draw, account),
        not_service_accounts: some(draw, account),
        request: Vec::new(),
    }
}

fn random_group(draw: &mut Draw) -> Group {
    let clause = |draw: &mut Draw| Clause { matches: (0..draw.below(3)).map(|_| random_match(draw)).collect() };
    Group { clauses: (0..draw.below(3)).map(|_| clause(draw)).collect(), ..Group::default() }
}

fn random_policy(draw: &mut Draw, number: usize) -> Authorization {
    let namespace = draw.one_of::<&str>(&NAMESPACES[..2]);
    Authorization {
        key: format!("{namespace}/p{number}").into(),
        namespace: text(namespace),
        scope: *draw.one_of(&[Global, Namespace, WorkloadSelector, WorkloadSelector]),
        action: *draw.one_of(&[Allow, Allow, Deny]),
        dry_run: draw.below(8) == 0,
        provider: "".into(),
        groups: (0..draw.below(4)).map(|_| random_group(draw)).collect(),
        invalid: (draw.below(40) == 0).then(|| text("ambiguous")),
    }
}

fn random_request(draw: &mut Draw) -> AccessRequest {
    let identity = format!("spiffe://cluster.local/ns/{}/sa/{}", draw.one_of(&NAMESPACES), draw.one_of(&ACCOUNTS));
    AccessRequest {
        source: (draw.below(4) > 0).then(|| identity.parse().unwrap()),
        source_ip: draw.one_of(&ADDRESSES).parse().unwrap(),
        destination: (draw.one_of(&ADDRESSES).parse::<IpAddr>().unwrap(), *draw.one_of(&[80, 81])).into(),
    }
}

#[test]
fn the_mesh_agrees_with_the_oracle() {
    let mut draw = Draw(1);
    let mut seen = [0, 0];
    for round in 0..4000 {
        let policies: Vec<Authorization> = (0..draw.below(5)).map(|number| random_policy(&mut draw, number)).collect();
        let mut destination = workload("reviews", &["10.0.0.2"]);
        destination.authorization_policies =
            policies.iter().filter(|_| draw.below(2) == 0).map(|policy| policy.key.clone()).collect();
        if draw.below(50) == 0 {
            destination.authorization_policies.push(text("bookinfo/gone"));
        }
        let mesh = mesh(policies.iter().cloned().map(MeshUpdate::from));
        for _ in 0..8 {
            let request = random_request(&mut draw);
            let allowed = mesh.authorize(&Destination::of(&destination), &request).outcome.is_ok();
            assert_eq!(
                allowed,
                oracle::allows(&policies, &destination, &request),
                "round {round}: {policies:#?} {request:?}"
            );
            seen[usize::from(allowed)] += 1;
        }
    }
    assert!(seen.iter().all(|count| *count > 5000), "both outcomes must be common: {seen:?}");
}

#[test]
fn decisions_change_with_policies_and_not_with_endpoints() {
    let mut mesh = Mesh::default();
    let mut version = mesh.policy_version();
    let mut moves = |update: MeshUpdate| {
        mesh.apply(update);
        std::mem::replace(&mut version, mesh.policy_version()) != version
    };
    assert!(!moves(workload("pod", &["10.0.0.1"]).into()));
    assert!(!moves(service("a", &["10.1.0.1"], &[(80, 0)]).into()));
    assert!(!moves(MeshUpdate::RemoveAddress(text("bookinfo/a"))));
    assert!(moves(policy("deny", Namespace, Deny, vec![]).into()));
    assert!(moves(MeshUpdate::RemoveAuthorization(text("bookinfo/deny"))));
    assert!(moves(MeshUpdate::Settings(MeshSettings::default())));
}

//! Random policies, peers and requests: a policy says with the filter over its rules what it says without.

use super::matching::Matched;
use super::principal::TrustDomains;
use super::subject::{Content, Subject};
use super::*;
use crate::model::http::head::RequestHead;
use crate::model::identity::{Identity, TrustDomain};
use crate::model::sample::{Draw, policy};

const PRINCIPALS: [&str; 16] = [
    "td/ns/shop/sa/web",
    "cluster.local/ns/shop/sa/web",
    "old/ns/ops/sa/db",
    "far/ns/shop/sa/web",
    "a/b/ns/shop/sa/web",
    "td/ns/shop/x/sa/web",
    "td/ns/shop/sa/*",
    "td/ns/shop*",
    "td/ns/sh/*",
    "td/*",
    "*/ns/shop/sa/web",
    "*ns/ops/sa/web",
    "*/sa/web",
    "*eb",
    "*",
    "shop",
];
const NAMESPACES: [&str; 7] = ["shop", "ops", "sh*", "*p", "*", "", "ns/shop"];
const METHODS: [&str; 8] = ["GET", "PUT", "P*", "*T", "*", "get", "LINK", "UNLINK"];
const PATHS: [&str; 16] = [
    "/",
    "/a",
    "/a*",
    "*b",
    "*/b",
    "*",
    "/{*}",
    "/{*}/b",
    "/a/{**}",
    "/long/enough/{*}/{**}/z",
    "/long/enough/path",
    "/long/enough/*",
    "*/enough/path",
    "*enough/path",
    "/a%2Fb",
    "/a;x*",
];
const TARGETS: [&str; 18] = [
    "",
    "*",
    "/",
    "/a",
    "/ab",
    "/b",
    "/a/b",
    "/a/b?c=/a",
    "//a",
    "/a%2Fb",
    "/a;x/b",
    "/x/%2e%2e/a",
    "/long/enough/path",
    "/long/enough/pith",
    "/wrong/enough/path",
    "/long%2Fenough/path",
    "/long/enough/x/y/z",
    "/much/longer/than/long/enough/path",
];

fn texts(draw: &mut Draw, odds: usize, texts: &[&str]) -> Vec<StringMatch> {
    let count = usize::from(draw.below(odds) == 0) * (1 + draw.below(3));
    (0..count).map(|_| StringMatch::written(draw.one_of::<&str>(texts))).collect()
}

fn a_match(draw: &mut Draw) -> Match {
    let mut one = Match {
        principals: texts(draw, 3, &PRINCIPALS),
        not_principals: texts(draw, 9, &PRINCIPALS),
        namespaces: texts(draw, 5, &NAMESPACES),
        not_namespaces: texts(draw, 9, &NAMESPACES),
        ..Match::default()
    };
    if draw.below(6) == 0 {
        let (namespace, service_account) = ((*draw.one_of(&["shop", "ops"])).into(), "web".into());
        one.service_accounts.push(ServiceAccountMatch { namespace, service_account });
    }
    if draw.below(2) == 0 {
        let (values, not_values) = (texts(draw, 2, &METHODS), texts(draw, 9, &METHODS));
        one.request.push(RequestCondition::Method(Values { values, not_values }));
    }
    if draw.below(2) == 0 {
        let mut paths = |odds| {
            let count = usize::from(draw.below(odds) == 0) * (1 + draw.below(3));
            (0..count).map(|_| PathMatch::written(draw.one_of::<&str>(&PATHS)).expect("one of Istio's")).collect()
        };
        let (values, not_values) = (paths(2), paths(9));
        one.request.push(RequestCondition::Path(Values { values, not_values }));
    }
    one
}

fn a_policy(draw: &mut Draw) -> Authorization {
    let action = *draw.one_of(&[Action::Allow, Action::Deny, Action::Audit, Action::Custom]);
    let clause = |draw: &mut Draw| Clause { matches: (0..draw.below(4)).map(|_| a_match(draw)).collect() };
    let group = |rule, draw: &mut Draw| Group { rule, clauses: (0..draw.below(4)).map(|_| clause(draw)).collect() };
    let groups = (0..draw.below(6)).map(|rule| group(rule, draw)).collect();
    policy("p", PolicyScope::Namespace, action, groups)
}

#[test]
fn no_rule_that_matches_is_left_out() {
    const ROUNDS: usize = 40_000;
    let mut draw = Draw(41);
    let own = TrustDomain::new("td");
    let aliases = ["old", "a/b"].map(TrustDomain::new);
    let (mut all, mut left_out, mut matched) = (0, 0, 0);
    for _ in 0..ROUNDS {
        let policy = a_policy(&mut draw);
        let domain = TrustDomain::new(draw.one_of::<&str>(&["td", "td", "cluster.local", "old", "far", "a/b"]));
        let namespace = draw.one_of::<&str>(&["shop", "shop", "ops", "sh", "ns/shop", "shop/x"]);
        let identity = Identity::new(domain, namespace, draw.one_of::<&str>(&["web", "web", "db"]));
        let access = AccessRequest {
            source: (draw.below(8) > 0).then_some(identity),
            source_ip: "10.0.0.1".parse().expect("an address"),
            destination: "10.0.0.2:80".parse().expect("an address"),
        };
        let domains = TrustDomains { own: &own, aliases: &aliases[..draw.below(3)] };
        let head = RequestHead {
            method: draw.one_of::<&str>(&["GET", "GET", "PUT", "POST", "LINK", "UNLINK"]).as_bytes().into(),
            target: draw.one_of::<&str>(&TARGETS).as_bytes().into(),
            ..RequestHead::default()
        };
        let http = HttpRequest::of(&head);
        for content in [Content::Request(&http), Content::Unsettled(&http), Content::Unread, Content::Bytes] {
            let subject = Subject::new(&access, domains, content);
            let expected = policy.matching_of_all(&subject);
            let about = || format!("{access:?}\n{head:?}\n{content:?}\nunder {policy:#?}");
            assert_eq!(policy.matching(&subject), expected, "{}", about());
            if let Content::Request(_) = content {
                let candidates = policy.groups.candidates(subject.probe(), policy.action.is_allow()).count();
                all += policy.groups.len();
                left_out += policy.groups.len() - candidates;
                matched += usize::from(expected != Matched::No);
            }
        }
    }
    assert!(left_out * 20 > all, "{left_out} of {all} are left out: the filter does nothing");
    assert!((ROUNDS / 5..ROUNDS * 4 / 5).contains(&matched), "{matched} of {ROUNDS} match: too much of one kind");
}

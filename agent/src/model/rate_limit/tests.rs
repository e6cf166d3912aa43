use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::config::RateLimitConfig;
use super::objects::{
    CountedBy, GlobalLimit, LimitResponse, LimitRule, LimitTarget, Measure, QuotaHeaders, RateLimitObject,
};
use super::{Decision, LimitStates, LimitedRequest, Moment, NodeStates, PodLimits, Rate};
use crate::model::authorization::{
    AccessRequest, Clause, Group, HttpRequest, Match, PathMatch, RequestCondition, StringMatch, Values,
};
use crate::model::http::head::RequestHead;
use crate::model::identity::{Identity, TrustDomain};
use crate::model::mesh::Mesh;
use crate::model::peer_authentication::Labels;
use crate::model::sample;
use crate::model::service::ServiceKey;
use crate::model::serving::Serving;

fn labels(all: &[(&str, &str)]) -> Labels {
    all.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn per_minute(requests: u32, by: CountedBy) -> Measure {
    Measure::Rate { rate: Rate { requests, period: Duration::from_secs(60), burst: requests }, by }
}

fn rule(name: &str, groups: Vec<Group>, measure: Measure) -> Arc<LimitRule> {
    Arc::new(LimitRule { name: name.into(), groups, measure })
}

fn object(key: &str, target: LimitTarget, limits: Vec<Arc<LimitRule>>) -> RateLimitObject {
    let namespace = key.split_once('/').expect("namespace and name").0.into();
    RateLimitObject { key: key.into(), namespace, target, limits, dry_run: false, response: LimitResponse::default() }
}

fn path(text: &str) -> Group {
    let path = RequestCondition::Path(Values { values: vec![PathMatch::written(text).unwrap()], not_values: vec![] });
    group(Match { request: vec![path], ..Match::default() })
}

fn group(one: Match) -> Group {
    Group { rule: 0, clauses: vec![Clause { matches: vec![one] }] }
}

fn config(objects: Vec<RateLimitObject>) -> RateLimitConfig {
    RateLimitConfig { objects: objects.into_iter().map(Arc::new).collect(), root_namespace: "istio-system".into() }
}

/// The limits of a pod of namespace `shop`, and what asks them.
struct Pod {
    states: LimitStates<()>,
    node: NodeStates,
    limits: PodLimits<()>,
    places: Cell<u32>,
    mesh: Mesh,
}

impl Pod {
    fn new(objects: Vec<RateLimitObject>) -> Self {
        let (mut states, mut node) = (LimitStates::default(), NodeStates::default());
        let limits = states.apply(config(objects).counting("shop", &Labels::new(), &Serving::default()), &mut node);
        Self { states, node, limits, places: Cell::new(100), mesh: Mesh::default() }
    }

    fn change(&mut self, objects: Vec<RateLimitObject>) {
        let counting = config(objects).counting("shop", &Labels::new(), &Serving::default());
        self.limits = self.states.apply(counting, &mut self.node);
    }

    fn ask(&self, account: Option<&str>, target: &str, seconds: u64) -> Decision {
        let connection = AccessRequest {
            source: account.map(|account| Identity::new(TrustDomain::new(""), "shop", account)),
            source_ip: "10.0.0.1".parse().unwrap(),
            destination: "10.0.0.2:8080".parse().unwrap(),
        };
        let head = RequestHead { method: "GET".into(), target: target.into(), ..RequestHead::default() };
        let http = HttpRequest::of(&head);
        let now = Moment(seconds * 1_000_000_000);
        let place = || {
            let left = self.places.get();
            self.places.set(left.saturating_sub(1));
            (left > 0).then_some(())
        };
        self.mesh.take_limits(&self.limits, LimitedRequest { connection: &connection, http: &http, now }, place)
    }

    /// The limit that a request is beyond.
    fn refused(&self, account: Option<&str>, target: &str, seconds: u64) -> Option<String> {
        let (position, _) = self.ask(account, target, seconds).refused?;
        let limit = self.limits.at(position);
        Some(format!("{}[{}]", limit.object.key, limit.rule.name))
    }
}

#[test]
fn objects_count_for_the_pods_of_their_targets() {
    let one =
        |key: &str, target: LimitTarget| object(key, target, vec![rule("all", vec![], per_minute(1, CountedBy::Pod))]);
    let key = |namespace: &str, host: &str| ServiceKey::new(namespace, host);
    let config = config(vec![
        one("shop/namespace", LimitTarget::Namespace),
        one("shop/web", LimitTarget::Selector(labels(&[("app", "web")]))),
        one("shop/both", LimitTarget::Selector(labels(&[("app", "web"), ("version", "v2")]))),
        one("shop/service", LimitTarget::Services(vec![key("shop", "web.shop"), key("shop", "gone.shop")])),
        one("bank/namespace", LimitTarget::Namespace),
        one("bank/service", LimitTarget::Services(vec![key("bank", "web.bank")])),
        one("istio-system/mesh", LimitTarget::Namespace),
        one("istio-system/web", LimitTarget::Selector(labels(&[("app", "web")]))),
    ]);
    let mut workload = sample::workload("web", &["10.0.0.2"]);
    workload.namespace = "shop".into();
    let behind = sample::serving(workload, &[("web.shop", 80, 8080), ("web.shop", 81, 8081), ("other.shop", 80, 9090)]);
    let none = Serving::default();
    for (namespace, pod, services, at_8080, at_9090) in [
        (
            "shop",
            labels(&[("app", "web"), ("x", "y")]),
            &*behind.services,
            &["shop/namespace", "shop/web", "shop/service", "istio-system/mesh", "istio-system/web"][..],
            &["shop/namespace", "shop/web", "istio-system/mesh", "istio-system/web"][..],
        ),
        (
            "shop",
            labels(&[("app", "web"), ("version", "v2")]),
            &none,
            &["shop/namespace", "shop/web", "shop/both", "istio-system/mesh", "istio-system/web"],
            &["shop/namespace", "shop/web", "shop/both", "istio-system/mesh", "istio-system/web"],
        ),
        (
            "shop",
            labels(&[]),
            &none,
            &["shop/namespace", "istio-system/mesh"],
            &["shop/namespace", "istio-system/mesh"],
        ),
        (
            "bank",
            labels(&[]),
            &none,
            &["bank/namespace", "istio-system/mesh"],
            &["bank/namespace", "istio-system/mesh"],
        ),
    ] {
        let counting = config.counting(namespace, &pod, services);
        for (port, expected) in [(8080, at_8080), (9090, at_9090)] {
            let at = counting.iter().filter(|limit| limit.counts_at(port));
            let keys: Vec<&str> = at.map(|limit| &*limit.object.key).collect();
            assert_eq!(keys, expected, "{namespace} {pod:?} at {port}");
        }
    }
}

#[test]
fn a_request_must_be_within_all_limits_that_are_about_it() {
    let from_web = group(Match { namespaces: vec![StringMatch::written("shop")], ..Match::default() });
    let pod = Pod::new(vec![
        object(
            "shop/a",
            LimitTarget::Namespace,
            vec![
                rule("items", vec![path("/items*"), path("/goods*")], per_minute(2, CountedBy::Pod)),
                rule("all", vec![], per_minute(4, CountedBy::Pod)),
            ],
        ),
        object("shop/b", LimitTarget::Namespace, vec![rule("known", vec![from_web], per_minute(3, CountedBy::Pod))]),
    ]);
    for (number, (account, target, expected)) in [
        (Some("web"), "/items/1", None),
        (Some("web"), "/goods/1?x", None),
        (Some("web"), "/items", Some("shop/a[items]")),
        (Some("web"), "/items", Some("shop/a[items]")),
        (Some("web"), "/other", None),
        // Those that were refused used nothing of `all`.
        (Some("web"), "/other", Some("shop/b[known]")),
        (None, "/other", None),
        (None, "/other", Some("shop/a[all]")),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(pod.refused(account, target, 0).as_deref(), expected, "{number}: {account:?} {target}");
    }
}

#[test]
fn sources_are_counted_by_themselves_as_far_as_there_are_places() {
    let limit = rule("each", vec![], per_minute(1, CountedBy::Source));
    let pod = Pod::new(vec![object("shop/a", LimitTarget::Namespace, vec![limit])]);
    pod.places.set(2);
    for (account, passes) in [
        (Some("a"), true),
        (Some("a"), false),
        (Some("b"), true),
        (None, true),
        (None, false),
        (Some("c"), true),
        (Some("d"), false),
    ] {
        assert_eq!(pod.refused(account, "/", 0).is_none(), passes, "{account:?}");
    }
}

#[test]
fn requests_under_way_count_until_they_end() {
    let limit = |most| rule("few", vec![], Measure::Concurrency { most, by: CountedBy::Pod });
    let mut pod = Pod::new(vec![object("shop/a", LimitTarget::Namespace, vec![limit(2)])]);
    let (first, second) = (pod.ask(None, "/", 0), pod.ask(None, "/", 0));
    assert_eq!((first.under_way.len(), second.under_way.len()), (1, 1));
    let (_, beyond) = pod.ask(None, "/", 0).refused.expect("two are under way");
    assert_eq!((beyond.retry_after, beyond.quota.limit, beyond.quota.remaining), (None, 2, 0));
    drop(first);
    let third = pod.ask(None, "/", 0);
    assert!(third.refused.is_none());
    // They count for what the limit is by then.
    pod.change(vec![object("shop/a", LimitTarget::Namespace, vec![limit(3)])]);
    let fourth = pod.ask(None, "/", 0);
    assert!(fourth.refused.is_none() && pod.ask(None, "/", 0).refused.is_some());
    drop((second, third, fourth));
    assert!(pod.ask(None, "/", 0).refused.is_none());
}

#[test]
fn a_dry_run_refuses_nothing_and_says_what_it_would() {
    let limits = |requests| vec![rule("all", vec![], per_minute(requests, CountedBy::Pod))];
    let dry = RateLimitObject { dry_run: true, ..object("shop/dry", LimitTarget::Namespace, limits(1)) };
    let pod = Pod::new(vec![dry, object("shop/real", LimitTarget::Namespace, limits(3))]);
    let asked: Vec<_> = (0..4).map(|_| pod.ask(None, "/", 0)).collect();
    let seen: Vec<_> =
        asked.iter().map(|asked| (asked.within.clone(), asked.would_refuse.clone(), asked.refused.is_some())).collect();
    let expected =
        [(vec![0, 1], vec![], false), (vec![1], vec![0], false), (vec![1], vec![0], false), (vec![], vec![0], true)];
    assert_eq!(seen, expected);
}

#[test]
fn what_was_counted_outlives_changes_of_objects() {
    let limits = |name: &str, requests, by| vec![rule(name, vec![], per_minute(requests, by))];
    let of = |name: &str, requests, by| vec![object("shop/a", LimitTarget::Namespace, limits(name, requests, by))];
    let used_up = || {
        let pod = Pod::new(of("all", 2, CountedBy::Pod));
        assert!((0..2).all(|_| pod.refused(Some("web"), "/", 0).is_none()));
        pod
    };
    // The objects afterwards, and how many requests pass at once.
    for (what, after, expected) in [
        ("the same again", of("all", 2, CountedBy::Pod), 0),
        ("another rate, of which all is used likewise", of("all", 10, CountedBy::Pod), 0),
        ("another name", of("other", 2, CountedBy::Pod), 2),
        ("counted otherwise", of("all", 2, CountedBy::Source), 2),
    ] {
        let mut pod = used_up();
        pod.change(after);
        let passed = (0..20).filter(|_| pod.refused(Some("web"), "/", 0).is_none()).count();
        assert_eq!(passed, expected, "{what}");
    }
    let mut pod = used_up();
    pod.change(vec![]);
    assert!(!pod.limits.count_at(8080) && pod.refused(None, "/", 0).is_none());
}

#[test]
fn the_pods_of_a_node_share_what_is_counted_by_node() {
    let mut node = NodeStates::default();
    let config = config(vec![object(
        "shop/a",
        LimitTarget::Namespace,
        vec![
            rule("node", vec![path("/node")], per_minute(2, CountedBy::Node)),
            rule("pod", vec![path("/pod")], per_minute(2, CountedBy::Pod)),
        ],
    )]);
    let mut pods = [Pod::new(vec![]), Pod::new(vec![])];
    for pod in &mut pods {
        pod.limits = pod.states.apply(config.counting("shop", &BTreeMap::new(), &Serving::default()), &mut node);
    }
    let passed =
        |target: &str| pods.each_ref().map(|pod| (0..5).filter(|_| pod.refused(None, target, 0).is_none()).count());
    assert_eq!((passed("/node"), passed("/pod")), ([2, 0], [2, 2]));
}

#[test]
fn what_is_left_is_told_where_the_object_asks_for_it() {
    let object = |key: &str, requests, quota_headers| RateLimitObject {
        response: LimitResponse { quota_headers, ..LimitResponse::default() },
        ..object(key, LimitTarget::Namespace, vec![rule("all", vec![], per_minute(requests, CountedBy::Pod))])
    };
    let pod = Pod::new(vec![
        object("shop/a", 2, QuotaHeaders::Limited),
        object("shop/b", 9, QuotaHeaders::Always),
        object("shop/c", 5, QuotaHeaders::Always),
    ]);
    let told = pod.ask(None, "/", 0).told.expect("two objects say so");
    assert_eq!((told.limit, told.remaining), (5, 4));
}

#[test]
fn a_limit_that_a_service_keeps_is_asked_about_once_all_others_hold() {
    let service = GlobalLimit {
        service: "ratelimit.infra".into(),
        port: 8081,
        domain: "shop".into(),
        timeout: Duration::from_millis(20),
        fail_open: true,
        descriptors: vec![],
    };
    let pod = Pod::new(vec![object(
        "shop/a",
        LimitTarget::Namespace,
        vec![
            rule("global", vec![], Measure::Global(Box::new(service.clone()))),
            rule("local", vec![], per_minute(1, CountedBy::Pod)),
        ],
    )]);
    let (first, second) = (pod.ask(None, "/", 0), pod.ask(None, "/", 0));
    assert_eq!((first.to_ask, first.refused.is_none()), (vec![0], true));
    assert!(second.refused.is_some());
    assert_eq!((pod.limits.global_at(0), pod.limits.global_at(1)), (Some(&service), None));
}

use std::path::Path;
use std::time::Duration;

use super::{LimitTarget, RateLimit};
use crate::model::rate_limit::Rate;
use crate::model::rate_limit::objects::{CountedBy, LimitResponse, Measure, QuotaHeaders};
use crate::objects::loaded::Loaded;
use crate::objects::{HttpObject, Kind};

/// What is read of a RateLimit with this `spec`, or what is wrong with it.
fn read(spec: &str) -> Result<RateLimit, String> {
    let text = format!(
        "apiVersion: weir.dev/v1alpha1\nkind: RateLimit\nmetadata: {{name: web, namespace: shop}}\nspec: {spec}\n"
    );
    let mut loaded = Loaded::default();
    loaded.read_text(Path::new("limits.yaml"), &text);
    if let Some(problem) = loaded.problems.first() {
        return Err(format!("{}: {}", problem.field, problem.reason));
    }
    let (kind, object) = loaded.objects.http_objects().next().expect("it is there");
    assert_eq!(kind, Kind::RateLimit);
    match &object.spec.object {
        HttpObject::RateLimit(limit) => Ok((**limit).clone()),
        other => panic!("{other:?}"),
    }
}

const LOCAL: &str = "limits: [{name: all, local: {requests: 1, per: second}}]";

#[test]
fn limits_say_what_they_bound() {
    let rate = |requests, seconds: u64, burst, by| Measure::Rate {
        rate: Rate { requests, period: Duration::from_secs(seconds), burst },
        by,
    };
    for (limit, expected) in [
        ("local: {requests: 10, per: second}", rate(10, 1, 10, CountedBy::Pod)),
        ("local: {requests: 10, per: minute, burst: 3, by: source}", rate(10, 60, 3, CountedBy::Source)),
        ("local: {requests: 10, per: hour, by: node}", rate(10, 3600, 10, CountedBy::Node)),
        ("local: {requests: 1, per: 1m30s, by: pod}", rate(1, 90, 1, CountedBy::Pod)),
        ("concurrency: {requests: 5}", Measure::Concurrency { most: 5, by: CountedBy::Pod }),
        ("concurrency: {requests: 5, by: source}", Measure::Concurrency { most: 5, by: CountedBy::Source }),
    ] {
        let read = read(&format!("{{limits: [{{name: one, {limit}}}]}}")).unwrap();
        assert_eq!((read.limits.len(), &read.limits[0].measure), (1, &expected), "{limit}");
    }
    let global = "global: {service: ratelimit, port: 8081, domain: shop, descriptors: [{entries: [{key: a, value: b}, \
                  {key: tenant, header: X-Tenant, default: none}, {key: path, attribute: path}]}]}";
    let read = read(&format!("{{limits: [{{name: one, {global}}}]}}")).unwrap();
    let Measure::Global(global) = &read.limits[0].measure else { panic!("{read:?}") };
    assert_eq!((&*global.service, global.port), ("ratelimit.shop.svc.cluster.local", 8081));
    assert_eq!((global.timeout, global.fail_open), (Duration::from_millis(20), true));
    assert_eq!((global.descriptors.len(), global.descriptors[0].entries.len()), (1, 3));
}

#[test]
fn an_object_says_whom_it_is_about_and_what_clients_are_told() {
    let labels = [("app".to_owned(), "web".to_owned())].into();
    for (target, expected) in [
        ("", LimitTarget::Namespace),
        ("selector: {matchLabels: {app: web}}, ", LimitTarget::Selector(labels)),
        ("targetRefs: [{kind: Service, name: web}], ", LimitTarget::Services(vec!["web".to_owned()])),
        ("targetRefs: [{group: \"\", kind: Service, name: a}], ", LimitTarget::Services(vec!["a".to_owned()])),
    ] {
        assert_eq!(read(&format!("{{{target}{LOCAL}}}")).unwrap().target, expected, "{target}");
    }
    let silent = read(&format!("{{{LOCAL}}}")).unwrap();
    assert_eq!((silent.dry_run, silent.response), (false, LimitResponse::default()));
    let response =
        "{status: 503, grpcStatus: RESOURCE_EXHAUSTED, body: slowly, headers: {X-Why: limit}, quotaHeaders: always}";
    let read = read(&format!("{{{LOCAL}, dryRun: true, response: {response}}}")).unwrap();
    let expected = LimitResponse {
        status: 503,
        grpc_status: 8,
        body: Some("slowly".into()),
        headers: vec![("x-why".into(), "limit".into())],
        quota_headers: QuotaHeaders::Always,
    };
    assert_eq!((read.dry_run, read.response), (true, expected));
}

#[test]
fn requests_are_matched_by_rules_of_authorization_policies() {
    let rules =
        "[{to: [{operation: {methods: [POST], paths: [\"/a/{*}\"]}}]}, {from: [{source: {namespaces: [bank]}}]}]";
    let read = read(&format!("{{limits: [{{name: one, match: {rules}, concurrency: {{requests: 1}}}}]}}")).unwrap();
    let rules = &read.limits[0].rules;
    assert_eq!((rules.len(), rules[0].to.len(), rules[1].from.len()), (2, 1, 1));
}

#[test]
fn what_is_not_valid_is_told_with_its_field() {
    let one = |limit: &str| format!("{{limits: [{{name: one, {limit}}}]}}");
    let global = |more: &str| one(&format!("global: {{service: rls, port: 8081, domain: shop, {more}}}"));
    for (spec, field) in [
        ("{}".to_owned(), "spec.limits"),
        ("{limits: []}".to_owned(), "spec.limits"),
        (format!("{{{LOCAL}, unknown: 1}}"), "spec.unknown"),
        (format!("{{{LOCAL}, targetRefs: [{{kind: Gateway, name: g}}]}}"), "spec.targetRefs[0].kind"),
        (format!("{{{LOCAL}, targetRefs: [{{kind: Service}}]}}"), "spec.targetRefs[0].name"),
        (
            format!("{{{LOCAL}, selector: {{matchLabels: {{a: b}}}}, targetRefs: [{{kind: Service, name: a}}]}}"),
            "spec.selector",
        ),
        (format!("{{{LOCAL}, response: {{status: 200}}}}"), "spec.response.status"),
        (format!("{{{LOCAL}, response: {{grpcStatus: OK}}}}"), "spec.response.grpcStatus"),
        (format!("{{{LOCAL}, response: {{headers: {{\"a b\": c}}}}}}"), "spec.response.headers[a b]"),
        (
            format!("{{{LOCAL}, response: {{headers: {{Content-Length: \"1\"}}}}}}"),
            "spec.response.headers[Content-Length]",
        ),
        ("{limits: [{local: {requests: 1, per: second}}]}".to_owned(), "spec.limits[0].name"),
        (
            "{limits: [{name: a, concurrency: {requests: 1}}, {name: a, concurrency: {requests: 2}}]}".to_owned(),
            "spec.limits[1].name",
        ),
        (one("match: []"), "spec.limits[0].match"),
        (
            one("match: [{to: [{operation: {paths: [admin]}}]}], concurrency: {requests: 1}"),
            "spec.limits[0].match[0].to[0].operation.paths",
        ),
        (one("match: [{}]"), "spec.limits[0].local"),
        (one("local: {requests: 1, per: second}, concurrency: {requests: 1}"), "spec.limits[0].local"),
        (one("local: {requests: 0, per: second}"), "spec.limits[0].local.requests"),
        (one("local: {per: second}"), "spec.limits[0].local.requests"),
        (one("local: {requests: 1}"), "spec.limits[0].local.per"),
        (one("local: {requests: 1, per: week}"), "spec.limits[0].local.per"),
        (one("local: {requests: 1, per: 25h}"), "spec.limits[0].local.per"),
        (one("local: {requests: 1000000, per: 1ms}"), "spec.limits[0].local.requests"),
        (one("local: {requests: 1, per: 24h, burst: 31}"), "spec.limits[0].local.burst"),
        (one("local: {requests: 1, per: second, by: address}"), "spec.limits[0].local.by"),
        (global("descriptors: []"), "spec.limits[0].global.descriptors"),
        (global("descriptors: [{entries: []}]"), "spec.limits[0].global.descriptors[0].entries"),
        (global("descriptors: [{entries: [{key: a}]}]"), "spec.limits[0].global.descriptors[0].entries[0].value"),
        (
            global("descriptors: [{entries: [{key: a, value: b, header: c}]}]"),
            "spec.limits[0].global.descriptors[0].entries[0].value",
        ),
        (
            global("descriptors: [{entries: [{key: a, value: b, default: c}]}]"),
            "spec.limits[0].global.descriptors[0].entries[0].default",
        ),
        (global("timeout: 1m, descriptors: [{entries: [{key: a, value: b}]}]"), "spec.limits[0].global.timeout"),
        (one("global: {domain: a, descriptors: [{entries: [{key: a, value: b}]}]}"), "spec.limits[0].global.service"),
    ] {
        let told = read(&spec).expect_err(&spec);
        assert!(told.starts_with(field), "{spec}: {told}");
    }
}

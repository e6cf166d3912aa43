//! AuthorizationPolicy, and the refusals that stand for broken ones.

use super::{loaded, shown, translated, workload};
use crate::control_plane::translate::{Options, VipAllocations, translate};

fn policy(name: &str, namespace: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {{{spec}}}\n"
    )
}

/// The one policy of a specification, in one line.
fn one(spec: &str) -> String {
    let found = translated(&policy("p", "n", spec));
    assert_eq!(found.authorizations.len(), 1, "{spec}");
    shown(&found.authorizations["n/p"])
}

#[test]
fn heads() {
    let cases = [
        ("n", "", "ALLOW NAMESPACE"),
        ("n", "rules: []", "ALLOW NAMESPACE"),
        ("n", "rules: [{}]", "ALLOW NAMESPACE everything"),
        ("n", "action: DENY, rules: [{}]", "DENY NAMESPACE everything"),
        ("istio-system", "rules: [{}]", "ALLOW GLOBAL everything"),
        ("istio-system", "selector: {matchLabels: {app: a}}, rules: [{}]", "ALLOW WORKLOAD_SELECTOR everything"),
        ("n", "selector: {}, rules: [{}]", "ALLOW NAMESPACE everything"),
        (
            "n",
            "action: CUSTOM, provider: {name: x}, rules: [{to: [{operation: {ports: [\"80\"]}}]}]",
            "DENY NAMESPACE {port 80}",
        ),
    ];
    for (namespace, spec, expected) in cases {
        let found = translated(&policy("p", namespace, spec));
        assert_eq!(shown(&found.authorizations[&format!("{namespace}/p")]), expected, "{spec}");
    }
}

#[test]
fn policies_without_an_l4_meaning_are_not_sent() {
    for spec in [
        "action: AUDIT, rules: [{}]",
        "action: DENY, targetRefs: [{kind: Service, group: '', name: x}], rules: [{}]",
        "targetRef: {kind: Gateway, group: gateway.networking.k8s.io, name: x}",
    ] {
        let found = translated(&policy("p", "n", spec));
        assert!(found.authorizations.is_empty(), "{spec}");
        assert_eq!(found.notices.len(), 1, "{spec}");
    }
}

#[test]
fn structure() {
    let cases = [
        (
            "rules: [{from: [{source: {principals: [td/ns/a/sa/b]}}], to: [{operation: {ports: ['80', '81']}}, {operation: {notPorts: ['90']}}]}]",
            "{port 80,81 | !port 90} & {id =td/ns/a/sa/b}",
        ),
        (
            "rules: [{from: [{source: {namespaces: [a], notNamespaces: [b]}}, {source: {ipBlocks: [10.1.2.3/8, 1.2.3.4, 'fd00::/8'], notIpBlocks: [10.9.0.0/16]}}]}]",
            "{ns =a !ns =b | ip 10.1.2.3/8,1.2.3.4/32,fd00::/8 !ip 10.9.0.0/16}",
        ),
        (
            "rules: [{when: [{key: source.ip, values: [10.0.0.0/8]}, {key: source.namespace, notValues: [a]}, {key: source.principal, values: ['*']}, {key: destination.ip, values: [10.0.0.1]}, {key: destination.port, notValues: ['80']}]}]",
            "{ip 10.0.0.0/8} & {!ns =a} & {id *} & {to 10.0.0.1/32} & {!port 80}",
        ),
        ("rules: [{from: [{source: {serviceAccounts: [ns/sa, sa-only]}}]}]", "{sa ns/sa,n/sa-only}"),
        ("rules: [{from: [{source: {notServiceAccounts: [a/b]}}]}, {}]", "{!sa a/b} ; everything"),
        (
            "rules: [{from: [{source: {principals: ['*', '*/sa/x', 'td/ns/*', 'td/ns/a/sa/b', '*x*']}}]}]",
            "{id *,*/sa/x,td/ns/*,=td/ns/a/sa/b,*x*}",
        ),
    ];
    for (spec, expected) in cases {
        assert_eq!(one(spec), format!("ALLOW NAMESPACE {expected}"), "{spec}");
    }
}

#[test]
fn trust_domains_are_enforced() {
    let cases = [
        ("trustDomains: [a]", "{id a/*}"),
        ("trustDomains: ['*']", "{id *}"),
        ("trustDomains: ['a*', b]", "{id a*,b/*}"),
        ("notTrustDomains: [a]", "{!id a/*}"),
        (
            "principals: ['*/sa/x'], notPrincipals: [t/ns/a/sa/b], notTrustDomains: [c]",
            "{id */sa/x !id =t/ns/a/sa/b,c/*}",
        ),
        ("principals: ['*/sa/x'], trustDomains: [a]", "{id */sa/x} & {id a/*}"),
    ];
    for (source, expected) in cases {
        let spec = format!("rules: [{{from: [{{source: {{{source}}}}}]}}]");
        assert_eq!(one(&spec), format!("ALLOW NAMESPACE {expected}"), "{source}");
    }
    let two = "rules: [{from: [{source: {principals: ['*/sa/x'], trustDomains: [a]}}, {source: {namespaces: [b]}}], to: [{operation: {ports: ['80']}}], when: [{key: source.ip, values: [10.0.0.1]}]}]";
    assert_eq!(
        one(two),
        "ALLOW NAMESPACE {port 80} & {id */sa/x} & {id a/*} & {ip 10.0.0.1/32} ; {port 80} & {ns =b} & {ip 10.0.0.1/32}"
    );
}

const MIXED: &str = "rules: [
  {to: [{operation: {ports: ['80']}}], from: [{source: {namespaces: [a], principals: ['*/sa/b']}}]},
  {from: [{source: {namespaces: [a]}}], when: [{key: source.ip, values: [1.2.3.4]}]},
  {to: [{operation: {methods: [GET]}}]},
  {from: [{source: {requestPrincipals: ['*']}}], to: [{operation: {paths: [/x]}}]},
  {to: [{operation: {methods: [GET], ports: ['81']}}]},
  {from: [{source: {principals: ['*/sa/c'], remoteIpBlocks: [1.1.1.1]}}]},
  {from: [{source: {principals: ['*/sa/d']}}], to: [{operation: {hosts: [h]}}]},
  {from: [{source: {principals: ['*/sa/e']}}], when: [{key: 'request.headers[x]', values: [y]}]},
  {to: [{operation: {ports: ['82']}}, {operation: {methods: [PUT]}}]}]";

#[test]
fn an_allow_rule_that_needs_http_allows_nothing() {
    assert_eq!(one(MIXED), "ALLOW NAMESPACE {port 80} & {ns =a id */sa/b} ; {ns =a} & {ip 1.2.3.4/32}");
    assert_eq!(translated(&policy("p", "n", MIXED)).notices.len(), 7);
}

#[test]
fn a_deny_rule_that_needs_http_denies_what_is_left_of_it() {
    assert_eq!(
        one(&format!("action: DENY, {MIXED}")),
        "DENY NAMESPACE {port 80} & {ns =a id */sa/b} ; {ns =a} & {ip 1.2.3.4/32} ; everything ; everything ; {port 81} ; {id */sa/c} ; {id */sa/d} ; {id */sa/e} ; everything"
    );
}

#[test]
fn a_dry_run_is_sent_as_one() {
    let yaml = policy("p", "n, annotations: {istio.io/dry-run: 'true'}", "action: DENY, rules: [{}]");
    assert!(translated(&yaml).authorizations["n/p"].dry_run);
}

const WORKLOADS: &str = "
---
{apiVersion: networking.istio.io/v1, kind: WorkloadEntry, metadata: {name: plain, namespace: n}, spec: {address: 10.0.0.1}}
---
{apiVersion: networking.istio.io/v1, kind: WorkloadEntry, metadata: {name: app, namespace: n, labels: {app: a, x: y}}, spec: {address: 10.0.0.2}}
";

#[test]
fn workloads_list_the_selector_policies_that_match() {
    let select = |labels: &str| format!("selector: {{matchLabels: {{{labels}}}}}");
    let yaml = WORKLOADS.to_owned()
        + &policy("b", "n", &select("app: a"))
        + &policy("a", "n", &select("app: a, x: y"))
        + &policy("no", "n", &select("app: b"))
        + &policy("elsewhere", "m", &select("app: a"))
        + &policy("root", "istio-system", &select("x: y"))
        + &policy("all", "n", "");
    let found = translated(&yaml);
    assert!(workload(&found, "WorkloadEntry/n/plain").authorization_policies.is_empty());
    assert_eq!(workload(&found, "WorkloadEntry/n/app").authorization_policies, ["istio-system/root", "n/a", "n/b"]);
}

#[test]
fn a_policy_that_was_never_valid_denies_its_scope() {
    let bad = "rules: [{from: [{source: {ipBlocks: [nonsense]}}]}]";
    let cases = [
        (policy("p", "n", bad), "n/p", "DENY NAMESPACE everything", false),
        (policy("p", "istio-system", bad), "istio-system/p", "DENY GLOBAL everything", false),
        (
            policy("p", "n", &format!("selector: {{matchLabels: {{app: a}}}}, {bad}")),
            "n/p",
            "DENY WORKLOAD_SELECTOR everything",
            true,
        ),
        (
            policy("p", "istio-system", &format!("selector: {{matchLabels: {{app: a}}}}, {bad}")),
            "istio-system/p",
            "DENY WORKLOAD_SELECTOR everything",
            true,
        ),
        (policy("p", "n", "selector: {matchLabels: {'*': a}}"), "n/p", "DENY NAMESPACE everything", false),
        (policy("p", "n", "").replace("io/v1", "io/v9"), "n/p", "DENY NAMESPACE everything", false),
        (
            policy("p", "n", "").replace("apiVersion: security.istio.io/v1\n", ""),
            "n/p",
            "DENY NAMESPACE everything",
            false,
        ),
        (policy("p", "n", "rules: [\n{"), "n/p", "DENY NAMESPACE everything", false),
        (policy("p", "n", "") + &policy("p", "n", ""), "n/p", "DENY NAMESPACE everything", false),
        (
            policy("p", "n", "portLevelMtls: {9: {mode: STRICT}}").replace("AuthorizationPolicy", "PeerAuthentication"),
            "n/converted_peer_authentication_p",
            "DENY NAMESPACE everything",
            false,
        ),
    ];
    for (yaml, key, expected, listed) in cases {
        let loaded = loaded(&(WORKLOADS.to_owned() + &yaml));
        assert!(!loaded.problems.is_empty(), "{yaml}");
        let found = translate(&loaded.objects, &Options::default(), &mut VipAllocations::default());
        let keys: Vec<&String> = found.authorizations.keys().collect();
        assert_eq!(keys, [key], "{yaml}");
        assert_eq!(shown(&found.authorizations[key]), expected, "{yaml}");
        let lists = workload(&found, "WorkloadEntry/n/app").authorization_policies;
        assert_eq!(lists, if listed { vec![key] } else { vec![] }, "{yaml}");
    }
}

#[test]
fn a_policy_for_another_mesh_is_told_of() {
    let found = translated(&policy("p", "n, labels: {istio.io/rev: canary}", "action: DENY, rules: [{}]"));
    assert_eq!((found.authorizations.len(), found.notices.len()), (0, 1));
}

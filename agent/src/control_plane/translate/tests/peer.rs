//! PeerAuthentication: which policy a workload lists, and its content.

use super::{shown, translated, workload};

fn peer(name: &str, namespace: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: security.istio.io/v1beta1\nkind: PeerAuthentication\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {{{spec}}}\n"
    )
}

const WORKLOAD: &str = "{apiVersion: networking.istio.io/v1, kind: WorkloadEntry, metadata: {name: w, namespace: n, labels: {app: a}}, spec: {address: 10.0.0.1}}\n";
const STATIC: &str = "istio-system/istio_converted_static_strict";
const CONVERTED: &str = "n/converted_peer_authentication_w";

/// What the workload lists, and the converted policy, for modes of mesh, namespace and workload (empty: no object).
fn listed(mesh: &str, namespace: &str, own: &str, ports: &str) -> (Vec<String>, Option<String>) {
    let mut yaml = WORKLOAD.to_owned();
    for (name, space, mode) in [("m", "istio-system", mesh), ("n", "n", namespace)] {
        if !mode.is_empty() {
            yaml += &peer(name, space, &format!("mtls: {{mode: {mode}}}"));
        }
    }
    if !own.is_empty() {
        let ports = if ports.is_empty() { String::new() } else { format!(", portLevelMtls: {{{ports}}}") };
        yaml += &peer("w", "n", &format!("selector: {{matchLabels: {{app: a}}}}, mtls: {{mode: {own}}}{ports}"));
    }
    let found = translated(&yaml);
    let keys = workload(&found, "WorkloadEntry/n/w").authorization_policies;
    assert!(keys.iter().all(|key| found.authorizations.contains_key(key)), "a listed policy must exist: {keys:?}");
    (keys, found.authorizations.get(CONVERTED).map(shown))
}

#[test]
fn one_effective_mode_per_port() {
    let strict = "80: {mode: STRICT}";
    let open = "80: {mode: PERMISSIVE}";
    let closed_off = "80: {mode: DISABLE}";
    let on_port = Some("{!id * port 80}");
    // mesh, namespace, workload, ports; listed, converted.
    let cases = [
        ("", "", "", "", None, None),
        ("PERMISSIVE", "", "", "", None, None),
        ("STRICT", "", "", "", Some(STATIC), None),
        ("STRICT", "UNSET", "", "", Some(STATIC), None),
        ("STRICT", "PERMISSIVE", "", "", None, None),
        ("", "STRICT", "", "", Some(STATIC), None),
        ("", "", "STRICT", "", Some(STATIC), None),
        ("STRICT", "STRICT", "PERMISSIVE", "", None, None),
        ("STRICT", "", "DISABLE", "", None, None),
        ("", "", "STRICT", strict, Some(STATIC), None),
        ("", "", "STRICT", open, Some(CONVERTED), Some("{!id *} & {!port 80}")),
        ("", "", "STRICT", closed_off, Some(CONVERTED), Some("{!id *} & {!port 80}")),
        ("STRICT", "", "STRICT", open, Some(CONVERTED), Some("{!id *} & {!port 80} & {!id *}")),
        ("", "", "PERMISSIVE", strict, Some(CONVERTED), on_port),
        ("", "", "PERMISSIVE", open, None, None),
        ("", "", "UNSET", strict, Some(CONVERTED), on_port),
        ("", "", "UNSET", "80: {mode: UNSET}", None, None),
        ("STRICT", "", "UNSET", open, Some(CONVERTED), Some("{!port 80} & {!id *}")),
        ("STRICT", "", "UNSET", closed_off, Some(CONVERTED), Some("{!port 80} & {!id *}")),
        // istiod lists a policy it never makes in these two.
        ("STRICT", "UNSET", "PERMISSIVE", strict, Some(CONVERTED), on_port),
        ("STRICT", "UNSET", "UNSET", open, Some(CONVERTED), Some("{!port 80} & {!id *}")),
    ];
    for (mesh, namespace, own, ports, expected, converted) in cases {
        let case = format!("{mesh} {namespace} {own} {ports}");
        let (keys, policy) = listed(mesh, namespace, own, ports);
        assert_eq!(keys, expected.into_iter().collect::<Vec<_>>(), "{case}");
        assert_eq!(policy, converted.map(|text| format!("DENY WORKLOAD_SELECTOR {text}")), "{case}");
    }
}

#[test]
fn several_ports_are_several_groups_or_clauses() {
    let (_, open) = listed("", "", "PERMISSIVE", "90: {mode: STRICT}, 80: {mode: STRICT}");
    assert_eq!(open.as_deref(), Some("DENY WORKLOAD_SELECTOR {!id * port 80} ; {!id * port 90}"));
    let (_, mixed) = listed("STRICT", "", "UNSET", "9090: {mode: PERMISSIVE}, 8080: {mode: STRICT}");
    assert_eq!(mixed.as_deref(), Some("DENY WORKLOAD_SELECTOR {!port 9090} & {!id *}"));
}

#[test]
fn the_static_policy_is_there_as_soon_as_any_object_is() {
    assert!(translated(WORKLOAD).authorizations.is_empty());
    let found = translated(&peer("x", "n", "mtls: {mode: DISABLE}"));
    assert_eq!(shown(&found.authorizations[STATIC]), "DENY WORKLOAD_SELECTOR {!id *}");
}

#[test]
fn the_oldest_object_counts_and_selectors_in_the_root_do_not() {
    let yaml = WORKLOAD.to_owned()
        + &peer("young", "n, creationTimestamp: 2026-02-01T00:00:00Z", "mtls: {mode: STRICT}")
        + &peer("old", "n, creationTimestamp: 2026-01-01T00:00:00Z", "mtls: {mode: PERMISSIVE}")
        + &peer("root", "istio-system", "selector: {matchLabels: {app: a}}, mtls: {mode: STRICT}");
    let found = translated(&yaml);
    assert!(workload(&found, "WorkloadEntry/n/w").authorization_policies.is_empty());
    assert_eq!(found.notices.len(), 1);
}

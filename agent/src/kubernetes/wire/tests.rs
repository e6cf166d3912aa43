use super::*;

fn pod(text: &str) -> PodFacts {
    serde_json::from_str::<Pod>(text).expect("it is a pod").facts
}

#[test]
fn a_pod_as_the_api_writes_it() {
    let facts = pod(r#"{
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "carts-1", "generateName": "carts-", "namespace": "shop", "uid": "u-1", "resourceVersion": "12",
            "labels": {"app": "cart", "istio.io/dataplane-mode": "ambient"},
            "annotations": {"ambient.istio.io/redirection": "enabled", "x": "y"},
            "managedFields": [{"manager": "kubelet", "fieldsV1": {"f:status": {}}}],
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "carts", "uid": "d", "controller": true}]
        },
        "spec": {"serviceAccountName": "cart", "nodeName": "n1", "dnsPolicy": "ClusterFirst", "dnsConfig": {}, "containers": [
            {"name": "a", "livenessProbe": {"tcpSocket": {"port": 8080}}}]},
        "status": {"phase": "Running", "podIP": "10.0.0.7", "podIPs": [{"ip": "10.0.0.7"}, {"ip": "fd00::7"}]}
    }"#);
    let expected = PodFacts {
        uid: "u-1".to_owned(),
        static_uid: None,
        name: "carts-1".to_owned(),
        namespace: "shop".to_owned(),
        workload_name: "carts".to_owned(),
        service_account: "cart".to_owned(),
        labels: [("app", "cart"), (DATAPLANE_MODE, "ambient")].map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        addresses: vec!["10.0.0.7".parse().expect("it is one"), "fd00::7".parse().expect("it is one")],
        probe_ports: vec![8080],
        dns: PodDns { policy: Some("ClusterFirst".to_owned()), config: Some(DnsConfig::default()) },
        host_network: false,
        has_sidecar: false,
        is_finished: false,
        is_ending: false,
        is_annotated: true,
        daemon_set: Some("carts".to_owned()),
    };
    assert_eq!(facts, expected);
    assert_eq!(facts.mode(), Some(DataplaneMode::Ambient));
}

#[test]
fn what_is_missing_has_kubernetes_defaults() {
    let facts =
        pod(r#"{"metadata": {"name": "a", "namespace": "b", "uid": "c"}, "spec": {}, "status": {"phase": "Pending"}}"#);
    assert_eq!(facts.service_account, "default");
    assert!(facts.addresses.is_empty() && !facts.host_network && !facts.is_finished && !facts.is_annotated);
    assert_eq!(facts.mode(), None);
}

#[test]
fn phases_annotations_and_the_host_network() {
    let with = |field: &str| pod(&format!(r#"{{"metadata": {{"name": "a", "uid": "u", {field}}}"#));
    for (phase, finished) in
        [("Pending", false), ("Running", false), ("Unknown", false), ("Succeeded", true), ("Failed", true)]
    {
        let facts = with(&format!(r#""namespace": "b"}}, "status": {{"phase": "{phase}"}}"#));
        assert_eq!(facts.is_finished, finished, "{phase}");
    }
    assert!(with(r#""namespace": "b"}, "spec": {"hostNetwork": true}"#).host_network);
    assert!(with(r#""annotations": {"sidecar.istio.io/status": "{}"}}"#).has_sidecar);
    assert!(!with(r#""annotations": {"sidecar.istio.io/status": ""}}"#).has_sidecar);
    assert!(!with(r#""annotations": {"ambient.istio.io/redirection": "disabled"}}"#).is_annotated);
    for (field, expected) in [
        (r#""labels": {"weir.dev/http": "off"}}"#, Some("off")),
        (r#""annotations": {"weir.dev/http": "off"}}"#, Some("off")),
        (r#""labels": {"weir.dev/http": "on"}, "annotations": {"weir.dev/http": "off"}}"#, Some("on")),
        (r#""annotations": {}}"#, None),
    ] {
        assert_eq!(with(field).labels.get(HTTP_LABEL).map(String::as_str), expected, "{field}");
    }
    assert!(with(r#""deletionTimestamp": "2026-01-01T00:00:00Z"}"#).is_ending);
    let annotated = |annotations: &str| with(&format!(r#""annotations": {{{annotations}}}}}"#));
    let mirrored = annotated(r#""kubernetes.io/config.hash": "h", "kubernetes.io/config.mirror": "h""#);
    assert!(mirrored.has_uid("h") && mirrored.has_uid("u") && !mirrored.has_uid("v"));
    for written_by_somebody in [
        r#""kubernetes.io/config.hash": "h""#,
        r#""kubernetes.io/config.hash": "h", "kubernetes.io/config.mirror": "u""#,
        r#""kubernetes.io/config.mirror": "h""#,
    ] {
        assert!(!annotated(written_by_somebody).has_uid("h"), "{written_by_somebody}");
    }
}

#[test]
fn namespaces_and_daemon_sets() {
    let read = |text: &str| serde_json::from_str::<Namespace>(text).expect("it is a namespace");
    let labelled =
        read(r#"{"metadata": {"name": "shop", "labels": {"istio.io/dataplane-mode": "ambient"}}, "spec": {}}"#);
    assert_eq!(
        (labelled.name.as_str(), labelled.mode, labelled.is_deleted),
        ("shop", Some(DataplaneMode::Ambient), false)
    );
    for (field, expected) in [
        (r#""labels": {"weir.dev/http": "off"}"#, HttpWish::Off),
        (r#""annotations": {"weir.dev/http": "off"}"#, HttpWish::Off),
        (r#""annotations": {"weir.dev/http": "detect"}"#, HttpWish::Detect),
        (r#""labels": {"weir.dev/http": "on"}"#, HttpWish::On),
        (r#""labels": {}"#, HttpWish::On),
    ] {
        let namespace = read(&format!(r#"{{"metadata": {{"name": "shop", {field}}}}}"#));
        assert_eq!(namespace.http, expected, "{field}");
    }
    let ending = read(r#"{"metadata": {"name": "shop", "deletionTimestamp": "2026-01-01T00:00:00Z"}}"#);
    assert_eq!((ending.mode, ending.is_deleted), (None, true));
    let set: DaemonSet = serde_json::from_str(r#"{"metadata": {"name": "a", "namespace": "b"}}"#).expect("it is one");
    assert!(!set.is_deleted);
}

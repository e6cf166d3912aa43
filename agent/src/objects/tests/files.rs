//! From files to objects: folders, documents, limits, and how a problem reads.

use super::{load_files, load_text, object};
use crate::objects::metadata::ObjectKey;
use crate::objects::{Kind, load};

const POLICY: &str = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata:\n  name: p\n  namespace: n\nspec:\n  rules:\n  - from:\n    - source:\n        ipBlocks:\n        - 10.0.0.0/8\n        - 10.1.1\n";

fn keys(loaded: &crate::objects::Loaded) -> Vec<String> {
    loaded.objects.iter().map(|(key, _)| key.to_string()).collect()
}

#[test]
fn a_problem_says_where_it_is_and_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let text = format!("# first\n---\n# nothing\n---\n{POLICY}");
    let loaded = load_files(folder.path(), &[("a.yaml", &text)]);
    let file = folder.path().join("a.yaml");
    assert_eq!(
        loaded.problems.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [format!(
            "{}:2: AuthorizationPolicy n/p: spec.rules[0].from[0].source.ipBlocks[1] (line 16): bad IP address or CIDR block \"10.1.1\"",
            file.display()
        )]
    );
}

#[test]
fn a_folder_is_its_yaml_and_json_files() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let entry = |name: &str| {
        format!(
            "{{\"apiVersion\": \"networking.istio.io/v1beta1\",\n\t\"kind\": \"WorkloadEntry\", \"metadata\": {{\"name\": \"{name}\"}}, \"spec\": {{\"address\": \"10.0.0.1\"}}}}"
        )
    };
    std::fs::create_dir(folder.path().join("sub.yaml")).expect("a folder in the folder");
    let names = ["a.yaml", "b.yml", "c.json", ".hidden.yaml", "readme.md"];
    let texts: Vec<String> = names.iter().map(|name| entry(&name.replace('.', "-"))).collect();
    let files: Vec<(&str, &str)> = names.iter().copied().zip(texts.iter().map(String::as_str)).collect();
    let loaded = load_files(folder.path(), &files);
    assert_eq!(loaded.problems, []);
    assert_eq!(keys(&loaded), ["a-yaml", "b-yml", "c-json"].map(|name| format!("WorkloadEntry default/{name}")));
}

#[test]
fn what_cannot_be_read_is_a_problem_and_no_more() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    assert_eq!(load(&folder.path().join("absent")).problems.len(), 1);
    std::fs::write(folder.path().join("binary.yaml"), [0xff, 0xfe, 0]).expect("the folder is the test's own");
    let loaded = load(folder.path());
    assert!(loaded.problems[0].reason.contains("UTF-8"), "{:?}", loaded.problems);
    let large = "#".repeat(16 * 1024 * 1024 + 1);
    assert!(load_text(&large).problems[0].reason.contains("larger"), "the limit is on the file");
}

#[test]
fn one_broken_document_leaves_the_others() {
    let text =
        object("WorkloadEntry", "", "address: 10.0.0.1") + "--- \n{ broken\n...\n" + &object("MeshConfig", "", "");
    let loaded = load_text(&text);
    assert_eq!(keys(&loaded), ["MeshConfig mesh", "WorkloadEntry n/o"]);
    assert_eq!((loaded.problems.len(), loaded.problems[0].document), (1, 2), "{:?}", loaded.problems);
}

#[test]
fn aliases_and_nesting_are_bounded() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..9 {
        let before = level - 1;
        bomb += &format!("a{level}: &a{level} [{}]\n", vec![format!("*a{before}"); 10].join(", "));
    }
    let nested = "[".repeat(10_000);
    for text in [bomb, nested] {
        let loaded = load_text(&text);
        assert!(loaded.problems[0].reason.starts_with("not valid YAML"), "{:?}", loaded.problems);
    }
}

#[test]
fn anchors_and_merges_work_within_their_document() {
    let text = "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: o, namespace: n, labels: &l {app: a}}\nspec: {address: 10.0.0.1, labels: *l}\n";
    let loaded = load_text(text);
    assert_eq!(loaded.problems, []);
    let labels = loaded.objects.workload_entries().next().expect("one object").spec.labels.clone();
    assert_eq!(labels["app"], "a");
}

#[test]
fn a_key_given_twice_is_an_error() {
    let loaded = load_text(&object("AuthorizationPolicy", "", "action: DENY, rules: [{}], action: ALLOW"));
    assert!(loaded.problems[0].reason.contains("not valid YAML"), "{:?}", loaded.problems);
    assert_eq!(loaded.objects.rejected_policies().count(), 1);
}

#[test]
fn a_policy_for_a_namespace_that_cannot_be_denies_nothing() {
    let policy = |namespace: &str, spec: &str| {
        format!(
            "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: p, namespace: {namespace}}}\n{spec}\n"
        )
    };
    for (namespace, spec, refused) in [
        ("n", "spec: {rule: []}", 1),
        ("n", "spec: {", 1),
        ("n/m", "spec: {rule: []}", 0),
        ("n/m", "spec: {}", 0),
        ("n/m", "spec: {", 0),
        ("N", "spec: {}", 0),
    ] {
        let loaded = load_text(&policy(namespace, spec));
        let found = (loaded.objects.rejected_policies().count(), loaded.objects.len());
        assert_eq!(found, (refused, refused), "{namespace}: {spec}");
        assert!(!loaded.problems.is_empty(), "{namespace}: {spec}");
    }
}

#[test]
fn kinds() {
    let of = |api: &str, kind: &str| {
        load_text(&format!("{{apiVersion: {api}, kind: {kind}, metadata: {{name: x}}, spec: {{}}}}"))
    };
    for (api, kind) in [
        ("networking.istio.io/v1", "EnvoyFilter"),
        ("networking.istio.io/v1", "Gateway"),
        ("gateway.networking.k8s.io/v1", "TCPRoute"),
        ("v1", "ConfigMap"),
        ("apps/v1", "Deployment"),
    ] {
        let loaded = of(api, kind);
        assert_eq!((loaded.problems.len(), loaded.notices.len()), (0, 1), "{api} {kind}");
    }
    for (api, kind) in [
        ("networking.istio.io/v1", "VirtualServices"),
        ("networking.istio.io/v2", "ServiceEntry"),
        ("security.istio.io/v1", "ServiceEntry"),
        ("example.org/v1", "Thing"),
        ("v1", "''"),
    ] {
        let loaded = of(api, kind);
        assert_eq!((loaded.problems.is_empty(), loaded.objects.len()), (false, 0), "{api} {kind}");
    }
    for version in ["v1", "v1beta1", "v1alpha3"] {
        let text = object("WorkloadEntry", "", "address: 10.0.0.1").replace("io/v1", &format!("io/{version}"));
        assert_eq!(load_text(&text).objects.len(), 1, "{version}");
    }
}

#[test]
fn a_list_is_its_items() {
    let item = |name: &str| {
        format!(
            "{{apiVersion: networking.istio.io/v1, kind: WorkloadEntry, metadata: {{name: {name}, uid: x, managedFields: []}}, spec: {{address: 10.0.0.1}}}}"
        )
    };
    let loaded = load_text(&format!("apiVersion: v1\nkind: List\nitems: [{}, {}, {{}}]\n", item("a"), item("b")));
    assert_eq!(keys(&loaded), ["WorkloadEntry default/a", "WorkloadEntry default/b"]);
    assert_eq!(loaded.problems.len(), 1);
    assert_eq!(loaded.problems[0].field, "items[2].kind");
}

#[test]
fn metadata_is_checked() {
    let cases = [
        ("name: A", "metadata.name"),
        ("namespace: n", "metadata.name"),
        ("name: a, namespace: n_n", "metadata.namespace"),
        ("name: a, creationTimestamp: yesterday", "metadata.creationTimestamp"),
        ("name: a, label: {}", "metadata.label"),
        ("name: a, labels: {a: 1}", "metadata.labels[a]"),
    ];
    for (metadata, field) in cases {
        let loaded = load_text(&format!(
            "{{apiVersion: networking.istio.io/v1, kind: WorkloadEntry, metadata: {{{metadata}}}, spec: {{address: 10.0.0.1}}}}"
        ));
        assert_eq!(
            loaded.problems.iter().map(|problem| problem.field.as_str()).collect::<Vec<_>>(),
            [field],
            "{metadata}"
        );
    }
}

#[test]
fn the_meshs_configuration_may_be_a_config_map() {
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\ndata:\n  meshNetworks: 'networks: {}'\n  mesh: |-\n    rootNamespace: root\n    outboundTrafficPolicy: {mode: REGISTRY_ONLY}\n    defaultConfig: {}\n";
    let loaded = load_text(text);
    assert_eq!(loaded.problems, []);
    assert_eq!(loaded.objects.mesh_config().root_namespace(), "root");
    for (namespace, counts) in [("", true), (", namespace: istio-system", true), (", namespace: shop", false)] {
        let loaded = load_text(&text.replace(", namespace: istio-system", namespace));
        let expected = if counts { "root" } else { "istio-system" };
        assert_eq!(
            (loaded.problems.len(), loaded.objects.mesh_config().root_namespace()),
            (0, expected),
            "{namespace}"
        );
    }
    let twice =
        load_text(&format!("{text}---\n{{apiVersion: mesh.istio.io/v1alpha1, kind: MeshConfig, spec: {{}}}}\n"));
    assert_eq!(twice.problems.len(), 1, "{:?}", twice.problems);
    let broken = load_text(&text.replace("rootNamespace: root", "rootnamespace: root"));
    assert_eq!(broken.problems[0].field, "data.mesh.rootnamespace");
    assert!(broken.objects.is_empty());
}

#[test]
fn objects_of_one_kind_rank_by_time_then_place() {
    let text = object("WorkloadEntry", ", labels: {at: second}", "address: 10.0.0.1").replace("name: o", "name: b")
        + &object("WorkloadEntry", ", labels: {at: third}", "address: 10.0.0.1").replace("name: o", "name: a")
        + &object(
            "WorkloadEntry",
            ", creationTimestamp: '2026-01-01T00:00:00.5Z', labels: {at: first}",
            "address: 10.0.0.1",
        );
    let loaded = load_text(&text);
    let mut found: Vec<_> = loaded.objects.workload_entries().collect();
    found.sort_by_key(|object| object.age());
    assert_eq!(
        found.iter().map(|object| object.metadata.labels["at"].as_str()).collect::<Vec<_>>(),
        ["first", "second", "third"]
    );
    let key = ObjectKey { kind: Kind::WorkloadEntry, namespace: "n".to_owned(), name: "a".to_owned() };
    assert_eq!(loaded.objects.get(&key).map(|stored| stored.location.document), Some(2));
}

#[test]
fn mistakes_are_reported_by_file_document_and_line() {
    let entry = object("WorkloadEntry", "", "address: 10.0.0.1");
    // A document, the line the mistake is reported for (from the document's own first), and words of the reason.
    let mistakes: [(&str, usize, &str); 12] = [
        ("kind: [Pod\n", 1, "not valid YAML: unclosed bracket '[' (column 7)"),
        ("kind: Pod\n\tmetadata: {}\n", 1, "found a tab (column 7)"),
        ("kind: 'Pod\n", 2, "not valid YAML"),
        ("kind: Pod\nkind: Pod\n", 2, "not valid YAML"),
        ("kind: *nobody\n", 1, "not valid YAML"),
        ("a: &a [*a]\n", 1, "not valid YAML"),
        ("kind: Pod\n  spec: {}\n", 2, "not valid YAML"),
        ("- kind: Pod\n", 1, "must be a map"),
        ("just text\n", 1, "must be a map"),
        ("17\n", 1, "must be a map"),
        ("kind: Pod\n", 1, "needs apiVersion and kind"),
        ("apiVersion: v9\nkind: Pod\nmetadata: {name: a}\n", 2, "unknown kind \"Pod\" of \"v9\": check the spelling"),
    ];
    let mut wrong = Vec::new();
    for (mistake, line, reason) in mistakes {
        let text = format!("{entry}---\n{mistake}");
        let loaded = load_text(&text);
        let reported = loaded.problems.first().is_some_and(|problem| {
            // The second document's marker is line 6 of the file; its text begins below it.
            (problem.document, problem.line) == (2, Some(line + 6))
                && problem.file.ends_with("objects.yaml")
                && problem.reason.contains(reason)
        });
        if !reported {
            wrong.push(format!("{mistake:?}: {:?}", loaded.problems));
        }
        assert_eq!(keys(&loaded), ["WorkloadEntry n/o"], "{mistake:?} costs the document before it");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_not_text_is_reported_with_its_line() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let file = folder.path().join("a.yaml");
    for (bytes, expected) in [
        (&b"kind: Pod\nname: caf\xe9\n"[..], "is not UTF-8 text from line 2 on: save it as UTF-8"),
        (&b"\xff\xfek\0i\0n\0d\0"[..], "is not UTF-8 text from line 1 on: save it as UTF-8"),
    ] {
        std::fs::write(&file, bytes).expect("the folder is the test's own");
        assert_eq!(load(folder.path()).problems[0].reason, expected);
    }
}

#[test]
fn every_truncation_of_a_file_is_survived() {
    let policy = object("AuthorizationPolicy", "", "action: DENY, rules: [{from: [{source: {namespaces: [a]}}]}]");
    let text = object("WorkloadEntry", "", "address: 10.0.0.1") + &policy;
    for end in 0..text.len() {
        let loaded = load_text(&text[..end]);
        // Cut inside the policy, it is what it was, or there is a problem, or nothing of it is there yet.
        let said_kind = text[..end].rfind("AuthorizationPolicy\n").is_some();
        let understood = loaded.objects.authorization_policies().count() == 1;
        assert!(!said_kind || understood || !loaded.problems.is_empty(), "{:?}", &text[..end]);
    }
}

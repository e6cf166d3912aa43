//! The last good rule.

use super::{load_files, object};
use crate::objects::store::Body;
use crate::objects::{Objects, load};

const GOOD: &str = "rules: [{from: [{source: {namespaces: [a]}}]}]";
const BAD: &str = "rules: [{from: [{source: {namespace: [a]}}]}]";

fn policy(spec: &str) -> String {
    object("AuthorizationPolicy", "", spec)
}

fn entry(address: &str) -> String {
    object("WorkloadEntry", "", &format!("address: {address}"))
}

/// The objects in short: `policy`, `refusal`, or a workload's address.
fn state(objects: &Objects) -> Vec<String> {
    let words = objects.iter().map(|(_, stored)| match &stored.body {
        Body::AuthorizationPolicy(_) => "policy".to_owned(),
        Body::Rejected(_) => "refusal".to_owned(),
        Body::WorkloadEntry(entry) => entry.address.written().to_owned(),
        other => format!("{other:?}"),
    });
    words.collect()
}

#[test]
fn what_was_valid_stays_until_it_is_replaced_or_removed() {
    // Two files, one version after the other; what is in force then, and how many problems there are.
    let good = || (policy(GOOD), entry("10.0.0.1"));
    let steps = [
        (good(), vec!["10.0.0.1", "policy"], 0),
        ((policy(BAD), entry("10.0.0.1")), vec!["10.0.0.1", "policy"], 1),
        ((policy(BAD), entry("10.0.0")), vec!["10.0.0.1", "policy"], 2),
        ((policy(GOOD), "{ not yaml".to_owned()), vec!["10.0.0.1", "policy"], 1),
        (("{ not yaml".to_owned(), entry("10.0.0.2")), vec!["10.0.0.2", "policy"], 1),
        ((policy(GOOD) + &policy(BAD), entry("10.0.0.3")), vec!["10.0.0.3", "policy"], 2),
        ((policy(GOOD), entry("10.0.0.4") + &entry("10.0.0.5")), vec!["10.0.0.3", "policy"], 1),
        ((policy(GOOD).replace("io/v1", "io/v7"), entry("10.0.0.4")), vec!["10.0.0.4", "policy"], 1),
        ((policy(GOOD).replace("Policy", "Polcy"), entry("10.0.0.4")), vec!["10.0.0.4", "policy"], 1),
        ((policy(GOOD).replace("name: o", "name: O"), entry("10.0.0.4")), vec!["10.0.0.4", "policy", "refusal"], 1),
        ((String::new(), entry("10.0.0.4")), vec!["10.0.0.4"], 0),
        ((policy(BAD), String::new()), vec!["refusal"], 1),
        (("{ not yaml".to_owned(), String::new()), vec!["refusal"], 1),
        ((policy(GOOD), String::new()), vec!["policy"], 0),
    ];
    let folder = tempfile::tempdir().expect("a folder for the test");
    let mut objects = Objects::default();
    for (step, ((first, second), expected, problems)) in steps.into_iter().enumerate() {
        let problems_now = objects.update(load_files(folder.path(), &[("a.yaml", &first), ("b.yaml", &second)]));
        let mut found = state(&objects);
        found.sort();
        assert_eq!(
            (found, problems_now.len()),
            (expected.into_iter().map(str::to_owned).collect(), problems),
            "{step}: {problems_now:#?}"
        );
    }
}

#[test]
fn a_folder_that_vanishes_takes_nothing_with_it_and_a_file_does() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let inner = folder.path().join("inner");
    std::fs::create_dir(&inner).expect("the folder is the test's own");
    let mut objects = Objects::default();
    objects.update(load_files(&inner, &[("a.yaml", &policy(GOOD)), ("b.yaml", &entry("10.0.0.1"))]));
    let moved = folder.path().join("moved");
    std::fs::rename(&inner, &moved).expect("both names are the test's own");
    assert_eq!(objects.update(load(&inner)).len(), 1);
    assert_eq!(objects.len(), 2);
    std::fs::rename(&moved, &inner).expect("both names are the test's own");
    std::fs::remove_file(inner.join("a.yaml")).expect("the file was just written");
    assert_eq!(objects.update(load(&inner)), []);
    assert_eq!(state(&objects), ["10.0.0.1"]);
}

#[test]
fn two_definitions_name_both_files() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let loaded = load_files(folder.path(), &[("a.yaml", &policy(GOOD)), ("b.yaml", &policy(GOOD))]);
    assert!(loaded.problems[0].to_string().contains("b.yaml"), "{:?}", loaded.problems);
    assert!(loaded.problems[0].reason.contains("a.yaml"), "{:?}", loaded.problems);
    assert_eq!(state(&loaded.objects), ["refusal"], "which of the two is meant is unknown");
}

#[test]
fn a_link_that_leads_nowhere_takes_nothing_with_it() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let target = folder.path().join("target");
    let inner = folder.path().join("inner");
    std::fs::create_dir(&inner).expect("the folder is the test's own");
    std::fs::write(&target, entry("10.0.0.1")).expect("the folder is the test's own");
    std::os::unix::fs::symlink(&target, inner.join("a.yaml")).expect("the folder is the test's own");
    let mut objects = Objects::default();
    assert_eq!(objects.update(load(&inner)), []);
    std::fs::remove_file(&target).expect("it was just written");
    let problems_now = objects.update(load(&inner));
    assert!(problems_now[0].to_string().contains("a.yaml: cannot be read"), "{problems_now:?}");
    assert_eq!(state(&objects), ["10.0.0.1"]);
}

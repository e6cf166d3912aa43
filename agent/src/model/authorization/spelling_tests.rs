//! Spellings of a path that a DENY policy names, as MeshConfig has them normalised before policy sees them. What is allowed is another
//! path to every server that takes a path as it is, decodes it once, merges slashes or leaves parameters out.

use super::*;
use crate::model::http::head::RequestHead;
use crate::model::http::objects::PathNormalization;
use crate::model::sample::{mesh, policy, workload};

/// For BASE, `MERGE_SLASHES` and `DECODE_AND_MERGE_SLASHES`: D is denied, A is allowed, R is answered 400.
const SPELLINGS: &[(&str, &str)] = &[
    ("/admin", "DDD"),
    ("/admin/", "DDD"),
    ("/admin/x", "DDD"),
    ("/admin?x", "DDD"),
    ("/admin?/../x", "DDD"),
    ("/admin#x", "DDD"),
    ("/adm%69n?%2F", "DDD"),
    ("/%61dmin", "DDD"),
    ("/%61%64%6d%69%6e", "DDD"),
    ("/./admin", "DDD"),
    ("/%2e/admin", "DDD"),
    ("/x/../admin", "DDD"),
    ("/x/%2e%2e/admin", "DDD"),
    ("/x/.%2E/admin", "DDD"),
    ("/%2e%2e/admin", "DDD"),
    ("/../admin", "DDD"),
    ("/../../admin", "DDD"),
    ("/a/b/../../admin", "DDD"),
    ("/admin/.", "DDD"),
    ("/admin/../admin", "DDD"),
    ("/admin//x", "DDD"),
    ("/admin/;", "DDD"),
    ("/admin\\x", "DDD"),
    ("/x\\..\\admin", "DDD"),
    ("/é/../admin", "DDD"),
    ("//admin", "DDD"),
    ("///admin", "DDD"),
    ("/\\admin", "DDD"),
    ("/.//admin", "DDD"),
    ("/x/..//admin", "DDD"),
    ("/%2Fadmin", "DDD"),
    ("/admin%2Fx", "DDD"),
    ("/admin%2fx", "DDD"),
    ("/admin%5Cx", "DDD"),
    ("/x%5c..%5cadmin", "DDD"),
    ("/x/%2e%2e%2fadmin", "DDD"),
    ("/%41dmin", "AAA"),
    ("/ADMIN", "AAA"),
    ("/admin.", "AAA"),
    ("/admi%6E%2E", "AAA"),
    ("/admin%20", "AAA"),
    ("/admin%09", "AAA"),
    ("/admin%3Fx", "AAA"),
    ("/admin%23x", "AAA"),
    ("/admin;x", "DDD"),
    ("/;/admin", "DDD"),
    ("/..;/admin", "DDD"),
    ("/admin/..", "AAA"),
    ("/admin/x/../..", "AAA"),
    ("/admin%5c..%5cx", "AAA"),
    ("/x//../admin", "AAA"),
    ("/%252e%252e/admin", "AAA"),
    ("/%2561dmin", "AAA"),
    ("/%c0%ae%c0%ae/admin", "AAA"),
    ("/administrator", "AAA"),
    ("/admin%00", "RRR"),
    ("/%00/../admin", "RRR"),
];

#[test]
fn no_spelling_of_a_denied_path_is_another_path() {
    let paths = ["/admin", "/admin/*"].map(|path| PathMatch::written(path).unwrap());
    let request = vec![RequestCondition::Path(Values { values: paths.into(), not_values: vec![] })];
    let clauses = vec![Clause { matches: vec![Match { request, ..Match::default() }] }];
    let deny = policy("no-admin", PolicyScope::Namespace, Action::Deny, vec![Group { rule: 0, clauses }]);
    let mesh = mesh([deny.into()]);
    let workload = workload("reviews", &["10.0.0.2"]);
    let access = AccessRequest {
        source: None,
        source_ip: "10.0.0.1".parse().unwrap(),
        destination: "10.0.0.2:80".parse().unwrap(),
    };
    let settings = [PathNormalization::Base, PathNormalization::MergeSlashes, PathNormalization::DecodeAndMergeSlashes];
    for (spelling, expected) in SPELLINGS {
        let judged = settings.map(|setting| {
            let mut head = RequestHead { method: b"GET".into(), target: (*spelling).into(), ..RequestHead::default() };
            if setting.apply(&mut head).is_err() {
                return 'R';
            }
            let verdict = mesh.authorize_request(&Destination::of(&workload), &access, &HttpRequest::of(&head));
            if verdict.outcome.is_ok() { 'A' } else { 'D' }
        });
        assert_eq!(judged.iter().collect::<String>(), *expected, "{spelling}");
    }
}

#[test]
fn a_policy_that_allows_means_every_reading_of_a_path() {
    let decided = |written: &str, target: &str| {
        let paths = vec![PathMatch::written(written).unwrap()];
        let request = vec![RequestCondition::Path(Values { values: paths, not_values: vec![] })];
        let clauses = vec![Clause { matches: vec![Match { request, ..Match::default() }] }];
        let allow = policy("p", PolicyScope::Namespace, Action::Allow, vec![Group { rule: 0, clauses }]);
        let head = RequestHead { method: b"GET".into(), target: target.into(), ..RequestHead::default() };
        let access = AccessRequest {
            source: None,
            source_ip: "10.0.0.1".parse().unwrap(),
            destination: "10.0.0.2:80".parse().unwrap(),
        };
        let workload = workload("reviews", &["10.0.0.2"]);
        let verdict =
            mesh([allow.into()]).authorize_request(&Destination::of(&workload), &access, &HttpRequest::of(&head));
        verdict.outcome.is_ok()
    };
    for (written, target, expected) in [
        ("/public/*", "/public/a%20b", true),
        ("/public/*", "/public//a;v=1", true),
        ("/public/*", "/public/..;/admin", false),
        ("/public/*", "/public/x%2f..%2f..%2fadmin", false),
        ("*.css", "/admin;.css", false),
        ("/files/{*}", "/files/a%2Fb", false),
        ("/files/{*}", "/files/a%20b", true),
        ("/files/a%2Fb", "/files/a%2Fb", true),
        ("/files/a/b", "/files/a%2Fb", false),
        ("*", "/x%2f..%2fy", true),
    ] {
        assert_eq!(decided(written, target), expected, "{written} and {target}");
    }
}

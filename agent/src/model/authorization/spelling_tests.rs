//! Spellings of a path that a DENY policy names, as MeshConfig has them normalised before policy sees them.
//!
//! The application gets the path that was judged. What is still allowed here is another path to servers that decode as little;
//! to one that decodes more it may be the same, and MeshConfig's `pathNormalization` is how to say so.

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
    ("//admin", "ADD"),
    ("///admin", "ADD"),
    ("/\\admin", "ADD"),
    ("/.//admin", "ADD"),
    ("/x/..//admin", "ADD"),
    ("/%2Fadmin", "AAD"),
    ("/admin%2Fx", "AAD"),
    ("/admin%2fx", "AAD"),
    ("/admin%5Cx", "AAD"),
    ("/x%5c..%5cadmin", "AAD"),
    ("/x/%2e%2e%2fadmin", "AAD"),
    ("/%41dmin", "AAA"),
    ("/ADMIN", "AAA"),
    ("/admin.", "AAA"),
    ("/admi%6E%2E", "AAA"),
    ("/admin%20", "AAA"),
    ("/admin%09", "AAA"),
    ("/admin%3Fx", "AAA"),
    ("/admin%23x", "AAA"),
    ("/admin;x", "AAA"),
    ("/;/admin", "AAA"),
    ("/..;/admin", "AAA"),
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

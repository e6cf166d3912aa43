//! What policies say of requests, of connections before they are read, and of connections without HTTP.

use super::*;
use crate::model::http::head::RequestHead;
use crate::model::sample::{mesh, policy, text, workload};

fn head(method: &str, authority: &str, target: &str, fields: &[(&str, &str)]) -> RequestHead {
    RequestHead {
        method: method.into(),
        authority: authority.into(),
        target: target.into(),
        fields: fields.iter().copied().collect(),
        ..RequestHead::default()
    }
}

/// From `spiffe://cluster.local/ns/shop/sa/cart` at 10.0.0.1 to 10.0.0.2:80.
fn connection() -> AccessRequest {
    AccessRequest {
        source: Some("spiffe://cluster.local/ns/shop/sa/cart".parse().unwrap()),
        source_ip: "10.0.0.1".parse().unwrap(),
        destination: "10.0.0.2:80".parse().unwrap(),
    }
}

/// Values with commas between them.
fn values<T>(values: &str, not_values: &str, read: impl Fn(&str) -> T) -> Values<T> {
    let list = |texts: &str| texts.split(',').filter(|text| !text.is_empty()).map(&read).collect();
    Values { values: list(values), not_values: list(not_values) }
}

fn methods(texts: &str) -> RequestCondition {
    RequestCondition::Method(values(texts, "", StringMatch::written))
}

fn paths(texts: &str, not: &str) -> RequestCondition {
    RequestCondition::Path(values(texts, not, |text| PathMatch::written(text).unwrap()))
}

fn hosts(texts: &str, not: &str) -> RequestCondition {
    RequestCondition::Host(values(texts, not, StringMatch::written))
}

fn header(name: &str, texts: &str, not: &str) -> RequestCondition {
    RequestCondition::Header { name: HeaderName::written(name), values: values(texts, not, StringMatch::written) }
}

fn claim(path: &str, texts: &str, not: &str) -> RequestCondition {
    let path = path.split('.').map(text).collect();
    RequestCondition::Claim { path, values: values(texts, not, StringMatch::written) }
}

fn request_principals(texts: &str, not: &str) -> RequestCondition {
    RequestCondition::RequestPrincipal(values(texts, not, RequestPrincipalMatch::written))
}

fn remote_ips(blocks: &str, not: &str) -> RequestCondition {
    RequestCondition::RemoteIp(values(blocks, not, |block| block.parse().unwrap()))
}

fn rule(number: usize, matches: Vec<Match>) -> Group {
    Group { rule: number, clauses: matches.into_iter().map(|one| Clause { matches: vec![one] }).collect() }
}

fn asking(request: Vec<RequestCondition>) -> Match {
    Match { request, ..Match::default() }
}

fn from_namespace(namespace: &str) -> Match {
    Match { namespaces: vec![StringMatch::Exact(text(namespace))], ..Match::default() }
}

/// An action, and a condition in a rule of its own each.
fn of(name: &str, action: Action, conditions: Vec<RequestCondition>) -> Authorization {
    let rules = conditions.into_iter().enumerate().map(|(at, condition)| rule(at, vec![asking(vec![condition])]));
    policy(name, PolicyScope::Namespace, action, rules.collect())
}

/// What policies say about a request of that head.
fn decided(policies: &[Authorization], http: &HttpRequest<'_>) -> RequestVerdict {
    let mesh = mesh(policies.iter().cloned().map(Into::into));
    mesh.authorize_request(&Destination::of(&workload("reviews", &["10.0.0.2"])), &connection(), http)
}

fn matches(condition: RequestCondition, http: &HttpRequest<'_>) -> bool {
    decided(&[of("p", Action::Deny, vec![condition])], http).outcome.is_err()
}

#[test]
fn conditions_compare_with_their_part_of_the_request() {
    let fields = [
        ("x-tag", "a"),
        ("x-tag", "b,c"),
        ("x-empty", ""),
        ("x-forwarded-for", "1.2.3.4, 192.168.7.7"),
        ("cookie", "k=v"),
    ];
    let head =
        RequestHead { upgrade: Some(b"websocket".to_vec()), ..head("GET", "Shop.Example:80", "/a/b?c=/d", &fields) };
    let rows: Vec<(&str, RequestCondition, bool)> = vec![
        ("method", methods("GET"), true),
        ("case of a method", methods("get"), false),
        ("any of several", methods("PUT,G*"), true),
        ("path", paths("/a/b", ""), true),
        ("the query is no part of a path", paths("*d", ""), false),
        ("path prefix", paths("/a*", ""), true),
        ("template", paths("/{*}/b", ""), true),
        ("not path", paths("", "/x"), true),
        ("not that path", paths("", "/a*"), false),
        ("both must hold", paths("/a*", "/a/b"), false),
        ("host in any case", hosts("shop.example:80", ""), true),
        ("the port counts", hosts("shop.example", ""), false),
        ("any port", hosts("shop.example:*", ""), true),
        ("host suffix", hosts("*.EXAMPLE:80", ""), true),
        ("not host", hosts("", "shop.example:80"), false),
        ("header", header("X-Tag", "a", ""), true),
        ("each value by itself", header("x-tag", "b,c", ""), false),
        ("values are not joined", header("x-tag", "a*c", ""), false),
        ("no value of several", header("x-tag", "", "a"), false),
        ("presence of an empty field", header("x-empty", "*", ""), true),
        ("an absent field", header("x-none", "*", ""), false),
        ("absent is not that", header("x-none", "", "a"), true),
        ("absence", header("x-none", "", "*"), true),
        ("host as a header", header("Host", "Shop.Example:80", ""), true),
        ("the case of a header's value", header("host", "shop.example:80", ""), false),
        ("pseudo-headers", header(":path", "/a/b?c=*", ""), true),
        ("upgrade", header("upgrade", "websocket", ""), true),
        ("the last forwarded address", remote_ips("192.168.0.0/16", ""), true),
        ("no other forwarded address", remote_ips("1.2.3.4/32", ""), false),
        ("not the peer's where one is forwarded", remote_ips("10.0.0.1/32", ""), false),
        ("no token", request_principals("*", ""), false),
        ("not a token", request_principals("", "*"), true),
        ("no claim", claim("groups", "*", ""), false),
        ("not a claim", claim("groups", "", "*"), true),
        ("never seen closes", RequestCondition::Unseen, true),
    ];
    for (name, condition, expected) in rows {
        assert_eq!(matches(condition, &HttpRequest::of(&head)), expected, "{name}");
    }
    let plain = RequestHead::default();
    assert!(matches(remote_ips("10.0.0.1/32", ""), &HttpRequest::of(&plain)), "the peer's, where nothing is forwarded");
    assert!(!matches(hosts("*", ""), &HttpRequest::of(&plain)), "a request of HTTP/1.0 may have no host");
    assert!(matches(hosts("", "*"), &HttpRequest::of(&plain)));
}

#[test]
fn claims_compare_as_istio_has_envoy_read_them() {
    let list = |texts: &[&str]| ClaimValue::List(texts.iter().map(|one| ClaimValue::Text(text(one))).collect());
    let claims = Claims(
        [
            (text("iss"), ClaimValue::Text(text("https://a.b"))),
            (text("sub"), ClaimValue::Text(text("ann"))),
            (text("aud"), list(&["x", "y"])),
            (text("scope"), ClaimValue::Text(text("read write"))),
            (text("level"), ClaimValue::Integer(3)),
            (text("admin"), ClaimValue::Bool(true)),
            (text("org"), ClaimValue::Map([(text("groups"), list(&["g1", "g2"]))].into())),
        ]
        .into(),
    );
    let head = head("GET", "a", "/", &[]);
    let http = HttpRequest { claims: Some(&claims), ..HttpRequest::of(&head) };
    let rows: Vec<(&str, RequestCondition, bool)> = vec![
        ("principal", request_principals("https://a.b/ann", ""), true),
        ("another subject", request_principals("https://a.b/bob", ""), false),
        ("any principal", request_principals("*", ""), true),
        ("any of an issuer", request_principals("https://a.b/*", ""), true),
        ("a subject of any issuer", request_principals("*/ann", ""), true),
        ("not a principal", request_principals("", "*"), false),
        ("an audience", claim("aud", "y", ""), true),
        ("another audience", claim("aud", "z", ""), false),
        ("a word of a scope", claim("scope", "write", ""), true),
        ("a scope is no text", claim("scope", "read write", ""), false),
        ("a claim in a claim", claim("org.groups", "g2", ""), true),
        ("no such claim in it", claim("org.roles", "*", ""), false),
        ("a number matches nothing", claim("level", "*", ""), false),
        ("nor does a boolean", claim("admin", "true", ""), false),
        ("not in a list", claim("org.groups", "", "g1"), false),
    ];
    for (name, condition, expected) in rows {
        assert_eq!(matches(condition, &http), expected, "{name}");
    }
}

#[test]
fn external_authorizers_are_asked_about_the_request_before_its_token_is_verified() {
    let claims =
        Claims([(text("iss"), ClaimValue::Text(text("a"))), (text("sub"), ClaimValue::Text(text("b")))].into());
    // The token is taken out once it is verified, and a field says whose it was.
    let before = head("GET", "a", "/?access_token=t", &[("authorization", "Bearer t")]);
    let after = head("GET", "a", "/", &[("x-user", "b")]);
    let http = HttpRequest { head: &after, before_token: &before, claims: Some(&claims), allowed_by_providers: &[] };
    let rows = [
        ("the token's field", header("authorization", "Bearer *", ""), true),
        ("a field of a claim", header("x-user", "*", ""), false),
        ("without a token", header("authorization", "", "*"), false),
        ("the query", header(":path", "/?access_token=*", ""), true),
        ("a principal", request_principals("*", ""), false),
        ("no principal", request_principals("", "*"), true),
        ("no claim", claim("sub", "", "*"), true),
        ("a path", paths("/", ""), true),
    ];
    for (what, condition, is_asked) in rows {
        let custom = Authorization { provider: text("authz"), ..of("c", Action::Custom, vec![condition.clone()]) };
        let mesh = mesh([custom.into()]);
        let workload = workload("reviews", &["10.0.0.2"]);
        let destination = Destination::of(&workload);
        let policies = mesh.pod_policies(&destination);
        let needed =
            |http: &HttpRequest<'_>| mesh.authorizer_needed(&policies, &destination, &connection(), http).is_some();
        let denied = mesh.authorize_request(&destination, &connection(), &http).outcome.is_err();
        assert_eq!([needed(&HttpRequest::of(&before)), needed(&http), denied], [is_asked; 3], "{what}");
        let answered = [text("authz")];
        let answered = HttpRequest { allowed_by_providers: &answered, ..http };
        assert!(!needed(&answered), "{what}, once it has allowed the request");
        assert!(mesh.authorize_request(&destination, &connection(), &answered).outcome.is_ok(), "{what}");
        // The other policies are about the request as the application gets it.
        let deny = decided(&[of("d", Action::Deny, vec![condition])], &http).outcome.is_err();
        assert_eq!(deny, !is_asked || what == "a path", "{what}: DENY");
    }
}

#[test]
fn a_request_that_waits_for_an_authorizer_is_refused_only_where_nothing_that_it_waits_for_matters() {
    let any = || policy("any", PolicyScope::Namespace, Action::Allow, vec![Group::default()]);
    let invalid = Authorization { invalid: Some(text("no")), ..of("i", Action::Deny, vec![methods("PUT")]) };
    let custom = Authorization { provider: text("authz"), ..of("c", Action::Custom, vec![paths("/", "")]) };
    let rows = [
        ("nothing", vec![], true),
        ("it waits", vec![custom], true),
        ("DENY of its path", vec![of("d", Action::Deny, vec![paths("/", "")]), any()], false),
        ("DENY of its method", vec![of("d", Action::Deny, vec![methods("GET")])], false),
        ("DENY of its host", vec![of("d", Action::Deny, vec![hosts("a", "")])], false),
        ("DENY of another path", vec![of("d", Action::Deny, vec![paths("/x", "")])], true),
        ("DENY of a field", vec![of("d", Action::Deny, vec![header("x-user", "", "*")])], true),
        ("DENY of those without a token", vec![of("d", Action::Deny, vec![request_principals("", "*")])], true),
        ("ALLOW of a field", vec![of("a", Action::Allow, vec![header("x-user", "*", "")])], true),
        ("ALLOW of those with a token", vec![of("a", Action::Allow, vec![request_principals("*", "")])], true),
        ("ALLOW of a claim", vec![of("a", Action::Allow, vec![claim("groups", "staff", "")])], true),
        ("ALLOW of a forwarded address", vec![of("a", Action::Allow, vec![remote_ips("1.0.0.0/8", "")])], true),
        ("ALLOW of another path", vec![of("a", Action::Allow, vec![paths("/x", "")])], false),
        ("a policy that cannot be understood", vec![invalid, any()], false),
    ];
    let workload = workload("reviews", &["10.0.0.2"]);
    let destination = Destination::of(&workload);
    let head = head("GET", "a", "/", &[]);
    for (what, policies, may_be_allowed) in rows {
        let mesh = mesh(policies.into_iter().map(Into::into));
        let policies = mesh.pod_policies(&destination);
        let found = mesh.may_be_allowed(&policies, &destination, &connection(), &HttpRequest::of(&head));
        assert_eq!(found.is_ok(), may_be_allowed, "{what}");
    }
}

#[test]
fn custom_then_deny_then_allow_decide_and_audit_and_dry_run_are_told() {
    let custom = || Authorization { provider: text("authz"), ..of("custom", Action::Custom, vec![paths("/c*", "")]) };
    let deny = || of("deny", Action::Deny, vec![paths("/none", ""), paths("/c/d,/d", "")]);
    let allow = || of("allow", Action::Allow, vec![methods("GET")]);
    let all = [allow(), custom(), deny(), of("audit", Action::Audit, vec![paths("/d", "")])];
    let by_policy = |name: &str, rule| RequestDenied { why: Denied::ByPolicy(text(name)), rule: Some(rule) };
    let by_provider = || Denied::NotAllowedByProvider { policy: text("bookinfo/custom"), provider: text("authz") };
    let none = || RequestDenied { why: Denied::NoAllowMatched, rule: None };
    // A request, whether the provider has allowed it, and what is decided.
    let rows = [
        ("GET", "/", false, Ok(Some(text("bookinfo/allow"))), None),
        ("PUT", "/", false, Err(none()), None),
        ("GET", "/c", false, Err(RequestDenied { why: by_provider(), rule: Some(0) }), None),
        ("GET", "/c", true, Ok(Some(text("bookinfo/allow"))), None),
        ("GET", "/c/d", false, Err(RequestDenied { why: by_provider(), rule: Some(0) }), None),
        ("GET", "/c/d", true, Err(by_policy("bookinfo/deny", 1)), None),
        ("PUT", "/d", false, Err(by_policy("bookinfo/deny", 1)), Some(text("bookinfo/audit"))),
    ];
    for (method, path, is_allowed, expected, audited_by) in rows {
        let head = head(method, "a", path, &[]);
        let authz = [text("authz")];
        let allowed_by_providers = if is_allowed { &authz[..] } else { &[] };
        let verdict = decided(&all, &HttpRequest { allowed_by_providers, ..HttpRequest::of(&head) });
        let outcome = verdict.outcome.map(|permit| permit.policy().cloned());
        assert_eq!((outcome, verdict.audited_by), (expected, audited_by), "{method} {path} {is_allowed}");
    }
    let dry = |policy: Authorization| Authorization { dry_run: true, ..policy };
    let head = head("PUT", "a", "/d", &[]);
    let verdict = decided(&[dry(allow()), dry(deny()), dry(custom())], &HttpRequest::of(&head));
    let expected = DryRun { would_deny: vec![text("bookinfo/deny")], would_allow: vec![], no_allow_matched: true };
    assert_eq!((verdict.outcome.is_ok(), verdict.dry_run), (true, expected));
}

/// What is said of a connection before it is read, and of one that does not carry HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    Open,
    Closed,
    AskRequests,
}

#[test]
fn a_connection_is_read_where_its_requests_decide_and_without_http_the_tcp_rules_hold() {
    use Action::{Allow, Audit, Custom, Deny};
    use Said::{AskRequests, Closed, Open};
    let mixed = |action, conditions: Vec<RequestCondition>, namespace: &str| {
        let matches = vec![from_namespace(namespace), asking(conditions)];
        policy("mixed", PolicyScope::Namespace, action, vec![rule(0, matches)])
    };
    let l4 = |action| policy("l4", PolicyScope::Namespace, action, vec![rule(0, vec![from_namespace("shop")])]);
    let to_port = |action, port| {
        let one = Match { destination_ports: vec![port], request: vec![methods("GET")], ..Match::default() };
        policy("port", PolicyScope::Namespace, action, vec![rule(0, vec![one])])
    };
    let dry = |policy: Authorization| Authorization { dry_run: true, ..policy };
    let rows: Vec<(&str, Vec<Authorization>, Said, Said)> = vec![
        ("nothing is in force", vec![], Open, Open),
        ("ALLOW by method", vec![of("p", Allow, vec![methods("GET")])], AskRequests, Closed),
        ("DENY by method", vec![of("p", Deny, vec![methods("GET")])], AskRequests, Closed),
        ("a rule that no request is needed for", vec![of("p", Allow, vec![methods("GET")]), l4(Allow)], Open, Open),
        ("DENY of the source", vec![of("p", Allow, vec![methods("GET")]), l4(Deny)], Closed, Closed),
        ("ALLOW by method from elsewhere", vec![mixed(Allow, vec![methods("GET")], "far")], Closed, Closed),
        ("ALLOW by method from here", vec![mixed(Allow, vec![methods("GET")], "shop")], AskRequests, Closed),
        ("DENY by method from elsewhere", vec![mixed(Deny, vec![methods("GET")], "far")], Open, Open),
        ("DENY by method from here", vec![mixed(Deny, vec![methods("GET")], "shop")], AskRequests, Closed),
        ("DENY of another port", vec![to_port(Deny, 81)], Open, Open),
        ("DENY of this port", vec![to_port(Deny, 80)], AskRequests, Closed),
        ("ALLOW for another port", vec![to_port(Allow, 81)], Closed, Closed),
        ("AUDIT by method", vec![of("p", Audit, vec![methods("GET")])], AskRequests, Open),
        ("a dry run of DENY", vec![dry(of("p", Deny, vec![methods("GET")]))], AskRequests, Open),
        (
            "CUSTOM for everything",
            vec![policy("p", PolicyScope::Namespace, Custom, vec![Group::default()])],
            AskRequests,
            Closed,
        ),
        ("ALLOW by what is never seen", vec![of("p", Allow, vec![RequestCondition::Unseen])], Closed, Closed),
        ("DENY by what is never seen", vec![of("p", Deny, vec![RequestCondition::Unseen])], Closed, Closed),
        ("ALLOW of the peer's address", vec![of("p", Allow, vec![remote_ips("10.0.0.0/8", "")])], AskRequests, Open),
        ("DENY of another address", vec![of("p", Deny, vec![remote_ips("1.0.0.0/8", "")])], AskRequests, Open),
    ];
    let workload = workload("reviews", &["10.0.0.2"]);
    for (name, policies, before, without_http) in rows {
        let mesh = mesh(policies.into_iter().map(Into::into));
        let destination = Destination::of(&workload);
        let admission = match mesh.admit(&destination, &connection()).outcome {
            Ok(Admission::Bytes(_)) => Open,
            Ok(Admission::Requests) => AskRequests,
            Err(_) => Closed,
        };
        let bytes = if mesh.authorize(&destination, &connection()).outcome.is_ok() { Open } else { Closed };
        assert_eq!((admission, bytes), (before, without_http), "{name}");
    }
}

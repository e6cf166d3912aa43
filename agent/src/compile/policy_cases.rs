//! What AuthorizationPolicies and RequestAuthentications mean to Istio, where one may guess otherwise: from YAML to what requests and
//! connections meet.

use std::path::Path;

use super::{HttpSettings, HttpStore, policy};
use crate::jwt::{JwtError, Token, base64url};
use crate::model::authentication::SelectedPod;
use crate::model::authorization::{AccessRequest, Destination, HttpRequest};
use crate::model::http::head::RequestHead;
use crate::model::identity::TrustDomain;
use crate::model::mesh::{Mesh, MeshSettings, MeshUpdate};
use crate::model::peer_authentication::Labels;
use crate::model::workload::Workload;
use crate::objects::{Loaded, MeshConfig, protobuf};

/// A mesh of trust domain `td1`, of which `td2` is an alias, with one policy of the namespace `shop`.
fn mesh(spec: &str) -> Mesh {
    let text = format!(
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{namespace: shop, name: p}}\nspec: {{{spec}}}\n"
    );
    let mut loaded = Loaded::default();
    loaded.read_text(Path::new("policy.yaml"), &text);
    assert_eq!(loaded.problems, [], "{spec}");
    let mut mesh = Mesh::default();
    mesh.apply(MeshUpdate::Settings(MeshSettings {
        trust_domain: TrustDomain::new("td1"),
        trust_domain_aliases: vec![TrustDomain::new("td2")],
        ..MeshSettings::default()
    }));
    for object in loaded.objects.authorization_policies() {
        let compiled = policy("istio-system", object.metadata, &object.spec.policy, |_| {}).expect("it is enforced");
        mesh.apply(MeshUpdate::Authorization(Box::new(compiled.authorization)));
    }
    mesh
}

fn connection(principal: Option<&str>) -> AccessRequest {
    AccessRequest {
        source: principal.map(|principal| format!("spiffe://{principal}").parse().expect("a SPIFFE identity")),
        source_ip: "10.0.0.1".parse().expect("an address"),
        destination: "10.0.0.2:80".parse().expect("an address"),
    }
}

/// Whether a request may pass: `METHOD authority/path`, and fields as `name: value`, separated by ` | `.
fn passes(spec: &str, principal: Option<&str>, request: &str) -> bool {
    let mut parts = request.split(" | ");
    let (method, rest) = parts.next().and_then(|line| line.split_once(' ')).expect("METHOD authority/path");
    let (authority, target) = rest.split_at(rest.find('/').expect("a path"));
    let head = RequestHead {
        method: method.into(),
        authority: authority.into(),
        target: target.into(),
        fields: parts.map(|field| field.split_once(": ").expect("name: value")).collect(),
        ..RequestHead::default()
    };
    let workload = Workload::new("Kubernetes//Pod/shop/cart", "shop", "cart");
    let verdict =
        mesh(spec).authorize_request(&Destination::of(&workload), &connection(principal), &HttpRequest::of(&head));
    verdict.outcome.is_ok()
}

#[test]
fn requests() {
    let absent =
        "rules: [{to: [{operation: {paths: [/a/*]}}], when: [{key: \"request.headers[x]\", notValues: [bad]}]}]";
    let no_token = "action: DENY, rules: [{from: [{source: {notRequestPrincipals: [\"*\"]}}]}]";
    let host = "rules: [{to: [{operation: {hosts: [a.com]}}]}]";
    for (case, spec, request, expected) in [
        ("a header that is absent is not the bad one", absent, "GET a.com/a/x", true),
        ("one that is", absent, "GET a.com/a/x | x: bad", false),
        ("another path", absent, "GET a.com/b", false),
        ("DENY of requests without a token", no_token, "GET a.com/", false),
        ("a preflight has none either", no_token, "OPTIONS a.com/ | origin: https://b.com", false),
        ("the case of a host does not count", host, "GET A.com/", true),
        ("its port does", host, "GET a.com:80/", false),
    ] {
        assert_eq!(passes(spec, None, request), expected, "{case}: {request}");
    }
}

#[test]
fn a_trust_domain_and_its_aliases_are_one() {
    let spec = "rules: [{from: [{source: {principals: [cluster.local/ns/x/sa/y]}}]}]";
    for (principal, expected) in
        [("td1/ns/x/sa/y", true), ("td2/ns/x/sa/y", true), ("td3/ns/x/sa/y", false), ("td1/ns/x/sa/z", false)]
    {
        assert_eq!(passes(spec, Some(principal), "GET a.com/"), expected, "{principal}");
    }
}

#[test]
fn connections_that_carry_no_requests() {
    let methods = "rules: [{to: [{operation: {methods: [GET]}}]}]";
    for (case, spec, expected) in [
        ("ALLOW with methods allows none", methods.to_owned(), false),
        ("DENY with methods closes all", format!("action: DENY, {methods}"), false),
        ("DENY with methods and a port closes that port", format!("action: DENY, {}", on_port(80)), false),
        ("and no other", format!("action: DENY, {}", on_port(81)), true),
    ] {
        let workload = Workload::new("Kubernetes//Pod/shop/cart", "shop", "cart");
        let verdict = mesh(&spec).authorize(&Destination::of(&workload), &connection(None));
        assert_eq!(verdict.outcome.is_ok(), expected, "{case}");
    }
}

fn on_port(port: u16) -> String {
    format!("rules: [{{to: [{{operation: {{methods: [GET], ports: [\"{port}\"]}}}}]}}]")
}

#[test]
fn tokens_that_claim_something_else_and_requests_without_one() {
    let text = "apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {namespace: shop, name: p}\n\
                spec: {jwtRules: [{issuer: listed, audiences: [shop], jwksUri: \"https://keys.example/\"}]}\n";
    let mut loaded = Loaded::default();
    loaded.read_text(Path::new("tokens.yaml"), text);
    assert_eq!(loaded.problems, []);
    let mut store = HttpStore::new(HttpSettings::new("cluster.local", &MeshConfig::default()));
    for (kind, object) in loaded.objects.http_objects() {
        let received = protobuf::http_object(kind, &protobuf::http_envelope(kind, object)).expect("it is valid");
        store.put(kind, "shop/p".into(), received);
    }
    let (config, labels) = (store.take_changed().expect("a new one"), Labels::new());
    let pod = SelectedPod { namespace: "shop", labels: &labels, workload: None };
    let rules = config.authentication().of_pod(pod).expect("the object is about the pod").rules;
    let refused = |request: &RequestHead| {
        let [rule] = &rules[..] else { panic!("one rule: {rules:?}") };
        let check = |text: &String| Token::parse(text)?.claims()?.check(&rule.issuer, &rule.audiences, 0);
        let outcome = rule.places.tokens(request).iter().try_for_each(check);
        outcome.err().map(|error: JwtError| (error.status(), error.to_string()))
    };
    assert_eq!(refused(&RequestHead::default()), None, "a request without a token");
    for (claims, expected) in [
        (r#"{"iss": "listed", "aud": ["other", "shop"]}"#, None),
        (r#"{"iss": "unlisted", "aud": "shop"}"#, Some((401, "Jwt issuer is not configured"))),
        (r#"{"aud": "shop"}"#, Some((401, "Jwt issuer is not configured"))),
        (r#"{"iss": "listed", "aud": "other"}"#, Some((403, "Audiences in Jwt are not allowed"))),
        (r#"{"iss": "listed"}"#, Some((403, "Audiences in Jwt are not allowed"))),
    ] {
        let token = format!("{}.{}.AA", base64url(br#"{"alg": "RS256"}"#), base64url(claims.as_bytes()));
        let bearer = [("authorization", format!("Bearer {token}"))];
        let fields = bearer.iter().map(|(name, value)| (*name, &**value)).collect();
        let request = RequestHead { fields, ..RequestHead::default() };
        assert_eq!(refused(&request), expected.map(|(status, text)| (status, text.to_owned())), "{claims}");
    }
}

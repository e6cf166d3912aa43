//! Istio's task "JWT Token", with its own keys and tokens: whose tokens count, that one is needed, and that a claim is. Then
//! what the task does not have: a token of an issuer that is not listed, and one for somebody else.

use anyhow::Result;
use weir_tests::cluster::Cluster;

use super::stage::{CURL, Call, DENIED, HTTPBIN, HTTPBIN_SERVED as SERVED, Stage, curl_httpbin};
use crate::harness::{Case, Check};

pub(super) const CASES: &[Case] = &[Case {
    name: "policy: Istio's task about tokens: whose count, that one is needed, and which claim, with its own keys and tokens",
    check: Check::Mesh(task),
}];

const NAMESPACE: &str = "tokens";

/// The task's object; the keys are in it, as pods of this cluster reach no host that could publish them.
const JWT_EXAMPLE: &str = "
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: jwt-example, namespace: tokens}
spec:
  selector: {matchLabels: {app: httpbin}}
  jwtRules: [RULE]
";
const REQUIRE_JWT: &str = "
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: require-jwt, namespace: tokens}
spec:
  selector: {matchLabels: {app: httpbin}}
  action: ALLOW
  rules:
  - from: [{source: {requestPrincipals: [testing@secure.istio.io/testing@secure.istio.io]}}]
";
const REQUIRE_GROUP: &str = "
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: require-jwt, namespace: tokens}
spec:
  selector: {matchLabels: {app: httpbin}}
  action: ALLOW
  rules:
  - from: [{source: {requestPrincipals: [testing@secure.istio.io/testing@secure.istio.io]}}]
    when: [{key: 'request.auth.claims[groups]', values: [group1]}]
";

const NO_TOKEN: &str = "401 Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections";
const OTHER_ISSUER: &str = "401 Jwt issuer is not configured";
const OTHER_AUDIENCE: &str = "403 Audiences in Jwt are not allowed";

fn task(cluster: &mut Cluster) -> Result<()> {
    let file = |name| cluster.parts().token(name);
    let (keys, demo, groups) = (file("jwks.json")?, file("demo.jwt")?, file("groups-scope.jwt")?);
    let example = |more: &str| JWT_EXAMPLE.replace("RULE", &format!("{{{more}, jwks: '{keys}'}}"));
    let listed = example("issuer: testing@secure.istio.io");
    let stage = Stage::start(&cluster.kubectl, NAMESPACE, &[CURL, HTTPBIN])?;
    // Without a token, with one that is none, with that of the task, and with that whose claims name groups.
    let tokens = ["invalidToken", &demo, &groups];
    let calls = || [curl_httpbin()].into_iter().chain(tokens.map(|token| curl_httpbin().bearing(token)));
    for (step, object, expected) in [
        ("jwt-example", &*listed, [SERVED, NO_TOKEN, SERVED, SERVED]),
        ("require-jwt", REQUIRE_JWT, [DENIED, NO_TOKEN, SERVED, SERVED]),
        ("require-jwt with a claim", REQUIRE_GROUP, [DENIED, NO_TOKEN, DENIED, SERVED]),
        ("another issuer", &*example("issuer: somebody@else"), [DENIED, NO_TOKEN, OTHER_ISSUER, OTHER_ISSUER]),
        (
            "another audience",
            &*example("issuer: testing@secure.istio.io, audiences: [bookinfo]"),
            [DENIED, NO_TOKEN, OTHER_AUDIENCE, OTHER_AUDIENCE],
        ),
    ] {
        stage.apply(object)?;
        let calls: Vec<(Call, &str)> = calls().zip(expected).collect();
        stage.comes_to(step, &calls)?;
    }
    Ok(())
}

//! Acts of the second story about what the agent of the pod that is called decides, whatever the client's node did: a policy by path, a route
//! that needs a token, a rate limit.

use anyhow::{Context, Result, ensure};
use serde_json::json;
use weir_tests::http_mesh::{HttpMesh, HttpService, VERSIONS};
use weir_tests::mesh::NAMESPACE;
use weir_tests::objects::authorization_policy;
use weir_tests::tokens::{SigningKey, key_set};
use weir_tests::wait;

use crate::telling::{DELIVERED, act, seen};

pub(crate) fn denied(mesh: &HttpMesh, web: &HttpService<'_>) -> Result<()> {
    act("A policy by path: the agent of the pod that is called denies /admin, whoever asks, and however it is spelt");
    let rules = "[{to: [{operation: {paths: [/admin, \"/admin/*\"]}}]}]";
    let policy = authorization_policy("no-admin", NAMESPACE, "web", "DENY", rules);
    let _policy = mesh.control_plane.objects.put_for_now("no-admin", &policy)?;
    for _ in VERSIONS {
        web.comes_to("the policy is in force", "/admin", &[], |answer| answer.status == 403)?;
    }
    for (path, status) in [("/admin", 403), ("/x/../admin", 403), ("/%61dmin/users", 403), ("/administrators", 200)] {
        let what = format!("{path} is answered {status} by each pod");
        let answer = web.comes_to(&what, path, &[], |answer| answer.status == status)?;
        let said =
            if status == 403 { answer.body.clone() } else { format!("from {}", answer.pod().unwrap_or_default()) };
        seen(format!("curl http://web{path:18}  {} {said}", answer.status));
    }
    Ok(())
}

/// Who may see the private part: by a claim of the token that a request carries.
const STAFF: &str = "apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: staff, namespace: shop}
spec:
  selector: {matchLabels: {version: v2}}
  rules:
  - to: [{operation: {notPaths: [\"/private*\"]}}]
  - when: [{key: \"request.auth.claims[groups]\", values: [staff]}]
";

pub(crate) fn with_token(mesh: &HttpMesh) -> Result<()> {
    act("A route that needs a token (JWT): the pod that is called has it verified, and asks for one of its claims");
    let (key, other) = (SigningKey::make("demo")?, SigningKey::make("demo")?);
    let authentication = |keys: &str| {
        format!(
            "apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {{name: users, namespace: shop}}
spec:
  selector: {{matchLabels: {{version: v2}}}}
  jwtRules: [{{issuer: demo, jwks: '{keys}', outputClaimToHeaders: [{{header: x-user, claim: sub}}]}}]
"
        )
    };
    authentication("…").lines().chain(["---"]).chain(STAFF.lines()).for_each(seen);
    let _users = mesh.control_plane.objects.put_for_now("demo-users", &authentication(&key_set(&[&key])))?;
    let _staff = mesh.control_plane.objects.put_for_now("demo-staff", STAFF)?;
    let service = mesh.version("v2");
    service.comes_to("tokens are verified", "/", &["-HAuthorization: Bearer none"], |answer| answer.status == 401)?;
    service.comes_to("the policy is in force", "/private", &[], |answer| answer.status == 403)?;
    let (staff, guest) = (json!({"groups": ["staff"]}), json!({"groups": ["guests"]}));
    for (path, whose, token, status) in [
        ("/", "no token", None, 200),
        ("/private", "no token", None, 403),
        ("/private", "a token of ann, who is staff", Some(key.token("demo", "ann", &staff)?), 200),
        ("/private", "a token of bob, who is a guest", Some(key.token("demo", "bob", &guest)?), 403),
        ("/private", "one of ann that somebody else has signed", Some(other.token("demo", "ann", &staff)?), 401),
    ] {
        let field = token.map(|token| format!("-HAuthorization: Bearer {token}"));
        let more: Vec<&str> = field.as_deref().into_iter().collect();
        let answer = service.ask(path, &more)?;
        ensure!(answer.status == status, "{path} with {whose}: {answer:?}");
        let said = if status == 200 {
            let echo = answer.echo()?;
            ensure!(echo.header("authorization").is_none(), "the token has reached the application");
            let user = echo
                .header("x-user")
                .map_or(String::new(), |user| format!("; the application is told `x-user: {user}`"));
            format!("from {}{user}", answer.pod().context("no pod answered")?)
        } else {
            answer.body.clone()
        };
        seen(format!("curl http://v2{path:9} with {whose:42} {status} {said}"));
    }
    Ok(())
}

pub(crate) fn limited(mesh: &HttpMesh) -> Result<()> {
    act(
        "A rate limit: the pod that is called serves each client five requests a second, and tells the others when to come back",
    );
    let object = "apiVersion: weir.dev/v1alpha1
kind: RateLimit
metadata: {name: demo, namespace: shop}
spec:
  targetRefs: [{kind: Service, name: v2}]
  limits: [{name: each-client, local: {requests: 5, per: second, by: source}}]
";
    object.lines().for_each(seen);
    let _limit = mesh.control_plane.objects.put_for_now("demo-limit", object)?;
    let service = mesh.version("v2");
    let load = ["--requests=60", "--rate=30"];
    wait::until("the limit is in force", DELIVERED, || {
        let flood = service.load(80, &load)?;
        ensure!(flood.statuses.contains_key(&429), "{flood:?}");
        Ok(())
    })?;
    let flood = service.load(80, &load)?;
    let of = |status| flood.statuses.get(&status).copied().unwrap_or_default();
    seen(format!("{} requests in two seconds: {} answered, {} told 429", flood.answered, of(200), of(429)));
    let answer = service.comes_to("a request is beyond the limit", "/", &[], |answer| answer.status == 429)?;
    for name in ["retry-after", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"] {
        seen(format!("  {name}: {}", answer.header(name).unwrap_or_default()));
    }
    mesh.version("v3").ask("/", &[])?.expect(200, Some("v3"))
}

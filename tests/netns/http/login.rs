//! External authorizers and tokens together: an authorizer that logs users in adds the token that a RequestAuthentication then has verified.
//! The authorizer is an application that answers every question with the token that it is told to.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use weir_tests::envoy::{Envoy, bootstrap};
use weir_tests::http_mesh::{Answer, HttpMesh};
use weir_tests::mesh::NAMESPACE;
use weir_tests::objects::ForNow;
use weir_tests::tokens::{SigningKey, key_set};
use weir_tests::wait;
use weir_tests::world::N1;

use super::inbound::{is_denied, policy};
use super::tokens::{ENDS_WITHIN, ISSUER, authentication, bearer, is_refused, rule};
use crate::harness::{Case, Check};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "login: a token that an external authorizer adds is verified and counts for ALLOW; without the authorizer 403",
        check: Check::Http(adds_a_token),
    },
    Case {
        name: "login: an authorizer that is asked about requests without a token leaves others alone, also when policy changes",
        check: Check::Http(only_without),
    },
    Case {
        name: "login: tokens that an authorizer adds count as for an Envoy with the filters in Istio's order",
        check: Check::Http(as_envoy),
    },
];

/// Where http-echo serves in a pod.
const ECHO: u16 = 8080;
/// Where Envoy listens.
const BY_ENVOY: u16 = 9405;

/// An ALLOW policy for ann alone, but for what everybody with a token may.
const FOR_ANN: &str = "[{from: [{source: {requestPrincipals: [\"https://issuer.example.com/ann\"]}}]}, \
                       {from: [{source: {requestPrincipals: [\"*\"]}}], to: [{operation: {paths: [\"/guarded/all*\"]}}]}]";

/// MeshConfig with the provider `login`, which is the application in v3: it allows every request, with this token in it.
fn login<'a>(mesh: &'a HttpMesh, token: &str) -> Result<ForNow<'a>> {
    provider(mesh, &format!("includeAdditionalHeadersInCheck: {{x-echo: \"field=authorization:Bearer {token}\"}}"))
}

/// The same with another setting.
fn provider<'a>(mesh: &'a HttpMesh, more: &str) -> Result<ForNow<'a>> {
    let yaml = format!(
        "apiVersion: mesh.istio.io/v1alpha1
kind: MeshConfig
metadata: {{name: mesh, namespace: istio-system}}
spec:
  extensionProviders:
  - name: login
    envoyExtAuthzHttp:
      service: v3.{NAMESPACE}.svc.cluster.local
      port: 80
      headersToUpstreamOnAllow: [authorization]
      {more}
"
    );
    mesh.control_plane.objects.put_for_now("mesh", &yaml)
}

/// A CUSTOM policy about v2's pod that has the provider asked about what begins with `/guarded`.
fn asking<'a>(mesh: &'a HttpMesh, more: &str) -> Result<ForNow<'a>> {
    let yaml = format!(
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: login, namespace: {NAMESPACE}}}\nspec:\n  \
         selector: {{matchLabels: {{version: v2}}}}\n  action: CUSTOM\n  provider: {{name: login}}\n  \
         rules: [{{to: [{{operation: {{paths: [\"/guarded*\"]}}}}]{more}}}]\n"
    );
    mesh.control_plane.objects.put_for_now("login", &yaml)
}

fn adds_a_token(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.version("v2");
    let (key, other) = (SigningKey::make("one")?, SigningKey::make("one")?);
    let to_header = ", outputClaimToHeaders: [{header: x-user, claim: sub}]";
    let _object = authentication(mesh, "v2", &format!("[{}]", rule(ISSUER, &key, to_header)))?;
    let _needed = policy(mesh, "v2", "ALLOW", FOR_ANN)?;
    let (ann, bob) = (key.token(ISSUER, "ann", &json!({}))?, key.token(ISSUER, "bob", &json!({}))?);
    let forged = other.token(ISSUER, "ann", &json!({}))?;
    service.comes_to("without a token it is denied", "/guarded", &[], is_denied)?;
    service.comes_to("a token of the client counts", "/guarded", &[&bearer(&ann)], |answer| answer.status == 200)?;
    {
        let (_login, _asking) = (login(mesh, &ann)?, asking(mesh, "")?);
        service
            .comes_to("the token that is added counts", "/guarded", &[], |answer| answer.status == 200)
            .with_context(|| mesh.logs())?;
        for (port, more) in [(80, &[][..]), (8081, &["--http2-prior-knowledge"]), (8082, &[])] {
            // What the client sends in its place is replaced, and is never looked at.
            for own in [None, Some(bearer(&bob)), Some(bearer(&forged)), Some(bearer("none"))] {
                let own: Vec<&str> = own.as_deref().into_iter().collect();
                let answer = service.ask_at(service.vip(), port, "/guarded", &[more, &own].concat())?;
                let echo = answer.echo().with_context(|| format!("port {port}, {own:?}: {answer:?}"))?;
                ensure!(echo.header("x-user").as_deref() == Some("ann"), "{own:?}: {echo:?}");
                ensure!(echo.header("authorization").is_none(), "the token is not taken out: {echo:?}");
            }
        }
        // Nobody is asked about other paths: tokens of clients count there as before.
        ensure!(is_denied(&service.ask("/open", &[])?), "no token");
        ensure!(is_refused(&service.ask("/open", &[&bearer(&forged)])?, "Jwt verification fails"), "a forged token");
        service.ask("/open", &[&bearer(&ann)])?.expect(200, Some("v2"))?;
    }
    {
        let (_login, _asking) = (login(mesh, &bob)?, asking(mesh, "")?);
        service.comes_to("the token of another user is added", "/guarded/all", &[], |answer| {
            answer.echo().is_ok_and(|echo| echo.header("x-user").as_deref() == Some("bob"))
        })?;
        ensure!(is_denied(&service.ask("/guarded", &[])?), "bob may not");
    }
    {
        let (_login, _asking) = (login(mesh, &forged)?, asking(mesh, "")?);
        let is_refused = |answer: &Answer| is_refused(answer, "Jwt verification fails");
        service.comes_to("an added token that is forged is refused", "/guarded", &[], is_refused)?;
    }
    service.comes_to("without the authorizer it is denied again", "/guarded", &[], is_denied).map(drop)
}

fn only_without(mesh: &HttpMesh) -> Result<()> {
    let (service, key) = (mesh.version("v2"), SigningKey::make("one")?);
    let to_header = ", outputClaimToHeaders: [{header: x-user, claim: sub}]";
    let _object = authentication(mesh, "v2", &format!("[{}]", rule(ISSUER, &key, to_header)))?;
    let (ann, bob) = (key.token(ISSUER, "ann", &json!({}))?, bearer(&key.token(ISSUER, "bob", &json!({}))?));
    let _login = login(mesh, &ann)?;
    let _asking = asking(mesh, ", when: [{key: \"request.headers[authorization]\", notValues: [\"*\"]}]")?;
    let user = |answer: &Answer| answer.echo().ok().and_then(|echo| echo.header("x-user"));
    service
        .comes_to("who has no token gets one", "/guarded", &[], |answer| user(answer).as_deref() == Some("ann"))
        .with_context(|| mesh.logs())?;
    let own = service.ask("/guarded", &[&bob])?;
    ensure!(user(&own).as_deref() == Some("bob"), "{own:?}");
    // The application does not get the token; that it is gone by now does not make the request one that had none.
    let url = format!("http://{}:8082/guarded?stream=100000&pause_ms=20", service.vip());
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let mut streaming = mesh.client.place.spawn(&["curl", "-sSN", version, "--max-time", "60", &bob, &url])?;
        wait::until("it streams", ENDS_WITHIN, || {
            ensure!(!streaming.stdout().is_empty(), "not yet");
            Ok(())
        })?;
        let other = policy(mesh, "v2", "DENY", "[{to: [{operation: {paths: [/never]}}]}]")?;
        service.comes_to("another policy is in force", "/never", &[], is_denied)?;
        service.ask("/guarded", &[&bob])?.expect(200, Some("v2"))?;
        ensure!(streaming.is_running(), "{version}: a stream that is allowed has ended");
        drop(other);
        let denying = policy(mesh, "v2", "DENY", "[{from: [{source: {requestPrincipals: [\"*/bob\"]}}]}]")?;
        wait::until("a stream whose token is denied ends", ENDS_WITHIN, || {
            ensure!(!streaming.is_running(), "{version}: it goes on");
            Ok(())
        })?;
        drop(denying);
        service.comes_to("it is allowed again", "/guarded", &[&bob], |answer| answer.status == 200)?;
    }
    Ok(())
}

/// What there is to compare of an answer: what the application is told, or what the client is.
fn compared(answer: &Answer) -> Result<String> {
    if answer.status != 200 {
        // What the application says in the place of a login is never the same twice.
        let said = answer.body.lines().next().filter(|line| line.starts_with("Jwt"));
        return Ok(format!("{} {said:?}", answer.status));
    }
    let echo = answer.echo()?;
    Ok(format!("200 {:?} {:?}", echo.header("x-user"), echo.header("authorization").is_some()))
}

/// Envoy and the agent ask the same application, which adds the token that a request names, and verify tokens with the same keys.
fn as_envoy(mesh: &HttpMesh) -> Result<()> {
    let (key, other) = (SigningKey::make("one")?, SigningKey::make("one")?);
    let login_at = SocketAddr::new(mesh.pod("v3").ipv4(), ECHO);
    let names =
        |names: &[&str]| json!({"patterns": names.iter().map(|name| json!({"exact": name})).collect::<Vec<_>>()});
    let asks = bootstrap::ext_authz(&json!({
        "http_service": {
            "server_uri": {"uri": "http://login", "cluster": "login", "timeout": "5s"},
            "authorization_response": {"allowed_upstream_headers": names(&["authorization"])},
        },
        "allowed_headers": names(&["x-echo"]),
        "transport_api_version": "V3",
    }));
    let verifies = bootstrap::jwt_authn(&json!({
        "providers": {"users": {
            "issuer": ISSUER, "local_jwks": {"inline_string": key_set(&[&key])},
            "claim_to_headers": [{"header_name": "x-user", "claim_name": "sub"}],
        }},
        "rules": [{
            "match": {"prefix": "/"},
            "requires": {"requires_any": {"requirements": [{"provider_name": "users"}, {"allow_missing": {}}]}},
        }],
    }));
    let asker = mesh.world.nodes[N1].pod("login")?;
    // About which no policy is: what Envoy lets through comes there as it is.
    let application = SocketAddr::new(mesh.pod("v1").ipv4(), ECHO);
    let bootstrap = bootstrap::asking(application, &[("login", login_at, false)], &[(BY_ENVOY, vec![asks, verifies])]);
    let _envoy = Envoy::start(&asker.place, mesh.world.run(), &bootstrap)?;

    let service = mesh.version("v2");
    let to_header = ", outputClaimToHeaders: [{header: x-user, claim: sub}]";
    let _object = authentication(mesh, "v2", &format!("[{}]", rule(ISSUER, &key, to_header)))?;
    let _login = provider(mesh, "includeRequestHeadersInCheck: [x-echo]")?;
    let _asking = asking(mesh, "")?;
    let token = |key: &SigningKey, who: &str, more| key.token(ISSUER, who, &more);
    let adds = |token: &str| format!("-Hx-echo: field=authorization:Bearer {token}");
    let (ann, bob) = (token(&key, "ann", json!({}))?, token(&key, "bob", json!({}))?);
    let (forged, expired) = (token(&other, "ann", json!({}))?, token(&key, "ann", json!({"exp": 1}))?);
    service
        .comes_to("the login is asked", "/guarded", &[&adds(&ann)], |answer| {
            answer.echo().is_ok_and(|echo| echo.header("x-user").as_deref() == Some("ann"))
        })
        .with_context(|| mesh.logs())?;
    for (what, more) in [
        ("nobody has a token", vec![]),
        ("the client has one", vec![bearer(&bob)]),
        ("the client has a forged one", vec![bearer(&forged)]),
        ("the login adds one", vec![adds(&ann)]),
        ("the login replaces the client's", vec![adds(&ann), bearer(&bob)]),
        ("the login replaces a forged one", vec![adds(&ann), bearer(&forged)]),
        ("the login adds a forged one", vec![adds(&forged)]),
        ("the login adds one that is expired", vec![adds(&expired), bearer(&bob)]),
        ("the login denies, whatever token there is", vec!["-Hx-echo: status=418".to_owned(), bearer(&forged)]),
    ] {
        let more: Vec<&str> = more.iter().map(String::as_str).collect();
        let url = format!("http://127.0.0.1:{BY_ENVOY}/guarded");
        let by_envoy =
            asker.place.run(&[&["curl", "-sS", "--include", "--max-time", "20"], &more[..], &[&*url]].concat())?;
        let by_envoy = compared(&Answer::parse(&by_envoy)?)?;
        let by_weir = compared(&service.ask_at(service.vip(), 8082, "/guarded", &more)?)?;
        ensure!(by_envoy == by_weir, "{what}:\nEnvoy {by_envoy}\nWeir  {by_weir}");
    }
    Ok(())
}

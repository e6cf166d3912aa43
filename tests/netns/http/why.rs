//! `weir why`: what it tells of a request is what becomes of the request.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use weir_tests::http_mesh::HttpMesh;
use weir_tests::tokens::SigningKey;
use weir_tests::wait;

use super::inbound::{is_denied, policy};
use super::split::answered_by;
use super::tokens::{ISSUER, authentication, bearer, rule};
use crate::harness::{Case, Check};

pub(crate) const CASES: &[Case] = &[
    Case { name: "http: why names the rule by header, and the endpoint that answers", check: Check::Http(canary) },
    Case { name: "http: why tells a redirect with its location", check: Check::Http(redirect) },
    Case { name: "http: why tells an object that is not visible to the pod", check: Check::Http(not_visible) },
    Case { name: "http: why tells which endpoint is ejected", check: Check::Http(ejected) },
    Case { name: "http: why tells that a service has no endpoint", check: Check::Http(no_endpoint) },
    Case {
        name: "http: why tells whose tokens count at the destination, what becomes of one, and who else is asked",
        check: Check::Http(tokens),
    },
    Case { name: "http: why tells a TCP port, and who is asked what", check: Check::Http(tcp_and_errors) },
];

/// What `weir why` prints for a request of the client.
pub(super) fn why(mesh: &HttpMesh, arguments: &[&str]) -> Result<String> {
    let output = mesh.agent_of(&mesh.client).weir(&[&["why", "shop/client"], arguments].concat())?;
    ensure!(output.success, "{}", output.summary());
    Ok(output.stdout)
}

fn has(text: &str, lines: &[&str]) -> Result<()> {
    for line in lines {
        ensure!(text.contains(line), "no {line:?} in\n{text}");
    }
    Ok(())
}

/// The answer as data: its destinations are one endpoint that may be chosen, this one.
fn goes_to(mesh: &HttpMesh, pod: &str, arguments: &[&str]) -> Result<()> {
    let told: Value = serde_json::from_str(&why(mesh, &[arguments, &["--json"]].concat())?)?;
    let endpoints = told["destinations"].as_array().context("no destinations")?;
    let endpoints = endpoints.iter().filter_map(|destination| destination["endpoints"].as_array()).flatten();
    let candidates: Vec<&str> = endpoints
        .filter(|endpoint| endpoint["is_candidate"] == true)
        .filter_map(|endpoint| endpoint["name"].as_str())
        .collect();
    ensure!(candidates == [format!("shop/{pod}")], "{candidates:?} in {told}");
    Ok(())
}

fn canary(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.service("why-canary")?;
    let _route = service.virtual_service(
        "[{match: [{headers: {x-user: {exact: tester}}}], route: [{destination: {host: v3}}]}, {route: [{destination: {host: v1}}]}]",
    )?;
    answered_by(&service, &["v1"])?;
    let url = "http://why-canary.shop/";
    let told = why(mesh, &[url])?;
    let host = service.host();
    has(
        &told,
        &[
            &format!("shop/{host}; why-canary.shop is {host} with the address {}", service.vip()),
            "served as    HTTP: the port declares HTTP",
            "VirtualService shop/why-canary rule 0 not taken, because not: field x-user is tester",
            "VirtualService shop/why-canary rule 1 taken: it is for every request",
            "+ shop/v1 at ",
            "as spiffe://cluster.local/ns/shop/sa/v1",
            "authorization: allowed: no ALLOW policy is in force",
        ],
    )?;
    goes_to(mesh, "v1", &[url])?;
    let by_header = ["-H", "X-User: tester"];
    has(
        &why(mesh, &[&[url], &by_header[..]].concat())?,
        &["rule 0 taken: field x-user is tester", "authorization: decided"],
    )?;
    goes_to(mesh, "v3", &[&[url], &by_header[..]].concat())?;
    service.ask("/", &["-HX-User: tester"])?.expect(200, Some("v3"))
}

fn redirect(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.service("why-moved")?;
    let _route =
        service.virtual_service("[{match: [{uri: {prefix: /old}}], redirect: {uri: /new, redirectCode: 308}}]")?;
    let answer = service.comes_to("it redirects", "/old", &[], |answer| answer.status == 308)?;
    let location = answer.header("location").context("no location")?;
    let url = format!("http://{}/old", service.host());
    has(&why(mesh, &[&url])?, &[&format!("308: the rule redirects to {location}")])?;
    service.ask("/other", &[])?.expect(404, None)?;
    let other = format!("http://{}/other", service.host());
    has(&why(mesh, &[&other])?, &["answer       404: no rule matches the request"])
}

fn not_visible(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.service("why-hidden")?;
    let _seen = service.virtual_service("[{route: [{destination: {host: v2}}]}]")?;
    answered_by(&service, &["v2"])?;
    let hidden = format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: hidden, namespace: store}}\nspec: {{hosts: \
         [{}], exportTo: ['.'], http: [{{route: [{{destination: {{host: v3.shop.svc.cluster.local}}}}]}}]}}\n",
        service.host()
    );
    let _hidden = mesh.control_plane.objects.put_for_now("why-hidden-store", &hidden)?;
    wait::until("the agent tells both", Duration::from_secs(10), || {
        has(
            &why(mesh, &["http://why-hidden/"])?,
            &[
                "VirtualService store/hidden",
                "it is not visible in the client's namespace",
                "VirtualService shop/why-hidden",
            ],
        )
    })?;
    goes_to(mesh, "v2", &["http://why-hidden/"])?;
    service.ask("/", &[])?.expect(200, Some("v2"))
}

fn ejected(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.service("why-ejected")?;
    let _rule = service.destination_rule(
        "trafficPolicy: {outlierDetection: {consecutive5xxErrors: 3, interval: 0.2s, baseEjectionTime: 60s, maxEjectionPercent: 100}}",
    )?;
    let url = "http://why-ejected/";
    has(&why(mesh, &[url])?, &["+ shop/v2 at "])?;
    wait::until("v2 is ejected", Duration::from_secs(10), || {
        let seen = service.load(80, &["--requests=60", "--target=/?status=500&only=v2"])?;
        ensure!(seen.by("v2") == 0, "it is asked: {seen:?}");
        Ok(())
    })?;
    has(
        &why(mesh, &[url])?,
        &["- shop/v2 at ", "not used: it is ejected: it failed too often in a row", "+ shop/v1 at "],
    )?;
    wait::until("all are ejected", Duration::from_secs(10), || {
        let seen = service.load(80, &["--requests=60", "--target=/?status=500"])?;
        ensure!(seen.statuses.contains_key(&503), "somebody is asked: {seen:?}");
        Ok(())
    })?;
    has(&why(mesh, &[url])?, &["answer 503: ", "has no healthy endpoint for port 80"])
}

fn no_endpoint(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.service_of("why-empty", ("app", "nobody"))?;
    has(&why(mesh, &["http://why-empty/"])?, &["answer 503: ", "the service has no endpoint"])?;
    let answer = service.ask("/", &[])?;
    ensure!(answer.status == 503 && answer.body == "no healthy upstream", "{answer:?}");
    // What carries no HTTP is left to kube-proxy.
    has(&why(mesh, &["tcp://why-empty:7001"])?, &["over plain TCP"])
}

fn tokens(mesh: &HttpMesh) -> Result<()> {
    let (service, key) = (mesh.version("v1"), SigningKey::make("one")?);
    let _object = authentication(mesh, "v1", &format!("[{}]", rule(ISSUER, &key, "")))?;
    let _needed = policy(mesh, "v1", "ALLOW", "[{from: [{source: {requestPrincipals: [\"*/ann\"]}}]}]")?;
    service.comes_to("the policy is in force", "/", &[], is_denied)?;
    service.comes_to("tokens are verified", "/", &["-HAuthorization: Bearer none"], |answer| answer.status == 401)?;
    let url = format!("http://{}/", service.host());
    let (ann, bob) = (key.token(ISSUER, "ann", &json!({}))?, key.token(ISSUER, "bob", &json!({}))?);
    let forged = SigningKey::make("one")?.token(ISSUER, "ann", &json!({}))?;
    let expired = key.token(ISSUER, "ann", &json!({"exp": 1}))?;
    for (token, status, expected) in [
        (None, 403, &["token: the request has none", "authorization: refused: not matched by any"][..]),
        (
            Some(&ann),
            200,
            &["token: accepted, of https://issuer.example.com/ann", "authorization: allowed by policy shop/requests"],
        ),
        (
            Some(&bob),
            403,
            &["token: accepted, of https://issuer.example.com/bob", "authorization: refused: not matched by any"],
        ),
        (Some(&forged), 401, &["token: refused with 401: Jwt verification fails", "refused: its token does not count"]),
        (Some(&expired), 401, &["token: refused with 401: Jwt is expired", "refused: its token does not count"]),
    ] {
        let arguments: Vec<&str> = token.iter().flat_map(|token| ["--token", token]).collect();
        let told = why(mesh, &[&[&*url], &arguments[..]].concat())?;
        let objects = "tokens: of https://issuer.example.com in field authorization behind \"Bearer \", parameter access_token \
                       (RequestAuthentication shop/tokens)";
        has(&told, &[expected, &[objects]].concat())?;
        ensure!(
            token.is_none_or(|token| token.split('.').all(|part| !told.contains(part))),
            "a token is told:\n{told}"
        );
        let field = token.map(|token| bearer(token));
        let answer = service.ask("/", &field.as_deref().into_iter().collect::<Vec<_>>())?;
        ensure!(answer.status == status, "{answer:?} and\n{told}");
    }
    let yaml = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: asking, namespace: shop}\nspec:\n  action: CUSTOM\n  \
                provider: {name: nobody}\n  rules: [{to: [{operation: {paths: [/asked]}}]}]\n";
    let _asking = mesh.control_plane.objects.put_for_now("asking", yaml)?;
    wait::until("the agent tells who is asked", Duration::from_secs(10), || {
        let told = why(mesh, &[&url, "--token", &ann])?;
        has(
            &told,
            &["external authorization: policy shop/asking denies what it matches", "allowed by policy shop/requests"],
        )
    })
}

fn tcp_and_errors(mesh: &HttpMesh) -> Result<()> {
    let v2 = mesh.pod("v2").ipv4();
    has(
        &why(mesh, &[&format!("tcp://{v2}:9000")])?,
        &[
            &format!("destination  {v2}:9000: shop/v2"),
            "served as    TCP: the address is that of no service",
            "over HBONE",
        ],
    )?;
    has(
        &why(mesh, &["tcp://v2:7001"])?,
        &[
            "served as    TCP: the port declares TCP",
            &format!("+ shop/v2 at {v2}:7001 over HBONE"),
            "authorization: decided",
        ],
    )?;
    has(&why(mesh, &["https://v1:80/"])?, &["served as    TCP: the client sends TLS", "+ shop/v1 at "])?;
    let agent = mesh.agent_of(&mesh.client);
    for (arguments, expected) in [
        (
            ["why", "shop/nobody", "http://v1/"],
            "no pod \"shop/nobody\" is enrolled on this node; enrolled are: shop/client, shop/v1",
        ),
        (["why", "client", "ftp://v1/"], "its scheme is none of http, https and tcp"),
    ] {
        let output = agent.weir(&arguments)?;
        ensure!(!output.success && output.stderr.contains(expected), "{}", output.summary());
    }
    Ok(())
}

//! External authorization: who asks for a request that a CUSTOM policy matches, what comes of the answer, and of none. The authorizer is
//! Istio's own sample.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use weir_tests::http_mesh::{Answer, HttpMesh, HttpService, Port};
use weir_tests::mesh::principal;
use weir_tests::objects::ForNow;
use weir_tests::peers;
use weir_tests::program::Program;
use weir_tests::wait;
use weir_tests::world::N1;

use super::inbound::{ask_pod, is_denied, policy};
use crate::count::Counter;
use crate::harness::{Case, Check};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "external authorization: Istio's own authorizer decides over gRPC and HTTP, by every way into a pod",
        check: Check::Http(decides),
    },
    Case {
        name: "external authorization: an authorizer that is away, slow, lying or nobody counts as configured, and is told",
        check: Check::Http(fails),
    },
    Case {
        name: "external authorization: content is shown as far as configured, and reaches the application whole",
        check: Check::Http(content),
    },
    Case {
        name: "external authorization: DENY holds whatever the authorizer says, and while it says nothing",
        check: Check::Http(changes),
    },
    Case { name: "audit: what a policy matches is told, and decided as without it", check: Check::Http(audit) },
];

/// Where Istio's authorizer serves, in pod v3, and a port at which nobody does.
pub(super) const AUTHORIZER: [Port; 3] = [
    Port { name: "grpc", number: 9000, target: 9202 },
    Port { name: "http", number: 8000, target: 9201 },
    Port { name: "grpc-away", number: 9001, target: 9299 },
];

/// Each by the name that policies use. `v1` answers whatever a request asks it to, and is no authorizer.
const PROVIDERS: &str = "
- {name: over-grpc, envoyExtAuthzGrpc: {service: shop/authz.shop.svc.cluster.local, port: 9000}}
- name: over-http
  envoyExtAuthzHttp:
    service: authz.shop.svc.cluster.local
    port: 8000
    includeRequestHeadersInCheck: [x-ext-authz]
    includeAdditionalHeadersInCheck: {x-ext-authz-additional-header-override: by-weir}
    headersToUpstreamOnAllow: [x-ext-authz-check-result, x-ext-authz-check-received]
    headersToDownstreamOnAllow: [x-ext-authz-additional-*]
    headersToDownstreamOnDeny: [x-ext-authz-check-*]
- {name: away, envoyExtAuthzGrpc: {service: authz.shop.svc.cluster.local, port: 9001, statusOnError: \"503\"}}
- {name: away-open, envoyExtAuthzGrpc: {service: authz.shop.svc.cluster.local, port: 9001, failOpen: true}}
- {name: slow, envoyExtAuthzHttp: {service: v1.shop.svc.cluster.local, port: 80, pathPrefix: \"/?delay_ms=20000&p=\", timeout: 500ms}}
- {name: slower, envoyExtAuthzHttp: {service: v1.shop.svc.cluster.local, port: 80, pathPrefix: \"/?delay_ms=60000&p=\"}}
- {name: broken, envoyExtAuthzHttp: {service: v1.shop.svc.cluster.local, port: 80, pathPrefix: \"/?status=500&p=\"}}
- {name: lying, envoyExtAuthzGrpc: {service: v1.shop.svc.cluster.local, port: 9000}}
- {name: nowhere, envoyExtAuthzGrpc: {service: nowhere.shop.svc.cluster.local, port: 9000}}
- name: whole
  envoyExtAuthzGrpc:
    {service: authz.shop.svc.cluster.local, port: 9000, includeRequestBodyInCheck: {maxRequestBytes: 64}}
- name: part
  envoyExtAuthzHttp:
    service: authz.shop.svc.cluster.local
    port: 8000
    includeRequestHeadersInCheck: [x-ext-authz]
    includeRequestBodyInCheck: {maxRequestBytes: 8, allowPartialMessage: true}
    headersToUpstreamOnAllow: [x-ext-authz-check-received]
- name: part-of-bytes
  envoyExtAuthzGrpc:
    service: authz.shop.svc.cluster.local
    port: 9000
    includeRequestBodyInCheck: {maxRequestBytes: 8, allowPartialMessage: true, packAsBytes: true}
";

pub(super) const ALLOW: &str = "-Hx-ext-authz: allow";
/// How the sample's denials begin.
const DENIED: &str = "denied by ext_authz";

/// The authorizer and MeshConfig's providers. What is first goes first.
pub(super) struct Authorizers<'a> {
    _config: ForNow<'a>,
    _service: HttpService<'a>,
    _server: Program,
}

/// Starts the authorizer, and names it to the mesh.
pub(super) fn authorizers(mesh: &HttpMesh) -> Result<Authorizers<'_>> {
    let [grpc, http, _] = AUTHORIZER.map(|port| port.target.to_string());
    let mut server = mesh.pod("v3").place.spawn(&[&*peers::go("extauthz")?, "-grpc", &grpc, "-http", &http])?;
    for port in &AUTHORIZER[..2] {
        server.listens_on(port.target)?;
    }
    let service = mesh.service_at_ports("authz", "v3", &AUTHORIZER)?;
    let yaml = format!(
        "apiVersion: mesh.istio.io/v1alpha1\nkind: MeshConfig\nmetadata: {{name: mesh, namespace: istio-system}}\nspec:\n  \
         extensionProviders:{}",
        PROVIDERS.replace('\n', "\n  ")
    );
    let config = mesh.control_plane.objects.put_for_now("mesh", &yaml)?;
    Ok(Authorizers { _config: config, _service: service, _server: server })
}

/// A CUSTOM policy about a version's pod, for all paths that begin with `/guarded`.
pub(super) fn custom<'a>(mesh: &'a HttpMesh, version: &str, provider: &str) -> Result<ForNow<'a>> {
    let action = format!("CUSTOM\n  provider: {{name: {provider}}}");
    policy(mesh, version, &action, "[{to: [{operation: {paths: [\"/guarded*\"]}}]}]")
}

pub(super) fn is_denied_by_authorizer(answer: &Answer) -> bool {
    answer.status == 403
        && answer.body.starts_with(DENIED)
        && answer.header("x-ext-authz-check-result") == Some("denied")
        && answer.header("x-ext-authz-check-received").is_some()
}

fn decides(mesh: &HttpMesh) -> Result<()> {
    let _authorizers = authorizers(mesh)?;
    let stranger = mesh.world.nodes[N1].pod("stranger")?;
    for (version, provider) in [("v2", "over-grpc"), ("v1", "over-http"), ("v1", "over-grpc"), ("v2", "over-http")] {
        let (service, pod) = (mesh.version(version), mesh.pod(version));
        let policy = custom(mesh, version, provider)?;
        service
            .comes_to(&format!("{provider} decides for {version}"), "/guarded", &[], is_denied_by_authorizer)
            .with_context(|| mesh.logs())?;
        for (port, more) in [(80, &[][..]), (8081, &["--http2-prior-knowledge"]), (8082, &[])] {
            for (path, header, is_allowed) in [
                ("/guarded?x=1", ALLOW, true),
                ("/guarded/x", "-Hx-ext-authz: no", false),
                ("/a/../guarded", "-Hx: y", false),
            ] {
                let answer = service.ask_at(service.vip(), port, path, &[more, &[header]].concat())?;
                let context = || format!("{version}, {provider}, port {port}, {path}: {answer:?}");
                if !is_allowed {
                    ensure!(is_denied_by_authorizer(&answer), context());
                    continue;
                }
                let echo = answer.echo().with_context(context)?;
                ensure!(echo.header("x-ext-authz-check-result").as_deref() == Some("allowed"), context());
                let received = echo.header("x-ext-authz-check-received").unwrap_or_default();
                if provider == "over-grpc" {
                    for part in [&*principal(&mesh.client), &principal(pod), "/guarded?x=1", "GET", &service.host()] {
                        ensure!(received.contains(part), "{part}: {received}");
                    }
                } else {
                    ensure!(received.starts_with(&format!("GET {}", service.host())), "{received}");
                    ensure!(received.contains("/guarded?x=1"), "{received}");
                    let to_client = answer.header("x-ext-authz-additional-header-override");
                    ensure!(to_client == Some("by-weir"), context());
                }
            }
            service.ask_at(service.vip(), port, "/open", more)?.expect(200, Some(version))?;
        }
        for address in [pod.ipv4(), pod.ipv6()] {
            let denied = ask_pod(&stranger.place, address, "/guarded", &[])?;
            ensure!(is_denied_by_authorizer(&denied), "plaintext: {denied:?}");
            let allowed = ask_pod(&stranger.place, address, "/guarded", &[ALLOW, "--http2-prior-knowledge"])?;
            ensure!(allowed.status == 200, "plaintext: {allowed:?}");
        }
        let call =
            ["--http2-prior-knowledge", "-HContent-Type: application/grpc", "-HTE: trailers", "--data-binary", ""];
        let call = service.ask_at(service.vip(), 9000, "/guarded.Echo/Unary", &call)?;
        let message = call.header("grpc-message").unwrap_or_default();
        ensure!((call.status, call.header("grpc-status")) == (200, Some("7")), "{call:?}");
        ensure!(message.starts_with(DENIED) && call.body.is_empty(), "{call:?}");
        drop(policy);
        service.comes_to("nobody is asked any more", "/guarded", &[], |answer| answer.status == 200)?;
    }
    Ok(())
}

fn fails(mesh: &HttpMesh) -> Result<()> {
    let _authorizers = authorizers(mesh)?;
    let service = mesh.version("v2");
    let agent = mesh.agent_of(mesh.pod("v2"));
    for (provider, status, result, words) in [
        ("away", 503, "error", &["response_flags=UAEX", "ext_authz_error", "authorizer away says nothing"][..]),
        ("away-open", 200, "failed_open", &["authorizer away-open says nothing"]),
        ("slow", 403, "error", &["response_flags=UAEX", "ext_authz_error", "no response within 500ms"]),
        ("broken", 403, "error", &["response_flags=UAEX", "ext_authz_error", "it says so itself"]),
        ("lying", 403, "error", &["response_flags=UAEX", "ext_authz_error", "authorizer lying says nothing"]),
        ("nowhere", 403, "error", &["response_flags=UAEX", "ext_authz_error", "has no service"]),
        ("over-grpc", 403, "denied", &["response_flags=UAEX", "ext_authz_denied", "authorizer over-grpc denies it"]),
    ] {
        let labels = [("result", result)];
        let counter = Counter::of(agent, "weir_external_authorizations_total", &labels)?;
        let policy = custom(mesh, "v2", provider)?;
        let before = agent.log().len();
        let what = format!("{provider}: {status}");
        let is_it =
            |answer: &Answer| answer.status == status && (status != 200 || counter.grown().is_ok_and(|by| by > 0.0));
        service.comes_to(&what, "/guarded", &[], is_it).with_context(|| mesh.logs())?;
        let started = Instant::now();
        let answer = service.ask("/guarded/told", &[])?;
        ensure!(answer.status == status && !is_denied(&answer), "{provider}: {answer:?}");
        ensure!(started.elapsed() < Duration::from_secs(10), "{provider} took {:?}", started.elapsed());
        let words = [&["request complete", "path=\"/guarded/told\""][..], words].concat();
        agent.logs_line(before, &words).with_context(|| format!("{provider}: {answer:?}"))?;
        drop(policy);
        service.comes_to("nobody is asked any more", "/guarded", &[], |answer| answer.status == 200)?;
    }
    // A provider that there is none of.
    let _policy = custom(mesh, "v2", "typo")?;
    service.comes_to("an unknown provider denies", "/guarded", &[], is_denied)?;
    service.ask("/open", &[])?.expect(200, Some("v2"))?;
    let before = agent.log().len();
    ensure!(is_denied(&service.ask("/guarded/typo", &[])?), "it is not denied");
    agent.logs_line(before, &["path=\"/guarded/typo\"", "extensionProviders have no \\\"typo\\\""])?;
    let status = agent.weir(&["status"])?.stdout;
    ensure!(status.contains("extensionProviders have no \"typo\""), "{status}");
    Ok(())
}

fn content(mesh: &HttpMesh) -> Result<()> {
    let _authorizers = authorizers(mesh)?;
    let service = mesh.version("v2");
    let post = |body: &str, more: &[&str]| {
        let all = [&[ALLOW, "--data-binary", body][..], more].concat();
        service.ask("/guarded", &all)
    };
    let whole = custom(mesh, "v2", "whole")?;
    let is_shown = |answer: &Answer| {
        let received = answer.echo().ok().and_then(|echo| echo.header("x-ext-authz-check-received"));
        received.is_some_and(|received| received.contains("some-content"))
    };
    service
        .comes_to("content is shown", "/guarded", &[ALLOW, "--data-binary", "some-content"], is_shown)
        .with_context(|| mesh.logs())?;
    let echo = post("some-content", &[])?.echo()?;
    ensure!(echo.body_bytes == 12, "{echo:?}");
    let continued = post("some-content", &["-HExpect: 100-continue"])?;
    ensure!((continued.status, &*continued.interim) == (200, &[100][..]), "{continued:?}");
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let large =
            service.ask_at(service.vip(), 8082, "/guarded", &[ALLOW, version, "--data-binary", &"x".repeat(65)])?;
        ensure!(large.status == 413, "{large:?}");
    }
    drop(whole);
    let part = custom(mesh, "v2", "part")?;
    let is_part = |answer: &Answer| {
        let received = answer.echo().ok().and_then(|echo| echo.header("x-ext-authz-check-received"));
        received.is_some_and(|received| {
            received.contains("body: [some-con]") && received.contains("X-Envoy-Auth-Partial-Body:[true]")
        })
    };
    let forged = ["-HX-Envoy-Auth-Partial-Body: false", ALLOW, "--data-binary", "some-content"];
    service.comes_to("a part is shown", "/guarded", &forged, is_part).with_context(|| mesh.logs())?;
    let denied = service.ask("/guarded", &["--data-binary", &"x".repeat(100_000)])?;
    ensure!(denied.status == 403 && denied.body.starts_with(DENIED), "{denied:?}");
    drop(part);
    service.comes_to("nobody is asked any more", "/guarded", &[], |answer| answer.status == 200)?;
    let _part = custom(mesh, "v2", "part-of-bytes")?;
    service.comes_to("the authorizer decides", "/guarded", &[], is_denied_by_authorizer)?;
    for (port, more) in [(80, &[][..]), (8081, &["--http2"])] {
        for bytes in [8_u64, 9, 65_536, 1_000_003] {
            let own =
                [format!("--bytes={bytes}"), format!("--target=/guarded?size={bytes}"), "--requests=3".to_owned()];
            let own: Vec<&str> =
                own.iter().map(String::as_str).chain(["--method=POST", "--field=x-ext-authz: allow"]).collect();
            let seen = service.load(port, &[&own[..], more].concat())?;
            seen.all_are(200).with_context(|| format!("port {port} {more:?}, {bytes} bytes"))?;
            ensure!(seen.bytes == bytes * 3, "{bytes} bytes, three times: {seen:?}");
        }
    }
    Ok(())
}

fn changes(mesh: &HttpMesh) -> Result<()> {
    let _authorizers = authorizers(mesh)?;
    let service = mesh.version("v2");
    let asked = custom(mesh, "v2", "over-grpc")?;
    service
        .comes_to("the authorizer decides", "/guarded", &[], is_denied_by_authorizer)
        .with_context(|| mesh.logs())?;
    let deny = |name: &str, path: &str| {
        let yaml = format!(
            "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: {name}, namespace: shop}}\nspec:\n  \
             action: DENY\n  rules: [{{to: [{{operation: {{paths: [\"{path}\"]}}}}]}}]\n"
        );
        mesh.control_plane.objects.put_for_now(name, &yaml)
    };
    let denying = deny("denying", "/guarded/never")?;
    service.comes_to("DENY holds after the authorizer has allowed it", "/guarded/never", &[ALLOW], is_denied)?;
    service.ask("/guarded", &[ALLOW])?.expect(200, Some("v2"))?;
    drop((asked, denying));
    service.comes_to("nobody is asked any more", "/guarded", &[], |answer| answer.status == 200)?;
    // A request that waits for its authorizer is denied as soon as policy is.
    let _slower = custom(mesh, "v2", "slower")?;
    wait::until("a request waits", Duration::from_secs(10), || {
        let output = service.curl("/guarded", &["--max-time", "1"])?;
        ensure!(!output.success, "it was answered: {}", output.summary());
        Ok(())
    })?;
    let url = format!("http://{}/guarded/waits", service.vip());
    let waiting =
        mesh.client.place.spawn(&["curl", "-sS", "--max-time", "40", "-w", "%{http_code}", "-o", "/dev/null", &url])?;
    let started = Instant::now();
    let _denying = deny("denying", "/guarded/waits")?;
    let ended = waiting.finish(Duration::from_secs(30))?;
    ensure!(ended.stdout == "403" && started.elapsed() < Duration::from_secs(20), "{}", ended.summary());
    Ok(())
}

fn audit(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.version("v2");
    let agent = mesh.agent_of(mesh.pod("v2"));
    let counter = Counter::of(agent, "weir_audited_total", &[])?;
    // About the whole namespace: the test does not say which labels its pods have.
    let yaml = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: auditor, namespace: shop}\nspec:\n  \
                action: AUDIT\n  rules: [{to: [{operation: {paths: [/audited]}}]}]\n";
    let _auditing = mesh.control_plane.objects.put_for_now("auditor", yaml)?;
    // At this port each request comes on a connection of its own: one that was open before is moved as bytes to its end.
    let ask = |path: &str| service.ask_at(service.vip(), 8082, path, &[])?.expect(200, Some("v2"));
    wait::until("what matches is told", Duration::from_secs(10), || {
        ask("/audited")?;
        ensure!(counter.grown()? > 0.0, "nothing was counted");
        Ok(())
    })?;
    let counter = Counter::of(agent, "weir_audited_total", &[])?;
    let before = agent.log().len();
    ask("/audited?last")?;
    ask("/other")?;
    counter.grows_by_exactly(1.0)?;
    let line = agent.logs_line(before, &["request complete", "path=\"/audited?last\""])?;
    ensure!(line.contains("audited_by=\"shop/auditor\"") && line.contains("status=200"), "{line}");
    let other = agent.logs_line(before, &["request complete", "path=\"/other\""])?;
    ensure!(!other.contains("audited_by"), "{other}");
    Ok(())
}

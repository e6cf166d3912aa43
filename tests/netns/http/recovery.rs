//! What happens when an upstream is slow, fails or is gone, and what is made to fail on purpose: faults, time-outs, retries,
//! ejection.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use weir_tests::http_mesh::{HttpMesh, HttpSeen, HttpService};
use weir_tests::wait;

use super::split::answered_by;
use crate::harness::{Case, Check, note};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "http: a fault aborts all requests, or none where no percentage is given",
        check: Check::Http(fault_abort),
    },
    Case {
        name: "http: a fault with a status of gRPC aborts plain requests, preflights among them, with a text",
        check: Check::Http(fault_abort_grpc),
    },
    Case { name: "http: a fault delays requests by what the route says", check: Check::Http(fault_delay) },
    Case {
        name: "http: a slow upstream is answered 504 when the route's time-out is over",
        check: Check::Http(timeout),
    },
    Case { name: "http: without a retry policy a 503 of the application is the answer", check: Check::Http(no_retry) },
    Case {
        name: "http: an HTTPRoute's retry asks as often as it says, for the codes it names",
        check: Check::Http(route_retry),
    },
    Case { name: "http: retries ask as often as the policy says, and no more", check: Check::Http(retries) },
    Case { name: "http: a request with a body is tried again whole", check: Check::Http(retry_with_body) },
    Case { name: "http: a pod that refuses connections is passed over", check: Check::Http(refused) },
    Case { name: "http: a try that takes too long is given up for another one", check: Check::Http(per_try_timeout) },
    Case {
        name: "http: a retry asks another pod, unless the policy lets it ask the same one",
        check: Check::Http(another_pod),
    },
    Case { name: "http: an endpoint that only fails is ejected, and comes back", check: Check::Http(ejection) },
    Case {
        name: "http: an endpoint that does not answer before the route's time-out is ejected",
        check: Check::Http(slow_is_ejected),
    },
    Case {
        name: "http: a request says by fields of its own what is tried again, and how often",
        check: Check::Http(retry_fields),
    },
    Case { name: "http: a server that resets is answered for with 503", check: Check::Http(reset) },
    Case { name: "http: a mirror gets every request, and its answers go nowhere", check: Check::Http(mirror) },
];

/// A service with a VirtualService whose only rule leads to v1 and has these further fields; once it counts.
fn to_v1<'a>(mesh: &'a HttpMesh, name: &str, more: &str) -> Result<(HttpService<'a>, weir_tests::objects::ForNow<'a>)> {
    let service = mesh.service(name)?;
    let route = service.virtual_service(&format!(
        "[{{match: [{{uri: {{exact: /ready}}}}], directResponse: {{status: 299}}}}, {{route: [{{destination: {{host: v1}}}}], {more}}}]"
    ))?;
    service.comes_to("the route counts", "/ready", &[], |answer| answer.status == 299)?;
    Ok((service, route))
}

fn fault_abort(mesh: &HttpMesh) -> Result<()> {
    let (service, _route) = to_v1(mesh, "abort", "fault: {abort: {httpStatus: 418, percentage: {value: 100}}}")?;
    let answer = service.ask("/?key=abort", &[])?;
    answer.expect(418, None)?;
    ensure!(answer.body == "fault filter abort", "{answer:?}");
    ensure!(mesh.arrived("abort")? == [0, 0, 0], "an aborted request reached a pod");
    let (service, _route) = to_v1(mesh, "abort-never", "fault: {abort: {httpStatus: 418}}")?;
    service.load(80, &["--requests=50"])?.all_are(200)?;
    let (service, _route) = to_v1(mesh, "abort-half", "fault: {abort: {httpStatus: 418, percentage: {value: 50}}}")?;
    let seen = service.load(80, &["--requests=400"])?;
    let aborted = seen.statuses.get(&418).copied().unwrap_or_default();
    note(format!("{aborted} of 400 requests aborted; the route says 50 %"));
    ensure!(seen.by("v1") + aborted == 400 && aborted.abs_diff(200) < 70, "{seen:?}");
    Ok(())
}

fn fault_abort_grpc(mesh: &HttpMesh) -> Result<()> {
    let fault = "fault: {abort: {grpcStatus: RESOURCE_EXHAUSTED, percentage: {value: 100}}}, \
                 corsPolicy: {allowOrigins: [{exact: 'https://a.example'}]}";
    let (service, _route) = to_v1(mesh, "abort-grpc", fault)?;
    let call = service.ask("/", &["-XPOST", "-Hcontent-type: application/grpc"])?;
    let told = [call.header("grpc-status"), call.header("grpc-message")];
    ensure!(call.status == 200 && told == [Some("8"), Some("fault filter abort")], "{call:?}");
    let preflight = ["-XOPTIONS", "-Horigin: https://a.example", "-Haccess-control-request-method: GET"];
    for arguments in [&[][..], &preflight] {
        let answer = service.ask("/", arguments)?;
        answer.expect(200, None)?;
        ensure!(answer.body == "fault filter abort", "{answer:?}");
        let others = ["grpc-status", "access-control-allow-origin"].map(|name| answer.header(name));
        ensure!(others == [None, None], "{answer:?}");
    }
    Ok(())
}

/// How long a request takes.
fn taken(service: &HttpService<'_>, path: &str, status: u16) -> Result<Duration> {
    let start = Instant::now();
    let answer = service.ask(path, &[])?;
    let taken = start.elapsed();
    ensure!(answer.status == status, "{path}: {status} expected: {answer:?}");
    Ok(taken)
}

fn fault_delay(mesh: &HttpMesh) -> Result<()> {
    const DELAY: Duration = Duration::from_millis(400);
    let fault = "fault: {delay: {fixedDelay: 0.4s, percentage: {value: 100}}}, timeout: 0.3s";
    let (service, _route) = to_v1(mesh, "delay", fault)?;
    // The time-out begins after the delay.
    let delayed = taken(&service, "/", 200)?;
    ensure!(delayed >= DELAY, "it took {delayed:?}");
    let (service, _route) = to_v1(mesh, "delay-never", "fault: {delay: {fixedDelay: 20s}}")?;
    ensure!(taken(&service, "/", 200)? < Duration::from_secs(10), "delayed without a percentage");
    Ok(())
}

fn timeout(mesh: &HttpMesh) -> Result<()> {
    let (service, _route) = to_v1(mesh, "timeout", "timeout: 0.3s, retries: {attempts: 0}")?;
    let start = Instant::now();
    let answer = service.ask("/?delay_ms=20000&key=timeout", &[])?;
    let taken = start.elapsed();
    answer.expect(504, None)?;
    ensure!(answer.body == "upstream request timeout", "{answer:?}");
    ensure!(taken >= Duration::from_millis(300) && taken < Duration::from_secs(10), "it took {taken:?}");
    ensure!(mesh.arrived("timeout")? == [1, 0, 0], "it was sent again");
    service.ask("/?delay_ms=50", &[])?.expect(200, Some("v1"))?;
    let gateway = mesh.service("gw-timeout")?;
    let _route = gateway.http_route("[{timeouts: {request: 300ms}, backendRefs: [{name: v2, port: 80}]}]")?;
    gateway.comes_to("the route counts", "/?delay_ms=3000", &[], |answer| answer.status == 504)?.expect(504, None)?;
    let (service, _route) = to_v1(mesh, "no-timeout", "retries: {attempts: 0}")?;
    // Longer than Envoy's own default of a route would be waited for in vain here; a second shows that there is none below.
    service.ask("/?delay_ms=1000", &[])?.expect(200, Some("v1"))
}

fn no_retry(mesh: &HttpMesh) -> Result<()> {
    let (service, _route) = to_v1(mesh, "no-retry", "headers: {}")?;
    service.ask("/?status=503&key=no-retry", &[])?.expect(503, Some("v1"))?;
    ensure!(mesh.arrived("no-retry")? == [1, 0, 0], "{:?} arrived", mesh.arrived("no-retry")?);
    Ok(())
}

fn route_retry(mesh: &HttpMesh) -> Result<()> {
    // Without `attempts` there are two.
    for (name, attempts, most) in [("route-retry", "attempts: 3, ", 4), ("route-retry-usual", "", 3)] {
        let service = mesh.service(name)?;
        let _route = service.http_route(&format!(
            "[{{retry: {{{attempts}backoff: 10ms, codes: [503]}}, backendRefs: [{{name: v1, port: 80}}]}}]"
        ))?;
        answered_by(&service, &["v1"])?;
        for (key, wish, status, arrived) in [
            ("succeeds", "fail_first=2", 200, 3),
            ("exhausted", "status=503", 503, most),
            // A code that it does not name.
            ("other", "status=500", 500, 1),
        ] {
            let key = format!("{name}-{key}");
            service.ask(&format!("/?key={key}&{wish}"), &[])?.expect(status, Some("v1"))?;
            ensure!(mesh.arrived(&key)? == [arrived, 0, 0], "{key}: {:?} arrived", mesh.arrived(&key)?);
        }
    }
    Ok(())
}

fn retries(mesh: &HttpMesh) -> Result<()> {
    let (service, _route) = to_v1(mesh, "retries", "retries: {attempts: 3, retryOn: '503,connect-failure,reset'}")?;
    for (key, wish, status, arrived) in [
        ("succeeds", "fail_first=2", 200, 3),
        ("exhausted", "status=503", 503, 4),
        // A status that the policy does not name.
        ("other", "status=500", 500, 1),
        ("first", "status=200", 200, 1),
    ] {
        let answer = service.ask(&format!("/?key=retries-{key}&{wish}"), &[])?;
        answer.expect(status, Some("v1"))?;
        let found = mesh.arrived(&format!("retries-{key}"))?;
        ensure!(found == [arrived, 0, 0], "{key}: {arrived} expected, {found:?} arrived");
    }
    let (service, _route) = to_v1(mesh, "retries-off", "retries: {attempts: 0, retryOn: '503'}")?;
    service.ask("/?key=retries-off&status=503", &[])?.expect(503, Some("v1"))?;
    ensure!(mesh.arrived("retries-off")? == [1, 0, 0]);
    Ok(())
}

fn retry_with_body(mesh: &HttpMesh) -> Result<()> {
    const BYTES: u64 = 20_000;
    let (service, _route) = to_v1(mesh, "retry-body", "retries: {attempts: 2, retryOn: '503'}")?;
    let body = "x".repeat(usize::try_from(BYTES)?);
    let answer = service.ask("/?key=retry-body&fail_first=2", &["--data-binary", &body])?;
    answer.expect(200, Some("v1"))?;
    let echo = answer.echo()?;
    ensure!(echo.body_bytes == BYTES && echo.method == "POST", "{echo:?}");
    ensure!(mesh.arrived("retry-body")? == [3, 0, 0]);
    Ok(())
}

fn refused(mesh: &HttpMesh) -> Result<()> {
    // All three pods are endpoints of the port, and only one listens there.
    const PORT: u16 = 8070;
    let service = mesh.service("refused")?;
    let yaml = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: half, namespace: shop}}\nspec: {{clusterIP: 10.97.0.250, selector: \
         {{app: web}}, ports: [{{name: http, port: 80, targetPort: {PORT}}}]}}\n"
    );
    let _half = mesh.control_plane.objects.put_for_now("service-half", &yaml)?;
    let program = weir_tests::agent::binary("weir-test-app")?.display().to_string();
    let pod = mesh.pod("v2");
    let mut server = pod.place.spawn(&[&*program, "serve", "--pod=v2", &format!("http-echo:{PORT}")])?;
    server.listens_on(PORT)?;
    let _route = service.virtual_service("[{route: [{destination: {host: half}}]}]")?;
    service.comes_to("the route counts", "/", &[], |answer| answer.pod() == Some("v2"))?;
    let seen = service.load(80, &["--requests=200"])?;
    let served = seen.by("v2");
    note(format!("{served} of 200 requests served, with two endpoints of three that refuse"));
    seen.all_are(200)
}

fn per_try_timeout(mesh: &HttpMesh) -> Result<()> {
    let policy = "retries: {attempts: 2, perTryTimeout: 0.3s, retryOn: 'gateway-error'}, timeout: 10s";
    let (service, _route) = to_v1(mesh, "per-try", policy)?;
    let start = Instant::now();
    let answer = service.ask("/?key=per-try&delay_ms=20000", &[])?;
    let taken = start.elapsed();
    answer.expect(504, None)?;
    ensure!(taken >= Duration::from_millis(900) && taken < Duration::from_secs(8), "it took {taken:?}");
    ensure!(mesh.arrived("per-try")? == [3, 0, 0], "{:?} arrived", mesh.arrived("per-try")?);
    Ok(())
}

fn another_pod(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.service("another-pod")?;
    // By the hash, each attempt would go to one pod.
    let _rule =
        service.destination_rule("trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x-user}}}")?;
    for (name, more, expected) in [("another", "", [1, 1, 1]), ("same", "retryIgnorePreviousHosts: false", [0, 0, 3])] {
        let _route = service.virtual_service(&format!(
            "[{{match: [{{uri: {{exact: /{name}}}}}], directResponse: {{status: 299}}}}, \
             {{route: [{{destination: {{host: another-pod}}}}], retries: {{attempts: 2, retryOn: '503', {more}}}}}]"
        ))?;
        service.comes_to("the route counts", &format!("/{name}"), &[], |answer| answer.status == 299)?;
        let key = format!("retried-{name}");
        let answer = service.ask(&format!("/?status=503&key={key}"), &["-Hx-user: one"])?;
        ensure!(answer.status == 503, "{answer:?}");
        let mut arrived = mesh.arrived(&key)?;
        arrived.sort_unstable();
        ensure!(arrived == expected, "{name}: {expected:?} expected, {arrived:?} arrived");
    }
    Ok(())
}

fn ejection(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.service("ejection")?;
    let policy = |percent: u32| {
        format!(
            "trafficPolicy: {{outlierDetection: {{consecutive5xxErrors: 3, interval: 0.2s, baseEjectionTime: 2s, \
             maxEjectionPercent: {percent}}}}}"
        )
    };
    let _rule = service.destination_rule(&policy(100))?;
    let only_v2_fails = || service.load(80, &["--requests=60", "--target=/?status=500&only=v2"]);
    wait::until("v2 is ejected", Duration::from_secs(10), || {
        let seen = only_v2_fails()?;
        ensure!(seen.by("v2") == 0, "it is asked: {seen:?}");
        seen.all_are(200)
    })?;
    answered_by(&service, &["v1", "v2", "v3"])?;
    // All of them fail: nobody is left, until they are taken back.
    wait::until("all are ejected", Duration::from_secs(10), || {
        let seen = service.load(80, &["--requests=60", "--target=/?status=500"])?;
        ensure!(seen.statuses.contains_key(&503), "somebody is asked: {seen:?}");
        Ok(())
    })?;
    let answer = service.ask("/", &[])?;
    ensure!(answer.status == 503 && answer.body == "no healthy upstream", "{answer:?}");
    // Another pod of the node has seen nothing of that: by itself no pod makes an endpoint of others fail.
    let to = SocketAddr::new(service.vip(), 80).to_string();
    let arguments = [to, format!("--host={}", service.host()), "--requests=20".to_owned()];
    HttpSeen::of(&mesh.pod("v1").place, &arguments)?.all_are(200).context("another pod of the node")?;
    answered_by(&service, &["v1", "v2", "v3"])?;
    // A tenth of three is nobody: Envoy's and Istio's default ejects none of so few.
    let _rule = service.destination_rule(&policy(10))?;
    wait::until("nobody is ejected any more", Duration::from_secs(10), || {
        only_v2_fails()?;
        let seen = only_v2_fails()?;
        ensure!(seen.by("v2") > 5, "v2 is not asked: {seen:?}");
        Ok(())
    })
}

fn slow_is_ejected(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.service("slow-ejected")?;
    let _route = service.virtual_service(
        "[{match: [{uri: {exact: /ready}}], directResponse: {status: 299}}, \
          {timeout: 0.2s, retries: {attempts: 0}, route: [{destination: {host: slow-ejected}}]}]",
    )?;
    let _rule = service.destination_rule(
        "trafficPolicy: {outlierDetection: {consecutiveGatewayErrors: 2, consecutive5xxErrors: 0, interval: 0.2s, \
         baseEjectionTime: 60s, maxEjectionPercent: 100}}",
    )?;
    service.comes_to("the route counts", "/ready", &[], |answer| answer.status == 299)?;
    wait::until("v2 is ejected", Duration::from_secs(20), || {
        let seen = service.load(80, &["--requests=30", "--target=/?delay_ms=600&only=v2"])?;
        ensure!(!seen.statuses.contains_key(&504), "it is asked: {seen:?}");
        seen.all_are(200)
    })?;
    answered_by(&service, &["v1", "v3"])
}

fn retry_fields(mesh: &HttpMesh) -> Result<()> {
    let (service, _route) = to_v1(mesh, "retry-fields", "retries: {attempts: 2, retryOn: '503'}")?;
    for (key, fields, wish, status, arrived) in [
        ("more", &["-Hx-envoy-max-retries: 4"][..], "fail_first=4", 200, 5),
        ("none", &["-Hx-envoy-max-retries: 0"], "fail_first=1", 503, 1),
        ("added", &["-Hx-envoy-retry-on: 5xx"], "fail_first=2&status=500", 200, 3),
        ("not-added", &[], "fail_first=2&status=500", 500, 1),
    ] {
        let answer = service.ask(&format!("/?key=retry-fields-{key}&{wish}"), fields)?;
        answer.expect(status, Some("v1")).with_context(|| key.to_owned())?;
        let found = mesh.arrived(&format!("retry-fields-{key}"))?;
        ensure!(found == [arrived, 0, 0], "{key}: {arrived} expected, {found:?} arrived");
    }
    let answer = service.ask("/", &["-Hx-envoy-retry-on: 5xx", "-Hx-envoy-max-retries: 1"])?;
    ensure!(!answer.body.contains("x-envoy-max-retries"), "the application gets it: {answer:?}");
    Ok(())
}

fn reset(mesh: &HttpMesh) -> Result<()> {
    let (service, _route) = to_v1(mesh, "reset", "retries: {attempts: 0}")?;
    let answer = service.ask("/?reset=before", &[])?;
    answer.expect(503, None)?;
    ensure!(answer.body.starts_with("upstream connect error or disconnect/reset before headers"), "{answer:?}");
    // Where the head is with the client already, it sees that the body is not whole.
    let broken = service.curl("/?reset=midway", &[])?;
    ensure!(!broken.success, "a broken response looked whole: {}", broken.summary());
    service.ask("/", &[])?.expect(200, Some("v1"))
}

fn mirror(mesh: &HttpMesh) -> Result<()> {
    let (service, _route) = to_v1(mesh, "mirror", "mirror: {host: v3}")?;
    // The copy fails, is slow and is reset: the client sees nothing of it.
    for number in 0..10 {
        let answer = service.ask("/?key=mirror", &["--data-binary", "twice"])?;
        answer.expect(200, Some("v1"))?;
        ensure!(answer.echo()?.body_bytes == 5, "request {number}: {answer:?}");
    }
    wait::until("the mirror got all of them", Duration::from_secs(5), || {
        let arrived = mesh.arrived("mirror")?;
        ensure!(arrived == [10, 0, 10], "{arrived:?} arrived");
        Ok(())
    })?;
    let (service, _route) = to_v1(mesh, "mirror-off", "mirror: {host: v3}, mirrorPercentage: {value: 0}")?;
    service.load(80, &["--requests=20", "--target=/?key=mirror-off"])?.all_are(200)?;
    ensure!(mesh.arrived("mirror-off")? == [20, 0, 0]);
    let (service, _route) = to_v1(mesh, "mirror-nobody", "mirror: {host: nobody}")?;
    service.ask("/", &[])?.expect(200, Some("v1"))
}

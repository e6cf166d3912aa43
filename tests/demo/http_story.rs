//! The second story: HTTP. One application in three versions, and what routes do with the requests for it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use weir_tests::collector::{Collector, SERVER};
use weir_tests::http_mesh::{Echo, HttpMesh, HttpSeen, HttpService, VERSIONS};
use weir_tests::objects::ForNow;
use weir_tests::wait;

use crate::policy_acts;
use crate::telling::{DELIVERED, act, seen, shortened};

/// Tells the whole story on a mesh that is up.
pub(crate) fn tell(mesh: &HttpMesh) -> Result<()> {
    let web = mesh.service("web")?;
    per_request(&web)?;
    canary(&web)?;
    header(&web)?;
    changes(mesh, &web)?;
    grpc(&web)?;
    failures(mesh, &web)?;
    ejected(&web)?;
    policy_acts::denied(mesh, &web)?;
    policy_acts::with_token(mesh)?;
    told(mesh, &web)?;
    chain(mesh)?;
    policy_acts::limited(mesh)?;
    why(mesh, &web)
}

/// Who answered, in words.
fn answers(of: &HttpSeen) -> String {
    let pods: Vec<String> = of.pods.iter().map(|(pod, count)| format!("{count} by {pod}")).collect();
    format!("{} requests: {}", of.answered, pods.join(", "))
}

/// Waits until exactly these pods answer, and checks it by more requests; what was seen.
fn answered_by(web: &HttpService<'_>, pods: &[&str]) -> Result<HttpSeen> {
    wait::until(&format!("{pods:?} answer"), DELIVERED, || {
        let few = web.load(80, &["--requests=60"])?;
        ensure!(few.pods.keys().eq(pods), "{few:?}");
        Ok(())
    })?;
    let seen = web.load(80, &["--requests=1000", "--connections=4"])?;
    seen.all_are(200)?;
    Ok(seen)
}

fn per_request(web: &HttpService<'_>) -> Result<()> {
    act("One application in three versions; v1 on the client's node, v2 and v3 on the other");
    answered_by(web, &VERSIONS)?;
    let kept = web.load(80, &["--requests=300"])?;
    kept.all_are(200)?;
    ensure!(kept.connections == 1 && kept.pods.len() == 3, "{kept:?}");
    seen("one connection of the client to the service web, kept open:");
    seen(format!("  {}", answers(&kept)));
    Ok(())
}

fn canary(web: &HttpService<'_>) -> Result<()> {
    act("A canary: an HTTPRoute sends 80 % to v1 and 20 % to v2");
    let backends = |v1, v2| {
        web.http_route(&format!(
            "[{{backendRefs: [{{name: v1, port: 80, weight: {v1}}}, {{name: v2, port: 80, weight: {v2}}}]}}]"
        ))
    };
    let start = Instant::now();
    let _route = backends(80, 20)?;
    let split = answered_by(web, &["v1", "v2"])?;
    seen(format!(
        "the file is written; within {:.1} s the first 1,060 requests were sent by it",
        start.elapsed().as_secs_f64()
    ));
    seen(format!("  {}", answers(&split)));
    ensure!(split.by("v2").abs_diff(200) < 100, "{split:?}");
    let mut load = web.start_load(80, &["--connections=4"])?;
    for (v1, v2, pods) in [(50, 50, &["v1", "v2"][..]), (0, 100, &["v2"])] {
        let _route = backends(v1, v2)?;
        seen(format!("{v1} to {v2}: {}", answers(&answered_by(web, pods)?)));
    }
    load.goes_on(Duration::from_millis(200))?;
    let all = load.end()?;
    all.all_are(200)?;
    seen(format!("all the while four more clients asked: {} requests, {} failed", all.answered, all.failed));
    Ok(())
}

fn header(web: &HttpService<'_>) -> Result<()> {
    act("By header: who says `x-user: tester` gets v3, everybody else v1");
    let _route = web.http_route(
        "[{matches: [{headers: [{name: x-user, value: tester}]}], backendRefs: [{name: v3, port: 80}]}, \
          {backendRefs: [{name: v1, port: 80}]}]",
    )?;
    answered_by(web, &["v1"])?;
    let pod = |more: &[&str]| -> Result<String> {
        let answer = web.ask("/", more)?;
        Ok(format!("{} from {}", answer.status, answer.pod().context("no pod answered")?))
    };
    let (plain, tester) = (pod(&[])?, pod(&["-Hx-user: tester"])?);
    ensure!(plain == "200 from v1" && tester == "200 from v3", "{plain}, {tester}");
    seen(format!("curl http://web/                       {plain}"));
    seen(format!("curl http://web/ -H 'x-user: tester'   {tester}"));
    Ok(())
}

/// A VirtualService whose rule for a path answers by itself, to see that it counts; and its other rules.
fn rules<'a>(web: &HttpService<'a>, http: &str) -> Result<ForNow<'a>> {
    let ready = "{match: [{uri: {exact: /ready}}], directResponse: {status: 299}}";
    let route = web.virtual_service(&format!("[{ready}, {http}]"))?;
    web.comes_to("the route counts", "/ready", &[], |answer| answer.status == 299)?;
    Ok(route)
}

fn changes(mesh: &HttpMesh, web: &HttpService<'_>) -> Result<()> {
    act("What a VirtualService changes on the way");
    let _route = rules(
        web,
        "{match: [{uri: {prefix: /shop/}}], rewrite: {uri: /}, headers: {request: {set: {x-by: weir}}}, route: [{destination: {host: v1}}]}, \
         {match: [{uri: {prefix: /moved}}], redirect: {uri: /here, redirectCode: 308}}, \
         {match: [{uri: {exact: /teapot}}], directResponse: {status: 418, body: {string: short and stout}}}",
    )?;
    let echo = web.ask("/shop/cart?id=7", &[])?.echo()?;
    ensure!(echo.target == "/cart?id=7" && echo.header("x-by").is_some(), "{echo:?}");
    seen(format!("rewrite:   the client asks for /shop/cart?id=7; {} is asked for {}", echo.pod, echo.target));
    seen(format!("fields:    and finds `x-by: {}` in the request", echo.header("x-by").unwrap_or_default()));
    let moved = web.ask("/moved", &[])?;
    moved.expect(308, None)?;
    seen(format!(
        "redirect:  /moved is answered {} with location {}",
        moved.status,
        moved.header("location").unwrap_or("?")
    ));
    let direct = web.ask("/teapot?key=teapot", &[])?;
    direct.expect(418, None)?;
    let asked: u64 = mesh.arrived("teapot")?.iter().sum();
    seen(format!("direct:    /teapot is answered {} {:?}; {asked} pods were asked", direct.status, direct.body));
    let nothing = web.ask("/none", &[])?;
    nothing.expect(404, None)?;
    seen(format!("no rule:   /none is answered {}", nothing.status));
    Ok(())
}

fn grpc(web: &HttpService<'_>) -> Result<()> {
    act("gRPC: one HTTP/2 connection, 16 calls at a time");
    let call = ["--http2", "--streams=16", "--method=POST", "--requests=600", "--bytes=100"];
    let fields = ["--field=content-type: application/grpc", "--field=te: trailers", "--target=/echo.Echo/Unary"];
    wait::until("all pods serve again", DELIVERED, || {
        let few = web.load(80, &["--requests=60"])?;
        ensure!(few.pods.len() == 3, "{few:?}");
        Ok(())
    })?;
    let calls = web.load(9000, &[&call[..], &fields].concat())?;
    calls.all_are(200)?;
    let ok = calls.grpc_statuses.get("0").copied().unwrap_or_default();
    ensure!(calls.connections == 1 && calls.pods.len() == 3 && ok == calls.answered, "{calls:?}");
    seen(format!("{}; grpc-status 0: {ok}", answers(&calls)));
    Ok(())
}

fn failures(mesh: &HttpMesh, web: &HttpService<'_>) -> Result<()> {
    act("When things go wrong, or are made to");
    let _route = rules(
        web,
        "{match: [{uri: {prefix: /abort}}], fault: {abort: {httpStatus: 503, percentage: {value: 50}}}, route: [{destination: {host: v1}}]}, \
         {match: [{uri: {prefix: /slow}}], timeout: 0.2s, route: [{destination: {host: v1}}]}, \
         {match: [{uri: {prefix: /flaky}}], retries: {attempts: 3, retryOn: '503'}, route: [{destination: {host: v1}}]}, \
         {match: [{uri: {prefix: /hangs}}], timeout: 5s, retries: {attempts: 2, perTryTimeout: 0.2s, retryOn: gateway-error}, \
          route: [{destination: {host: v1}}]}, \
         {match: [{uri: {prefix: /copied}}], mirrors: [{destination: {host: v2}, percentage: {value: 100}}], route: [{destination: {host: v1}}]}",
    )?;
    let aborted = web.load(80, &["--requests=200", "--target=/abort"])?;
    let count = aborted.statuses.get(&503).copied().unwrap_or_default();
    ensure!(count > 0 && count + aborted.by("v1") == 200, "{aborted:?}");
    seen(format!(
        "fault:     a route aborts half of its requests: {count} of 200 were answered 503, {} by v1",
        aborted.by("v1")
    ));
    let start = Instant::now();
    let late = web.ask("/slow?delay_ms=5000", &[])?;
    late.expect(504, None)?;
    let taken = start.elapsed().as_millis();
    seen(format!("time-out:  v1 takes 5 s, the route allows 0.2 s: {} {:?} after {taken} ms", late.status, late.body));
    let flaky = web.ask("/flaky?fail_first=2&key=flaky", &[])?;
    flaky.expect(200, Some("v1"))?;
    let asked = mesh.arrived("flaky")?[0];
    ensure!(asked == 3, "v1 was asked {asked} times");
    seen(format!("retry:     v1 fails twice; it was asked {asked} times, and the client got {}", flaky.status));
    let start = Instant::now();
    let hung = web.ask("/hangs?delay_ms=5000&key=hangs", &[])?;
    hung.expect(504, None)?;
    let (asked, taken) = (mesh.arrived("hangs")?[0], start.elapsed().as_millis());
    ensure!(asked == 3, "v1 was asked {asked} times");
    seen(format!(
        "both:      an attempt may take 0.2 s; v1 was asked {asked} times, and the client got 504 after {taken} ms"
    ));
    for _ in 0..5 {
        web.ask("/copied?key=copied", &[])?.expect(200, Some("v1"))?;
    }
    let arrived = wait::until("the copies arrive", DELIVERED, || {
        let arrived = mesh.arrived("copied")?;
        ensure!(arrived == [5, 5, 0], "{arrived:?}");
        Ok(arrived)
    })?;
    seen(format!("mirror:    5 requests to v1: {} arrived there, and {} copies at v2", arrived[0], arrived[1]));
    Ok(())
}

fn ejected(web: &HttpService<'_>) -> Result<()> {
    act("An endpoint that fails is ejected: v2 answers every request with 500");
    // The route of the act before is gone once all pods answer.
    answered_by(web, &VERSIONS)?;
    let _rule = web.destination_rule(
        "trafficPolicy: {outlierDetection: {consecutive5xxErrors: 3, interval: 0.2s, baseEjectionTime: 2s, maxEjectionPercent: 100}}",
    )?;
    let failing = || web.load(80, &["--requests=100", "--target=/?status=500&only=v2"]);
    let mut before = None;
    let after = wait::until("v2 is ejected", DELIVERED, || {
        let all = failing()?;
        if all.by("v2") > 0 {
            before = Some(all);
            anyhow::bail!("v2 is asked");
        }
        Ok(all)
    })?;
    after.all_are(200)?;
    if let Some(before) = before {
        let failed = before.statuses.get(&500).copied().unwrap_or_default();
        seen(format!("at first:  {}; {failed} failed", answers(&before)));
    }
    seen(format!("then:      {}; 0 failed", answers(&after)));
    let start = Instant::now();
    wait::until("v2 is asked again", DELIVERED, || {
        let all = web.load(80, &["--requests=60"])?;
        ensure!(all.by("v2") > 0, "{all:?}");
        Ok(())
    })?;
    seen(format!("v2 is well again; {:.1} s later it is asked again", start.elapsed().as_secs_f64()));
    Ok(())
}

fn told(mesh: &HttpMesh, web: &HttpService<'_>) -> Result<()> {
    act("What the agent tells: Istio's metrics, and a line for each request");
    let agent = mesh.agent_of(&mesh.client);
    let from = agent.log().len();
    web.ask("/told", &["-Hx-request-id: 4711"])?;
    let line = agent.logs_line(from, &["request complete", "4711"])?;
    let shown = [
        "response_code",
        "response_flags",
        "destination_workload",
        "destination_version",
        "connection_security_policy",
    ];
    let text = agent.metrics_text()?;
    let host = web.host();
    let series = text.lines().filter(|line| line.starts_with("istio_requests_total{") && line.contains(&host));
    let series: Vec<&str> = series.collect();
    ensure!(!series.is_empty(), "no request to {host} was counted");
    for line in series.iter().take(6) {
        seen(shortened(line, &shown));
    }
    seen(format!("({} series of the service web in all)", series.len()));
    seen(line.trim());
    Ok(())
}

/// One request that makes others: each pod asks the next one with the `traceparent` that it was asked with, as an application does. The
/// collector that a Telemetry object names has the spans of both nodes.
fn chain(mesh: &HttpMesh) -> Result<()> {
    act("One request through three services, by the spans that a collector got from both nodes");
    let collector = Collector::start(mesh, "collector")?;
    collector.requests_are_read(mesh)?;
    let mut context: Option<String> = None;
    for (from, to) in [(&mesh.client, "v1"), (mesh.pod("v1"), "v2"), (mesh.pod("v2"), "v3")] {
        let mut command = vec!["curl".to_owned(), "-s".to_owned(), format!("http://{}/chain", mesh.version(to).vip())];
        command.extend(context.iter().flat_map(|own| ["-H".to_owned(), format!("traceparent: {own}")]));
        let output = from.place.output(&command)?;
        let echo: Echo = serde_json::from_str(&output.stdout).with_context(|| output.summary())?;
        ensure!(echo.pod == to, "{echo:?}");
        context = Some(echo.header("traceparent").context("no traceparent arrived")?);
    }
    let context = context.context("nobody was asked")?;
    let trace = context.split('-').nth(1).context("it names no trace")?;
    seen(format!("trace {trace}, which the first agent began:"));
    let mut parent = String::new();
    for (depth, span) in collector.trace(trace, 6)?.into_iter().enumerate() {
        ensure!(span.parent == parent, "{span:?} is no child of {parent:?}");
        let indent = "   ".repeat(depth);
        let (pod, node) = (span.pod.unwrap_or_default(), span.node.unwrap_or_default());
        let (status, milliseconds) = (&span.tags["http.status_code"], span.microseconds / 1000);
        let whose = if span.kind == SERVER { format!("{pod} as server of") } else { format!("{pod} →") };
        seen(format!("  {indent}└─ {whose} {}: {status} after {milliseconds} ms, told by {node}", span.name));
        parent = span.span;
    }
    Ok(())
}

fn why(mesh: &HttpMesh, web: &HttpService<'_>) -> Result<()> {
    act("Why: what the agent would do with a request, and by which object");
    let _route = rules(
        web,
        "{match: [{headers: {x-user: {exact: tester}}}], timeout: 2s, route: [{destination: {host: v3}}]}, \
          {route: [{destination: {host: v1}, weight: 80}, {destination: {host: v2}, weight: 20}]}",
    )?;
    let agent = mesh.agent_of(&mesh.client);
    for question in [&["why", "client", "http://web/", "-H", "x-user: tester"][..], &["why", "client", "http://web/"]] {
        let output = agent.weir(question)?;
        ensure!(output.success && output.stdout.contains("taken: "), "{}", output.summary());
        seen(format!("weir {}", question.join(" ").replace("x-user: tester", "'x-user: tester'")));
        output.stdout.lines().for_each(|line| seen(format!("  {line}")));
    }
    Ok(())
}

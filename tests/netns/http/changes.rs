//! What routes change on the way, and answers that no pod gives: rewriting, fields, redirects, direct responses, CORS.

use anyhow::{Context, Result, ensure};
use weir_tests::http_mesh::{Answer, HttpMesh};

use crate::harness::{Case, Check};

pub(crate) const CASES: &[Case] = &[
    Case { name: "http: a VirtualService rewrites path and authority", check: Check::Http(rewrite) },
    Case { name: "http: an HTTPRoute rewrites path and host name", check: Check::Http(http_route_rewrite) },
    Case {
        name: "http: redirects carry the status and the location that the route says",
        check: Check::Http(redirect),
    },
    Case { name: "http: fields are removed, set and added, of requests and responses", check: Check::Http(fields) },
    Case {
        name: "http: a rule changes the fields of answers that no endpoint made, too",
        check: Check::Http(own_answers),
    },
    Case { name: "http: a direct response asks no pod", check: Check::Http(direct_response) },
    Case { name: "http: CORS preflights are answered, and allowed origins told", check: Check::Http(cors) },
];

fn rewrite(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.service("rewrite")?;
    let rule = |path: &str, rewrite: &str| {
        format!("{{match: [{{uri: {path}}}], rewrite: {{{rewrite}}}, route: [{{destination: {{host: v1}}}}]}}")
    };
    let _route = service.virtual_service(&format!(
        "[{}]",
        [
            rule("{prefix: /old/}", "uri: /new/"),
            rule("{exact: /exact}", "uri: /whole"),
            rule("{prefix: /regex}", "uriRegexRewrite: {match: '/regex/([a-z]+)/', rewrite: '/\\1-'}"),
            rule("{prefix: /host}", "authority: other.example"),
        ]
        .join(", ")
    ))?;
    service.comes_to("the route counts", "/none", &[], |answer| answer.status == 404)?;
    let host = service.host();
    for (path, target, authority) in [
        ("/old/a/b?q=1", "/new/a/b?q=1", &*host),
        ("/exact?q=/old/", "/whole?q=/old/", &host),
        ("/regex/abc/1", "/abc-1", &host),
        ("/regex/ABC/1", "/regex/ABC/1", &host),
        ("/host/x", "/host/x", "other.example"),
    ] {
        let echo = service.ask(path, &[])?.echo()?;
        ensure!((&*echo.target, echo.host.as_deref()) == (target, Some(authority)), "{path}: {echo:?}");
    }
    Ok(())
}

fn http_route_rewrite(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.service("gw-rewrite")?;
    let rule = |path: &str, rewrite: &str| {
        format!(
            "{{matches: [{{path: {{value: {path}}}}}], filters: [{{type: URLRewrite, urlRewrite: {{{rewrite}}}}}], \
             backendRefs: [{{name: v2, port: 80}}]}}"
        )
    };
    let _route = service.http_route(&format!(
        "[{}]",
        [
            rule("/old", "path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}"),
            rule("/strip", "path: {type: ReplacePrefixMatch, replacePrefixMatch: /}"),
            rule("/full", "path: {type: ReplaceFullPath, replaceFullPath: /one}"),
            rule("/host", "hostname: other.example"),
        ]
        .join(", ")
    ))?;
    service.comes_to("the route counts", "/none", &[], |answer| answer.status == 404)?;
    let host = service.host();
    for (path, target, authority) in [
        ("/old", "/new", &*host),
        ("/old/a?q=1", "/new/a?q=1", &host),
        ("/strip", "/", &host),
        ("/strip/a", "/a", &host),
        ("/full/a/b?q=1", "/one?q=1", &host),
        ("/host", "/host", "other.example"),
    ] {
        let echo = service.ask(path, &[])?.echo()?;
        ensure!((&*echo.target, echo.host.as_deref()) == (target, Some(authority)), "{path}: {echo:?}");
    }
    Ok(())
}

fn redirect(mesh: &HttpMesh) -> Result<()> {
    let gateway = mesh.service("gw-redirect")?;
    let rule = |path: &str, redirect: &str| {
        format!(
            "{{matches: [{{path: {{value: {path}}}}}], filters: [{{type: RequestRedirect, requestRedirect: {{{redirect}}}}}]}}"
        )
    };
    let _route = gateway.http_route(&format!(
        "[{}]",
        [
            rule("/host", "hostname: other.example"),
            rule("/code", "statusCode: 301, path: {type: ReplaceFullPath, replaceFullPath: /one}"),
            rule("/prefix", "path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}"),
            rule("/scheme", "scheme: https"),
            rule("/port", "port: 8443"),
            rule("/other", "statusCode: 303, hostname: other.example"),
            rule("/again", "statusCode: 307, path: {type: ReplaceFullPath, replaceFullPath: /two}"),
            rule("/moved", "statusCode: 308, path: {type: ReplacePrefixMatch, replacePrefixMatch: /}"),
            rule("/usual", "scheme: https, port: 443"),
            rule("/unusual", "scheme: https, port: 80"),
        ]
        .join(", ")
    ))?;
    let istio = mesh.service("vs-redirect")?;
    let _route = istio.virtual_service(
        "[{match: [{uri: {prefix: /uri}}], redirect: {uri: /new, redirectCode: 308}}, \
          {match: [{uri: {prefix: /authority}}], redirect: {authority: other.example, scheme: https}}]",
    )?;
    let (own, other) = (gateway.host(), istio.host());
    for (service, path, status, location) in [
        (&gateway, "/host/a?q=1", 302, "http://other.example/host/a?q=1".to_owned()),
        (&gateway, "/code/a?q=1", 301, format!("http://{own}/one?q=1")),
        (&gateway, "/prefix/a", 302, format!("http://{own}/new/a")),
        (&gateway, "/scheme", 302, format!("https://{own}/scheme")),
        (&gateway, "/port", 302, format!("http://{own}:8443/port")),
        (&gateway, "/other", 303, "http://other.example/other".to_owned()),
        (&gateway, "/again/a", 307, format!("http://{own}/two")),
        (&gateway, "/moved/a", 308, format!("http://{own}/a")),
        (&gateway, "/usual", 302, format!("https://{own}/usual")),
        (&gateway, "/unusual", 302, format!("https://{own}:80/unusual")),
        (&istio, "/uri/a?q=1", 308, format!("http://{other}/new?q=1")),
        (&istio, "/authority/a", 301, "https://other.example/authority/a".to_owned()),
    ] {
        let answer = service.comes_to(path, path, &[], |answer| (300..400).contains(&answer.status))?;
        answer.expect(status, None).context(path)?;
        ensure!(answer.header("location") == Some(&location), "{path}: {location} expected: {answer:?}");
    }
    Ok(())
}

fn fields(mesh: &HttpMesh) -> Result<()> {
    let istio = mesh.service("vs-fields")?;
    let _route = istio.virtual_service(
        "[{headers: {request: {set: {x-set: rule}, add: {x-add: rule}, remove: [x-gone]}, response: {set: {x-back: rule}}}, \
           route: [{destination: {host: v1}, headers: {request: {set: {x-set: destination}}, response: {add: {x-more: '1'}, \
           remove: [x-hidden]}}}]}]",
    )?;
    let gateway = mesh.service("gw-fields")?;
    let _route = gateway.http_route(
        "[{filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-set, value: destination}], \
            add: [{name: x-add, value: rule}], remove: [x-gone]}}, \
            {type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-back, value: rule}], \
            add: [{name: x-more, value: '1'}], remove: [x-hidden]}}], backendRefs: [{name: v1, port: 80}]}]",
    )?;
    let sent =
        ["-Hx-set: client", "-Hx-add: client", "-Hx-gone: client", "-Hx-kept: a, b", "-Hx-echo: field=x-hidden:1"];
    for service in [&istio, &gateway] {
        let answer = service.comes_to("the route counts", "/", &sent, |answer| answer.header("x-back").is_some())?;
        let echo = answer.echo()?;
        for (name, value) in [
            ("x-set", Some("destination")),
            ("x-add", Some("client, rule")),
            ("x-gone", None),
            ("x-kept", Some("a, b")),
        ] {
            ensure!(echo.header(name).as_deref() == value, "{}: {name}: {value:?} expected: {echo:?}", service.name());
        }
        for (name, value) in [("x-back", Some("rule")), ("x-more", Some("1")), ("x-hidden", None)] {
            ensure!(answer.header(name) == value, "{}: {name}: {value:?} expected: {answer:?}", service.name());
        }
    }
    Ok(())
}

fn own_answers(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.service("own-answers")?;
    let back = "headers: {response: {set: {x-back: rule, x-who: rule}}}";
    let to = |host: &str| {
        format!("{{destination: {{host: {host}}}, headers: {{response: {{set: {{x-who: destination}}}}}}}}")
    };
    let _route = service.virtual_service(&format!(
        "[{{match: [{{uri: {{exact: /abort}}}}], fault: {{abort: {{httpStatus: 418, percentage: {{value: 100}}}}}}, {back}, route: [{v1}]}}, \
          {{match: [{{uri: {{exact: /call}}}}], fault: {{abort: {{grpcStatus: ABORTED, percentage: {{value: 100}}}}}}, {back}, route: [{v1}]}}, \
          {{match: [{{uri: {{exact: /missing}}}}], {back}, route: [{nobody}]}}, \
          {{match: [{{uri: {{exact: /slow}}}}], timeout: 0.2s, {back}, route: [{v1}]}}, \
          {{match: [{{uri: {{exact: /several}}}}], timeout: 0.2s, {back}, route: [{{destination: {{host: v2}}, weight: 0}}, {weighed}]}}, \
          {{{back}, corsPolicy: {{allowOrigins: [{{exact: '*'}}], allowMethods: ['*'], allowCredentials: true}}, route: [{v1}]}}]",
        v1 = to("v1"),
        nobody = to("nobody"),
        weighed = to("v1").replacen('{', "{weight: 100, ", 1),
    ))?;
    service.comes_to("the route counts", "/abort", &[], |answer| answer.status == 418)?;
    let call = ["-HContent-Type: application/grpc", "-XPOST", "--http2-prior-knowledge"];
    for (path, port, more, status, who) in [
        ("/abort", 80, &[][..], 418, "destination"),
        ("/call", 9000, &call, 200, "destination"),
        ("/missing", 80, &[], 503, "destination"),
        ("/slow?delay_ms=2000", 80, &[], 504, "destination"),
        ("/several?delay_ms=2000", 80, &[], 504, "rule"),
        ("/several", 80, &[], 200, "rule"),
    ] {
        let answer = service.ask_at(service.vip(), port, path, more)?;
        let told = (answer.status, answer.header("x-back"), answer.header("x-who"));
        ensure!(told == (status, Some("rule"), Some(who)), "{path}: {answer:?}");
    }
    // A preflight is the browser's alone. An asterisk means nothing to a page that sends credentials.
    let preflight = ["-XOPTIONS", "-HOrigin: https://a.example", "-HAccess-Control-Request-Method: PUT"];
    let answer = service.ask("/", &preflight)?;
    let told = (answer.status, answer.header("x-back"), answer.header("access-control-allow-methods"));
    ensure!(told == (200, None, Some("PUT")), "{answer:?}");
    Ok(())
}

fn direct_response(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.service("direct")?;
    let _route = service.virtual_service(
        "[{match: [{uri: {prefix: /teapot}}], directResponse: {status: 418, body: {string: short and stout}}, \
           headers: {response: {set: {x-kind: direct}}}}, {route: [{destination: {host: v1}}]}]",
    )?;
    let answer = service.comes_to("the route counts", "/teapot?key=direct", &[], |answer| answer.status == 418)?;
    answer.expect(418, None)?;
    let told = (&*answer.body, answer.header("x-kind"), answer.header("content-type"), answer.header("content-length"));
    ensure!(told == ("short and stout", Some("direct"), Some("text/plain"), Some("15")), "{answer:?}");
    let head = service.ask("/teapot", &["--head"])?;
    ensure!((head.status, &*head.body, head.header("content-length")) == (418, "", Some("15")), "{head:?}");
    service.ask("/", &[])?.expect(200, Some("v1"))?;
    let arrived = mesh.arrived("direct")?;
    // Until the route was in effect, requests reached the pods; since then none has.
    service.ask("/teapot?key=direct", &[])?.expect(418, None)?;
    ensure!(mesh.arrived("direct")? == arrived, "a pod was asked");
    Ok(())
}

fn cors(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.service("cors")?;
    let _route = service.virtual_service(
        "[{corsPolicy: {allowOrigins: [{exact: 'https://good.example'}], allowMethods: [GET, PUT], allowHeaders: [x-one, x-two], \
           exposeHeaders: [x-pod], maxAge: 60s, allowCredentials: true}, route: [{destination: {host: v1}}]}]",
    )?;
    let preflight = |origin: &str| {
        let origin = format!("-HOrigin: {origin}");
        let arguments = ["-XOPTIONS", &*origin, "-HAccess-Control-Request-Method: PUT"];
        service.ask("/?key=cors", &arguments)
    };
    let allowed = |answer: &Answer| answer.header("access-control-allow-origin").map(str::to_owned);
    service
        .comes_to("the route counts", "/", &["-HOrigin: https://good.example"], |answer| allowed(answer).is_some())?;
    let good = preflight("https://good.example")?;
    good.expect(200, None)?;
    for (name, value) in [
        ("access-control-allow-origin", "https://good.example"),
        ("access-control-allow-methods", "GET,PUT"),
        ("access-control-allow-headers", "x-one,x-two"),
        ("access-control-max-age", "60"),
        ("access-control-allow-credentials", "true"),
    ] {
        ensure!(good.header(name) == Some(value), "{name}: {value} expected: {good:?}");
    }
    ensure!(mesh.arrived("cors")? == [0, 0, 0], "an allowed preflight reached a pod");
    // One of another origin is the application's to answer.
    let bad = preflight("https://bad.example")?;
    bad.expect(200, Some("v1"))?;
    ensure!(allowed(&bad).is_none(), "{bad:?}");
    for (origin, expected) in [("https://good.example", Some("https://good.example")), ("https://bad.example", None)] {
        let answer = service.ask("/", &[&format!("-HOrigin: {origin}")])?;
        answer.expect(200, Some("v1"))?;
        ensure!(allowed(&answer).as_deref() == expected, "{origin}: {answer:?}");
        let exposed = answer.header("access-control-expose-headers");
        ensure!(exposed == expected.map(|_| "x-pod"), "{origin}: {answer:?}");
        // A page may also read why there is no answer of the application.
        let failed = service.ask("/?reset=before", &[&format!("-HOrigin: {origin}")])?;
        failed.expect(503, None)?;
        ensure!(allowed(&failed).as_deref() == expected, "{origin}: {failed:?}");
    }
    Ok(())
}

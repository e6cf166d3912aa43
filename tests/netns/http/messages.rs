//! HTTP itself: what passes as it is, what is refused, and what is told apart.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weir_tests::http_mesh::{Answer, HttpMesh, HttpService};
use weir_tests::{test_app, wait};

use crate::count::Counter;
use crate::harness::{Case, Check};

pub(crate) const CASES: &[Case] = &[
    Case { name: "http: bodies of any length and coding pass bit by bit, both ways", check: Check::Http(bodies) },
    Case { name: "http: HEAD, 204 and 304 have no body, and their connection goes on", check: Check::Http(no_content) },
    Case { name: "http: 100-continue and 103 come from the server, before the response", check: Check::Http(interim) },
    Case { name: "http: trailers pass, both ways", check: Check::Http(trailers) },
    Case { name: "http: an upgraded connection carries what both sides say", check: Check::Http(upgrade) },
    Case { name: "http: pipelined requests are answered in their order", check: Check::Http(pipelining) },
    Case {
        name: "http: a client of HTTP/1.0 gets an answer that ends with its connection",
        check: Check::Http(http10),
    },
    Case {
        name: "http: what is no request is answered 400 and counted, and no pod sees it",
        check: Check::Http(bad_requests),
    },
    Case {
        name: "http: a head that is too large is answered 431, whatever is still sent",
        check: Check::Http(large_heads),
    },
    Case { name: "http: bytes of another protocol on an HTTP port pass as TCP", check: Check::Http(other_protocol) },
    Case { name: "http: fields of one hop stay on their hop", check: Check::Http(hop_by_hop) },
    Case {
        name: "http: MeshConfig says which fields the agent adds, and whether names keep their case",
        check: Check::Http(case_of_names),
    },
    Case { name: "http: server-sent events arrive one by one", check: Check::Http(events) },
    Case {
        name: "http: a response that comes before its request is whole is given to the client",
        check: Check::Http(early),
    },
];

/// A service whose requests go to v1 alone.
fn v1(mesh: &HttpMesh) -> HttpService<'_> {
    mesh.version("v1")
}

/// Head and body of the only response in what came back.
fn only(received: &str) -> Result<Answer> {
    Answer::parse(received)
}

/// A raw request with the service's name.
fn request(mesh: &HttpMesh, first: &str, more: &str) -> String {
    format!("{first}\r\nHost: {}\r\n{more}", v1(mesh).host())
}

fn bodies(mesh: &HttpMesh) -> Result<()> {
    for version in ["v1", "v2"] {
        let service = mesh.version(version);
        for bytes in [0_u64, 1, 1000, 65_536, 3_000_001] {
            let (upload, size) = (format!("--bytes={bytes}"), format!("--target=/?size={bytes}"));
            let seen = service.load(80, &["--requests=3", "--method=POST", &upload, &size])?;
            seen.all_are(200)?;
            ensure!(seen.bytes == bytes * 3, "{version}: {bytes} bytes, three times: {seen:?}");
        }
        let file = mesh.world.run().folder().join("upload");
        fs::write(&file, vec![b'x'; 300_000])?;
        let upload = format!("@{}", file.display());
        for coding in ["Transfer-Encoding: chunked", "X-Coding: length"] {
            let echo = service.ask("/", &["--data-binary", &upload, "-H", coding])?.echo()?;
            ensure!(echo.body_bytes == 300_000 && echo.method == "POST", "{version} {coding}: {echo:?}");
        }
    }
    // The server says whether it got the pattern.
    for (coding, arguments) in [("length", &[][..]), ("chunked", &["-H", "Transfer-Encoding: chunked"])] {
        let file = mesh.world.run().folder().join("pattern");
        mesh.client.place.run(&["curl", "-sS", "-o", &file.display().to_string(), &direct(mesh, "/?size=1000000")])?;
        let upload = format!("@{}", file.display());
        let echo = v1(mesh).ask("/", &[&["--data-binary", &upload][..], arguments].concat())?.echo()?;
        ensure!(echo.body_bytes == 1_000_000 && echo.body_exact, "{coding}: {echo:?}");
    }
    Ok(())
}

/// v1's own address.
fn direct(mesh: &HttpMesh, path: &str) -> String {
    format!("http://{}:8080{path}", mesh.pod("v1").ipv4())
}

fn no_content(mesh: &HttpMesh) -> Result<()> {
    let service = v1(mesh);
    let head = service.ask("/?size=5000", &["--head"])?;
    ensure!((head.status, head.header("content-length"), &*head.body) == (200, Some("5000"), ""), "{head:?}");
    for (first, status) in [("HEAD /?size=5000", 200), ("GET /?status=204", 204), ("GET /?status=304", 304)] {
        let next = request(mesh, "GET /next HTTP/1.1", "Connection: close\r\n\r\n");
        let seen = service.raw(&(request(mesh, &format!("{first} HTTP/1.1"), "\r\n") + &next))?;
        let (one, rest) = seen.received.split_once("\r\n\r\n").with_context(|| format!("{first}: {seen:?}"))?;
        ensure!(one.starts_with(&format!("HTTP/1.1 {status} ")), "{first}: {seen:?}");
        ensure!(only(rest)?.echo()?.target == "/next" && seen.end == "eof", "{first}: {seen:?}");
    }
    Ok(())
}

fn interim(mesh: &HttpMesh) -> Result<()> {
    let service = v1(mesh);
    let continued = service.ask("/", &["-HExpect: 100-continue", "--data-binary", "12345"])?;
    ensure!((continued.status, &*continued.interim) == (200, &[100][..]), "{continued:?}");
    ensure!(continued.echo()?.body_bytes == 5, "{continued:?}");
    let refused = service.ask("/?unread=1&status=413", &["-HExpect: 100-continue", "--data-binary", "12345"])?;
    ensure!((refused.status, &*refused.interim) == (413, &[][..]), "{refused:?}");
    let early = service.ask("/?interim=103", &[])?;
    ensure!((early.status, &*early.interim) == (200, &[103][..]), "{early:?}");
    Ok(())
}

fn trailers(mesh: &HttpMesh) -> Result<()> {
    let service = v1(mesh);
    let chunked = "TE: trailers\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\nConnection: close\r\n\r\n\
                   3\r\nabc\r\n0\r\nx-sum: 6\r\n\r\n";
    let seen = service.raw(&request(mesh, "POST /?trailers=1 HTTP/1.1", chunked))?;
    ensure!(seen.received.ends_with("0\r\nx-checked: yes\r\n\r\n"), "the response's are missing: {seen:?}");
    ensure!(seen.received.contains(r#""trailers":[["x-sum","6"]]"#), "the request's are missing: {seen:?}");
    Ok(())
}

fn upgrade(mesh: &HttpMesh) -> Result<()> {
    for version in ["v1", "v2"] {
        let service = mesh.version(version);
        let seen = service.raw(&request(
            mesh,
            "GET /socket HTTP/1.1",
            "Connection: keep-alive, Upgrade\r\nUpgrade: echo\r\n\r\nall that follows comes back",
        ))?;
        let answer = only(&seen.received)?;
        answer.expect(101, Some(version))?;
        ensure!(answer.body == "all that follows comes back" && seen.end == "open", "{seen:?}");
        ensure!(answer.header("upgrade") == Some("echo"), "{answer:?}");
    }
    // A protocol that the server does not speak: an ordinary answer.
    let refused = v1(mesh).ask("/", &["-HConnection: Upgrade", "-HUpgrade: other"])?;
    refused.expect(200, Some("v1"))
}

fn pipelining(mesh: &HttpMesh) -> Result<()> {
    let requests = [("/1?delay_ms=50", ""), ("/2", ""), ("/3", "Connection: close\r\n")];
    let requests = requests.map(|(path, more)| request(mesh, &format!("GET {path} HTTP/1.1"), &format!("{more}\r\n")));
    let seen = v1(mesh).raw(&requests.concat())?;
    let places = ["/1?delay_ms=50", "/2", "/3"].map(|path| seen.received.find(&format!("\"target\":\"{path}\"")));
    ensure!(places.iter().all(Option::is_some) && places.is_sorted(), "{seen:?}");
    ensure!(seen.received.matches("HTTP/1.1 200 ").count() == 3 && seen.end == "eof", "{seen:?}");
    Ok(())
}

fn http10(mesh: &HttpMesh) -> Result<()> {
    let service = v1(mesh);
    for path in ["/", "/?stream=3"] {
        let seen = service.raw(&request(mesh, &format!("GET {path} HTTP/1.0"), "\r\n"))?;
        let answer = only(&seen.received)?;
        answer.expect(200, Some("v1"))?;
        ensure!(seen.end == "eof" && answer.header("transfer-encoding").is_none(), "{path}: {seen:?}");
    }
    let streamed = service.raw(&request(mesh, "GET /?stream=3 HTTP/1.0", "\r\n"))?;
    ensure!(only(&streamed.received)?.body == "data: 1\n\ndata: 2\n\ndata: 3\n\n", "{streamed:?}");
    let kept = service.raw(&request(mesh, "GET / HTTP/1.0", "Connection: keep-alive\r\n\r\n"))?;
    only(&kept.received)?.expect(200, Some("v1"))
}

/// Answers with a status that the client's agent counts as those to a client that breaks the protocol.
fn protocol_errors<'a>(mesh: &'a HttpMesh, status: &'a str) -> Result<Counter<'a>> {
    let labels =
        [("reporter", "source"), ("source_workload", "client"), ("response_code", status), ("response_flags", "DPE")];
    Counter::of(mesh.agent_of(&mesh.client), "istio_requests_total", &labels)
}

fn bad_requests(mesh: &HttpMesh) -> Result<()> {
    let service = v1(mesh);
    let counted = protocol_errors(mesh, "400")?;
    let host = format!("Host: {}\r\n", service.host());
    let bad = [
        ("no Host", "GET /?key=bad HTTP/1.1\r\n\r\n".to_owned()),
        ("two Hosts", format!("GET /?key=bad HTTP/1.1\r\n{host}{host}\r\n")),
        ("two lengths", format!("POST /?key=bad HTTP/1.1\r\n{host}Content-Length: 1\r\nContent-Length: 2\r\n\r\nab")),
        ("a negative length", format!("POST /?key=bad HTTP/1.1\r\n{host}Content-Length: -1\r\n\r\n")),
        ("a length with a sign", format!("POST /?key=bad HTTP/1.1\r\n{host}Content-Length: +1\r\n\r\na")),
        (
            "a length and chunks",
            format!(
                "POST /?key=bad HTTP/1.1\r\n{host}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            ),
        ),
        ("an unknown coding", format!("POST /?key=bad HTTP/1.1\r\n{host}Transfer-Encoding: gzip\r\n\r\n")),
        ("a space before the colon", format!("GET /?key=bad HTTP/1.1\r\n{host}X-A : b\r\n\r\n")),
        ("a folded field", format!("GET /?key=bad HTTP/1.1\r\n{host}X-A: b\r\n c\r\n\r\n")),
        ("a control character in a value", format!("GET /?key=bad HTTP/1.1\r\n{host}X-A: b\x01c\r\n\r\n")),
        ("a bare carriage return in a value", format!("GET /?key=bad HTTP/1.1\r\n{host}X-A: b\rc\r\n\r\n")),
    ];
    for (what, text) in &bad {
        let seen = service.raw(text)?;
        let status = seen.received.split(' ').nth(1).unwrap_or_default().to_owned();
        ensure!(status == "400", "{what}: 400 expected: {seen:?}");
        ensure!(seen.end == "eof", "{what}: the connection goes on: {seen:?}");
    }
    counted.grows_by_exactly(bad.len() as f64)?;
    ensure!(mesh.arrived("bad")? == [0, 0, 0], "a pod saw one: {:?}", mesh.arrived("bad")?);
    service.ask("/", &[])?.expect(200, Some("v1"))
}

/// The answer comes also to a client that writes all of its request before it reads: what is left of that is read, and not reset.
fn large_heads(mesh: &HttpMesh) -> Result<()> {
    const SIZES: [usize; 3] = [62_000, 100_000, 125_000];
    let service = v1(mesh);
    let counted = protocol_errors(mesh, "431")?;
    for size in SIZES {
        let long = format!("X-A: {}\r\n\r\n", "a".repeat(size));
        let seen = service.raw(&request(mesh, "GET /?key=large HTTP/1.1", &long))?;
        ensure!(seen.received.starts_with("HTTP/1.1 431 ") && seen.end == "eof", "{size}: {seen:?}");
    }
    let many = "X-A: b\r\n".repeat(1000) + "\r\n";
    let seen = service.raw(&request(mesh, "GET /?key=large HTTP/1.1", &many))?;
    ensure!(seen.received.starts_with("HTTP/1.1 431 ") && seen.end == "eof", "many fields: {seen:?}");
    counted.grows_by_exactly(SIZES.len() as f64 + 1.0)?;
    ensure!(mesh.arrived("large")? == [0, 0, 0], "a pod saw one: {:?}", mesh.arrived("large")?);
    service.ask("/", &[])?.expect(200, Some("v1"))
}

fn other_protocol(mesh: &HttpMesh) -> Result<()> {
    const VIP: &str = "10.97.0.251";
    // An echo behind a port that says it speaks HTTP.
    let yaml = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: liar, namespace: shop}}\nspec: {{clusterIP: {VIP}, selector: {{version: v2}}, \
         ports: [{{name: http, port: 80, targetPort: {}}}]}}\n",
        test_app::ECHO
    );
    let _service = mesh.control_plane.objects.put_for_now("service-liar", &yaml)?;
    let text = "\x01\x02 this is no HTTP\r\n\r\n";
    wait::until("the bytes come back", Duration::from_secs(10), || {
        let seen = test_app::probe(&mesh.client.place, VIP.parse()?, 80, text)?;
        ensure!(seen.received == text, "{seen:?}");
        Ok(())
    })
}

fn hop_by_hop(mesh: &HttpMesh) -> Result<()> {
    let sent = [
        "-HConnection: x-hop, keep-alive",
        "-HX-Hop: client",
        "-HKeep-Alive: timeout=5",
        "-HX-End: client",
        "-HTE: trailers",
    ];
    let echo = v1(mesh).ask("/", &sent)?.echo()?;
    for (name, value) in [("x-hop", None), ("keep-alive", None), ("x-end", Some("client"))] {
        ensure!(echo.header(name).as_deref() == value, "{name}: {value:?} expected: {echo:?}");
    }
    let answer = v1(mesh).ask("/?field=connection:x-secret&field=x-secret:1&field=x-open:1", &[])?;
    ensure!(answer.header("x-secret").is_none() && answer.header("x-open") == Some("1"), "{answer:?}");
    Ok(())
}

const PRESERVE_CASE: &str = "\
apiVersion: mesh.istio.io/v1alpha1
kind: MeshConfig
metadata: {name: mesh, namespace: istio-system}
spec: {defaultConfig: {proxyHeaders: {preserveHttp1HeaderCase: true, attemptCount: {disabled: true}, server: {value: mesh}, xForwardedPort: {enabled: true}, xForwardedHost: {enabled: true}}}}
";

fn case_of_names(mesh: &HttpMesh) -> Result<()> {
    // The server sends names in lower case; that of the length is the agent's own to write.
    let names = || -> Result<_> {
        let received = v1(mesh).raw(&request(mesh, "GET / HTTP/1.1", "\r\n"))?.received;
        let has = |name: &str| received.contains(&format!("\n{name}: "));
        Ok((has("content-length"), has("Content-Length"), has("x-envoy-upstream-service-time"), has("date")))
    };
    let fields = || -> Result<_> {
        let echo = v1(mesh).ask("/", &["-HX-API-Key: k"])?.echo()?;
        Ok(["x-api-key", "x-envoy-attempt-count", "x-forwarded-proto", "x-forwarded-port"]
            .map(|name| echo.header(name)))
    };
    let some = |text: &str| Some(text.to_owned());
    let server =
        || Ok::<_, anyhow::Error>(v1(mesh).ask("/?field=server:own", &[])?.header("server").map(str::to_owned));
    ensure!(server()? == some("own"), "{:?}", server()?);
    ensure!(names()? == (true, false, true, true), "{:?}", names()?);
    ensure!(fields()? == [some("k"), some("1"), some("http"), None], "{:?}", fields()?);
    let _config = mesh.control_plane.objects.put_for_now("mesh-config", PRESERVE_CASE)?;
    wait::until("the agent preserves case", Duration::from_secs(10), || {
        let seen = names()?;
        ensure!(seen == (false, true, true, true), "{seen:?}");
        Ok(())
    })?;
    ensure!(fields()? == [some("k"), None, some("http"), some("80")], "{:?}", fields()?);
    ensure!(server()? == some("mesh"), "{:?}", server()?);
    let service = mesh.service_of("forwarded-host", ("version", "v1"))?;
    let _route =
        service.virtual_service("[{rewrite: {authority: other.example}, route: [{destination: {host: v1}}]}]")?;
    let answer = service.comes_to("the authority is rewritten", "/", &[], |answer| {
        answer.echo().is_ok_and(|echo| echo.host.as_deref() == Some("other.example"))
    })?;
    let said = answer.echo()?.header("x-forwarded-host");
    ensure!(said == Some(service.host()), "{answer:?}");
    Ok(())
}

fn events(mesh: &HttpMesh) -> Result<()> {
    // The server pauses after each event for longer than the client waits for the first.
    let path = "/?stream=3&pause_ms=3000";
    let output = v1(mesh).curl(path, &["-N", "--max-time", "2"])?;
    ensure!(output.stdout.ends_with("data: 1\n\n"), "the first was not given to the client: {}", output.summary());
    let whole = v1(mesh).ask("/?stream=5&pause_ms=10", &[])?;
    ensure!(whole.body.matches("data: ").count() == 5, "{whole:?}");
    Ok(())
}

fn early(mesh: &HttpMesh) -> Result<()> {
    // The rest of the body never comes.
    let text = request(mesh, "POST /?unread=1&status=413 HTTP/1.1", "Content-Length: 1000000\r\n\r\nbegin");
    let seen = v1(mesh).raw(&text)?;
    ensure!(seen.received.starts_with("HTTP/1.1 413 "), "{seen:?}");
    Ok(())
}

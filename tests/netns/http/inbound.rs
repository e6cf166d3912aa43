//! Requests at their destination: the agent of the pod that is called decides about each, whatever the client's agent did.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weir_tests::http_mesh::{Answer, HttpMesh, HttpService};
use weir_tests::mesh::{NAMESPACE, principal};
use weir_tests::objects::ForNow;
use weir_tests::place::Place;
use weir_tests::wait;
use weir_tests::world::N1;

use crate::count::{Counter, grow_by_exactly};
use crate::harness::{Case, Check};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "http policy: ALLOW by method and path answers 403 to every other request, by every way",
        check: Check::Http(allow),
    },
    Case {
        name: "http policy: DENY by path holds for each spelling of it, DENY by field for each of its values",
        check: Check::Http(deny),
    },
    Case {
        name: "http policy: requests of one connection are decided about one by one",
        check: Check::Http(one_by_one),
    },
    Case { name: "http policy: a client of gRPC is denied in its own terms", check: Check::Http(grpc) },
    Case {
        name: "http policy: it holds in plaintext, where nobody is proven to be anybody",
        check: Check::Http(plaintext),
    },
    Case {
        name: "http policy: what is not HTTP is denied where HTTP would be asked about",
        check: Check::Http(not_http),
    },
    Case {
        name: "http policy: the application learns who the client has proven to be, and not who it says",
        check: Check::Http(client_cert),
    },
    Case { name: "http policy: bodies, trailers and upgrades pass as without it", check: Check::Http(transparent) },
    Case { name: "http policy: a denial is counted and logged with its policy", check: Check::Http(told) },
];

/// The body of a denial.
const DENIED: &str = "RBAC: access denied";
/// Where http-echo serves in a pod.
const ECHO: u16 = 8080;
/// A policy about requests that denies none of those that cases send.
pub(super) const DENY_NONE: &str = "[{to: [{operation: {paths: [\"/never\"]}}]}]";

/// An AuthorizationPolicy about one version's pod, and its service. It goes when it is dropped.
pub(super) fn policy<'a>(mesh: &'a HttpMesh, version: &str, action: &str, rules: &str) -> Result<ForNow<'a>> {
    let yaml = format!(
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: requests, namespace: {NAMESPACE}}}\nspec:\n  \
         selector: {{matchLabels: {{version: {version}}}}}\n  action: {action}\n  rules: {rules}\n"
    );
    mesh.control_plane.objects.put_for_now("requests", &yaml)
}

pub(super) fn is_denied(answer: &Answer) -> bool {
    answer.status == 403 && answer.body == DENIED
}

/// Waits until a change counts.
pub(super) fn comes_to(service: &HttpService<'_>, path: &str, status: u16) -> Result<()> {
    service.comes_to(&format!("{path} is answered {status}"), path, &[], |answer| answer.status == status).map(drop)
}

/// [`DENY_NONE`] for a version, in force: its agent reads requests and decides about them, and denies none that cases ask for.
pub(super) fn decided_about<'a>(mesh: &'a HttpMesh, version: &str) -> Result<ForNow<'a>> {
    let none = policy(mesh, version, "DENY", DENY_NONE)?;
    let service = mesh.version(version);
    comes_to(&service, "/never", 403)?;
    // An earlier policy may have denied both.
    comes_to(&service, "/", 200)?;
    Ok(none)
}

/// Asks a pod at its own address, past all services.
pub(super) fn ask_pod(from: &Place, to: IpAddr, path: &str, more: &[&str]) -> Result<Answer> {
    let host = if to.is_ipv6() { format!("[{to}]") } else { to.to_string() };
    let url = format!("http://{host}:{ECHO}{path}");
    let command = [&["curl", "-sS", "--include", "--path-as-is", "--max-time", "20"], more, &[&*url]].concat();
    let output = from.output(&command)?;
    ensure!(output.success, "curl {url} {more:?}: {}", output.summary());
    Answer::parse(&output.stdout)
}

fn allow(mesh: &HttpMesh) -> Result<()> {
    let rules = "[{to: [{operation: {methods: [GET, HEAD], paths: [\"/open*\", /exact, \"*/end\"]}}]}]";
    for version in ["v2", "v1"] {
        let service = mesh.version(version);
        let allowing = policy(mesh, version, "ALLOW", rules)?;
        comes_to(&service, "/", 403)?;
        for (method, path, status) in [
            ("GET", "/open", 200),
            ("GET", "/open/x?y", 200),
            ("GET", "/exact?y", 200),
            ("GET", "/a/end", 200),
            ("GET", "/%6fpen", 200),
            ("GET", "/exact/more", 403),
            ("GET", "/OPEN", 403),
            ("GET", "/open/../secret", 403),
            ("GET", "/secret", 403),
            ("GET", "/secret?/open", 403),
            ("PUT", "/open", 403),
        ] {
            let (more, pod) = ([format!("-X{method}")], mesh.pod(version));
            let more: Vec<&str> = more.iter().map(String::as_str).collect();
            let http2 = [&more[..], &["--http2-prior-knowledge"]].concat();
            let answers = [
                ("by its service", service.ask_at(service.vip(), 80, path, &more)),
                ("by IPv6", service.ask_at(service.vip6(), 80, path, &more)),
                ("by HTTP/2", service.ask_at(service.vip(), 8081, path, &http2)),
                ("as bytes to the client's agent", service.ask_at(service.vip(), 8082, path, &more)),
                ("by HTTP/2, as bytes to the client's agent", service.ask_at(service.vip(), 8082, path, &http2)),
                ("by the pod's address", ask_pod(&mesh.client.place, pod.ipv4(), path, &more)),
                ("by the pod's other address", ask_pod(&mesh.client.place, pod.ipv6(), path, &more)),
            ];
            for (way, answer) in answers {
                let answer = answer.with_context(|| format!("{version}: {method} {path} {way}"))?;
                let is_right = if status == 403 { is_denied(&answer) } else { answer.status == status };
                ensure!(is_right, "{version}: {method} {path} {way}: {status} expected: {answer:?}");
            }
        }
        drop(allowing);
        comes_to(&service, "/", 200)?;
    }
    Ok(())
}

fn deny(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.version("v2");
    let rules =
        "[{to: [{operation: {paths: [\"/admin*\"]}}]}, {when: [{key: \"request.headers[x-role]\", values: [guest]}]}]";
    let _denying = policy(mesh, "v2", "DENY", rules)?;
    comes_to(&service, "/admin", 403)?;
    let before = mesh.arrived("bad")?;
    for path in [
        "/admin?key=bad",
        "/admin/x?key=bad",
        "/./admin?key=bad",
        "/x/../admin?key=bad",
        "/x/%2e%2e/admin?key=bad",
        "/%61dmin?key=bad",
        "/x\\..\\admin?key=bad",
    ] {
        for (port, more) in [(80, &[][..]), (8082, &[]), (8082, &["--http2-prior-knowledge"])] {
            let answer = service.ask_at(service.vip(), port, path, more)?;
            ensure!(is_denied(&answer), "{path} at port {port}: {answer:?}");
        }
    }
    for roles in [&["-Hx-role: guest"][..], &["-HX-Role: admin", "-HX-Role: guest"]] {
        let answer = service.ask("/?key=bad", roles)?;
        ensure!(is_denied(&answer), "{roles:?}: {answer:?}");
    }
    ensure!(mesh.arrived("bad")? == before, "one arrived: {:?}", mesh.arrived("bad")?);
    service.ask("/user", &["-Hx-role: admin"])?.expect(200, Some("v2"))?;
    mesh.version("v3").ask("/admin", &[])?.expect(200, Some("v3"))
}

fn one_by_one(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.version("v2");
    let _denying = policy(mesh, "v2", "DENY", "[{to: [{operation: {paths: [/admin]}}]}]")?;
    comes_to(&service, "/admin", 403)?;
    let request = |line: &str, more: &str| format!("{line} HTTP/1.1\r\nHost: {}\r\n{more}\r\n", service.host());
    let body = "Content-Length: 5\r\n";
    let requests = [
        request("GET /1", ""),
        request("POST /admin", body) + "12345",
        request("GET /2", ""),
        request("GET /admin", ""),
        request("GET /3", "Connection: close\r\n"),
    ];
    // Requests of the client's agent, and the client's own connection, past its agent's HTTP.
    let pod = mesh.pod("v2").ipv4();
    let direct = weir_tests::test_app::probe(&mesh.client.place, pod, ECHO, &requests.concat())?;
    for seen in [service.raw(&requests.concat())?, direct] {
        let count = |text| seen.received.matches(text).count();
        ensure!((count("HTTP/1.1 200"), count("HTTP/1.1 403"), count(DENIED)) == (3, 2, 2), "{seen:?}");
        let places = ["/1", "/2", "/3"].map(|path| seen.received.find(&format!("\"target\":\"{path}\"")));
        ensure!(places.iter().all(Option::is_some) && places.is_sorted() && seen.end == "eof", "{seen:?}");
    }
    Ok(())
}

fn grpc(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.version("v2");
    let _denying = policy(mesh, "v2", "DENY", "[{to: [{operation: {paths: [/echo.Echo/Admin]}}]}]")?;
    comes_to(&service, "/echo.Echo/Admin", 403)?;
    let call = |method: &str| {
        let more =
            ["--http2-prior-knowledge", "-HContent-Type: application/grpc", "-HTE: trailers", "--data-binary", ""];
        service.ask_at(service.vip(), 9000, &format!("/echo.Echo/{method}"), &more)
    };
    let denied = call("Admin")?;
    ensure!(
        denied.status == 200
            && denied.header("grpc-status") == Some("7")
            && denied.header("grpc-message") == Some(DENIED)
            && denied.body.is_empty(),
        "{denied:?}"
    );
    let calls =
        ["--http2", "--method=POST", "--field=content-type: application/grpc", "--field=te: trailers", "--bytes=100"];
    let calls = [&calls[..], &["--streams=16", "--requests=200"]].concat();
    let seen = service.load(9000, &[&calls[..], &["--target=/echo.Echo/Unary"]].concat())?;
    ensure!(seen.grpc_statuses.get("0") == Some(&200), "{seen:?}");
    let seen = service.load(9000, &[&calls[..], &["--target=/echo.Echo/Admin"]].concat())?;
    ensure!(seen.grpc_statuses.get("7") == Some(&200) && seen.connections == 1, "{seen:?}");
    Ok(())
}

fn plaintext(mesh: &HttpMesh) -> Result<()> {
    let stranger = mesh.world.nodes[N1].pod("stranger")?;
    let service = mesh.version("v2");
    let to = [mesh.pod("v2").ipv4(), mesh.pod("v2").ipv6()];
    let rules = format!(
        "[{{to: [{{operation: {{paths: [/open]}}}}]}}, {{from: [{{source: {{principals: [\"{}\"]}}}}], to: [{{operation: {{paths: \
         [/known]}}}}]}}]",
        principal(&mesh.client).trim_start_matches("spiffe://")
    );
    let _allowing = policy(mesh, "v2", "ALLOW", &rules)?;
    comes_to(&service, "/", 403)?;
    service.ask("/known", &[])?.expect(200, Some("v2"))?;
    for to in to {
        for version in [&[][..], &["--http2-prior-knowledge"]] {
            for path in ["/", "/known"] {
                let answer = ask_pod(&stranger.place, to, path, version)?;
                ensure!(is_denied(&answer), "{path}: {answer:?}");
            }
            let claims =
                [version, &["-HX-Forwarded-Client-Cert: URI=spiffe://cluster.local/ns/shop/sa/client"]].concat();
            let echo = ask_pod(&stranger.place, to, "/open", &claims)?.echo()?;
            ensure!(echo.header("x-forwarded-client-cert").is_none(), "{echo:?}");
            ensure!(echo.peer.contains(&stranger.ipv4().to_string()) || to.is_ipv6(), "the peer is hidden: {echo:?}");
        }
    }
    Ok(())
}

fn not_http(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.version("v2");
    for (action, rules) in [("ALLOW", "[{to: [{operation: {paths: [\"*\"]}}]}]"), ("DENY", DENY_NONE)] {
        let one = policy(mesh, "v2", action, rules)?;
        let path = if action == "ALLOW" { "/any" } else { "/never" };
        comes_to(&service, path, if action == "ALLOW" { 200 } else { 403 })?;
        let pod = mesh.pod("v2").ipv4();
        wait::until("bytes of another protocol are refused", Duration::from_secs(10), || {
            let seen = weir_tests::test_app::probe(&mesh.client.place, pod, ECHO, "\x01\x02 no HTTP\r\n")?;
            ensure!(seen.refused_by_answer(), "{action}: {seen:?}");
            Ok(())
        })?;
        drop(one);
    }
    comes_to(&service, "/never", 200)
}

fn client_cert(mesh: &HttpMesh) -> Result<()> {
    let own = principal(&mesh.client);
    for version in ["v2", "v1"] {
        let service = mesh.version(version);
        let one = decided_about(mesh, version)?;
        let claims =
            ["-HX-Forwarded-Client-Cert: URI=spiffe://cluster.local/ns/shop/sa/admin", "-HX_Forwarded_Client_Cert: me"];
        for (port, more) in [(80, &[][..]), (8082, &[]), (8081, &["--http2-prior-knowledge"])] {
            let echo = service.ask_at(service.vip(), port, "/", &[&claims[..], more].concat())?.echo()?;
            let said = echo.headers.iter().filter(|(name, _)| name.replace('_', "-") == "x-forwarded-client-cert");
            let said: Vec<&str> = said.map(|(_, value)| &**value).collect();
            let [value] = &*said else { anyhow::bail!("{version}: one is expected: {echo:?}") };
            let parts: Vec<&str> = value.split(';').collect();
            let by = format!("By={}", principal(mesh.pod(version)));
            let [first, hash, "Subject=\"\"", uri] = &*parts else { anyhow::bail!("{version}: {value}") };
            ensure!(*first == by && *uri == format!("URI={own}"), "{version}: {value}");
            let digits = hash.strip_prefix("Hash=").unwrap_or_default();
            ensure!(digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()), "{version}: {value}");
        }
        drop(one);
        comes_to(&service, "/never", 200)?;
    }
    Ok(())
}

fn transparent(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.version("v2");
    let _none = decided_about(mesh, "v2")?;
    for (port, more) in [(80, &[][..]), (8082, &[]), (8081, &["--http2"]), (8082, &["--http2"])] {
        for bytes in [0_u64, 1, 65_536, 3_000_001] {
            let own = [format!("--bytes={bytes}"), format!("--target=/?size={bytes}"), "--requests=3".to_owned()];
            let own: Vec<&str> = own.iter().map(String::as_str).chain(["--method=POST"]).collect();
            let seen = service.load(port, &[&own[..], more].concat())?;
            seen.all_are(200).with_context(|| format!("port {port} {more:?}, {bytes} bytes"))?;
            ensure!(seen.bytes == bytes * 3, "{bytes} bytes, three times: {seen:?}");
        }
    }
    let request = |first: &str, more: &str| format!("{first} HTTP/1.1\r\nHost: {}\r\n{more}", service.host());
    let chunked = "TE: trailers\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\nConnection: close\r\n\r\n\
                   3\r\nabc\r\n0\r\nx-sum: 6\r\n\r\n";
    let seen = service.raw(&request("POST /?trailers=1", chunked))?;
    ensure!(seen.received.ends_with("0\r\nx-checked: yes\r\n\r\n"), "the response's trailers are missing: {seen:?}");
    ensure!(seen.received.contains(r#""trailers":[["x-sum","6"]]"#), "the request's are missing: {seen:?}");
    let upgrade = "Connection: Upgrade\r\nUpgrade: echo\r\n\r\nall that follows comes back";
    let seen = service.raw(&request("GET /socket", upgrade))?;
    let answer = Answer::parse(&seen.received)?;
    ensure!(answer.status == 101 && answer.body == "all that follows comes back", "{seen:?}");
    let continued = service.ask("/", &["-HExpect: 100-continue", "--data-binary", "12345"])?;
    ensure!((continued.status, &*continued.interim) == (200, &[100][..]), "{continued:?}");
    let head = service.ask("/?size=5000", &["--head"])?;
    ensure!((head.status, head.header("content-length"), &*head.body) == (200, Some("5000"), ""), "{head:?}");
    let pod = mesh.pod("v2").ipv4();
    let bad =
        weir_tests::test_app::probe(&mesh.client.place, pod, ECHO, "GET / HTTP/1.1\r\nHost: a\r\nX-A : b\r\n\r\n")?;
    ensure!(bad.received.starts_with("HTTP/1.1 400 ") && bad.end == "eof", "{bad:?}");
    Ok(())
}

fn told(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.version("v2");
    let _denying =
        policy(mesh, "v2", "DENY", "[{to: [{operation: {paths: [/other]}}]}, {to: [{operation: {paths: [/told]}}]}]")?;
    comes_to(&service, "/told", 403)?;
    service.ask("/before", &[])?.expect(200, Some("v2"))?;
    let agent = mesh.agent_of(mesh.pod("v2"));
    let own = principal(&mesh.client);
    let labels = |status: &'static str| {
        vec![
            ("reporter", "destination"),
            ("source_workload", "client"),
            ("source_principal", &*own),
            ("destination_workload", "v2"),
            ("destination_service_name", "v2"),
            ("request_protocol", "http"),
            ("response_code", status),
            ("response_flags", "-"),
            ("connection_security_policy", "mutual_tls"),
        ]
    };
    let good = Counter::of(agent, "istio_requests_total", &labels("200"))?;
    let bad = Counter::of(agent, "istio_requests_total", &labels("403"))?;
    let denials = Counter::of(agent, "weir_request_denials_total", &[])?;
    let before = agent.log().len();
    service.ask("/good", &[])?.expect(200, Some("v2"))?;
    ensure!(is_denied(&service.ask("/told", &["-AAgent/1"])?), "it is not denied");
    grow_by_exactly(&[(&good, 1.0), (&bad, 1.0), (&denials, 1.0)])?;
    let words = [
        "request complete",
        "path=\"/told\"",
        "status=403",
        "rbac_access_denied_matched_policy[ns[shop]-policy[requests]-rule[1]]",
    ];
    let line = agent.logs_line(before, &words)?;
    for part in ["direction=\"inbound\"", "shop/requests", &own] {
        ensure!(line.contains(part), "{part}: {line}");
    }
    Ok(())
}

//! Widespread clients and servers through the mesh: curl, Go, Node, nginx, wrk, h2load. Each gets exactly what the other sent, from a
//! pod of its own node and of another one, by IPv4 and IPv6.

use std::fs;
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, ensure};
use weir_tests::http_mesh::{HttpMesh, HttpService, Port};
use weir_tests::program::Program;
use weir_tests::{nginx, peers};

use crate::harness::{Case, Check};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "http: curl, Go and Node get from Go exactly what it sent, and it what they sent",
        check: Check::Http(from_go),
    },
    Case {
        name: "http: curl, Go and Node get from Node exactly what it sent, and it what they sent",
        check: Check::Http(from_node),
    },
    Case {
        name: "http: nginx serves files, ranges and conditions to curl 1.0, 1.1 and h2",
        check: Check::Http(from_nginx),
    },
    Case { name: "http: wrk and h2load have every request answered", check: Check::Http(load_generators) },
];

/// Ports of a server that speaks both versions on one port.
const BOTH: [Port; 2] =
    [Port { name: "http", number: 80, target: 9101 }, Port { name: "http2", number: 81, target: 9101 }];
/// Ports of a server that has one for each version.
const EACH: [Port; 2] =
    [Port { name: "http", number: 80, target: 9102 }, Port { name: "http2", number: 81, target: 9103 }];
const NGINX: [Port; 1] = [Port { name: "http", number: 80, target: nginx::PORT_IN_MESH }];

/// Bytes of the largest content.
const BYTES: &str = "1000003";
/// curl's versions of HTTP, and what it calls the one that was spoken.
const OF_CURL: [(&str, &str); 3] = [("--http1.0", "1.1"), ("--http1.1", "1.1"), ("--http2-prior-knowledge", "2")];

/// Where servers run, and by which address of their service they are asked.
fn places<'a>(mesh: &'a HttpMesh, name: &str, ports: &[Port]) -> Result<[(&'static str, HttpService<'a>, IpAddr); 2]> {
    let near = mesh.service_at_ports(&format!("{name}-near"), "v1", ports)?;
    let far = mesh.service_at_ports(&format!("{name}-far"), "v2", ports)?;
    let (v4, v6) = (near.vip(), far.vip6());
    Ok([("v1", near, v4), ("v2", far, v6)])
}

fn from_go(mesh: &HttpMesh) -> Result<()> {
    let command = [peers::go("web")?, "serve".to_owned(), BOTH[0].target.to_string()];
    for (pod, service, vip) in places(mesh, "go", &BOTH)? {
        let _server = started(mesh, pod, &command, &BOTH)?;
        all_clients(mesh, &service, vip).with_context(|| format!("Go in {pod}, asked at {vip}"))?;
    }
    Ok(())
}

fn from_node(mesh: &HttpMesh) -> Result<()> {
    let [node, script] = peers::node(mesh.world.run())?;
    let command = [node, script, "serve".to_owned(), EACH[0].target.to_string(), EACH[1].target.to_string()];
    for (pod, service, vip) in places(mesh, "node", &EACH)? {
        let _server = started(mesh, pod, &command, &EACH)?;
        all_clients(mesh, &service, vip).with_context(|| format!("Node in {pod}, asked at {vip}"))?;
    }
    Ok(())
}

/// Starts a server in a pod, and waits until it listens.
fn started(mesh: &HttpMesh, pod: &str, command: &[String], ports: &[Port]) -> Result<Program> {
    let mut server = mesh.pod(pod).place.spawn(command)?;
    for port in ports {
        server.listens_on(port.target)?;
    }
    Ok(server)
}

/// Every client asks for everything, in both versions of HTTP, at ports that declare either.
fn all_clients(mesh: &HttpMesh, service: &HttpService<'_>, vip: IpAddr) -> Result<()> {
    let (host, web) = (service.host(), peers::go("web")?);
    let [node, script] = peers::node(mesh.world.run())?;
    let run = |command: &[&str]| mesh.client.place.run(command).map(drop);
    for port in [80, 81] {
        let to = SocketAddr::new(vip, port).to_string();
        run(&[&web, "ask", "-host", &host, "-bytes", BYTES, &to])?;
        run(&[&web, "ask", "-http2", "-host", &host, "-bytes", BYTES, &to])?;
        run(&[&node, &script, "ask", "1", &to, &host, BYTES])?;
        run(&[&node, &script, "ask", "2", &to, &host, BYTES])?;
        for (flag, version) in OF_CURL {
            curl(mesh, service, SocketAddr::new(vip, port), flag, version)?;
        }
    }
    Ok(())
}

/// curl sends a file and gets it back, and a status without content.
fn curl(mesh: &HttpMesh, service: &HttpService<'_>, to: SocketAddr, flag: &str, version: &str) -> Result<()> {
    let (sent, got) = (mesh.world.run().folder().join("sent"), mesh.world.run().folder().join("got"));
    let content: Vec<u8> = (0..300_007_u32).map(|place| (place ^ (place >> 8)).to_le_bytes()[0]).collect();
    fs::write(&sent, &content)?;
    let (upload, got_name) = (format!("@{}", sent.display()), got.display().to_string());
    for (path, arguments, status) in [
        ("/echo", &["--data-binary", &*upload][..], "200"),
        ("/echo", &["--data-binary", &upload, "-HExpect: 100-continue"], "200"),
        ("/status/418", &[], "418"),
        ("/status/204", &[], "204"),
    ] {
        let (url, host) = (format!("http://{to}{path}"), format!("Host: {}", service.host()));
        let usual = ["curl", "-sS", "-g", flag, "--max-time", "20", "-w", "%{http_code} %{http_version}", "-H", &host];
        let command = [&usual[..], &["-o", &got_name, &url], arguments].concat();
        fs::write(&got, "")?;
        let said = mesh.client.place.run(&command)?;
        ensure!(said == format!("{status} {version}"), "{flag} {path}: {said}, expected {status} {version}");
        let expected = if path == "/echo" { &content[..] } else { &[] };
        ensure!(fs::read(&got)? == expected, "{flag} {path}: other content came back");
    }
    Ok(())
}

fn from_nginx(mesh: &HttpMesh) -> Result<()> {
    let page: String = (0..40_000).map(|line| format!("{line}\n")).collect();
    for (pod, service, vip) in places(mesh, "nginx", &NGINX)? {
        let _server = nginx::serve_at(&mesh.pod(pod).place, mesh.world.run(), &page, nginx::PORT_IN_MESH)?;
        for (flag, version) in OF_CURL {
            let ask = |path: &str, more: &[&str]| service.ask_at(vip, 80, path, &[&[flag][..], more].concat());
            let whole = ask("/", &[])?;
            let version = format!("HTTP/{version}");
            ensure!((whole.status, &*whole.version) == (200, &*version), "{flag}: {whole:?}");
            ensure!(whole.body == page, "{flag}: {} of {} bytes", whole.body.len(), page.len());
            let etag = whole.header("etag").context("nginx gives files an ETag")?;
            let part = ask("/", &["--range", "1000-1999"])?;
            ensure!((part.status, &*part.body) == (206, &page[1000..2000]), "{flag}: {part:?}");
            let same = ask("/", &["-H", &format!("If-None-Match: {etag}")])?;
            ensure!((same.status, &*same.body) == (304, ""), "{flag}: {same:?}");
            let head = ask("/", &["--head"])?;
            ensure!(head.header("content-length") == Some(&*page.len().to_string()), "{flag}: {head:?}");
            for (path, more, status) in [("/none", &[][..], 404), ("/", &["--data", "x"], 405)] {
                let answer = ask(path, more)?;
                ensure!(answer.status == status && answer.body.contains("nginx"), "{flag} {path}: {answer:?}");
            }
        }
    }
    Ok(())
}

fn load_generators(mesh: &HttpMesh) -> Result<()> {
    let command = [peers::go("web")?, "serve".to_owned(), BOTH[0].target.to_string()];
    for (pod, service, vip) in places(mesh, "load", &BOTH)? {
        let _server = started(mesh, pod, &command, &BOTH)?;
        let url = |port| format!("http://{}/bytes/3000", SocketAddr::new(vip, port));
        let (host, authority) = (format!("Host: {}", service.host()), format!(":authority: {}", service.host()));
        let said = mesh.client.place.run(&["wrk", "-t2", "-c16", "-d1s", "-H", &host, &url(80)])?;
        ensure!(said.contains("requests in"), "{said}");
        ensure!(!said.contains("Socket errors") && !said.contains("Non-2xx"), "{pod}: {said}");
        for port in [80, 81] {
            let said = mesh.client.place.run(&["h2load", "-n2000", "-c4", "-m16", "-H", &authority, &url(port)])?;
            let all = "2000 total, 2000 started, 2000 done, 2000 succeeded, 0 failed, 0 errored, 0 timeout";
            ensure!(said.contains(all) && said.contains("2000 2xx, 0 3xx, 0 4xx, 0 5xx"), "{pod}: {said}");
            ensure!(said.contains("(6000000) data"), "{pod}: every body has 3000 bytes: {said}");
        }
        // For an IPv6 address, h2load makes a Host that is none.
        let url = format!("http://{}/bytes/3000", service.vip());
        let said = mesh.client.place.run(&["h2load", "--h1", "-n2000", "-c4", &url])?;
        ensure!(said.contains("2000 succeeded, 0 failed") && said.contains("2000 2xx"), "{pod}: {said}");
    }
    Ok(())
}

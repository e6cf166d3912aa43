//! What clients of the three listeners get, over real sockets.

use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::admin::fixture;
use crate::admin::status::{self, FetchError, fetch};

fn loopback() -> AdminAddresses {
    let any_port = "127.0.0.1:0".parse().unwrap();
    AdminAddresses { admin: any_port, metrics: any_port, readiness: any_port }
}

async fn start(sources: AdminSources) -> (RunningServers, AdminAddresses, Arc<AdminSources>) {
    let sources = Arc::new(sources);
    let servers = AdminServers::bind(loopback()).await.unwrap();
    let addresses = servers.addresses().unwrap();
    (servers.start(&sources), addresses, sources)
}

/// Sends bytes as they are and returns the whole answer.
async fn send(address: SocketAddr, bytes: &[u8]) -> String {
    String::from_utf8(send_for_bytes(address, bytes).await).unwrap()
}

async fn send_for_bytes(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    // A server that has seen enough may reset the connection after its answer.
    let _ = stream.read_to_end(&mut answer).await;
    answer
}

/// Status code and body.
async fn request(address: SocketAddr, method: &str, path: &str) -> (u16, String) {
    let answer = send(address, format!("{method} {path} HTTP/1.1\r\nhost: weir\r\n\r\n").as_bytes()).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[tokio::test]
async fn metrics_come_in_the_format_that_is_asked_for() {
    let (_log, sources) = fixture::sources();
    let (_running, addresses, _) = start(sources).await;
    let prometheus = "accept: application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2\r\n";
    let open_metrics = "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n";
    let classic = "content-type: text/plain; version=0.0.4; charset=utf-8\r\n";
    for (path, accept, expected) in [
        ("/metrics", prometheus, open_metrics),
        ("/stats/prometheus", prometheus, open_metrics),
        ("/metrics", "accept: */*\r\n", classic),
        ("/metrics", "", classic),
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nhost: weir\r\n{accept}\r\n");
        let answer = send(addresses.metrics, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains(expected), "{accept}: {answer}");
        assert_eq!(answer.ends_with("# EOF\n"), expected == open_metrics, "{answer}");
    }
}

#[tokio::test]
async fn metrics_are_compressed_for_those_who_take_them_so() {
    let (_log, sources) = fixture::sources();
    let (_running, addresses, _) = start(sources).await;
    let ask = async |accepted: &str| {
        let request = format!("GET /metrics HTTP/1.1\r\nhost: weir\r\n{accepted}\r\n");
        let answer = send_for_bytes(addresses.metrics, request.as_bytes()).await;
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        (String::from_utf8(answer[..end].to_vec()).unwrap(), answer[end..].to_vec())
    };
    let (head, plain) = ask("").await;
    assert!(head.contains(&format!("content-length: {}\r\n", plain.len())), "{head}");
    for (accepted, is_packed) in [
        ("accept-encoding: gzip\r\n", true),
        ("accept-encoding: br, GZIP;q=0.5\r\n", true),
        ("accept-encoding: gzip;q=0\r\n", false),
        ("accept-encoding: br\r\n", false),
    ] {
        let (head, body) = ask(accepted).await;
        assert_eq!(head.contains("content-encoding: gzip\r\n"), is_packed, "{accepted}: {head}");
        assert!(head.contains("vary: accept, accept-encoding\r\n"), "{head}");
        let mut text = Vec::new();
        if is_packed {
            flate2::read::GzDecoder::new(body.as_slice()).read_to_end(&mut text).unwrap();
        } else {
            text = body;
        }
        // Figures of the process differ from one scrape to the next.
        let first = |text: &[u8]| text.split(|byte| *byte == b'\n').next().unwrap().to_vec();
        assert_eq!(first(&text), first(&plain), "{accepted}");
    }
}

#[tokio::test]
async fn readiness_says_what_it_waits_for() {
    let (_log, sources) = fixture::sources();
    let (_running, addresses, sources) = start(sources).await;
    let blockers = (sources.ready.block("xds"), sources.ready.block("capture"));
    let ask = || request(addresses.readiness, "GET", "/healthz/ready");
    assert_eq!(ask().await, (503, "waiting for: xds, capture\n".to_owned()));
    drop(blockers);
    assert_eq!(ask().await, (200, "ready\n".to_owned()));
    sources.ready.stop();
    assert_eq!(ask().await, (503, "waiting for: drain\n".to_owned()));
}

#[tokio::test]
async fn each_listener_answers_only_for_its_own_paths_and_methods() {
    let (_log, sources) = fixture::sources();
    let (_running, addresses, _) = start(sources).await;
    for (address, method, path, expected) in [
        (addresses.metrics, "GET", "/config_dump", 404),
        (addresses.metrics, "POST", "/quitquitquit", 404),
        (addresses.readiness, "GET", "/metrics", 404),
        (addresses.admin, "GET", "/", 200),
        (addresses.admin, "GET", "/nonsense", 404),
        (addresses.admin, "GET", "/config_dump/", 404),
        (addresses.admin, "GET", "/quitquitquit", 405),
        (addresses.admin, "DELETE", "/config_dump", 405),
        (addresses.admin, "HEAD", "/config_dump", 200),
        (addresses.metrics, "PUT", "/metrics", 405),
    ] {
        assert_eq!(request(address, method, path).await.0, expected, "{method} {path}");
    }
}

#[tokio::test]
async fn the_index_lists_every_admin_endpoint() {
    let (_log, sources) = fixture::sources();
    let (_running, addresses, _) = start(sources).await;
    let (_, index) = request(addresses.admin, "GET", "/").await;
    for path in ["/config_dump", "/logging", "/objects", "/plaintext", "/quitquitquit", "/status", "/version"] {
        assert!(index.lines().any(|line| line.starts_with(path)), "{path}: {index}");
    }
}

#[tokio::test]
async fn bad_requests_are_refused_and_harm_nobody() {
    let (_log, sources) = fixture::sources();
    let (_running, addresses, _) = start(sources).await;
    let long_path = format!("GET /{} HTTP/1.1\r\nhost: weir\r\n\r\n", "x".repeat(100_000));
    let long_header = format!("GET / HTTP/1.1\r\nhost: {}\r\n\r\n", "x".repeat(100_000));
    let many_headers = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(5_000));
    let noise = "\0\0\u{16}\u{3}\u{1}\r\n\r\n".to_owned();
    for bytes in [long_path, long_header, many_headers, noise] {
        let answer = send(addresses.admin, bytes.as_bytes()).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    assert_eq!(request(addresses.admin, "GET", "/version").await.0, 200);
}

#[tokio::test]
async fn clients_that_say_nothing_keep_nobody_out() {
    let (_log, sources) = fixture::sources();
    let (_running, addresses, _) = start(sources).await;
    let mut silent = Vec::new();
    for _ in 0..200 {
        let mut client = TcpStream::connect(addresses.readiness).await.unwrap();
        client.write_all(b"GET /healthz").await.unwrap();
        silent.push(client);
    }
    let asked = tokio::time::timeout(Duration::from_secs(5), async {
        for _ in 0..20 {
            assert_eq!(request(addresses.readiness, "GET", "/healthz/ready").await.0, 200);
        }
    });
    asked.await.expect("they are answered at once");
}

#[tokio::test]
async fn the_log_filter_is_shown_and_changed() {
    let (_log, sources) = fixture::sources();
    let (_running, addresses, sources) = start(sources).await;
    for (method, path, expected, filter) in [
        ("GET", "/logging", 200, "info"),
        ("POST", "/logging?level=debug", 200, "debug"),
        ("GET", "/logging?level=weir::xds:trace", 200, "debug,weir::xds=trace"),
        ("POST", "/logging?level=off", 200, "off"),
        ("POST", "/logging?level=loud", 400, "off"),
        ("POST", "/logging?level=a%3Dloud", 400, "off"),
        ("POST", "/logging?level=", 200, "off"),
        ("POST", "/logging?reset", 200, "info"),
        ("POST", "/logging?level=warn&reset", 200, "warn"),
    ] {
        let (code, body) = request(addresses.admin, method, path).await;
        assert_eq!((code, &*sources.log.filter()), (expected, filter), "{method} {path}: {body}");
        assert_eq!(body == format!("current log level is {filter}\n"), code == 200, "{body}");
    }
}

#[tokio::test]
async fn quitting_takes_a_post() {
    let (_log, mut sources) = fixture::sources();
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = asked.clone();
    sources.quit = Box::new(move || {
        counter.fetch_add(1, Ordering::Relaxed);
    });
    let (_running, addresses, _) = start(sources).await;
    assert_eq!(request(addresses.admin, "GET", "/quitquitquit").await.0, 405);
    assert_eq!(asked.load(Ordering::Relaxed), 0);
    assert_eq!(request(addresses.admin, "POST", "/quitquitquit").await.0, 200);
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn the_status_travels_over_the_admin_address() {
    let (_log, sources) = fixture::sources();
    let (running, addresses, sources) = start(sources).await;
    let status = fetch(addresses.admin).await.unwrap();
    assert_eq!(status.pods, status::collect(&sources).pods);
    assert_eq!(status.node, "node-1");
    assert!(matches!(fetch(addresses.metrics).await, Err(FetchError::Refused(StatusCode::NOT_FOUND, _))));
    drop(running);
    // The listeners close when the tasks have been dropped by the runtime.
    tokio::task::yield_now().await;
    assert!(fetch(addresses.admin).await.is_err());
}

#[tokio::test]
async fn a_source_that_panics_costs_one_request() {
    let (_log, mut sources) = fixture::sources();
    sources.pods = Box::new(|| panic!("as a test"));
    let (_running, addresses, _) = start(sources).await;
    assert_eq!(request(addresses.admin, "GET", "/config_dump").await.0, 500);
    assert_eq!(request(addresses.admin, "GET", "/version").await.0, 200);
}

#[tokio::test]
async fn the_admin_interface_never_leaves_loopback() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let addresses = AdminAddresses { admin: address.parse().unwrap(), ..loopback() };
        assert!(matches!(AdminServers::bind(addresses).await, Err(AdminError::NotLoopback(_))), "{address}");
    }
}

//! HTTP/2 by its rules: h2spec finds nothing wrong with what an application's connection is served, and a server that breaks the
//! rules harms its own requests alone.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weir_tests::agent::binary;
use weir_tests::http_mesh::{Answer, HttpLoad, HttpMesh, HttpService, Port};
use weir_tests::{peers, wait};

use crate::harness::{Case, Check, note};

pub(crate) const CASES: &[Case] = &[
    Case { name: "http2: h2spec finds every rule kept, towards clients", check: Check::Http(h2spec) },
    Case {
        name: "http2: a server that breaks the rules breaks its own requests alone, whoever asks",
        check: Check::Http(wrong_server),
    },
];

/// How h2spec ends where all of its tests pass, with the strict ones among them.
const ALL_PASSED: &str = "146 tests, 146 passed, 0 skipped, 0 failed";
/// Node's server: it says nothing to what is no HTTP/2, which reaches it as it came. Nobody asks at the other port.
const NODE: [Port; 1] = [Port { name: "http2", number: 80, target: 9203 }];
const OTHER_PORT: u16 = 9204;
/// What it answers with some content.
const PATH: &str = "/bytes/100";
/// Bytes of a field of which five are longer than the frames that the agent takes.
const LONG_FIELD: &str = "15200";
/// The server that breaks the rules, by a port that declares HTTP/2.
const WRONG: [Port; 1] = [Port { name: "http2", number: 80, target: 9201 }];

/// What a client must see of what a server does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sees {
    /// The whole response.
    Whole,
    /// This status, from the agent.
    Status(u16),
    /// A response that breaks off, or an error of the agent: never a whole response.
    Broken,
    /// The whole response, or the same as of [`Sees::Broken`]: as fast as it came.
    Either,
}

/// What `weir-test-app hostile http2` does, by the path of a request, and what its client must see.
const DEEDS: &[(&str, Sees)] = &[
    ("unknown-frames", Sees::Whole),
    ("goaway-midway", Sees::Whole),
    ("goaway-unseen", Sees::Whole),
    ("refused", Sees::Whole),
    ("data-after-the-end", Sees::Whole),
    ("head-after-the-end", Sees::Whole),
    ("close", Sees::Status(503)),
    ("reset-at-once", Sees::Status(503)),
    ("no-frames", Sees::Status(502)),
    ("settings-size", Sees::Status(502)),
    ("settings-ack-with-content", Sees::Status(502)),
    ("settings-on-a-stream", Sees::Status(502)),
    ("settings-window", Sees::Status(502)),
    ("settings-frame-size", Sees::Status(502)),
    ("ping-size", Sees::Status(502)),
    ("ping-on-a-stream", Sees::Status(502)),
    ("window-size", Sees::Status(502)),
    ("window-of-nothing", Sees::Status(502)),
    ("window-overflow", Sees::Status(502)),
    ("stream-window-of-nothing", Sees::Status(503)),
    ("stream-window-overflow", Sees::Status(503)),
    ("window-of-an-idle-stream", Sees::Status(502)),
    ("reset-size", Sees::Status(502)),
    ("reset-of-no-stream", Sees::Status(502)),
    ("reset-of-an-idle-stream", Sees::Status(502)),
    ("goaway-size", Sees::Status(502)),
    ("goaway-on-a-stream", Sees::Status(502)),
    ("push", Sees::Status(502)),
    ("data-before-the-head", Sees::Status(502)),
    ("data-on-no-stream", Sees::Status(502)),
    ("data-on-an-idle-stream", Sees::Status(502)),
    ("padded-head-beyond-the-frame", Sees::Status(502)),
    ("head-on-no-stream", Sees::Status(502)),
    ("head-on-an-idle-stream", Sees::Status(502)),
    ("head-on-an-even-stream", Sees::Status(502)),
    ("head-interrupted", Sees::Status(502)),
    ("continuation-of-nothing", Sees::Status(502)),
    ("continuation-of-another", Sees::Status(502)),
    ("priority-size", Sees::Status(502)),
    ("no-status", Sees::Status(502)),
    ("empty-head", Sees::Status(502)),
    ("two-statuses", Sees::Status(502)),
    ("status-behind-a-field", Sees::Status(502)),
    ("status-of-words", Sees::Status(502)),
    ("status-of-two-digits", Sees::Status(502)),
    ("status-of-four-digits", Sees::Status(502)),
    ("status-with-a-sign", Sees::Status(502)),
    ("status-of-a-request", Sees::Status(502)),
    ("unknown-pseudo-header", Sees::Status(502)),
    ("name-in-upper-case", Sees::Status(502)),
    ("name-with-a-blank", Sees::Status(502)),
    ("name-with-a-colon", Sees::Status(502)),
    ("no-name", Sees::Status(502)),
    ("name-with-a-line-end", Sees::Status(502)),
    ("value-with-a-line-end", Sees::Status(502)),
    ("value-with-a-line-feed", Sees::Status(502)),
    ("value-with-a-zero", Sees::Status(502)),
    ("connection", Sees::Status(502)),
    ("transfer-encoding", Sees::Status(502)),
    ("upgrade", Sees::Status(502)),
    ("switching", Sees::Status(502)),
    ("interim-that-ends", Sees::Status(502)),
    ("length-of-words", Sees::Status(502)),
    ("two-lengths", Sees::Status(502)),
    ("nothing-of-its-length", Sees::Status(502)),
    ("index-of-nothing", Sees::Status(502)),
    ("index-beyond-the-table", Sees::Status(502)),
    ("huffman-of-nothing", Sees::Status(502)),
    ("endless-number", Sees::Status(502)),
    ("table-too-large", Sees::Status(502)),
    ("head-that-breaks-off", Sees::Status(502)),
    ("bomb", Sees::Status(502)),
    ("large-head", Sees::Status(502)),
    ("endless-head", Sees::Status(502)),
    ("continuation-flood", Sees::Status(502)),
    ("close-midway", Sees::Broken),
    ("reset-midway", Sees::Broken),
    ("reset-without-an-error-midway", Sees::Broken),
    ("goaway-with-an-error", Sees::Broken),
    ("too-long-a-frame", Sees::Broken),
    ("padding-beyond-the-frame", Sees::Broken),
    ("less-than-its-length", Sees::Broken),
    ("more-than-its-length", Sees::Broken),
    ("trailers-with-a-status", Sees::Broken),
    ("trailers-that-do-not-end", Sees::Broken),
    ("reset-storm", Sees::Broken),
    ("window-overrun", Sees::Either),
    ("interim-flood", Sees::Either),
    ("settings-flood", Sees::Either),
    ("ping-flood", Sees::Either),
    ("window-flood", Sees::Either),
    ("priority-flood", Sees::Either),
    ("unknown-flood", Sees::Either),
    ("empty-data-flood", Sees::Either),
    ("goaway-flood", Sees::Either),
];

fn h2spec(mesh: &HttpMesh) -> Result<()> {
    let program = peers::go("h2spec")?;
    let [node, script] = peers::node(mesh.world.run())?;
    let ports = [OTHER_PORT, NODE[0].target].map(|port| port.to_string());
    for version in ["v1", "v2"] {
        let mut server = mesh.pod(version).place.spawn(&[&*node, &script, "serve", &ports[0], &ports[1]])?;
        server.listens_on(NODE[0].target)?;
        let service = mesh.service_at_ports(&format!("h2spec-{version}"), version, &NODE)?;
        let vip = service.vip().to_string();
        let asked =
            [&*program, "--strict", "--host", &vip, "--port", "80", "--path", PATH, "--max-header-length", LONG_FIELD];
        let output = mesh.client.place.output_within(Duration::from_secs(180), &asked)?;
        let failed: Vec<&str> = output.stdout.lines().skip_while(|line| !line.starts_with("Failures:")).collect();
        ensure!(
            output.stdout.contains(ALL_PASSED),
            "{version}: {}\n{}",
            output.stdout.lines().last().unwrap_or_default(),
            failed.join("\n")
        );
    }
    Ok(())
}

fn wrong_server(mesh: &HttpMesh) -> Result<()> {
    let program = binary("weir-test-app")?.display().to_string();
    let port = WRONG[0].target.to_string();
    let mut server = mesh.pod("v2").place.spawn(&[&*program, "hostile", "http2", &port])?;
    server.listens_on(WRONG[0].target)?;
    let service = mesh.service_at_ports("wrong-http2", "v2", &WRONG)?;
    // Another pod of the client's node asks all the while, over the agent that the wrong answers come to.
    let other = mesh.version("v3");
    let to = SocketAddr::new(other.vip(), 8081).to_string();
    let arguments = [to, format!("--host={}", other.host()), "--http2".to_owned(), "--streams=4".to_owned()];
    let bystander = HttpLoad::start(&mesh.pod("v1").place, &arguments)?;
    wait::until("the server is reached", Duration::from_secs(10), || sees(&service, "fine", "--http1.1", Sees::Whole))?;
    for (deed, expected) in DEEDS {
        for version in ["--http1.1", "--http2-prior-knowledge"] {
            let what = || format!("{deed}, asked with {version}");
            sees(&service, deed, version, *expected).with_context(what)?;
            // While a flood goes on, its connection may be the one on which the next request is sent, and whose end it shares.
            sees(&service, "fine", version, Sees::Whole).with_context(|| format!("after {}", what()))?;
        }
    }
    let seen = bystander.end()?;
    note(format!("{} ways to break the rules; {} requests of another pod meanwhile", DEEDS.len(), seen.answered));
    seen.all_are(200)
}

/// Asks for a deed of the server, and checks what comes of it.
fn sees(service: &HttpService<'_>, deed: &str, version: &str, expected: Sees) -> Result<()> {
    let output = service.curl(&format!("/{deed}"), &[version, "--output", "-"])?;
    // Bytes that are no text would be answers that nobody sent.
    let answer = Answer::parse(&output.stdout).ok();
    let status = answer.as_ref().map_or(0, |answer| answer.status);
    let is_whole = output.success && status == 200;
    let is_refused = output.success && matches!(status, 502 | 503);
    let is_broken = !output.success && output.status.code() != Some(CURL_TIMEOUT) && matches!(status, 0 | 200);
    let is_expected = match expected {
        Sees::Whole => is_whole && answer.is_some_and(|answer| answer.body == "whole"),
        Sees::Status(expected) => output.success && status == expected,
        Sees::Broken => is_refused || is_broken,
        Sees::Either => is_whole || is_refused || is_broken,
    };
    ensure!(is_expected, "{expected:?} expected: {}", output.summary());
    Ok(())
}

/// curl's status where its time was over.
const CURL_TIMEOUT: i32 = 28;

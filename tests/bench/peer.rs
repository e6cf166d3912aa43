//! Any other pair of proxies, brought up by a command of the user's. The contract is in docs/bench.md: variables say
//! where things are, a line on standard output says that it is ready and what to dial, SIGTERM is the end.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use weir_tests::program::Program;
use weir_tests::wait;
use weir_tests::world::{N1, N2};

use crate::identities::{self, Identities};
use crate::subject::{Proxies, Subject};
use crate::testbed::{Dial, GRPC, HTTP, IPERF, Testbed};

/// How long the command may take until it is ready.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How long it may take to end.
const ENDS_WITHIN: Duration = Duration::from_secs(10);

/// A peer as the command line has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) name: String,
    command: String,
}

/// What the command said when it was ready.
#[derive(Debug, PartialEq, Eq)]
struct Ready {
    dial: Dial,
    /// Where its proxies read each request, of HTTP/1 and of gRPC, if they do.
    routed: Option<SocketAddr>,
    calls: Option<SocketAddr>,
    processes: Vec<Vec<u32>>,
}

/// The running command; it ends as it is asked to.
struct Running(Option<Program>);

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.0.take().map(|program| program.stop(ENDS_WITHIN)) {
            eprintln!("a peer was killed: {error:#}");
        }
    }
}

/// Reads `NAME=COMMAND`.
pub(crate) fn parse(text: &str) -> Result<Peer, String> {
    let (name, command) = text.split_once('=').ok_or("a peer is NAME=COMMAND")?;
    Ok(Peer { name: name.to_owned(), command: command.to_owned() })
}

/// Runs the command on a testbed of its own and waits until it is ready.
pub(crate) fn start(peer: &Peer) -> Result<Subject> {
    let testbed = Testbed::set_up("bench")?;
    let folder = testbed.world.run().folder().join("peer");
    let mut command = vec!["env".to_owned()];
    command.extend(variables(&testbed, &Identities::write(&folder)?)?);
    command.extend(["sh".into(), "-c".into(), peer.command.clone()]);
    let mut program = testbed.world.nodes[N1].place.spawn(&command)?;
    let what = format!("the peer {} is ready", peer.name);
    let ready = wait::until(&what, READY_WITHIN, || {
        let running = program.is_running();
        match program.stdout().lines().find_map(|line| line.strip_prefix("READY ")) {
            Some(line) => parse_ready(line).map(Some),
            None if running => bail!("it has not said so"),
            None => Ok(None),
        }
    });
    let ended = || format!("the peer {} ends with:\n{}", peer.name, program.tail());
    let ready = ready.with_context(ended)?.with_context(ended)?;
    let proxies = if ready.processes.is_empty() { Proxies::None } else { Proxies::Processes(ready.processes) };
    let subject = Subject::across(&peer.name, &testbed, ready.dial, proxies);
    let subject = subject.routing_some(ready.routed, ready.calls);
    Ok(subject.keeping(Running(Some(program))).keeping(testbed))
}

/// `NAME=value` of all that a command may need to know.
fn variables(testbed: &Testbed, ids: &Identities) -> Result<Vec<String>> {
    let netns = |name: &str| format!("/run/netns/{}-{name}", testbed.world.run().name());
    let file = |path: &std::path::Path| path.display().to_string();
    let pairs = [
        ("CLIENT_NETNS", netns(testbed.client.name())),
        ("SERVER_NETNS", netns(testbed.far.name())),
        ("CLIENT_NODE_NETNS", netns(testbed.world.nodes[N1].name())),
        ("SERVER_NODE_NETNS", netns(testbed.world.nodes[N2].name())),
        ("CLIENT_ADDRESS", testbed.client.ipv4().to_string()),
        ("SERVER_ADDRESS", testbed.far.ipv4().to_string()),
        ("HTTP_PORT", HTTP.to_string()),
        ("IPERF_PORT", IPERF.to_string()),
        ("GRPC_PORT", GRPC.to_string()),
        ("ROOT", file(&ids.root)),
        ("CLIENT_CERTIFICATE", file(&ids.client.chain)),
        ("CLIENT_KEY", file(&ids.client.key)),
        ("SERVER_CERTIFICATE", file(&ids.server.chain)),
        ("SERVER_KEY", file(&ids.server.key)),
        ("CLIENT_IDENTITY", identities::CLIENT.to_owned()),
        ("SERVER_IDENTITY", identities::SERVER.to_owned()),
        ("FOLDER", file(&testbed.world.nodes[N1].folder("peer")?)),
    ];
    Ok(pairs.into_iter().map(|(name, value)| format!("WEIR_BENCH_{name}={value}")).collect())
}

/// What a line of `READY` may say.
const WORDS: [&str; 6] = ["http", "iperf", "routed-http", "routed-grpc", "client-pids", "server-pids"];

/// Reads what follows `READY`: `http=… iperf=…`; where each request is read, if anywhere; and the proxies' process ids if they are to be
/// weighed.
fn parse_ready(line: &str) -> Result<Ready> {
    let mut fields: Vec<(&str, &str)> = Vec::new();
    for field in line.split_whitespace() {
        let (name, value) = field.split_once('=').with_context(|| format!("{field} is not NAME=VALUE"))?;
        ensure!(WORDS.contains(&name), "{name} is none of {}", WORDS.join(", "));
        fields.push((name, value));
    }
    let field = |name: &str| fields.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
    let address = |name: &str| -> Result<Option<SocketAddr>> {
        let address = field(name).map(|text| text.parse().with_context(|| format!("{name}={text} is no address")));
        address.transpose()
    };
    let needed = |name: &str| address(name)?.with_context(|| format!("no {name}="));
    let processes = |name: &str| -> Result<Option<Vec<u32>>> {
        let ids = field(name).map(|ids| ids.split(',').map(str::parse).collect::<Result<Vec<u32>, _>>());
        Ok(ids.transpose()?)
    };
    Ok(Ready {
        dial: Dial { http: needed("http")?, iperf: needed("iperf")? },
        routed: address("routed-http")?,
        calls: address("routed-grpc")?,
        processes: [processes("client-pids")?, processes("server-pids")?].into_iter().flatten().collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ready_line_says_what_to_dial_and_may_name_more() {
        let ready = |routed: Option<&str>, calls: Option<&str>, processes: &[&[u32]]| Ready {
            dial: Dial { http: "10.0.0.1:80".parse().unwrap(), iperf: "10.0.0.1:5201".parse().unwrap() },
            routed: routed.map(|address| address.parse().unwrap()),
            calls: calls.map(|address| address.parse().unwrap()),
            processes: processes.iter().map(|ids| ids.to_vec()).collect(),
        };
        for (more, expected) in [
            ("", ready(None, None, &[])),
            ("client-pids=1,2 server-pids=3", ready(None, None, &[&[1, 2], &[3]])),
            ("routed-http=10.0.0.2:81", ready(Some("10.0.0.2:81"), None, &[])),
            ("routed-grpc=[fd00::1]:82", ready(None, Some("[fd00::1]:82"), &[])),
            (
                "server-pids=3 routed-grpc=10.0.0.2:82 routed-http=10.0.0.2:81",
                ready(Some("10.0.0.2:81"), Some("10.0.0.2:82"), &[&[3]]),
            ),
        ] {
            let read = parse_ready(&format!("http=10.0.0.1:80 iperf=10.0.0.1:5201 {more}"));
            assert_eq!(read.unwrap(), expected, "{more}");
        }
    }

    #[test]
    fn a_ready_line_that_cannot_be_read_as_a_whole_is_an_error() {
        for (line, says) in [
            ("http=10.0.0.1:80", "no iperf="),
            ("http=10.0.0.1:80 iperf=x", "iperf=x is no address"),
            ("http=10.0.0.1:80 iperf=10.0.0.1:1 routed-http=10.0.0.1", "routed-http=10.0.0.1 is no address"),
            ("http=10.0.0.1:80 iperf=10.0.0.1:1 routed=10.0.0.1:2", "routed is none of http"),
            ("http=10.0.0.1:80 iperf=10.0.0.1:1 soon", "soon is not NAME=VALUE"),
            ("http=10.0.0.1:80 iperf=10.0.0.1:1 client-pids=a", "invalid digit"),
        ] {
            let error = parse_ready(line).unwrap_err();
            assert!(format!("{error:#}").contains(says), "{line}: {error:#}");
        }
    }

    #[test]
    fn a_peer_is_a_name_and_a_command_that_may_hold_anything() {
        let peer = |name: &str, command: &str| Peer { name: name.to_owned(), command: command.to_owned() };
        for (text, expected) in [
            ("again=relay a=b", Some(peer("again", "relay a=b"))),
            ("again=", Some(peer("again", ""))),
            ("again", None),
        ] {
            assert_eq!(parse(text).ok(), expected, "{text}");
        }
    }
}

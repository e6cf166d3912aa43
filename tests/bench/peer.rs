//! Any other pair of proxies, brought up by a command of the user's. The contract is in docs/bench.md: variables say
//! where things are, a line on standard output says that it is ready and what to dial, SIGTERM is the end.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use weir_tests::program::Program;
use weir_tests::wait;
use weir_tests::world::{N1, N2};

use crate::identities::{self, Identities};
use crate::subject::{Proxies, Subject};
use crate::testbed::{Dial, HTTP, IPERF, Testbed};

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

/// Reads what follows `READY`: `http=… iperf=…`, and the proxies' process ids if they are to be weighed.
fn parse_ready(line: &str) -> Result<Ready> {
    let fields: Vec<(&str, &str)> = line.split_whitespace().filter_map(|field| field.split_once('=')).collect();
    let field = |name: &str| fields.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
    let address = |name: &str| Ok::<_, anyhow::Error>(field(name).with_context(|| format!("no {name}="))?.parse()?);
    let processes = |name: &str| -> Result<Option<Vec<u32>>> {
        let ids = field(name).map(|ids| ids.split(',').map(str::parse).collect::<Result<Vec<u32>, _>>());
        Ok(ids.transpose()?)
    };
    let processes = [processes("client-pids")?, processes("server-pids")?].into_iter().flatten().collect();
    Ok(Ready { dial: Dial { http: address("http")?, iperf: address("iperf")? }, processes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ready_line_says_what_to_dial_and_may_name_processes() {
        let ready = parse_ready("http=10.0.0.1:80 iperf=10.0.0.1:5201 client-pids=1,2 server-pids=3").unwrap();
        assert_eq!(ready.dial.http.to_string(), "10.0.0.1:80");
        assert_eq!(ready.processes, [vec![1, 2], vec![3]]);
        assert!(parse_ready("http=10.0.0.1:80 iperf=10.0.0.1:5201").unwrap().processes.is_empty());
        assert!(parse_ready("http=10.0.0.1:80").is_err());
        assert!(parse_ready("http=10.0.0.1:80 iperf=x").is_err());
    }
}

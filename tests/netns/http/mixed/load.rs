//! The clients: one of requests of every kind, one that is allowed nothing, and WebSockets that are kept.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use weir_tests::agent::binary;
use weir_tests::load::Moment;
use weir_tests::peers;
use weir_tests::program::Program;
use weir_tests::wait;

use super::stage::Stage;

/// WebSockets that are kept to each of their servers.
const SOCKETS: &str = "3";
const FLOWS_WITHIN: Duration = Duration::from_secs(20);
/// How long what is under way may take to end.
const ENDS_WITHIN: Duration = Duration::from_secs(60);

/// Clients that are running.
#[derive(Debug)]
pub(super) struct Load {
    client: Program,
    stranger: Program,
    sockets: Vec<Program>,
}

/// What the clients have seen.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) client: Requests,
    pub(super) stranger: Requests,
    pub(super) sockets: Vec<Sockets>,
}

/// Requests of a client.
#[derive(Debug)]
pub(super) struct Requests {
    pub(super) tally: Tally,
    pub(super) open: Vec<Open>,
    pub(super) lost: Vec<Lost>,
    pub(super) wrong: Vec<Value>,
}

/// WebSockets of a client.
#[derive(Debug)]
pub(super) struct Sockets {
    pub(super) tally: SocketTally,
    pub(super) ends: Vec<End>,
    pub(super) wrong: Vec<Value>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Tally {
    pub(super) begun: u64,
    pub(super) by_kind: BTreeMap<String, u64>,
    pub(super) statuses: BTreeMap<u16, u64>,
    pub(super) pods: BTreeMap<String, u64>,
    pub(super) routes: BTreeMap<usize, Route>,
    pub(super) bytes: u64,
    pub(super) messages: u64,
    pub(super) slowest_ms: u64,
}

/// The answers by one version of the route.
#[derive(Debug, Deserialize)]
pub(super) struct Route {
    pub(super) answers: u64,
    pub(super) first_end: Moment,
    pub(super) last_begin: Moment,
}

/// A request for what a policy allows at times: which of two paths, and what came of it.
#[derive(Debug, Deserialize)]
pub(super) struct Open {
    pub(super) open: usize,
    pub(super) status: u16,
    pub(super) begun: Moment,
    pub(super) ended: Moment,
}

/// A request without a whole answer, or that the mesh has answered with an error.
#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "what is not looked at is for messages")]
pub(super) struct Lost {
    kind: String,
    http2: bool,
    number: u64,
    why: String,
    pub(super) status: Option<u16>,
    pub(super) begun: Moment,
    pub(super) ended: Moment,
    /// When its connection was opened.
    pub(super) opened: Option<Moment>,
}

#[derive(Debug, Deserialize)]
pub(super) struct SocketTally {
    pub(super) messages: u64,
    pub(super) bytes: u64,
}

/// A WebSocket that ended by itself, or could not be opened.
#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "what is not looked at is for messages")]
pub(super) struct End {
    open: bool,
    why: String,
    pub(super) begun: Moment,
    pub(super) ended: Moment,
}

impl Load {
    /// Starts the clients, and waits until each of their workers and WebSockets has had an answer.
    pub(super) fn start(stage: &Stage<'_>) -> Result<Self> {
        let (program, service) = (binary("weir-test-app")?.display().to_string(), stage.mixed());
        let (vip, host) = (service.vip().to_string(), format!("--host={}", service.host()));
        let command = [&*program, "mixed", &vip, &host];
        let client = stage.mesh.client.place.spawn(&command)?;
        let stranger = stage.stranger.place.spawn(&[&command[..], &["--denied"]].concat())?;
        let [python, script] = peers::websocket(stage.mesh.world.run())?;
        let socket = |(to, host): &(std::net::SocketAddr, String)| {
            let (address, port) = (to.ip().to_string(), to.port().to_string());
            stage.mesh.client.place.spawn(&[
                &*python,
                &script,
                "keep",
                &address,
                &port,
                host,
                "/always/socket",
                SOCKETS,
            ])
        };
        let sockets = stage.sockets.iter().map(socket).collect::<Result<Vec<_>>>()?;
        let mut load = Self { client, stranger, sockets };
        for program in load.programs() {
            wait::until("the load flows", FLOWS_WITHIN, || {
                ensure!(program.is_running(), "it ended: {}", program.tail());
                let flows = program.stdout().lines().any(|line| line.replace(' ', "") == r#"{"flows":true}"#);
                ensure!(flows, "a worker waits: {}", program.tail());
                Ok(())
            })?;
        }
        Ok(load)
    }

    fn programs(&mut self) -> impl Iterator<Item = &mut Program> {
        [&mut self.client, &mut self.stranger].into_iter().chain(&mut self.sockets)
    }

    /// Lets it go on for a while.
    pub(super) fn goes_on(&mut self, lasting: Duration) -> Result<()> {
        wait::throughout("the load goes on", lasting, || {
            for program in self.programs() {
                ensure!(program.is_running(), "it ended: {}", program.tail());
            }
            Ok(())
        })
    }

    /// Ends it; what the clients have seen.
    pub(super) fn end(mut self) -> Result<Seen> {
        self.programs().try_for_each(|program| program.signal(Signal::SIGTERM))?;
        Ok(Seen {
            client: Requests::of(self.client)?,
            stranger: Requests::of(self.stranger)?,
            sockets: self.sockets.into_iter().map(Sockets::of).collect::<Result<_>>()?,
        })
    }
}

impl Requests {
    fn of(program: Program) -> Result<Self> {
        let lines = Lines::of(program)?;
        let open = lines.0.iter().filter(|line| line.get("open").is_some()).map(read);
        Ok(Self {
            open: open.collect::<Result<_>>()?,
            tally: lines.all("tally")?.pop().context("it has told its tally")?,
            lost: lines.all("lost")?,
            wrong: lines.all("wrong")?,
        })
    }
}

impl Sockets {
    fn of(program: Program) -> Result<Self> {
        let lines = Lines::of(program)?;
        let tally = lines.all("tally")?.pop().context("it has told its tally")?;
        Ok(Self { tally, ends: lines.all("end")?, wrong: lines.all("wrong")? })
    }
}

/// What a client has printed.
struct Lines(Vec<Value>);

impl Lines {
    fn of(program: Program) -> Result<Self> {
        let output = program.finish(ENDS_WITHIN)?;
        ensure!(output.success, "the load ended badly: {}", output.stderr);
        Ok(Self(output.stdout.lines().map(serde_json::from_str).collect::<Result<_, _>>()?))
    }

    /// What stands by a name, in all lines that have it.
    fn all<T: DeserializeOwned>(&self, name: &str) -> Result<Vec<T>> {
        self.0.iter().filter_map(|line| line.get(name)).map(read).collect()
    }
}

fn read<T: DeserializeOwned>(value: &Value) -> Result<T> {
    T::deserialize(value).with_context(|| format!("reading {value}"))
}

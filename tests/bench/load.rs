//! The loads: real programs where there are any, our own client where they cannot say what is asked. Each runs in the
//! client's pod for some seconds against an address and yields what it saw.
#![expect(clippy::disallowed_methods, reason = "it sends at a pace")]

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::subject::{Proxies, Subject, Way};
use crate::{cpu, memory};

pub(crate) mod h2load;
pub(crate) mod hold;
pub(crate) mod iperf;
pub(crate) mod rate;
pub(crate) mod request;
pub(crate) mod wrk;

/// Connections over which a fixed rate is spread.
const RATE_CONNECTIONS: u32 = 16;

/// A load, the same for all subjects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Load {
    /// iperf3, this many streams from client to server.
    Bulk(u32),
    /// wrk, this many connections that stay.
    KeepAlive(u32),
    /// Our own open-loop client, this many requests per second.
    Rate(u32),
    /// wrk, a new connection for each request, this many at a time.
    NewConnections(u32),
    /// As [`Load::KeepAlive`], to a port that declares HTTP.
    Http(u32),
    /// As [`Load::Rate`], to such a port.
    HttpRate(u32),
    /// As [`Load::KeepAlive`], to a pod whose policy decides about each request.
    Policy(u32),
    /// As [`Load::Rate`], with tokens of many users, to a pod that decides about each request.
    Tokens(u32),
    /// h2load, unary calls over one connection, this many at a time, to a port that declares gRPC.
    Grpc(u32),
    /// This many connections that carried a request and stay open, while nothing happens.
    Resident(u32),
}

/// A kind of figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Figure {
    /// Added to a case's name: empty for the figure that the case is about.
    pub(crate) suffix: &'static str,
    pub(crate) unit: &'static str,
    /// Whether more is better.
    pub(crate) more: bool,
}

const GIGABITS: Figure = Figure { suffix: "", unit: "Gbit/s", more: true };
const REQUESTS: Figure = Figure { suffix: "", unit: "requests/s", more: true };
const CONNECTIONS: Figure = Figure { suffix: "", unit: "connections/s", more: true };
const P50: Figure = Figure { suffix: "p50", unit: "µs", more: false };
const P99: Figure = Figure { suffix: "p99", unit: "µs", more: false };
const CPU_GB: Figure = Figure { suffix: "cpu", unit: "CPU s/GB", more: false };
const CPU_100K: Figure = Figure { suffix: "cpu", unit: "CPU s/100k", more: false };
const CPU_PROXIES: Figure = Figure { suffix: "proxies", unit: "CPU s/100k", more: false };
const LARGER: Figure = Figure { suffix: "", unit: "MiB", more: false };
const CLIENT: Figure = Figure { suffix: "client", unit: "MiB", more: false };
const SERVER: Figure = Figure { suffix: "server", unit: "MiB", more: false };

impl Load {
    /// What it yields, in the order of [`Load::measure`].
    pub(crate) fn figures(self) -> &'static [Figure] {
        match self {
            Self::Bulk(_) => &[GIGABITS, CPU_GB],
            Self::KeepAlive(_) | Self::Http(_) | Self::Grpc(_) => &[REQUESTS, P50, P99, CPU_100K],
            Self::Policy(_) => &[REQUESTS, P50, P99, CPU_100K, CPU_PROXIES],
            Self::Rate(_) | Self::HttpRate(_) => &[P99, P50, CPU_100K],
            Self::Tokens(_) => &[P99, P50, CPU_100K, CPU_PROXIES],
            Self::NewConnections(_) => &[CONNECTIONS, P50, P99, CPU_100K],
            Self::Resident(_) => &[LARGER, CLIENT, SERVER],
        }
    }

    /// Whether it asks where requests are routed one by one, not where connections are carried.
    fn is_routed(self) -> bool {
        self.way() == Way::Routed
    }

    /// What has to be there for it.
    pub(crate) fn way(self) -> Way {
        match self {
            Self::Http(_) | Self::HttpRate(_) => Way::Routed,
            Self::Grpc(_) => Way::Calls,
            Self::Policy(_) => Way::Decided,
            Self::Tokens(_) => Way::Judged,
            Self::Bulk(_) | Self::KeepAlive(_) | Self::Rate(_) | Self::NewConnections(_) | Self::Resident(_) => {
                Way::Connections
            }
        }
    }

    /// Runs it once.
    pub(crate) fn measure(self, subject: &Subject, seconds: u32) -> Result<Vec<f64>> {
        let before = cpu::busy_seconds()?;
        let busy = || Ok::<_, anyhow::Error>(cpu::busy_seconds()? - before);
        let within = Duration::from_secs(u64::from(seconds) + 20);
        let (client, dial) = (&subject.client, subject.dial);
        match self {
            Self::Bulk(streams) => {
                let seen = iperf::run(client, dial.iperf, streams, seconds, within)?;
                ensure!(seen.bytes > 0.0, "no byte arrived");
                Ok(vec![seen.bits_per_second / 1e9, busy()? / (seen.bytes / 1e9)])
            }
            Self::KeepAlive(connections) | Self::NewConnections(connections) | Self::Http(connections) => {
                let reconnect = matches!(self, Self::NewConnections(_));
                let to = if self.is_routed() { subject.routed()? } else { dial.http };
                let seen = wrk::run(client, to, connections, reconnect, seconds, within)?;
                Ok(vec![seen.per_second(), seen.p50_us, seen.p99_us, busy()? / (seen.requests / 1e5)])
            }
            Self::Policy(connections) => {
                let before = proxies_seconds(subject)?;
                let seen = wrk::run(client, subject.decided()?, connections, false, seconds, within)?;
                let (busy, proxies_busy) = (busy()?, proxies_seconds(subject)? - before);
                let requests = seen.requests / 1e5;
                Ok(vec![seen.per_second(), seen.p50_us, seen.p99_us, busy / requests, proxies_busy / requests])
            }
            Self::Grpc(streams) => {
                let seen = h2load::run(client, subject.calls()?, streams, seconds, within)?;
                Ok(vec![seen.per_second, seen.p50_us, seen.p99_us, busy()? / (seen.requests / 1e5)])
            }
            Self::Rate(per_second) | Self::HttpRate(per_second) => {
                let before = cpu::cgroup_seconds(&subject.cgroup)?;
                let to = if self.is_routed() { subject.routed()? } else { dial.http };
                let rate = rate::Rate::new(to, per_second, RATE_CONNECTIONS, seconds);
                let seen = rate::run(client, &rate, within)?;
                // The requests come in step with the clock.
                let busy = cpu::cgroup_seconds(&subject.cgroup)? - before;
                Ok(vec![seen.p99_us, seen.p50_us, busy / seen.hundred_thousands()])
            }
            Self::Tokens(per_second) => {
                let judged = subject.judged()?;
                let (before, proxies_before) = (cpu::cgroup_seconds(&subject.cgroup)?, proxies_seconds(subject)?);
                let rate = rate::Rate::new(judged.address, per_second, RATE_CONNECTIONS, seconds);
                let seen = rate::run(client, &rate.with_tokens(&judged.tokens), within)?;
                let busy = cpu::cgroup_seconds(&subject.cgroup)? - before;
                let proxies_busy = proxies_seconds(subject)? - proxies_before;
                let requests = seen.hundred_thousands();
                Ok(vec![seen.p99_us, seen.p50_us, busy / requests, proxies_busy / requests])
            }
            Self::Resident(connections) => resident(subject, connections),
        }
    }
}

/// Time that the proxies have run, in seconds.
fn proxies_seconds(subject: &Subject) -> Result<f64> {
    let Proxies::Cgroups(cgroups) = &subject.proxies else { anyhow::bail!("{} has no cgroups", subject.name) };
    cgroups.iter().map(|cgroup| cpu::cgroup_seconds(cgroup)).sum()
}

fn resident(subject: &Subject, connections: u32) -> Result<Vec<f64>> {
    let held = (connections > 0).then(|| hold::start(&subject.client, subject.dial.http, connections));
    let _held = held.transpose()?;
    let nodes = memory::settled_mib(&subject.proxies)?;
    let [client, server] = nodes[..] else { anyhow::bail!("{} nodes have proxies", nodes.len()) };
    Ok(vec![client.max(server), client, server])
}

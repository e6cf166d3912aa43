//! The loads: real programs where there are any, our own client where they cannot say what is asked. Each runs in the
//! client's pod for some seconds against an address and yields what it saw.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::cpu;
use crate::subject::Subject;

pub(crate) mod iperf;
pub(crate) mod wrk;

/// A load, the same for all subjects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Load {
    /// iperf3, this many streams from client to server.
    Bulk(u32),
    /// wrk, this many connections that stay.
    KeepAlive(u32),
    /// wrk, a new connection for each request, this many at a time.
    NewConnections(u32),
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

impl Load {
    /// What it yields, in the order of [`Load::measure`].
    pub(crate) fn figures(self) -> &'static [Figure] {
        match self {
            Self::Bulk(_) => &[GIGABITS, CPU_GB],
            Self::KeepAlive(_) => &[REQUESTS, P50, P99, CPU_100K],
            Self::NewConnections(_) => &[CONNECTIONS, P50, P99, CPU_100K],
        }
    }

    /// Runs it once.
    pub(crate) fn measure(self, subject: &Subject, seconds: u32) -> Result<Vec<f64>> {
        let before = cpu::busy_seconds()?;
        let within = Duration::from_secs(u64::from(seconds) + 20);
        match self {
            Self::Bulk(streams) => {
                let seen = iperf::run(&subject.client, subject.dial.iperf, streams, seconds, within)?;
                let busy = cpu::busy_seconds()? - before;
                ensure!(seen.bytes > 0.0, "no byte arrived");
                Ok(vec![seen.bits_per_second / 1e9, busy / (seen.bytes / 1e9)])
            }
            Self::KeepAlive(connections) | Self::NewConnections(connections) => {
                let reconnect = matches!(self, Self::NewConnections(_));
                let seen = wrk::run(&subject.client, subject.dial.http, connections, reconnect, seconds, within)?;
                let busy = cpu::busy_seconds()? - before;
                Ok(vec![seen.per_second(), seen.p50_us, seen.p99_us, busy / (seen.requests / 1e5)])
            }
        }
    }
}

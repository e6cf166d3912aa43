//! iperf3: bulk bytes from client to server.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use weir_tests::place::Place;

/// What the server received.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    pub(crate) bits_per_second: f64,
    pub(crate) bytes: f64,
}

/// Sends for some seconds.
pub(crate) fn run(from: &Place, to: SocketAddr, streams: u32, seconds: u32, within: Duration) -> Result<Seen> {
    let (host, port) = (to.ip().to_string(), to.port().to_string());
    let (streams, seconds) = (streams.to_string(), seconds.to_string());
    let command = ["iperf3", "--json", "--client", &host, "--port", &port, "--time", &seconds, "--parallel", &streams];
    let output = from.output_within(within, &command)?;
    let report: Value = serde_json::from_str(&output.stdout).with_context(|| output.summary())?;
    if let Some(error) = report["error"].as_str() {
        bail!("iperf3: {error}");
    }
    let received = &report["end"]["sum_received"];
    let number = |name: &str| received[name].as_f64().with_context(|| format!("iperf3 reports no {name}"));
    Ok(Seen { bits_per_second: number("bits_per_second")?, bytes: number("bytes")? })
}

//! Limits that an Envoy is configured with, and what is carried within them: the same whichever side opens HBONE.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use weir_tests::envoy::bootstrap::Http2;
use weir_tests::test_app::{self, ECHO};
use weir_tests::wait;

use super::held::Held;
use super::setup::{Way, keep_on};
use crate::harness::note;

/// At most so many streams at a time on a connection.
pub(super) fn streams_per_connection(limit: u64) -> Http2 {
    Http2 { options: json!({ "max_concurrent_streams": limit }), ..Http2::default() }
}

/// 150 connections at a time are carried by as many HBONE connections as the limit asks for.
pub(super) fn carry_150_at_a_time(way: Way<'_>, limit: u64, connections: impl Fn() -> Result<u64>) -> Result<()> {
    for _ in 0..2 {
        way.many(&["--count", "150", "--concurrent", "150", "--hold"])?;
    }
    way.many(&["--count", "1500", "--concurrent", "150"])?;
    let connections = connections()?;
    ensure!(connections >= 150 / limit, "{connections} connections cannot carry 150 streams, {limit} each");
    note(format!("{limit} streams per connection: {connections} connections carried 150, 150 and 1500"));
    Ok(())
}

/// A connection ends after ten requests.
pub(super) fn ten_requests_per_connection() -> Http2 {
    Http2 { common: json!({ "max_requests_per_connection": 10 }), ..Http2::default() }
}

/// 2000 connections are carried, beside others that stay, by no fewer HBONE connections than `least`.
pub(super) fn carry_2000(way: Way<'_>, least: u64, connections: impl Fn() -> Result<u64>) -> Result<()> {
    let held = Held::open(way, 25, 1 << 28)?;
    way.many(&["--count", "2000", "--concurrent", "20"])?;
    held.finish()?;
    let connections = connections()?;
    ensure!(connections >= least, "{connections} connections carried 2000 requests, 10 each");
    Ok(())
}

/// A connection ends when it is 0.3 s old.
pub(super) fn short_life() -> Http2 {
    Http2 { common: json!({ "max_connection_duration": "0.3s" }), ..Http2::default() }
}

/// Connections are carried, beside others that stay, until several HBONE connections have come and gone.
pub(super) fn carry_until(way: Way<'_>, several_are_gone: impl FnMut() -> Result<bool>) -> Result<()> {
    let held = Held::open(way, 10, 1 << 30)?;
    let many = || way.many(&["--count", "200", "--concurrent", "10"]);
    keep_on("several connections have come and gone", many, several_are_gone)?;
    held.finish()
}

/// PINGs every 0.05 s, each to be answered within 2 s.
pub(super) fn frequent_pings() -> Http2 {
    let options = json!({ "connection_keepalive": { "interval": "0.05s", "timeout": "2s" } });
    Http2 { options, ..Http2::default() }
}

/// For some seconds no HBONE connection is opened beyond those there are, or each worker of the agent may open.
pub(super) fn connections_stay(way: Way<'_>, workers: u64, connections: impl Fn() -> Result<u64>) -> Result<()> {
    let held = Held::open(way, 5, 1 << 30)?;
    let (most, echo) = (connections()?.max(workers), way.to(ECHO));
    wait::throughout("connections stay", Duration::from_secs(3), || {
        test_app::echoes(way.client, echo.ip(), echo.port())?;
        ensure!(connections()? <= most, "another connection was opened");
        Ok(())
    })?;
    held.finish()
}

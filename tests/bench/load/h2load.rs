//! h2load: unary calls of gRPC over one HTTP/2 connection, so many at a time.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::{NamedTempFile, TempDir};
use weir_tests::place::Place;

/// A message of 100 bytes, uncompressed: its flag, its length, itself.
const MESSAGE_BYTES: u8 = 100;
/// What is called; the server returns the message.
const METHOD: &str = "/echo.Echo/Unary";

/// What the client saw.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    pub(crate) requests: f64,
    pub(crate) per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
}

/// Calls for some seconds.
pub(crate) fn run(from: &Place, to: SocketAddr, streams: u32, seconds: u32, within: Duration) -> Result<Seen> {
    let message = NamedTempFile::new()?;
    let frame = [&[0, 0, 0, 0, MESSAGE_BYTES][..], &vec![b'x'; usize::from(MESSAGE_BYTES)]].concat();
    fs::write(message.path(), frame)?;
    let folder = TempDir::new()?;
    let log = folder.path().join("calls");
    let command = [
        "h2load".to_owned(),
        "--threads=1".into(),
        "--clients=1".into(),
        format!("--max-concurrent-streams={streams}"),
        format!("--duration={seconds}"),
        format!("--data={}", message.path().display()),
        format!("--log-file={}", log.display()),
        "--header=content-type: application/grpc".into(),
        "--header=te: trailers".into(),
        format!("http://{to}{METHOD}"),
    ];
    let stdout = from.run_within(within, &command)?;
    let calls = fs::read_to_string(&log).with_context(|| format!("h2load wrote no log: {stdout}"))?;
    tally(&calls, seconds)
}

/// Reads the log: of each call when it began, its status, and how long it took, in microseconds.
fn tally(calls: &str, seconds: u32) -> Result<Seen> {
    let mut taken = Vec::new();
    for call in calls.lines() {
        let mut fields = call.split('\t').skip(1);
        let (status, microseconds) = (fields.next(), fields.next());
        ensure!(status == Some("200"), "a call failed: {call:?}");
        taken.push(microseconds.with_context(|| format!("no duration in {call:?}"))?.parse::<u32>()?);
    }
    ensure!(!taken.is_empty(), "no call was answered");
    taken.sort_unstable();
    let percentile = |percent: usize| f64::from(taken[(taken.len() * percent / 100).min(taken.len() - 1)]);
    let requests = f64::from(u32::try_from(taken.len())?);
    let per_second = requests / f64::from(seconds);
    Ok(Seen { requests, per_second, p50_us: percentile(50), p99_us: percentile(99) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_failed_spoils_the_run() {
        let seen = tally("1\t200\t10\n2\t200\t30\n3\t200\t20\n4\t200\t40\n", 2).unwrap();
        assert_eq!((seen.requests, seen.per_second, seen.p50_us, seen.p99_us), (4.0, 2.0, 30.0, 40.0));
        assert!(tally("1\t200\t10\n2\t-1\t30\n", 2).is_err());
        assert!(tally("", 2).is_err());
    }
}

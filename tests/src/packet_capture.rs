//! What really went over a link: a capture by tcpdump, read back as TCP streams and, within them, as TLS records.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;

use crate::place::Place;
use crate::program::Program;
use crate::wait;

mod packet;

pub use packet::Segment;

/// A capture under way on one interface.
#[derive(Debug)]
pub struct Capture {
    tcpdump: Program,
    file: PathBuf,
}

impl Capture {
    /// Starts capturing whole packets on an interface of a place; returns once tcpdump sees packets.
    ///
    /// # Errors
    /// If tcpdump does not start.
    pub fn start(place: &Place, interface: &str, file: PathBuf) -> Result<Self> {
        let path = file.to_str().context("the run's folder has a UTF-8 name")?;
        let command = [
            "tcpdump",
            "-i",
            interface,
            "-w",
            path,
            "-s",
            "0",
            "-B",
            "16384",
            "-n",
            "-Z",
            "root",
            "--immediate-mode",
            "-U",
        ];
        let mut tcpdump = place.spawn(&command)?;
        wait::until("tcpdump listens", Duration::from_secs(10), || {
            ensure!(tcpdump.is_running(), "tcpdump ended: {}", tcpdump.tail());
            ensure!(tcpdump.stderr().contains("listening on"), "it does not say so");
            Ok(())
        })?;
        Ok(Self { tcpdump, file })
    }

    /// Ends the capture and reads it.
    ///
    /// # Errors
    /// If packets were lost: nothing could be proved by what is left.
    pub fn stop(self) -> Result<CapturedTraffic> {
        self.tcpdump.signal(Signal::SIGINT)?;
        let output = self.tcpdump.finish(Duration::from_secs(10))?;
        ensure!(output.stderr.contains("0 packets dropped by kernel"), "packets were lost: {}", output.stderr.trim());
        CapturedTraffic::read(&fs::read(&self.file).with_context(|| format!("reading {}", self.file.display()))?)
    }
}

/// One direction of a TCP connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    pub source: SocketAddr,
    pub destination: SocketAddr,
    /// True if `source` opened the connection.
    pub from_client: bool,
    /// The capture has it from its first byte on.
    pub from_start: bool,
    /// The bytes, in order, as far as the capture has them without a gap.
    pub bytes: Vec<u8>,
}

impl Stream {
    /// The port that the connection was made to.
    #[must_use]
    pub fn server_port(&self) -> u16 {
        if self.from_client { self.destination.port() } else { self.source.port() }
    }

    /// The TLS records it consists of.
    ///
    /// # Errors
    /// If some byte belongs to no TLS record: it was sent in the clear.
    pub fn tls_records(&self) -> Result<usize> {
        const HEADER: usize = 5;
        let mut records = 0;
        let mut rest = &self.bytes[..];
        while !rest.is_empty() {
            let [kind @ 20..=23, 3, 0..=4, high, low, body @ ..] = rest else {
                let shown = String::from_utf8_lossy(&rest[..rest.len().min(HEADER * 8)]).into_owned();
                bail!("{} to {} carries bytes outside TLS: {shown:?}", self.source, self.destination);
            };
            ensure!(
                records > 0 || !self.from_start || *kind == 22,
                "{} to {} does not begin with a handshake",
                self.source,
                self.destination
            );
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            // The last record may be cut off by the end of the capture.
            rest = body.get(length..).unwrap_or_default();
            records += 1;
        }
        Ok(records)
    }
}

/// All TCP streams that a capture saw.
#[derive(Debug, Clone, Default)]
pub struct CapturedTraffic {
    pub streams: Vec<Stream>,
    /// How many packets were read, of any kind.
    pub packets: usize,
}

impl CapturedTraffic {
    /// Reads a capture file (pcap, Ethernet).
    ///
    /// # Errors
    /// If it is no such file.
    pub fn read(file: &[u8]) -> Result<Self> {
        let (segments, packets) = packet::segments(file)?;
        Ok(Self { streams: streams(segments), packets })
    }

    /// The streams that carry bytes and were not made to one of these ports.
    pub fn outside_ports<'a>(&'a self, ports: &'a [u16]) -> impl Iterator<Item = &'a Stream> {
        self.streams.iter().filter(|stream| !stream.bytes.is_empty() && !ports.contains(&stream.server_port()))
    }

    /// How many streams carry a text in the clear.
    #[must_use]
    pub fn streams_with(&self, text: &str) -> usize {
        let found = |stream: &&Stream| stream.bytes.windows(text.len()).any(|window| window == text.as_bytes());
        self.streams.iter().filter(found).count()
    }

    /// How many TLS records the streams to a port carry.
    ///
    /// # Errors
    /// If anything else is among them.
    pub fn tls_records_to(&self, port: u16) -> Result<usize> {
        self.streams.iter().filter(|stream| stream.server_port() == port).map(Stream::tls_records).sum()
    }
}

/// A stream being put together: its first sequence number, and its parts by their distance from there.
struct Direction {
    stream: Stream,
    first: u32,
    parts: Vec<(u32, Vec<u8>)>,
}

/// Puts segments together by direction of a connection, in the order of their sequence numbers.
fn streams(segments: Vec<Segment>) -> Vec<Stream> {
    let mut directions: Vec<Direction> = Vec::new();
    for segment in segments {
        let same = |known: &&mut Direction| {
            known.stream.source == segment.source && known.stream.destination == segment.destination
        };
        // A SYN begins a new stream even on reused ports.
        let known = if segment.syn { None } else { directions.iter_mut().rev().find(same) };
        if let Some(known) = known {
            known.parts.push((segment.sequence.wrapping_sub(known.first), segment.payload));
        } else {
            directions.push(Direction::begin(segment));
        }
    }
    let finished = |Direction { stream, parts, .. }| Stream { bytes: in_order(parts), ..stream };
    directions.into_iter().map(finished).collect()
}

impl Direction {
    /// From its SYN, or from the first segment that was captured.
    fn begin(segment: Segment) -> Self {
        let Segment { source, destination, syn, ack, sequence, payload } = segment;
        let from_client = if syn { !ack } else { source.port() > destination.port() };
        let stream = Stream { source, destination, from_client, from_start: syn, bytes: Vec::new() };
        Self { stream, first: sequence.wrapping_add(u32::from(syn)), parts: vec![(0, payload)] }
    }
}

fn in_order(mut parts: Vec<(u32, Vec<u8>)>) -> Vec<u8> {
    // Keep-alives carry a byte before the start: they sort last and are never reached.
    parts.sort_by_key(|(offset, _)| *offset);
    let mut bytes = Vec::new();
    for (offset, part) in parts {
        let offset = offset as usize;
        if offset > bytes.len() {
            break;
        }
        bytes.extend_from_slice(part.get(bytes.len() - offset..).unwrap_or_default());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(syn: bool, ack: bool, sequence: u32, payload: &[u8]) -> Segment {
        Segment {
            source: "10.0.0.1:40000".parse().unwrap(),
            destination: "10.0.0.2:15008".parse().unwrap(),
            syn,
            ack,
            sequence,
            payload: payload.to_vec(),
        }
    }

    #[test]
    fn retransmitted_and_reordered_segments_become_one_stream() {
        let first = u32::MAX - 1;
        let traffic = streams(vec![
            segment(true, false, first, b""),
            segment(false, true, first.wrapping_add(5), b"efgh"),
            segment(false, true, first.wrapping_add(1), b"abcd"),
            segment(false, true, first.wrapping_add(3), b"cdef"),
            segment(false, true, first.wrapping_add(20), b"after a gap"),
        ]);
        assert_eq!(traffic.len(), 1);
        assert_eq!(traffic[0].bytes, b"abcdefgh");
        assert_eq!(traffic[0].server_port(), 15008);
    }

    #[test]
    fn bytes_outside_tls_are_found() {
        let stream =
            |bytes: &[u8]| streams(vec![segment(true, false, 9, b""), segment(false, true, 10, bytes)]).remove(0);
        let hello = [22, 3, 1, 0, 2, 1, 2];
        let data = [23, 3, 3, 0, 1, 9];
        assert_eq!(stream(&[&hello[..], &data[..]].concat()).tls_records().unwrap(), 2);
        assert!(stream(&data).tls_records().is_err());
        assert!(stream(&[&hello[..], b"GET / HTTP/1.1"].concat()).tls_records().is_err());
        assert!(stream(b"GET / HTTP/1.1").tls_records().is_err());
    }
}

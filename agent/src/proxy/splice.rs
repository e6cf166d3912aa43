//! Moves the bytes of one connection, both ways, until both sides are done or one breaks. Needs a [`Permit`].
//!
//! What one side does, the other sees: end of data becomes end of data, a reset becomes a reset. Each direction holds at
//! most one buffer, read only when the other side took the last one, so a slow reader slows its writer.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};

use super::connector::reset_on_close;
use super::hbone::{HboneReader, HboneStream, HboneWriter, StreamError};
use crate::model::authorization::Permit;
use crate::telemetry::access_log::ByteCounts;

/// A read buffer starts small (most connections are idle or small) and grows while reads fill it.
const SMALLEST_BUFFER: usize = 4 * 1024;
const LARGEST_BUFFER: usize = 256 * 1024;

/// How a spliced connection broke.
#[derive(Debug, thiserror::Error)]
pub(super) enum SpliceError {
    #[error("downstream: {0}")]
    Downstream(#[source] io::Error),
    #[error("upstream: {0}")]
    Upstream(#[source] io::Error),
    #[error("HBONE stream: {0}")]
    Stream(#[from] StreamError),
}

/// Which way a plain TCP side of the connection faces: decides which of the two byte counts its reads add to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TcpEnd {
    /// The TCP side is the source's.
    Source,
    /// The TCP side is the destination's.
    Destination,
}

/// Joins a TCP connection and an HBONE stream.
pub(super) async fn tcp_and_hbone(
    _permit: &Permit,
    tcp: TcpStream,
    end: TcpEnd,
    stream: HboneStream,
    bytes: Arc<ByteCounts>,
) -> Result<(), SpliceError> {
    let (from_tcp, to_tcp) = match end {
        TcpEnd::Source => (&bytes.to_destination, &bytes.to_source),
        TcpEnd::Destination => (&bytes.to_source, &bytes.to_destination),
    };
    let tcp_error = |e| match end {
        TcpEnd::Source => SpliceError::Downstream(e),
        TcpEnd::Destination => SpliceError::Upstream(e),
    };
    let (mut reader, mut writer) = stream.split();
    let mut side = Side::new(tcp);
    let (tcp_reader, tcp_writer) = side.stream.split();
    let sending = tcp_to_hbone(tcp_reader, &mut writer, from_tcp, tcp_error);
    let receiving = hbone_to_tcp(&mut reader, tcp_writer, to_tcp, tcp_error);
    tokio::try_join!(sending, receiving)?;
    side.ended = true;
    Ok(())
}

/// Joins two TCP connections.
pub(super) async fn tcp_and_tcp(
    _permit: &Permit,
    downstream: TcpStream,
    upstream: TcpStream,
    bytes: Arc<ByteCounts>,
) -> Result<(), SpliceError> {
    let (mut downstream, mut upstream) = (Side::new(downstream), Side::new(upstream));
    let (down_reader, down_writer) = downstream.stream.split();
    let (up_reader, up_writer) = upstream.stream.split();
    let to_upstream =
        tcp_to_tcp(down_reader, up_writer, &bytes.to_destination, SpliceError::Downstream, SpliceError::Upstream);
    let to_downstream =
        tcp_to_tcp(up_reader, down_writer, &bytes.to_source, SpliceError::Upstream, SpliceError::Downstream);
    tokio::try_join!(to_upstream, to_downstream)?;
    (downstream.ended, upstream.ended) = (true, true);
    Ok(())
}

/// A TCP side of a spliced connection. Unless both directions ended well, its close is a reset, however the splice came
/// to its end: by an error, or because somebody stopped it.
#[derive(Debug)]
struct Side {
    stream: TcpStream,
    ended: bool,
}

impl Side {
    fn new(stream: TcpStream) -> Self {
        Self { stream, ended: false }
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        if !self.ended {
            reset_on_close(&self.stream);
        }
    }
}

async fn tcp_to_hbone(
    reader: ReadHalf<'_>,
    writer: &mut HboneWriter,
    count: &AtomicU64,
    tcp_error: impl Fn(io::Error) -> SpliceError,
) -> Result<(), SpliceError> {
    let mut buffer = ReadBuffer::default();
    while let Some(chunk) = buffer.read(&reader).await.map_err(&tcp_error)? {
        count.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        writer.write(chunk).await?;
    }
    writer.finish()?;
    Ok(())
}

async fn hbone_to_tcp(
    reader: &mut HboneReader,
    mut writer: WriteHalf<'_>,
    count: &AtomicU64,
    tcp_error: impl Fn(io::Error) -> SpliceError,
) -> Result<(), SpliceError> {
    while let Some(chunk) = reader.read().await? {
        writer.write_all(&chunk).await.map_err(&tcp_error)?;
        // Only now may the peer send more: back-pressure ends where the bytes went.
        reader.release(chunk.len());
        count.fetch_add(chunk.len() as u64, Ordering::Relaxed);
    }
    writer.shutdown().await.or_else(already_closed).map_err(tcp_error)
}

async fn tcp_to_tcp(
    reader: ReadHalf<'_>,
    mut writer: WriteHalf<'_>,
    count: &AtomicU64,
    read_error: impl Fn(io::Error) -> SpliceError,
    write_error: impl Fn(io::Error) -> SpliceError,
) -> Result<(), SpliceError> {
    let mut buffer = ReadBuffer::default();
    while let Some(chunk) = buffer.read(&reader).await.map_err(&read_error)? {
        writer.write_all(&chunk).await.map_err(&write_error)?;
        count.fetch_add(chunk.len() as u64, Ordering::Relaxed);
    }
    writer.shutdown().await.or_else(already_closed).map_err(write_error)
}

/// shutdown(2) of a connection whose peer is done in both directions fails with ENOTCONN: nothing is left to say.
fn already_closed(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotConnected { Ok(()) } else { Err(error) }
}

/// Reads chunks of a size that follows the traffic. Holds no memory while it waits for an idle peer.
#[derive(Debug, Default)]
struct ReadBuffer {
    buffer: BytesMut,
    size: usize,
}

impl ReadBuffer {
    /// The next bytes; `None` at the end of data.
    async fn read(&mut self, reader: &ReadHalf<'_>) -> io::Result<Option<Bytes>> {
        loop {
            if self.size <= SMALLEST_BUFFER {
                reader.ready(Interest::READABLE).await?;
            }
            let size = self.size.max(SMALLEST_BUFFER);
            self.buffer.reserve(size);
            match reader.try_read_buf(&mut self.buffer) {
                Ok(0) => return Ok(None),
                Ok(n) => {
                    self.size = if n >= size { (size * 4).min(LARGEST_BUFFER) } else { size.min(n * 2) };
                    let chunk = self.buffer.split().freeze();
                    if self.size <= SMALLEST_BUFFER {
                        self.buffer = BytesMut::new();
                    }
                    return Ok(Some(chunk));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.buffer = BytesMut::new();
                    reader.ready(Interest::READABLE).await?;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

//! The clients: each does one thing on one connection and prints what it saw as one line of JSON.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::pattern::Pattern;
use crate::report::{name, shown};
use crate::serve::send;

/// How long a probe waits for bytes or the end.
const PATIENCE: Duration = Duration::from_secs(5);

/// Connects, says nothing for so many milliseconds, sends, and tells what came: `connect` (ok or the error), `received`, and `end` (eof, the error, or timeout
/// if the connection stayed open after its bytes).
pub(crate) async fn probe(
    address: SocketAddr,
    (silent_ms, text): (u64, &str),
    source: Option<SocketAddr>,
) -> Result<()> {
    let start = Instant::now();
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(source) = source {
        socket.bind(source)?;
    }
    let mut stream = match timeout(PATIENCE, socket.connect(address)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return print(&json!({ "connect": name(&error), "ms": milliseconds(start) })),
        Err(_) => return print(&json!({ "connect": "timeout", "ms": milliseconds(start) })),
    };
    let names = (stream.local_addr()?, stream.peer_addr());
    if silent_ms > 0 {
        tokio::time::sleep(Duration::from_millis(silent_ms)).await;
    }
    let (received, end) = exchange(&mut stream, text).await;
    print(&json!({
        "connect": "ok",
        "local": shown(names.0),
        "peer": names.1.map_or_else(|error| name(&error), shown),
        "received": String::from_utf8_lossy(&received),
        "end": end,
        "ms": milliseconds(start),
    }))
}

async fn exchange(stream: &mut TcpStream, text: &str) -> (Vec<u8>, String) {
    let mut received = Vec::new();
    if let Err(error) = stream.write_all(text.as_bytes()).await {
        return (received, name(&error));
    }
    let mut block = vec![0; 4096];
    loop {
        // Once there is an answer, only a short silence is needed to see that the connection stays open.
        let patience = if received.is_empty() { PATIENCE } else { Duration::from_millis(100) };
        match timeout(patience, stream.read(&mut block)).await {
            Ok(Ok(0)) => return (received, "eof".into()),
            Ok(Ok(length)) => received.extend_from_slice(&block[..length]),
            Ok(Err(error)) => return (received, name(&error)),
            Err(_) => return (received, "open".into()),
        }
    }
}

/// Connects, sends, waits for the first byte back, and resets.
pub(crate) async fn abort(address: SocketAddr, text: &str) -> Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(text.as_bytes()).await?;
    stream.read_u8().await?;
    SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    drop(stream);
    print(&json!({ "aborted": true }))
}

/// Keeps connections until they end. Prints a line when all are open, and one for each that has ended.
pub(crate) async fn hold(address: SocketAddr, count: u32) -> Result<()> {
    let mut held = Vec::new();
    for _ in 0..count {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_u8(b'x').await?;
        ensure!(stream.read_u8().await? == b'x', "the server is no echo");
        held.push(stream);
    }
    print(&json!({ "open": true }))?;
    let start = Instant::now();
    let mut ends = JoinSet::new();
    for mut stream in held {
        ends.spawn(async move { stream.read_u8().await });
    }
    while let Some(end) = ends.join_next().await {
        let end = match end? {
            Ok(_) => "bytes".to_owned(),
            Err(error) => name(&error),
        };
        print(&json!({ "end": end, "ms": milliseconds(start) }))?;
    }
    Ok(())
}

pub(crate) async fn upload(address: SocketAddr, bytes: u64) -> Result<()> {
    let start = Instant::now();
    let mut stream = TcpStream::connect(address).await?;
    send(&mut stream, bytes).await?;
    stream.shutdown().await?;
    let mut verdict = String::new();
    stream.read_to_string(&mut verdict).await?;
    let mut verdict: Value = serde_json::from_str(&verdict)?;
    verdict["seconds"] = json!(start.elapsed().as_secs_f64());
    print(&verdict)
}

/// With `end`, the client's own direction ends before the answer begins.
pub(crate) async fn download(address: SocketAddr, bytes: u64, end: bool) -> Result<()> {
    let start = Instant::now();
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(format!("{bytes}\n").as_bytes()).await?;
    if end {
        stream.shutdown().await?;
    }
    let (received, exact) = compare(&mut stream).await?;
    print(&json!({ "bytes": received, "exact": exact, "seconds": start.elapsed().as_secs_f64() }))
}

pub(crate) async fn echo(address: SocketAddr, bytes: u64) -> Result<()> {
    let start = Instant::now();
    let mut stream = TcpStream::connect(address).await?;
    let (mut reading, mut writing) = stream.split();
    let sending = async {
        send(&mut writing, bytes).await?;
        writing.shutdown().await
    };
    let ((), (received, exact)) = tokio::try_join!(sending, compare(&mut reading))?;
    ensure!(received == bytes, "{received} of {bytes} bytes returned");
    print(&json!({ "bytes": received, "exact": exact, "seconds": start.elapsed().as_secs_f64() }))
}

/// Reads to the end; how much came, and whether it was the pattern.
async fn compare(stream: &mut (impl AsyncReadExt + Unpin)) -> io::Result<(u64, bool)> {
    let (mut block, mut scratch, mut pattern) = (vec![0; 256 * 1024], Vec::new(), Pattern::default());
    let (mut bytes, mut exact) = (0, true);
    loop {
        let length = stream.read(&mut block).await?;
        if length == 0 {
            return Ok((bytes, exact));
        }
        exact &= pattern.matches(&block[..length], &mut scratch);
        bytes += length as u64;
    }
}

fn milliseconds(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX)
}

fn print(line: &Value) -> Result<()> {
    println!("{line}");
    Ok(())
}

//! Sends what `weir_tests::answers` makes, each request on a connection of its own, and prints for each what came of it, as JSON.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper::header::HeaderMap;
use hyper::{Method, Request};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use weir_tests::answers::{Ask, Ending, Seen, Subject};

/// How long a response, and then the end of its connection, is waited for: longer than any server is asked to take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Requests at once.
const WORKERS: usize = 8;

/// See the module.
#[derive(Debug, Args)]
pub(crate) struct Answers {
    subject: Subject,
    /// Begins the marks by which logs and servers tell this side's requests.
    #[arg(long)]
    side: String,
    #[arg(long)]
    seed: u64,
    #[arg(long)]
    count: usize,
    /// Only ask whether the objects count.
    #[arg(long)]
    ready: bool,
    /// Send all of them here, and not where each belongs.
    #[arg(long)]
    to: Option<SocketAddr>,
    /// NAME=TOKEN: what stands for `TOKEN-NAME` in requests.
    #[arg(long)]
    token: Vec<String>,
}

/// Sends all requests.
pub(crate) async fn run(answers: Answers) -> Result<()> {
    let subject = answers.subject;
    let mut asks =
        if answers.ready { subject.of_readiness() } else { Ask::generated(subject, answers.seed, answers.count) };
    let tokens: Vec<_> = answers.token.iter().filter_map(|token| token.split_once('=')).collect();
    for ask in &mut asks {
        ask.address = answers.to.unwrap_or(ask.address);
        ask.present(&tokens);
    }
    let (asks, next, side) = (Arc::new(asks), Arc::new(AtomicUsize::new(0)), Arc::new(answers.side));
    let mut workers = JoinSet::new();
    for _ in 0..WORKERS {
        let (asks, next, side) = (asks.clone(), next.clone(), side.clone());
        workers.spawn(async move {
            while let Some(ask) = asks.get(next.fetch_add(1, Ordering::Relaxed)) {
                let seen = exchange(ask, &side).await.with_context(|| ask.to_string())?;
                println!("{}", serde_json::to_string(&seen)?);
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = workers.join_next().await {
        ended??;
    }
    Ok(())
}

async fn exchange(ask: &Ask, side: &str) -> Result<Seen> {
    let start = Instant::now();
    let stream = TcpStream::connect(ask.address).await.context("connecting")?;
    stream.set_nodelay(true)?;
    if ask.is_http2 { over_http2(ask, side, stream, start).await } else { over_http1(ask, side, stream, start).await }
}

fn milliseconds(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX)
}

async fn over_http1(ask: &Ask, side: &str, mut stream: TcpStream, start: Instant) -> Result<Seen> {
    // A proxy may have had enough before it has all, and reset the connection after its answer.
    let _ = stream.write_all(&ask.bytes(side)).await;
    let (mut received, mut is_silent) = (Vec::new(), false);
    let mut block = vec![0; 16 * 1024];
    let mut last = start;
    loop {
        match timeout(PATIENCE, stream.read(&mut block)).await {
            Err(_) => {
                is_silent = true;
                break;
            }
            Ok(Ok(0) | Err(_)) => break,
            Ok(Ok(count)) => {
                received.extend(&block[..count]);
                last = Instant::now();
            }
        }
    }
    let took = u64::try_from((last - start).as_millis()).unwrap_or(u64::MAX);
    Ok(Seen::of_bytes(ask.number, &received, ask.is_head(), is_silent, took))
}

async fn over_http2(ask: &Ask, side: &str, stream: TcpStream, start: Instant) -> Result<Seen> {
    let (mut sender, driver) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    tokio::spawn(driver);
    let uri = ask.uri().context("the target is one of HTTP/2")?;
    let mut request = Request::builder().method(Method::from_bytes(ask.method.as_bytes())?).uri(uri);
    for (name, value) in &ask.fields {
        request = request.header(name, value);
    }
    for (name, value) in ask.marks(side) {
        request = request.header(name, value);
    }
    let content = Bytes::from(ask.content.text().to_owned().into_bytes());
    let asked = timeout(PATIENCE, sender.send_request(request.body(Full::new(content))?)).await;
    let mut seen = Seen::of_bytes(ask.number, b"", false, asked.is_err(), milliseconds(start));
    let Ok(Ok(response)) = asked else { return Ok(seen) };
    (seen.status, seen.headers) = (response.status().as_u16(), pairs(response.headers()));
    let (mut body, mut content) = (response.into_body(), Vec::new());
    seen.ending = loop {
        match timeout(PATIENCE, body.frame()).await {
            Err(_) => break Ending::Silence,
            Ok(None) => break Ending::Whole,
            Ok(Some(Err(_))) => break Ending::Broken,
            Ok(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => content.extend(&data),
                Err(frame) => seen.trailers = frame.into_trailers().map(|fields| pairs(&fields)).unwrap_or_default(),
            },
        }
    };
    seen.content = String::from_utf8_lossy(&content).into_owned();
    seen.milliseconds = milliseconds(start);
    Ok(seen)
}

fn pairs(fields: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    fields.iter().map(|(name, value)| (name.as_str().to_owned(), text(value.as_bytes()))).collect()
}

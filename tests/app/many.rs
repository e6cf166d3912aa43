//! Many connections at once: none may be lost, and none may return another's bytes.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::report::name;

/// Connections to one or several echo servers.
#[derive(Debug, Clone, Args)]
pub(crate) struct Many {
    #[arg(required = true)]
    addresses: Vec<SocketAddr>,
    /// How many connections, spread evenly over the addresses.
    #[arg(long)]
    count: u64,
    /// How many may be under way (or, with --hold, being opened) at a time.
    #[arg(long, default_value_t = 1)]
    concurrent: usize,
    /// Keep each connection open until all are, then exchange once more.
    #[arg(long)]
    hold: bool,
    /// Seconds after which a connection counts as lost.
    #[arg(long, default_value_t = 30)]
    patience: u64,
}

/// Progress of all connections: those whose first exchange is over, well or badly.
struct Shared {
    opened: AtomicU64,
    all_open: watch::Sender<bool>,
    settings: Many,
}

pub(crate) async fn run(settings: Many) -> Result<()> {
    let start = Instant::now();
    let shared = Arc::new(Shared { opened: AtomicU64::new(0), all_open: watch::Sender::new(false), settings });
    let limit = Arc::new(Semaphore::new(shared.settings.concurrent));
    let (mut tasks, mut ok, mut errors) = (JoinSet::new(), 0_u64, BTreeMap::<String, u64>::new());
    let mut note = |outcome: Result<(), String>| match outcome {
        Ok(()) => ok += 1,
        Err(error) => *errors.entry(error).or_default() += 1,
    };
    for index in 0..shared.settings.count {
        // There are no more tasks than connections under way: the count may be for ever.
        let permit = limit.clone().acquire_owned().await?;
        let shared = Arc::clone(&shared);
        tasks.spawn(async move { shared.one(index, permit).await });
        while let Some(outcome) = tasks.try_join_next() {
            note(outcome?);
        }
    }
    while let Some(outcome) = tasks.join_next().await {
        note(outcome?);
    }
    let failed = errors.values().sum::<u64>();
    println!("{}", json!({ "ok": ok, "failed": failed, "errors": errors, "seconds": start.elapsed().as_secs_f64() }));
    Ok(())
}

impl Shared {
    async fn one(&self, index: u64, permit: OwnedSemaphorePermit) -> Result<(), String> {
        let patience = Duration::from_secs(self.settings.patience);
        let address =
            self.settings.addresses[usize::try_from(index).unwrap_or_default() % self.settings.addresses.len()];
        let first = timeout(patience, open(address, index)).await.unwrap_or_else(|_| Err("timeout".into()));
        if self.opened.fetch_add(1, Ordering::Relaxed) + 1 == self.settings.count {
            self.all_open.send_replace(true);
        }
        let mut stream = first?;
        if self.settings.hold {
            drop(permit);
            let mut all_open = self.all_open.subscribe();
            let _ = all_open.wait_for(|open| *open).await;
            let again = exchange(&mut stream, !index);
            timeout(patience, again).await.unwrap_or_else(|_| Err("timeout while open".into()))?;
        }
        Ok(())
    }
}

async fn open(address: SocketAddr, index: u64) -> Result<TcpStream, String> {
    let stream = TcpStream::connect(address).await;
    let mut stream = stream.map_err(|error| format!("connect: {}", name(&error)))?;
    exchange(&mut stream, index).await?;
    Ok(stream)
}

async fn exchange(stream: &mut TcpStream, token: u64) -> Result<(), String> {
    let failed = |error: io::Error| format!("exchange: {}", name(&error));
    stream.write_u64(token).await.map_err(failed)?;
    let returned = stream.read_u64().await.map_err(failed)?;
    if returned == token { Ok(()) } else { Err("another connection's bytes".into()) }
}

//! Requests to an http-echo over connections that are kept: how many were answered, by whom, with which status, and what
//! failed. Each worker sends one request after the other; over HTTP/2 several workers share a connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until, timeout};

mod connection;
mod options;
mod tally;

use connection::{Connection, ask};
pub(crate) use options::HttpLoad;
use tally::Tally;

/// What all workers share.
struct Shared {
    load: HttpLoad,
    tally: Tally,
    /// When the first request was due.
    first: tokio::time::Instant,
    begun: AtomicU64,
    is_over: AtomicBool,
}

/// Sends the requests and prints the tally as one line of JSON; before it a line when every worker has had an answer.
pub(crate) async fn run(load: HttpLoad) -> Result<()> {
    let workers = load.connections * load.streams;
    let shared = Arc::new(Shared {
        tally: Tally::begin(workers),
        load,
        first: tokio::time::Instant::now(),
        begun: AtomicU64::new(0),
        is_over: AtomicBool::new(false),
    });
    let mut running = JoinSet::new();
    for _ in 0..shared.load.connections {
        let connection = Arc::new(Connection::new(shared.load.address, shared.load.http2));
        for _ in 0..shared.load.streams {
            running.spawn(work(shared.clone(), connection.clone()));
        }
    }
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        () = async { while running.join_next().await.is_some() {} } => {}
        _ = terminate.recv() => {
            shared.is_over.store(true, Ordering::Relaxed);
            while running.join_next().await.is_some() {}
        }
    }
    println!("{}", shared.tally.report());
    Ok(())
}

/// One request after the other, until there have been enough.
async fn work(shared: Arc<Shared>, connection: Arc<Connection>) {
    let Shared { load, tally, first, begun, is_over } = &*shared;
    let patience = Duration::from_secs(load.patience);
    let mut has_answer = false;
    while !is_over.load(Ordering::Relaxed) {
        let number = begun.fetch_add(1, Ordering::Relaxed);
        if load.requests.is_some_and(|wanted| number >= wanted) {
            break;
        }
        if let Some(rate) = load.rate {
            sleep_until(*first + Duration::from_secs_f64(number as f64 / rate)).await;
        }
        let start = Instant::now();
        let asked = timeout(patience, ask(&connection, load, number)).await;
        match asked {
            Ok(Ok(answer)) => {
                tally.answered(start, &answer);
                if !std::mem::replace(&mut has_answer, true) {
                    tally.worker_has_answer();
                }
            }
            Ok(Err(error)) => {
                tally.failed(start, &format!("{error:#}"));
                connection.give_up().await;
            }
            Err(_) => {
                tally.failed(start, "no answer in time");
                connection.give_up().await;
            }
        }
        if load.reconnect {
            connection.give_up().await;
        }
        if load.pause_ms > 0 {
            sleep(Duration::from_millis(load.pause_ms)).await;
        }
    }
    tally.connected(&connection);
}

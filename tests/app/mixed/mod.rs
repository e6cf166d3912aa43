//! Requests of many kinds at once to an http-echo: downloads, uploads, streams of gRPC, requests that their client leaves, and those that
//! a policy decides about. Every answer is held against its request, byte by byte, and against what the route said that it may be.
//!
//! It prints a line of JSON for each request that was lost or answered wrongly, and for each that a policy sometimes allows; one when every
//! worker has had an answer; and the tally, last. Times are milliseconds since the Unix epoch.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

mod answer;
mod content;
mod exchange;
mod kind;
mod stream;
mod tally;
mod way;

use crate::kept::Kept;
use answer::Fault;
use content::Content;
use exchange::exchange;
use kind::{CREW, DENIED, Kind, Member};
use tally::{Tally, moment, now};
use way::Way;

/// How long a request may take; streams pause between messages.
const PATIENCE: Duration = Duration::from_secs(20);
/// Connections of HTTP/2 that all its workers share.
const HTTP2_CONNECTIONS: usize = 2;

#[derive(Debug, Clone, Args)]
pub(crate) struct Mixed {
    /// The address of the service, which has ports 80 for HTTP/1, 8081 for HTTP/2 and 9000 for gRPC.
    address: IpAddr,
    /// The authority of the requests.
    #[arg(long)]
    host: String,
    /// No policy allows this client anything: each of its requests must be denied.
    #[arg(long)]
    denied: bool,
}

/// What all workers share.
struct Shared {
    tally: Tally,
    begun: AtomicU64,
    is_over: AtomicBool,
}

/// Sends requests until SIGTERM; what is under way then is finished.
pub(crate) async fn run(mixed: Mixed) -> Result<()> {
    let crew = if mixed.denied { DENIED } else { CREW };
    let workers = crew.iter().map(|member| member.workers).sum();
    let shared =
        Arc::new(Shared { tally: Tally::new(workers), begun: AtomicU64::new(0), is_over: AtomicBool::new(false) });
    let connect = |port, is_http2| Arc::new(Kept::new(SocketAddr::new(mixed.address, port), is_http2));
    let http2: Vec<Arc<Kept<Content>>> = (0..HTTP2_CONNECTIONS).map(|_| connect(8081, true)).collect();
    let grpc = connect(9000, true);
    let mut running = JoinSet::new();
    for member in crew {
        for worker in 0..member.workers {
            let connection = match (member.kind, member.is_http2) {
                (Kind::Stream, _) => grpc.clone(),
                (_, true) => http2[worker % HTTP2_CONNECTIONS].clone(),
                (_, false) => connect(80, false),
            };
            let way = Way { connection, is_http2: member.is_http2, host: mixed.host.clone(), since: None };
            running.spawn(work(shared.clone(), member, way));
        }
    }
    let mut terminate = signal(SignalKind::terminate())?;
    terminate.recv().await;
    shared.is_over.store(true, Ordering::Relaxed);
    while running.join_next().await.is_some() {}
    println!("{}", shared.tally.report(shared.begun.load(Ordering::Relaxed)));
    Ok(())
}

/// One request after the other until it is over.
async fn work(shared: Arc<Shared>, member: &Member, mut way: Way) {
    let Shared { tally, begun, is_over } = &*shared;
    let mut has_answer = false;
    while !is_over.load(Ordering::Relaxed) {
        let number = begun.fetch_add(1, Ordering::Relaxed);
        let start = now();
        let asked = timeout(PATIENCE, exchange(member.kind, &mut way, number)).await;
        match asked.unwrap_or_else(|_| Err(Fault::lost("no answer in time"))) {
            Ok(seen) => {
                tally.answered(member.kind, start, &seen);
                if !std::mem::replace(&mut has_answer, true) {
                    tally.worker_has_answer();
                }
            }
            Err(fault) => {
                tally.failed(member, number, start, way.since.map(moment), &fault);
                way.connection.give_up().await;
            }
        }
        sleep(Duration::from_millis(member.pause_ms)).await;
    }
}

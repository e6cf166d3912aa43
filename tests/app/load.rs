//! Load on an echo while something happens to those who carry it: connections that are kept open, and new ones at a steady
//! rate, whatever became of the former. Ends when a file appears, and tells what became of each.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use clap::Args;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::many::{exchange, open};

/// Pause between two exchanges on a connection that is kept.
const KEPT_PAUSE: Duration = Duration::from_millis(20);
/// How often the file is looked for.
const LOOK: Duration = Duration::from_millis(20);

#[derive(Debug, Clone, Args)]
pub(crate) struct Load {
    address: SocketAddr,
    /// Connections that are kept open, each exchanging a token again and again.
    #[arg(long, default_value_t = 64)]
    kept: u64,
    /// New connections per second, each exchanging one token.
    #[arg(long, default_value_t = 200)]
    rate: u32,
    /// Seconds after which a connection counts as lost.
    #[arg(long, default_value_t = 30)]
    patience: u64,
    /// Ends when this file is there.
    #[arg(long)]
    until: PathBuf,
}

/// What has been seen so far.
#[derive(Debug)]
struct Seen {
    ok: Cell<u64>,
    /// When new connections were begun that failed, in milliseconds since the Unix epoch, and how they failed.
    failed: RefCell<Vec<(u128, String)>>,
    slowest: Cell<Duration>,
    last_success: Cell<Instant>,
    longest_gap: Cell<Duration>,
    /// When kept connections broke, and how.
    broken: RefCell<Vec<(u128, String)>>,
    ending: Cell<bool>,
}

pub(crate) async fn run(load: Load) -> Result<()> {
    let start = Instant::now();
    let seen = Rc::new(Seen {
        ok: Cell::default(),
        failed: RefCell::default(),
        slowest: Cell::default(),
        last_success: Cell::new(start),
        longest_gap: Cell::default(),
        broken: RefCell::default(),
        ending: Cell::default(),
    });
    LocalSet::new().run_until(drive(Rc::new(load), seen.clone())).await;
    println!(
        "{}",
        json!({
            "ok": seen.ok.get(),
            "failed": *seen.failed.borrow(),
            "longest_gap_ms": seen.longest_gap.get().as_millis(),
            "slowest_ms": seen.slowest.get().as_millis(),
            "broken": *seen.broken.borrow(),
            "seconds": start.elapsed().as_secs_f64(),
        })
    );
    Ok(())
}

async fn drive(load: Rc<Load>, seen: Rc<Seen>) {
    let mut kept = JoinSet::new();
    for index in 0..load.kept {
        kept.spawn_local(keep(load.clone(), seen.clone(), index));
    }
    let mut new = JoinSet::new();
    let mut due = interval(Duration::from_secs(1) / load.rate.max(1));
    due.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut looked = Instant::now();
    let mut index = load.kept;
    loop {
        due.tick().await;
        if looked.elapsed() >= LOOK {
            looked = Instant::now();
            if load.until.exists() {
                break;
            }
            while new.try_join_next().is_some() {}
        }
        index += 1;
        new.spawn_local(once(load.clone(), seen.clone(), index));
    }
    seen.ending.set(true);
    while new.join_next().await.is_some() {}
    while kept.join_next().await.is_some() {}
}

/// One new connection.
async fn once(load: Rc<Load>, seen: Rc<Seen>, index: u64) {
    let (start, begun) = (Instant::now(), unix_milliseconds());
    let patience = Duration::from_secs(load.patience);
    match timeout(patience, open(load.address, index)).await.unwrap_or_else(|_| Err("timeout".into())) {
        Ok(_) => {
            let now = Instant::now();
            seen.ok.set(seen.ok.get() + 1);
            seen.slowest.set(seen.slowest.get().max(now - start));
            let gap = now - seen.last_success.replace(now);
            seen.longest_gap.set(seen.longest_gap.get().max(gap));
        }
        Err(error) => {
            seen.failed.borrow_mut().push((begun, error));
        }
    }
}

/// A connection that is kept, and another when it breaks.
async fn keep(load: Rc<Load>, seen: Rc<Seen>, index: u64) {
    let patience = Duration::from_secs(load.patience);
    while !seen.ending.get() {
        let opened = timeout(patience, open(load.address, index)).await.unwrap_or_else(|_| Err("timeout".into()));
        let Err(why) = (match opened {
            Ok(stream) => speak(stream, &seen, index, patience).await,
            Err(error) => Err(format!("opening: {error}")),
        }) else {
            return;
        };
        seen.broken.borrow_mut().push((unix_milliseconds(), why));
        sleep(KEPT_PAUSE).await;
    }
}

/// Exchanges until the load ends.
async fn speak(mut stream: TcpStream, seen: &Seen, index: u64, patience: Duration) -> Result<(), String> {
    let mut token = index;
    while !seen.ending.get() {
        sleep(KEPT_PAUSE).await;
        token = token.wrapping_add(1 << 32);
        timeout(patience, exchange(&mut stream, token)).await.unwrap_or_else(|_| Err("timeout while open".into()))?;
    }
    Ok(())
}

fn unix_milliseconds() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()
}

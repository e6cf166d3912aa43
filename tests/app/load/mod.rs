//! Load that tells what a change in the mesh does to it: connections that are kept and used, and new ones at a steady
//! rate, both to an echo that has to return each its own bytes.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

mod tally;

use tally::Tally;

/// Pause before a kept connection that broke is opened again.
const PAUSE: Duration = Duration::from_millis(20);

#[derive(Debug, Clone, Args)]
pub(crate) struct Load {
    /// An echo, by address or name and port; several are taken in turn.
    #[arg(long, required = true)]
    to: Vec<String>,
    /// Connections that are kept; each is used, waits, and is used again.
    #[arg(long, default_value_t = 0)]
    keepalive: u64,
    /// How long a kept connection waits between two uses, in milliseconds.
    #[arg(long, default_value = "10ms", value_parser = milliseconds)]
    think: Duration,
    /// New connections a second; each is used once and closed.
    #[arg(long, default_value_t = 0)]
    rate: u32,
    /// For how long; SIGTERM ends it earlier, and the report comes then.
    #[arg(long)]
    seconds: u64,
    /// After how many seconds without an answer a connection counts as failed.
    #[arg(long, default_value_t = 10)]
    patience: u64,
    /// Print a line every second.
    #[arg(long)]
    every_second: bool,
}

fn milliseconds(text: &str) -> Result<Duration, String> {
    let number = text.strip_suffix("ms").unwrap_or(text).parse();
    number.map(Duration::from_millis).map_err(|_| format!("{text:?} is no number of milliseconds, such as 10ms"))
}

/// What all tasks share; there is one thread.
struct Shared {
    start: Instant,
    addresses: Vec<SocketAddr>,
    settings: Load,
    fresh: RefCell<Tally>,
    kept: RefCell<Tally>,
    /// Kept connections that had been used and then ended.
    broken: Cell<u64>,
}

/// Loads until time is up, and prints the report.
pub(crate) async fn run(settings: Load) -> Result<()> {
    let mut addresses = Vec::new();
    for to in &settings.to {
        addresses.push(to.to_socket_addrs().with_context(|| to.clone())?.next().context("a name without address")?);
    }
    let start = Instant::now();
    let began_ms = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?.as_millis();
    let shared = Rc::new(Shared {
        start,
        addresses,
        fresh: RefCell::new(Tally::new(start)),
        kept: RefCell::new(Tally::new(start)),
        broken: Cell::new(0),
        settings,
    });
    let tasks = LocalSet::new();
    for index in 0..shared.settings.keepalive {
        tasks.spawn_local(keep(Rc::clone(&shared), index));
    }
    if shared.settings.rate > 0 {
        tasks.spawn_local(open_steadily(Rc::clone(&shared)));
    }
    if shared.settings.every_second {
        tasks.spawn_local(tell_every_second(Rc::clone(&shared)));
    }
    let mut told_to_end = signal(SignalKind::terminate())?;
    let over = async {
        let _ = timeout(Duration::from_secs(shared.settings.seconds), told_to_end.recv()).await;
    };
    tasks.run_until(over).await;
    let mut report = json!({
        "began_unix_ms": u64::try_from(began_ms)?,
        "seconds": start.elapsed().as_secs_f64(),
        "new": shared.fresh.borrow_mut().report(),
        "kept": shared.kept.borrow_mut().report(),
    });
    report["kept"]["broken"] = json!(shared.broken.get());
    println!("{report}");
    Ok(())
}

impl Shared {
    fn address(&self, index: u64) -> SocketAddr {
        self.addresses[usize::try_from(index).unwrap_or_default() % self.addresses.len()]
    }

    /// Something that is to be over in time.
    async fn within<T>(&self, what: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        timeout(Duration::from_secs(self.settings.patience), what).await.unwrap_or(Err(io::ErrorKind::TimedOut.into()))
    }
}

/// Keeps a connection and uses it; opens another when it breaks. Its counts are exchanges, its failures broken connections.
async fn keep(shared: Rc<Shared>, index: u64) {
    let mut token = index << 32;
    loop {
        let opened = Instant::now();
        let (mut uses, mut stream) = (0_u64, None);
        let error = loop {
            token += 1;
            let began = Instant::now();
            let used = async {
                if stream.is_none() {
                    stream = Some(connect(shared.address(index)).await?);
                }
                exchange(stream.as_mut().expect("was just connected"), token).await
            };
            match shared.within(used).await {
                Ok(()) => shared.kept.borrow_mut().ok(began),
                Err(error) => break error,
            }
            uses += 1;
            sleep(shared.settings.think).await;
        };
        if uses > 0 {
            shared.broken.set(shared.broken.get() + 1);
        }
        let more = json!({ "connection": index, "uses": uses, "opened": stream.is_some() });
        shared.kept.borrow_mut().failed(&error, opened, more);
        sleep(PAUSE).await;
    }
}

async fn open_steadily(shared: Rc<Shared>) {
    let mut ticks = interval(Duration::from_secs(1) / shared.settings.rate);
    // A tick that came late does not make the next one late: the rate is kept over time.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for token in 1.. {
        ticks.tick().await;
        tokio::task::spawn_local(open_once(Rc::clone(&shared), token));
    }
}

async fn open_once(shared: Rc<Shared>, token: u64) {
    let began = Instant::now();
    let used = async {
        let mut stream = connect(shared.address(token)).await?;
        exchange(&mut stream, !token).await
    };
    match shared.within(used).await {
        Ok(()) => shared.fresh.borrow_mut().ok(began),
        Err(error) => shared.fresh.borrow_mut().failed(&error, began, json!({})),
    }
}

async fn tell_every_second(shared: Rc<Shared>) {
    let mut ticks = interval(Duration::from_secs(1));
    let mut before = ((0, 0), (0, 0));
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let now = (shared.fresh.borrow().counts(), shared.kept.borrow().counts());
        println!(
            "{}",
            json!({
                "second": shared.start.elapsed().as_secs(),
                "new_ok": now.0.0 - before.0.0, "new_failed": now.0.1 - before.0.1,
                "kept_ok": now.1.0 - before.1.0, "kept_failed": now.1.1 - before.1.1,
            })
        );
        before = now;
    }
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn exchange(stream: &mut TcpStream, token: u64) -> io::Result<()> {
    stream.write_u64(token).await?;
    if stream.read_u64().await? == token { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
}

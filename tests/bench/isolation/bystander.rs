//! The load that should notice nothing: requests on connections that stay and requests on new connections, each at a fixed
//! rate in an open loop, as `load::rate` does it. A request that fails is told and does not end the load.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use serde::{Deserialize, Serialize};
use weir_tests::place::Place;
use weir_tests::program::Program;

use crate::load::request::Connection;

/// Connections that stay, over which their requests are spread.
const KEPT: u32 = 8;
/// Threads that open new connections in turn.
const OPENERS: u32 = 4;
/// How long the client may take to end and to tell.
const ENDS_WITHIN: Duration = Duration::from_secs(20);

/// What to ask for.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Bystander {
    address: SocketAddr,
    /// Requests a second on connections that stay.
    #[arg(long)]
    kept_per_second: u32,
    /// New connections a second, each for one request.
    #[arg(long)]
    new_per_second: u32,
}

/// Which connection a request used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum On {
    Kept,
    New,
}

/// A request: when it was due, in microseconds since 1970, and how long after that it was answered, or why it was not.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Request {
    pub(crate) on: On,
    pub(crate) due_us: u64,
    pub(crate) outcome: Result<f64, String>,
}

/// A load that goes on until [`Running::end`].
#[derive(Debug)]
pub(crate) struct Running(Program);

/// Microseconds since 1970.
pub(crate) fn now_us() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
}

/// Starts the load in a pod.
pub(crate) fn start(from: &Place, load: Bystander) -> Result<Running> {
    let command = [
        std::env::current_exe()?.display().to_string(),
        "bystander".into(),
        load.address.to_string(),
        format!("--kept-per-second={}", load.kept_per_second),
        format!("--new-per-second={}", load.new_per_second),
    ];
    Ok(Running(from.spawn(&command)?))
}

impl Running {
    /// Whether it goes on.
    pub(crate) fn goes_on(&mut self) -> Result<()> {
        ensure!(self.0.is_running(), "the bystander has ended: {}", self.0.tail());
        Ok(())
    }

    /// Ends it. All requests, in no order.
    pub(crate) fn end(self) -> Result<Vec<Request>> {
        let output = self.0.stop(ENDS_WITHIN)?;
        serde_json::from_str(&output.stdout).with_context(|| format!("the bystander: {}", output.status))
    }
}

impl Bystander {
    pub(crate) fn new(address: SocketAddr, kept_per_second: u32, new_per_second: u32) -> Self {
        Self { address, kept_per_second, new_per_second }
    }

    /// Asks until SIGTERM, and prints all requests as JSON.
    pub(crate) fn client(self) -> Result<()> {
        let mut terminate = SigSet::empty();
        terminate.add(Signal::SIGTERM);
        // Before there are threads: they inherit it.
        terminate.thread_block()?;
        let (start, start_us) = (Instant::now() + Duration::from_millis(5), now_us() + 5_000);
        let over = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for (on, count, per_second) in [(On::Kept, KEPT, self.kept_per_second), (On::New, OPENERS, self.new_per_second)]
        {
            for first in 0..count {
                let (over, address) = (over.clone(), self.address);
                let share = Share { on, address, first, step: count, per_second, start, start_us };
                threads.push(thread::spawn(move || share.ask_until(&over)));
            }
        }
        terminate.wait()?;
        over.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for thread in threads {
            all.extend(thread.join().expect("a share returns its errors")?);
        }
        println!("{}", serde_json::to_string(&all)?);
        Ok(())
    }
}

/// Every so-many-th request of one sort.
struct Share {
    on: On,
    address: SocketAddr,
    first: u32,
    step: u32,
    per_second: u32,
    start: Instant,
    start_us: u64,
}

impl Share {
    #[expect(clippy::disallowed_methods, reason = "it sends at a pace")]
    fn ask_until(&self, over: &AtomicBool) -> Result<Vec<Request>> {
        // The default of 50 µs would be in every latency.
        prctl::set_timerslack(1)?;
        let (mut requests, mut kept) = (Vec::new(), None);
        for number in (self.first..).step_by(self.step as usize) {
            let after = Duration::from_secs(1) * number / self.per_second;
            let due = self.start + after;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if over.load(Ordering::Relaxed) {
                break;
            }
            let asked = self.ask(&mut kept);
            let outcome = asked.map(|()| due.elapsed().as_secs_f64() * 1e6).map_err(|error| format!("{error:#}"));
            let due_us = self.start_us + u64::try_from(after.as_micros())?;
            requests.push(Request { on: self.on, due_us, outcome });
        }
        Ok(requests)
    }

    fn ask(&self, kept: &mut Option<Connection>) -> Result<()> {
        let mut connection = match kept.take() {
            Some(connection) => connection,
            None => Connection::open(self.address)?,
        };
        connection.ask()?;
        if self.on == On::Kept {
            *kept = Some(connection);
        }
        Ok(())
    }
}

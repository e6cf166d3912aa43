//! Readiness and drain of the process, both by guards: it is ready once every [`ReadyBlocker`] is dropped, and drained once
//! every [`DrainHold`] is. And its end by a panic, where nothing less would do ([`essential`]).

use std::future::poll_fn;
use std::io::{self, Write as _};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

/// How long the holders may take to close what is open after the deadline. Closing is immediate: this bounds one that hangs.
const CLOSING_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection of HTTP/1 still waits for a request once a drain has begun.
const LAST_REQUEST_WITHIN: Duration = Duration::from_secs(2);

/// The start-up tasks that are still under way. The process is ready when none is.
#[derive(Debug, Clone, Default)]
pub struct Ready {
    waiting_for: Arc<Mutex<Vec<&'static str>>>,
    stopping: Arc<AtomicBool>,
}

/// A start-up task: readiness waits until this is dropped.
#[derive(Debug)]
pub struct ReadyBlocker {
    name: &'static str,
    ready: Ready,
}

impl Ready {
    /// Makes readiness wait for the named task until the blocker is dropped.
    #[must_use]
    pub fn block(&self, name: &'static str) -> ReadyBlocker {
        self.waiting_for.lock().push(name);
        ReadyBlocker { name, ready: self.clone() }
    }

    /// The tasks that readiness still waits for; empty means ready. A process that drains reports `drain`.
    #[must_use]
    pub fn waiting_for(&self) -> Vec<&'static str> {
        let mut tasks = self.waiting_for.lock().clone();
        if self.stopping.load(Ordering::Relaxed) {
            tasks.push("drain");
        }
        tasks
    }

    /// Ends readiness: the process drains.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }
}

impl Drop for ReadyBlocker {
    fn drop(&mut self) {
        let mut tasks = self.ready.waiting_for.lock();
        if let Some(at) = tasks.iter().position(|task| *task == self.name) {
            tasks.swap_remove(at);
        }
    }
}

/// Starts a drain and waits for its end.
#[derive(Debug)]
pub struct DrainTrigger {
    has_begun: Arc<AtomicBool>,
    draining: CancellationToken,
    closing: CancellationToken,
    holders: mpsc::Receiver<()>,
    /// Keeps the channel of holders open until the drain begins.
    open: mpsc::Sender<()>,
}

/// The drain as those see it who serve: whether it has begun, and what it waits for ([`Drain::hold`]).
#[derive(Debug, Clone)]
pub struct Drain {
    /// Set just before `draining` is cancelled. Each request asks, and a token takes a lock that all connections share.
    has_begun: Arc<AtomicBool>,
    /// Nothing new is accepted, and what is open finishes.
    draining: CancellationToken,
    /// The deadline has passed: what is still open is closed.
    closing: CancellationToken,
    holders: mpsc::WeakSender<()>,
}

/// Held by whatever must finish before the drain is complete.
#[derive(Debug)]
pub struct DrainHold {
    _holder: Option<mpsc::Sender<()>>,
}

/// A trigger, and the drain that it starts.
#[must_use]
pub fn drain() -> (DrainTrigger, Drain) {
    let has_begun = Arc::<AtomicBool>::default();
    let (draining, closing) = (CancellationToken::new(), CancellationToken::new());
    let (open, holders) = mpsc::channel(1);
    let drain = Drain {
        has_begun: has_begun.clone(),
        draining: draining.clone(),
        closing: closing.clone(),
        holders: open.downgrade(),
    };
    (DrainTrigger { has_begun, draining, closing, holders, open }, drain)
}

impl DrainTrigger {
    /// Has all holders finish, and close at the deadline what is still open; returns when all holds are dropped. True if nothing
    /// had to be closed at the deadline.
    pub async fn run(self, deadline: Duration) -> bool {
        let Self { has_begun, draining, closing, mut holders, open } = self;
        has_begun.store(true, Ordering::Release);
        draining.cancel();
        drop(open);
        if tokio::time::timeout(deadline, holders.recv()).await.is_ok() {
            return true;
        }
        closing.cancel();
        let _ = tokio::time::timeout(CLOSING_TIMEOUT, holders.recv()).await;
        false
    }
}

impl Drain {
    /// Keeps the drain from ending until the hold is dropped. Nothing is held once a drain has ended.
    #[must_use]
    pub fn hold(&self) -> DrainHold {
        DrainHold { _holder: self.holders.upgrade() }
    }

    /// Whether nothing new may be accepted any more.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.has_begun.load(Ordering::Acquire)
    }

    /// Resolves once nothing new may be accepted.
    pub fn draining(&self) -> WaitForCancellationFuture<'_> {
        self.draining.cancelled()
    }

    /// Resolves once a connection of HTTP/1 may be closed that waits for a request. A client that keeps a connection may be about to send:
    /// with a close at once its request would be lost, while the response to one that comes can say that the connection ends (RFC 9112,
    /// section 9.6).
    pub async fn may_close_idle(&self) {
        first_of([self.draining()]).await;
        Box::pin(tokio::time::sleep(LAST_REQUEST_WITHIN)).await;
    }

    /// Whether everything still open must be closed.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.closing.is_cancelled()
    }

    /// Resolves once everything still open must be closed.
    pub fn closing(&self) -> WaitForCancellationFuture<'_> {
        self.closing.cancelled()
    }
}

/// A task that a process must not go on without, though nothing else would show that it is gone: that accepts a pod's connections, or
/// ends those that policy no longer permits. Where it panics the process aborts, which resets every connection of an application, and
/// the supervisor starts another. A panic in the task of one connection resets that one alone.
pub async fn essential<F: Future>(name: &'static str, task: F) -> F::Output {
    let _abort_on_panic = AbortOnPanic(name);
    task.await
}

/// See [`essential`].
struct AbortOnPanic(&'static str);

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The thread that writes the log would get no time for it.
            let _ = writeln!(io::stderr(), "weir: without its task {:?} this process does not go on", self.0);
            std::process::abort();
        }
    }
}

/// Polls a future only when it has asked for that, however often its task is polled for other work: for what may end a connection, beside
/// what moves its bytes. Tokens and notifications take locks that all connections share each time they are polled. The caller pins it: an
/// asynchronous function has room for what it is given twice.
pub async fn when_woken<F: Future>(mut future: Pin<&mut F>) -> F::Output {
    let gate = Arc::new(Gate { is_woken: AtomicBool::new(true), task: AtomicWaker::new() });
    let waker = Waker::from(gate.clone());
    poll_fn(|cx| {
        // Before it is looked whether the future was woken: whoever wakes it later finds the task.
        gate.task.register(cx.waker());
        if gate.is_woken.swap(false, Ordering::AcqRel) {
            future.as_mut().poll(&mut Context::from_waker(&waker))
        } else {
            Poll::Pending
        }
    })
    .await
}

/// Whether a future was woken, and whom to tell.
struct Gate {
    is_woken: AtomicBool,
    task: AtomicWaker,
}

impl Wake for Gate {
    fn wake(self: Arc<Self>) {
        self.is_woken.store(true, Ordering::Release);
        self.task.wake();
    }
}

/// Resolves with the first of these. For tasks that are woken for other work all the time: to poll a token takes two locks that all
/// connections share, and here one is polled again only when it has something to say.
pub async fn first_of<'a>(tokens: impl IntoIterator<Item = WaitForCancellationFuture<'a>>) {
    let mut waiting: FuturesUnordered<_> = tokens.into_iter().collect();
    waiting.next().await;
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_waits_for_a_request_is_not_closed_as_a_drain_begins() {
        let (trigger, drain) = drain();
        let hold = drain.hold();
        let draining = tokio::spawn(trigger.run(10 * LAST_REQUEST_WITHIN));
        drain.draining().await;
        let begun = tokio::time::Instant::now();
        drain.may_close_idle().await;
        assert_eq!(begun.elapsed(), LAST_REQUEST_WITHIN);
        drop(hold);
        assert!(draining.await.expect("it does not panic"));
    }

    #[test]
    fn ready_when_the_last_blocker_is_gone() {
        let ready = Ready::default();
        let first = ready.block("xds");
        let second = ready.block("capture");
        drop(first);
        assert_eq!(ready.waiting_for(), ["capture"]);
        drop(second);
        assert!(ready.waiting_for().is_empty());
        ready.stop();
        assert_eq!(ready.waiting_for(), ["drain"]);
    }

    /// Set in the process that [`a_panic_ends_the_process_where_the_task_is_essential_alone`] starts.
    const IN_CHILD: &str = "WEIR_TEST_ESSENTIAL";

    #[test]
    fn a_panic_ends_the_process_where_the_task_is_essential_alone() {
        use std::os::unix::process::ExitStatusExt as _;
        let body = async {
            let task = tokio::spawn(async { panic!("a fault") });
            assert!(task.await.is_err_and(|error| error.is_panic()), "one task has ended, and nothing else");
            let cancelled = tokio::spawn(essential("cancelled", std::future::pending::<()>()));
            cancelled.abort();
            assert!(cancelled.await.is_err_and(|error| error.is_cancelled()));
            assert_eq!(essential("over", async { 7 }).await, 7);
            let _ = tokio::spawn(essential("accepting", async { panic!("a fault") })).await;
        };
        if std::env::var_os(IN_CHILD).is_some() {
            tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(body);
            return;
        }
        let name = "lifecycle::tests::a_panic_ends_the_process_where_the_task_is_essential_alone";
        let mut child = std::process::Command::new(std::env::current_exe().expect("this program"));
        let ended = child.args(["--exact", name, "--nocapture"]).env(IN_CHILD, "1").output().expect("it runs");
        let told = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.signal(), Some(6), "SIGABRT: {told}");
        assert!(told.contains("without its task \"accepting\""), "{told}");
        assert_eq!(told.matches("without its task").count(), 1, "{told}");
    }

    #[tokio::test]
    async fn a_future_is_polled_when_it_was_woken_and_not_when_its_task_was() {
        let (token, polled) = (CancellationToken::new(), std::cell::Cell::new(0));
        let mut cancelled = std::pin::pin!(token.cancelled());
        let counted = std::pin::pin!(poll_fn(|cx| {
            polled.set(polled.get() + 1);
            cancelled.as_mut().poll(cx)
        }));
        let mut waiting = std::pin::pin!(when_woken(counted));
        for _ in 0..3 {
            assert_eq!(waiting.as_mut().now_or_never(), None);
        }
        assert_eq!(polled.get(), 1);
        let (told, _) = tokio::join!(waiting, async { token.cancel() });
        assert_eq!((told, polled.get()), ((), 2));
    }

    #[tokio::test]
    async fn a_drain_ends_with_its_last_holder() {
        let (trigger, drain) = drain();
        let hold = drain.hold();
        let worker = tokio::spawn(async move {
            drain.draining().await;
            drop(hold);
        });
        assert!(trigger.run(Duration::from_secs(5)).await);
        worker.await.expect("the worker ends by itself");
    }

    #[tokio::test(start_paused = true)]
    async fn past_the_deadline_holders_are_told_to_close() {
        let (trigger, drain) = drain();
        let hold = drain.hold();
        let worker = tokio::spawn(async move {
            drain.closing().await;
            drop(hold);
        });
        assert!(!trigger.run(Duration::from_secs(5)).await);
        worker.await.expect("the worker ends when asked to close");
    }

    #[tokio::test]
    async fn the_first_token_of_several_resolves_whichever_it_is() {
        for cancelled in 0..2 {
            let tokens = [CancellationToken::new(), CancellationToken::new()];
            let mut first = std::pin::pin!(first_of(tokens.iter().map(CancellationToken::cancelled)));
            assert!(first.as_mut().now_or_never().is_none());
            tokens[cancelled].cancel();
            first.await;
        }
    }
}

//! Accept loops: one per listener of a pod. A loop ends when its pod leaves or the process drains, after the backlog is
//! empty, so that no connection the kernel already accepted is lost.
//!
//! tokio's `TcpListener` does not do here: it registers what it accepts with the runtime of the caller, while a connection
//! is served by the worker with the least load, which may be another; and it offers no accept without waiting, which
//! emptying the backlog needs. `std`'s accepts blocking sockets, one more system call for each.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::socket::{SockFlag, accept4};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::budget::Budget;
use super::pod::PodProxy;
use super::{inbound, outbound};
use crate::limits::PodLimits;
use crate::net;
use crate::telemetry::ends::Reporter;

/// First and longest pause after a failed accept, mostly for want of file descriptors.
const RETRY_PAUSE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(500));

/// Connections of one listener that were accepted and that no worker has begun to serve. A worker serves its tasks in the order in
/// which they were woken: a listener that accepted its whole backlog at once would put all of it before what other pods do. While
/// the node serves no other pod, nobody waits for turns.
const MAX_NOT_BEGUN: usize = 2;

/// What arrives at a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ListenerKind {
    /// What the pod's applications dial.
    Outbound,
    /// What clients outside the mesh dial, whatever the port.
    InboundPlaintext,
    /// HBONE connections to port 15008.
    InboundHbone,
}

impl ListenerKind {
    /// Waits until the pod may have one more connection of this kind.
    async fn budget(self, limits: &PodLimits) -> Budget {
        match self {
            Self::Outbound => Budget::outbound(limits).await,
            Self::InboundPlaintext | Self::InboundHbone => Budget::inbound(limits).await,
        }
    }

    /// The log's word, as in the access log.
    fn direction(self) -> &'static str {
        let reporter = match self {
            Self::Outbound => Reporter::Source,
            Self::InboundPlaintext | Self::InboundHbone => Reporter::Destination,
        };
        reporter.direction()
    }
}

/// Accepts and serves connections until the pod leaves or the process drains.
pub(super) async fn serve(pod_proxy: Arc<PodProxy>, kind: ListenerKind, listener: OwnedFd) {
    let _hold = pod_proxy.proxy.drain.hold();
    let listener = match register(kind, listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(pod = pod_proxy.pod.spec.name, direction = kind.direction(), %error, "listener cannot be used");
            return;
        }
    };
    let not_begun = Arc::new(Semaphore::new(MAX_NOT_BEGUN));
    let mut pause = RETRY_PAUSE.0;
    loop {
        let accepted = tokio::select! {
            accepted = listener.async_io(Interest::READABLE, accept) => accepted,
            () = pod_proxy.pod.left.cancelled() => break,
            () = pod_proxy.proxy.drain.draining() => break,
        };
        match accepted {
            Ok(stream) => {
                pause = RETRY_PAUSE.0;
                // The next connection is accepted once this one is within the pod's limits, and it is its turn.
                let takes_turns = pod_proxy.shares_node();
                let admitted = async {
                    let budget = kind.budget(&pod_proxy.pod.limits).await;
                    (budget, if takes_turns { not_begun.clone().acquire_owned().await.ok() } else { None })
                };
                let (budget, turn) = tokio::select! {
                    admitted = admitted => admitted,
                    () = pod_proxy.pod.left.cancelled() => Default::default(),
                    () = pod_proxy.proxy.drain.draining() => Default::default(),
                };
                start(&pod_proxy, kind, stream, budget, turn);
                if takes_turns {
                    // Behind whatever else this worker has to do by now, what its sockets have to tell included.
                    tokio::task::yield_now().await;
                }
            }
            Err(error) if is_about_the_peer(&error) => {}
            Err(error) => {
                pod_proxy.proxy.metrics.accept_failed();
                tracing::warn!(pod = pod_proxy.pod.spec.name, direction = kind.direction(), %error, "accept failed; trying again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(RETRY_PAUSE.1);
            }
        }
    }
    // What the kernel had accepted before new connections stopped being steered here.
    while let Ok(stream) = accept(listener.get_ref()) {
        start(&pod_proxy, kind, stream, Budget::default(), None);
    }
}

fn register(kind: ListenerKind, listener: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // What it accepts inherits these options.
    let options = SockRef::from(&listener);
    // An application that restarts may bind its port again though a connection to it is open here, as if it were its own.
    options.set_reuse_address(true)?;
    net::tune(&options)?;
    if kind == ListenerKind::InboundHbone {
        net::limit_unacknowledged_time(&options)?;
    } else {
        // A connection that breaks before it is served, or with the process, is reset.
        net::reset_on_close(&options)?;
    }
    // SAFETY: an `OwnedFd` names the same open descriptor for as long as it lives, and the `AsyncFd` owns it.
    #[expect(unsafe_code, reason = "the runtime cannot know that every type of descriptor holds to that")]
    Ok(unsafe { AsyncFd::register_with_interest(listener, Interest::READABLE) }?)
}

/// Accepts a connection that is there already.
fn accept(listener: &OwnedFd) -> io::Result<std::net::TcpStream> {
    let fd = accept4(listener.as_raw_fd(), SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC)?;
    // SAFETY: the kernel has just made this descriptor for us; nobody else knows it.
    #[expect(unsafe_code, reason = "accept4(2) gives a bare descriptor")]
    Ok(unsafe { std::net::TcpStream::from_raw_fd(fd) })
}

/// One of [`MAX_NOT_BEGUN`]; a connection from the backlog of a listener that closes needs none.
type Turn = Option<OwnedSemaphorePermit>;

/// Starts serving a connection. Each kind is a task of its own type: one type for all would be as large as the largest.
fn start(pod_proxy: &Arc<PodProxy>, kind: ListenerKind, stream: std::net::TcpStream, budget: Budget, turn: Turn) {
    match kind {
        ListenerKind::Outbound => start_task(pod_proxy, kind, stream, budget, turn, outbound::serve),
        ListenerKind::InboundPlaintext => start_task(pod_proxy, kind, stream, budget, turn, inbound::serve_plaintext),
        ListenerKind::InboundHbone => start_task(pod_proxy, kind, stream, budget, turn, inbound::serve_hbone),
    }
}

/// Starts a task that serves a connection, on the worker with the least load.
fn start_task<F>(
    pod_proxy: &Arc<PodProxy>,
    kind: ListenerKind,
    stream: std::net::TcpStream,
    budget: Budget,
    turn: Turn,
    serve: impl FnOnce(Arc<PodProxy>, TcpStream, Budget) -> F + Send + 'static,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let hold = pod_proxy.proxy.drain.hold();
    let (owner, served) = (pod_proxy.clone(), pod_proxy.count_served());
    pod_proxy.proxy.workers.spawn_connection(async move || {
        drop(turn);
        match TcpStream::from_std(stream) {
            // In a box: the runtime moves a new task eight times.
            Ok(stream) => Box::pin(serve(owner, stream, budget)).await,
            Err(error) => {
                owner.proxy.metrics.accept_failed();
                tracing::warn!(pod = owner.pod.spec.name, direction = kind.direction(), %error, "connection cannot be watched");
            }
        }
        drop((served, hold));
    });
}

/// Errors of accept(2) that only mean that one peer went away in the meantime.
fn is_about_the_peer(error: &io::Error) -> bool {
    use io::ErrorKind;
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionRefused
            | ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::limits::{LimitKind, NodeLimits};
    use crate::proxy::workers::Workers;

    #[tokio::test]
    async fn a_panic_resets_its_connection_gives_back_what_it_held_and_ends_no_other() {
        let workers = Workers::start(1, || {}).expect("a thread");
        let limits = NodeLimits::new(|_| 2).for_pod();
        let held = || [LimitKind::OutboundConnections, LimitKind::PendingConnects].map(|kind| limits.of(kind).held());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback is there");
        let address = listener.local_addr().expect("it is bound");
        let listener = register(ListenerKind::Outbound, listener.into()).expect("a listener");
        let begin = async |word: &'static [u8]| {
            let client = TcpStream::connect(address).await.expect("somebody listens");
            let accepted = accept(listener.get_ref()).expect("the client is connected");
            let budget = ListenerKind::Outbound.budget(&limits).await;
            workers.spawn_connection(async move || {
                let (mut stream, mut asked) = (TcpStream::from_std(accepted).expect("a socket"), [0; 3]);
                while stream.read_exact(&mut asked).await.is_ok() {
                    stream.write_all(b"part of ").await.expect("it is open");
                    assert_eq!(asked, word, "a fault");
                    stream.write_all(b"the whole").await.expect("it is open");
                }
                net::end_in_order(&stream);
                drop(budget);
            });
            client
        };
        let (mut other, mut hit) = (begin(b"all").await, begin(b"all").await);
        assert_eq!((held(), workers.load()), ([2, 2], 2));
        hit.write_all(b"not").await.expect("it is open");
        let cut = hit.read_to_end(&mut Vec::new()).await.expect_err("what was cut is not believed to be whole");
        assert_eq!(cut.kind(), io::ErrorKind::ConnectionReset);
        let mut whole = Vec::new();
        other.write_all(b"all").await.expect("it is open");
        other.shutdown().await.expect("it is open");
        other.read_to_end(&mut whole).await.expect("an end in order");
        assert_eq!(whole, b"part of the whole");
        let all_back = async {
            while (held(), workers.load()) != ([0, 0], 0) {
                tokio::task::yield_now().await
            }
        };
        tokio::time::timeout(Duration::from_secs(10), all_back).await.expect("nothing is held any more");
    }

    #[tokio::test]
    async fn connections_inherit_the_options_of_their_listener() {
        for (kind, lingers, unacknowledged) in [
            (ListenerKind::Outbound, Some(Duration::ZERO), None),
            (ListenerKind::InboundPlaintext, Some(Duration::ZERO), None),
            (ListenerKind::InboundHbone, None, Some(Duration::from_secs(30))),
        ] {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback is there");
            let address = listener.local_addr().expect("it is bound");
            let listener = register(kind, listener.into()).expect("a listener");
            let _client = std::net::TcpStream::connect(address).expect("somebody listens");
            let accepted = accept(listener.get_ref()).expect("the client is connected");
            let options = SockRef::from(&accepted);
            let keepalive = (
                options.keepalive().expect("a socket"),
                options.tcp_keepalive_time().expect("TCP"),
                options.tcp_keepalive_interval().expect("TCP"),
                options.tcp_keepalive_retries().expect("TCP"),
            );
            assert_eq!(keepalive, (true, Duration::from_secs(60), Duration::from_secs(10), 3), "{kind:?}");
            assert!(options.tcp_nodelay().expect("TCP"), "{kind:?}");
            assert_eq!(options.linger().expect("a socket"), lingers, "{kind:?}");
            assert_eq!(options.tcp_user_timeout().expect("TCP"), unacknowledged, "{kind:?}");
        }
    }
}

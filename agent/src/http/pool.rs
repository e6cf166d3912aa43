//! Connections to upstreams that wait for requests: those of HTTP/1 one at a time, those of HTTP/2 shared. What they lead to,
//! and how they are opened, the owner knows.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{h1, h2};

/// Idle connections of HTTP/1 that one pool keeps. Beyond that, a connection ends with its request.
const MAX_IDLE: usize = 512;

/// Peers that close idle connections later than this are no danger to requests that avoid connections about to be closed: these
/// take none that was idle for long.
const LONGEST_LEARNED: Duration = Duration::from_secs(4);
/// How long it is remembered when a peer closes its idle connections, after it was last seen.
const LEARNED_FOR: Duration = Duration::from_secs(600);
/// A connection that looks open may have been closed by its peer so long before: the close is on its way here, or a machine that has
/// much to do has not come to see it.
const UNSEEN_CLOSE: Duration = Duration::from_millis(100);

/// The connections of one origin on one worker, by what they lead to.
#[derive(Debug)]
pub(crate) struct UpstreamPool<K, IO>(Mutex<Peers<K, IO>>);

#[derive(Debug)]
struct Peers<K, IO> {
    idle_count: usize,
    idle: HashMap<K, Vec<Idle<IO>>>,
    shared: HashMap<K, Shared>,
    closing: HashMap<K, Closing>,
}

/// How long a peer keeps a connection without requests, as far as it was seen: not for longer than this.
#[derive(Debug, Clone, Copy)]
struct Closing {
    after: Duration,
    seen: Instant,
}

/// Which idle connection a request may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reuse {
    /// It has been idle for no longer than this.
    pub(crate) longest: Duration,
    /// It must not be one that its peer may be about to close: a request that crosses the close is lost.
    pub(crate) avoids_closing: bool,
}

/// A connection of HTTP/1 that was idle.
#[derive(Debug)]
pub(crate) struct TakenIdle<IO> {
    pub(crate) connection: Box<h1::ClientConnection<IO>>,
    pub(crate) idle_for: Duration,
}

/// A connection of HTTP/1 without a request.
#[derive(Debug)]
struct Idle<IO> {
    connection: Box<h1::ClientConnection<IO>>,
    since: Instant,
    /// How long it is kept without requests.
    longest: Duration,
}

/// The connections of HTTP/2 to one peer.
#[derive(Debug, Default)]
struct Shared {
    open: Vec<Open>,
    /// Held by whoever opens the next one: others wait for it.
    opening: Arc<tokio::sync::Mutex<()>>,
}

/// A connection of HTTP/2.
#[derive(Debug)]
struct Open {
    connection: Arc<h2::ClientConnection>,
    /// How long it is kept without requests.
    longest: Duration,
}

impl Open {
    fn is_kept(&self) -> bool {
        !self.connection.is_closed() && self.connection.idle_for().is_none_or(|idle| idle < self.longest)
    }
}

impl<K, IO> Default for UpstreamPool<K, IO> {
    fn default() -> Self {
        let (idle, shared, closing) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self(Mutex::new(Peers { idle_count: 0, idle, shared, closing }))
    }
}

impl<K: Hash + Eq + Clone, IO: AsyncRead + AsyncWrite + Unpin> UpstreamPool<K, IO> {
    /// A connection of HTTP/1 that is idle, the one used last.
    pub(crate) fn take_idle(&self, key: &K, reuse: Reuse) -> Option<TakenIdle<IO>> {
        let mut peers = self.0.lock();
        let Peers { idle_count, idle, closing, .. } = &mut *peers;
        let idle = idle.get_mut(key)?;
        if reuse.avoids_closing
            && let Some(closing) = closing.get_mut(key)
        {
            *idle_count -= learn_from_oldest(idle, closing);
        }
        while let Some(last) = idle.last_mut() {
            let idle_for = last.since.elapsed();
            if !is_usable(&mut last.connection) {
                learn(closing, key, idle_for);
            } else {
                if !reuse.admits(closing.get_mut(key), idle_for) {
                    return None;
                }
                *idle_count -= 1;
                return idle.pop().map(|taken| TakenIdle { connection: taken.connection, idle_for });
            }
            *idle_count -= 1;
            if let Some(mut closed) = idle.pop() {
                closed.connection.end();
            }
        }
        None
    }

    /// A request has met the close of a connection that was idle for so long.
    pub(crate) fn closed_after(&self, key: &K, idle_for: Duration) {
        learn(&mut self.0.lock().closing, key, idle_for);
    }

    /// Keeps a connection of HTTP/1 for further requests, for so long at most.
    pub(crate) fn put_idle(&self, key: &K, mut connection: Box<h1::ClientConnection<IO>>, longest: Duration) {
        let mut peers = self.0.lock();
        if peers.idle_count >= MAX_IDLE {
            connection.end();
            return;
        }
        peers.idle_count += 1;
        let idle = Idle { connection, since: Instant::now(), longest };
        match peers.idle.get_mut(key) {
            Some(list) => list.push(idle),
            None => drop(peers.idle.insert(key.clone(), vec![idle])),
        }
    }

    /// A connection of HTTP/2 that takes another stream, of those that `admits` admits: one with streams, or one that is idle.
    pub(crate) fn shared(
        &self,
        key: &K,
        reuse: Reuse,
        admits: impl Fn(&h2::ClientConnection) -> bool,
    ) -> Option<Arc<h2::ClientConnection>> {
        let mut peers = self.0.lock();
        let Peers { shared, closing, .. } = &mut *peers;
        let shared = shared.get_mut(key)?;
        shared.open.retain(|open| {
            if open.connection.is_closed() {
                open.connection.idle_for().iter().for_each(|idle_for| learn(closing, key, *idle_for));
            }
            open.is_kept()
        });
        let has_place = |open: &&Open| {
            let idle_for = reuse.avoids_closing.then(|| open.connection.idle_for()).flatten();
            idle_for.is_none_or(|idle_for| reuse.admits(closing.get_mut(key), idle_for))
                && open.connection.takes_streams()
                && admits(&open.connection)
        };
        shared.open.iter().find(has_place).map(|open| open.connection.clone())
    }

    /// Offers a connection of HTTP/2 to no further requests: it ends with those that it has.
    pub(crate) fn retire(&self, key: &K, connection: &Arc<h2::ClientConnection>) {
        if let Some(shared) = self.0.lock().shared.get_mut(key) {
            shared.open.retain(|open| !Arc::ptr_eq(&open.connection, connection));
        }
    }

    /// What whoever opens a connection of HTTP/2 to a peer holds meanwhile.
    pub(crate) fn opening(&self, key: &K) -> Arc<tokio::sync::Mutex<()>> {
        let mut peers = self.0.lock();
        if let Some(shared) = peers.shared.get(key) {
            return shared.opening.clone();
        }
        peers.shared.entry(key.clone()).or_default().opening.clone()
    }

    /// Offers a connection of HTTP/2 to all requests, until it has been without for so long.
    pub(crate) fn put_shared(&self, key: &K, connection: Arc<h2::ClientConnection>, longest: Duration) {
        self.0.lock().shared.entry(key.clone()).or_default().open.push(Open { connection, longest });
    }

    /// Closes connections that have been without requests for as long as they are kept, or that the peer has closed.
    pub(crate) fn sweep(&self) {
        let mut peers = self.0.lock();
        let mut count = 0;
        peers.idle.retain(|_, idle| {
            idle.retain_mut(|idle| {
                let is_kept = idle.since.elapsed() < idle.longest && is_usable(&mut idle.connection);
                if !is_kept {
                    idle.connection.end();
                }
                is_kept
            });
            count += idle.len();
            !idle.is_empty()
        });
        peers.idle_count = count;
        peers.shared.retain(|_, shared| {
            shared.open.retain(Open::is_kept);
            !shared.open.is_empty() || Arc::strong_count(&shared.opening) > 1
        });
        peers.closing.retain(|_, closing| closing.seen.elapsed() < LEARNED_FOR);
    }

    /// Closes all connections without requests.
    pub(crate) fn clear(&self) {
        let mut peers = self.0.lock();
        for (_, idle) in peers.idle.drain() {
            idle.into_iter().for_each(|mut idle| idle.connection.end());
        }
        peers.shared.clear();
        peers.idle_count = 0;
    }
}

impl Reuse {
    /// Whether an open connection that has been idle for so long may be taken. A close may be on its way, so that connections are
    /// taken for half of the time for which the peer was seen to keep them.
    fn admits(self, closing: Option<&mut Closing>, idle_for: Duration) -> bool {
        let learned = closing.filter(|_| self.avoids_closing).map(|closing| closing.beyond(idle_for) / 2);
        idle_for <= learned.map_or(self.longest, |learned| learned.min(self.longest))
    }
}

impl Closing {
    /// What is known once a connection is seen to be open that has been idle for so long: its peer keeps it at least up to
    /// the time at which a close would have been seen by now.
    fn beyond(&mut self, idle_for: Duration) -> Duration {
        let certain = idle_for.saturating_sub(UNSEEN_CLOSE);
        if certain > self.after {
            *self = Self { after: certain, seen: Instant::now() };
        }
        self.after
    }
}

/// Looks at the connection that has been idle for longest: it says most of how long the peer keeps one. Without that, one close right
/// behind a response, of a server that was restarted for one, would have each request open a connection of its own from then on. Returns
/// how many were closed, and are gone.
fn learn_from_oldest<IO>(idle: &mut Vec<Idle<IO>>, closing: &mut Closing) -> usize
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let mut closed = 0;
    while let Some(oldest) = idle.first_mut() {
        if is_usable(&mut oldest.connection) {
            closing.beyond(oldest.since.elapsed());
            break;
        }
        idle.remove(0).connection.end();
        closed += 1;
    }
    closed
}

/// Remembers that a peer has closed a connection that was idle for so long.
fn learn<K: Hash + Eq + Clone>(closing: &mut HashMap<K, Closing>, key: &K, idle_for: Duration) {
    if idle_for > LONGEST_LEARNED {
        return;
    }
    let seen = Instant::now();
    let after = closing.get(key).map_or(idle_for, |known| known.after.min(idle_for));
    closing.insert(key.clone(), Closing { after, seen });
}

/// Whether the peer has neither closed an idle connection nor said anything that nobody asked for.
fn is_usable<IO: AsyncRead + AsyncWrite + Unpin>(connection: &mut h1::ClientConnection<IO>) -> bool {
    connection.poll_idle(&mut Context::from_waker(Waker::noop())).is_pending()
}

#[cfg(test)]
mod tests {
    use tokio::io::{DuplexStream, duplex};

    use super::*;
    use crate::h2::WindowBudget;

    const LONG: Duration = Duration::from_secs(3600);
    const ANY: Reuse = Reuse { longest: LONG, avoids_closing: false };
    const CAREFUL: Reuse = Reuse { longest: LONG, avoids_closing: true };

    type Pool = UpstreamPool<u8, DuplexStream>;

    /// A pool with an idle connection of HTTP/1 to 1, and its other end.
    fn with_idle(longest: Duration) -> (Pool, DuplexStream) {
        let (pool, (near, far)) = (Pool::default(), duplex(64));
        pool.put_idle(&1, Box::new(h1::ClientConnection::new(near)), longest);
        (pool, far)
    }

    #[test]
    fn an_idle_connection_is_taken_while_it_is_kept_and_its_peer_has_not_closed_it() {
        for (name, longest, reuse, is_closed, swept, expected) in [
            ("kept", LONG, ANY, false, true, true),
            ("for a request that must not be lost", LONG, CAREFUL, false, true, true),
            ("idle for too long for the request", LONG, Reuse { longest: Duration::ZERO, ..ANY }, false, false, false),
            ("idle for too long, not swept yet", Duration::ZERO, ANY, false, false, true),
            ("idle for too long", Duration::ZERO, ANY, false, true, false),
            ("closed", LONG, ANY, true, false, false),
        ] {
            let (pool, far) = with_idle(longest);
            let far = (!is_closed).then_some(far);
            if swept {
                pool.sweep();
            }
            assert_eq!(pool.take_idle(&1, reuse).is_some(), expected, "{name}");
            assert!(pool.take_idle(&2, reuse).is_none(), "{name}: nothing leads to 2");
            drop(far);
        }
    }

    #[test]
    fn a_request_that_must_not_be_lost_avoids_connections_that_their_peer_may_be_about_to_close() {
        for (seconds, reuse, expected) in [
            // Whatever was seen at once: by now the connection has been idle for longer, and half of that is too little.
            (0.0, CAREFUL, false),
            (0.0, ANY, true),
            (2.0, CAREFUL, true),
            (60.0, CAREFUL, true),
        ] {
            let (pool, _far) = with_idle(LONG);
            pool.closed_after(&1, Duration::from_secs_f64(seconds));
            assert_eq!(pool.take_idle(&1, reuse).is_some(), expected, "{seconds} {reuse:?}");
        }
        let seen = |seconds: f64| Closing { after: Duration::from_secs_f64(seconds), seen: Instant::now() };
        for (after, idle_for, expected) in [(2.0, 0.9, true), (2.0, 1.1, false), (2.0, 9.0, false), (0.1, 0.06, false)]
        {
            let admits = CAREFUL.admits(Some(&mut seen(after)), Duration::from_secs_f64(idle_for));
            assert_eq!(admits, expected, "{after} {idle_for}");
        }
        let mut known = seen(0.1);
        assert!(!CAREFUL.admits(Some(&mut known), Duration::from_secs(1)));
        assert!(CAREFUL.admits(Some(&mut known), Duration::from_millis(400)), "it was open after a second");
        let mut known = seen(0.003);
        assert!(!CAREFUL.admits(Some(&mut known), Duration::from_millis(90)), "whether it is open, nobody knows yet");
        assert!(!CAREFUL.admits(Some(&mut known), Duration::from_millis(2)), "it was seen to be closed after 3 ms");
    }

    #[test]
    fn how_long_a_peer_keeps_connections_is_seen_at_the_oldest() {
        for (name, is_closed, expected, left) in [("open", false, true, 1), ("closed", true, false, 1)] {
            let (pool, far) = with_idle(LONG);
            let (near, _other_far) = duplex(64);
            pool.put_idle(&1, Box::new(h1::ClientConnection::new(near)), LONG);
            pool.0.lock().idle.get_mut(&1).expect("both are kept")[0].since -= Duration::from_secs(10);
            let far = (!is_closed).then_some(far);
            // A connection was closed right behind its response.
            pool.closed_after(&1, Duration::ZERO);
            assert_eq!(pool.take_idle(&1, CAREFUL).is_some(), expected, "{name}");
            assert_eq!(pool.0.lock().idle_count, left, "{name}");
            drop(far);
        }
    }

    #[test]
    fn a_connection_of_http2_takes_requests_until_it_is_retired_or_idle_for_too_long() {
        for (name, longest, retired, expected) in
            [("kept", LONG, false, true), ("retired", LONG, true, false), ("idle", Duration::ZERO, false, false)]
        {
            let (pool, (near, _far)) = (Pool::default(), duplex(1024));
            let (opened, _driver) = h2::ClientConnection::new(near, WindowBudget::of_kib(1024));
            let opened = Arc::new(opened);
            pool.put_shared(&1, opened.clone(), longest);
            if retired {
                pool.retire(&1, &opened);
            }
            assert_eq!(pool.shared(&1, ANY, |_| true).is_some(), expected, "{name}");
            assert!(pool.shared(&1, ANY, |_| false).is_none(), "{name}: not admitted");
        }
    }
}

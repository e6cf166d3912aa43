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

/// The connections of one origin on one worker, by what they lead to.
#[derive(Debug)]
pub(crate) struct UpstreamPool<K, IO>(Mutex<Peers<K, IO>>);

#[derive(Debug)]
struct Peers<K, IO> {
    idle_count: usize,
    idle: HashMap<K, Vec<Idle<IO>>>,
    shared: HashMap<K, Shared>,
}

/// A connection of HTTP/1 without a request.
#[derive(Debug)]
struct Idle<IO> {
    connection: Box<h1::ClientConnection<IO>>,
    since: Instant,
}

/// The connections of HTTP/2 to one peer.
#[derive(Debug, Default)]
struct Shared {
    open: Vec<Arc<h2::ClientConnection>>,
    /// Held by whoever opens the next one: others wait for it.
    opening: Arc<tokio::sync::Mutex<()>>,
}

impl<K, IO> Default for UpstreamPool<K, IO> {
    fn default() -> Self {
        Self(Mutex::new(Peers { idle_count: 0, idle: HashMap::new(), shared: HashMap::new() }))
    }
}

impl<K: Hash + Eq + Clone, IO: AsyncRead + AsyncWrite + Unpin> UpstreamPool<K, IO> {
    /// A connection of HTTP/1 that has been idle for no longer than that, the one used last.
    pub(crate) fn take_idle(&self, key: &K, longest: Duration) -> Option<Box<h1::ClientConnection<IO>>> {
        let mut peers = self.0.lock();
        let peers = &mut *peers;
        let idle = peers.idle.get_mut(key)?;
        while let Some(last) = idle.last() {
            if last.since.elapsed() > longest {
                return None;
            }
            let mut taken = idle.pop().expect("it was there");
            peers.idle_count -= 1;
            if is_usable(&mut taken.connection) {
                return Some(taken.connection);
            }
            taken.connection.end();
        }
        None
    }

    /// Keeps a connection of HTTP/1 for further requests.
    pub(crate) fn put_idle(&self, key: &K, mut connection: Box<h1::ClientConnection<IO>>) {
        let mut peers = self.0.lock();
        if peers.idle_count >= MAX_IDLE {
            connection.end();
            return;
        }
        peers.idle_count += 1;
        let idle = Idle { connection, since: Instant::now() };
        match peers.idle.get_mut(key) {
            Some(list) => list.push(idle),
            None => drop(peers.idle.insert(key.clone(), vec![idle])),
        }
    }

    /// A connection of HTTP/2 that takes another stream, of at most so many.
    pub(crate) fn shared(&self, key: &K, max_streams: u32) -> Option<Arc<h2::ClientConnection>> {
        let mut peers = self.0.lock();
        let shared = peers.shared.get_mut(key)?;
        shared.open.retain(|connection| !connection.is_closed());
        let has_place =
            |connection: &&Arc<h2::ClientConnection>| connection.takes_streams() && connection.load() < max_streams;
        shared.open.iter().find(has_place).cloned()
    }

    /// What whoever opens a connection of HTTP/2 to a peer holds meanwhile.
    pub(crate) fn opening(&self, key: &K) -> Arc<tokio::sync::Mutex<()>> {
        let mut peers = self.0.lock();
        if let Some(shared) = peers.shared.get(key) {
            return shared.opening.clone();
        }
        peers.shared.entry(key.clone()).or_default().opening.clone()
    }

    /// Offers a connection of HTTP/2 to all requests.
    pub(crate) fn put_shared(&self, key: &K, connection: Arc<h2::ClientConnection>) {
        self.0.lock().shared.entry(key.clone()).or_default().open.push(connection);
    }

    /// Closes connections that were without requests for so long, or that the peer has closed.
    pub(crate) fn sweep(&self, idle_timeout: Duration) {
        let mut peers = self.0.lock();
        let mut count = 0;
        peers.idle.retain(|_, idle| {
            idle.retain_mut(|idle| {
                let is_kept = idle.since.elapsed() < idle_timeout && is_usable(&mut idle.connection);
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
            let is_kept = |idle: Option<Duration>| idle.is_none_or(|idle| idle < idle_timeout);
            shared.open.retain(|connection| !connection.is_closed() && is_kept(connection.idle_for()));
            !shared.open.is_empty() || Arc::strong_count(&shared.opening) > 1
        });
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

/// Whether the peer has neither closed an idle connection nor said anything that nobody asked for.
fn is_usable<IO: AsyncRead + AsyncWrite + Unpin>(connection: &mut h1::ClientConnection<IO>) -> bool {
    connection.poll_idle(&mut Context::from_waker(Waker::noop())).is_pending()
}

//! Connections to upstreams that wait for requests. What they lead to, and how they are opened, the owner knows.

use std::collections::HashMap;
use std::hash::Hash;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};

use super::h1;

/// Idle connections of HTTP/1 that one pool keeps. Beyond that, a connection ends with its request.
const MAX_IDLE: usize = 512;

/// The connections of one origin on one worker, by what they lead to.
#[derive(Debug)]
pub(crate) struct UpstreamPool<K, IO>(Mutex<Peers<K, IO>>);

#[derive(Debug)]
struct Peers<K, IO> {
    idle_count: usize,
    idle: HashMap<K, Vec<Idle<IO>>>,
}

/// A connection of HTTP/1 without a request.
#[derive(Debug)]
struct Idle<IO> {
    connection: h1::ClientConnection<IO>,
    since: Instant,
}

impl<K, IO> Default for UpstreamPool<K, IO> {
    fn default() -> Self {
        Self(Mutex::new(Peers { idle_count: 0, idle: HashMap::new() }))
    }
}

impl<K: Hash + Eq + Clone, IO: AsyncRead + AsyncWrite + Unpin> UpstreamPool<K, IO> {
    /// A connection of HTTP/1 that has been idle for no longer than that, the one used last.
    pub(crate) fn take_idle(&self, key: &K, longest: Duration) -> Option<h1::ClientConnection<IO>> {
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
        }
        None
    }

    /// Keeps a connection of HTTP/1 for further requests.
    pub(crate) fn put_idle(&self, key: &K, connection: h1::ClientConnection<IO>) {
        let mut peers = self.0.lock();
        if peers.idle_count >= MAX_IDLE {
            return;
        }
        peers.idle_count += 1;
        let idle = Idle { connection, since: Instant::now() };
        match peers.idle.get_mut(key) {
            Some(list) => list.push(idle),
            None => drop(peers.idle.insert(key.clone(), vec![idle])),
        }
    }

    /// Closes connections that were without requests for so long, or that the peer has closed.
    pub(crate) fn sweep(&self, idle_timeout: Duration) {
        let mut peers = self.0.lock();
        let mut count = 0;
        peers.idle.retain(|_, idle| {
            idle.retain_mut(|idle| idle.since.elapsed() < idle_timeout && is_usable(&mut idle.connection));
            count += idle.len();
            !idle.is_empty()
        });
        peers.idle_count = count;
    }

    /// Closes all connections without requests.
    pub(crate) fn clear(&self) {
        let mut peers = self.0.lock();
        peers.idle.clear();
        peers.idle_count = 0;
    }
}

/// Whether the peer has neither closed an idle connection nor said anything that nobody asked for.
fn is_usable<IO: AsyncRead + AsyncWrite + Unpin>(connection: &mut h1::ClientConnection<IO>) -> bool {
    connection.poll_idle(&mut Context::from_waker(Waker::noop())).is_pending()
}

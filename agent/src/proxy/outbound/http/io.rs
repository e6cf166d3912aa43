//! What carries a connection to an upstream: TCP, a stream of HBONE, a pipe to a pod of the same node, or TLS over any of them; and the connections of a pod that wait for requests.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::runtime::Handle;

use crate::hbone::{HboneStream, Target};
use crate::http::UpstreamPool;
use crate::limits::Held;
use crate::model::identity::Identity;
use crate::model::resolve::Transport;
use crate::net;
use crate::proxy::same_node::{OpenedBeside, PipeEnd};
use crate::tls::origination::DestinationStream;

/// How often connections without requests are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);
/// How long an endpoint has to end its side of a stream that carries no more requests.
const LONGEST_END: Duration = Duration::from_secs(5);

/// The upstream connections of one pod on one worker.
pub(in crate::proxy) type HttpPool = UpstreamPool<PoolKey, UpstreamIo>;

/// What a pool keeps connections by: what they lead to, of which the text is hashed once and not with each request.
#[derive(Debug, Clone)]
pub(in crate::proxy) struct PoolKey(Arc<Keyed>);

#[derive(Debug, PartialEq, Eq)]
struct Keyed {
    hash: u64,
    transport: Transport,
    /// Over HBONE alone: whom its connections are to.
    target: Option<Target>,
}

impl PoolKey {
    pub(super) fn new(transport: &Transport) -> Self {
        // Of equal transports the same. Those who could choose texts that collide are the mesh itself.
        let mut hasher = DefaultHasher::new();
        transport.hash(&mut hasher);
        let target = match transport {
            Transport::Hbone { peer, identities, .. } => Some(Target { peer: *peer, identities: identities.clone() }),
            _ => None,
        };
        Self(Arc::new(Keyed { hash: hasher.finish(), transport: transport.clone(), target }))
    }

    /// Over HBONE alone: whom the connections are to, and the authority that names the destination to it.
    pub(super) fn over_hbone(&self) -> Option<(&Target, &str)> {
        let Transport::Hbone { authority, .. } = &self.0.transport else { return None };
        Some((self.0.target.as_ref()?, authority))
    }
}

impl PartialEq for PoolKey {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || *self.0 == *other.0
    }
}

impl Eq for PoolKey {}

impl Hash for PoolKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0.hash);
    }
}

/// The bytes of one connection to an upstream.
#[derive(Debug)]
pub(in crate::proxy) struct UpstreamIo {
    carrier: Carrier,
    /// Whether this side has ended.
    is_shut_down: bool,
    opened: Instant,
    /// Requests that it has carried.
    requests: AtomicU32,
    /// The connection's place among those that the pod may have.
    held: Option<Held>,
    /// The identity that the other end has proven.
    peer: Option<Identity>,
    /// Whether its requests are read at the destination by this process.
    is_read: bool,
}

#[derive(Debug)]
enum Carrier {
    Tcp(TcpStream),
    Hbone(HboneStream),
    /// To a pod of the same node.
    Beside(PipeEnd),
    /// TLS of the destination's own, over one of the others.
    Tls(Box<DestinationStream<UpstreamIo>>),
    /// Its end is awaited elsewhere.
    Gone,
}

impl UpstreamIo {
    pub(in crate::proxy::outbound) fn tcp(tcp: TcpStream, held: impl Into<Option<Held>>) -> Self {
        // Messages of HTTP say by themselves where they end, and so does TLS.
        net::end_in_order(&tcp);
        Self::new(Carrier::Tcp(tcp), held, None)
    }

    /// `peer`: the identity that the other end has proven.
    pub(in crate::proxy::outbound) fn hbone(
        stream: HboneStream,
        held: impl Into<Option<Held>>,
        peer: Option<Identity>,
    ) -> Self {
        let held = held.into();
        if held.is_some() {
            // Only what has a place among connections for requests carries any.
            stream.carries_requests();
        }
        Self::new(Carrier::Hbone(stream), held, peer)
    }

    /// To a pod of the same node.
    pub(super) fn beside(opened: OpenedBeside, held: Held) -> Self {
        let OpenedBeside { pipe, identity, reads_requests } = opened;
        let mut beside = Self::new(Carrier::Beside(pipe), held, Some(identity));
        beside.is_read = reads_requests;
        beside
    }

    /// Over another one, which holds the connection's place.
    pub(in crate::proxy::outbound) fn tls(stream: DestinationStream<Self>) -> Self {
        let peer = stream.get_ref().0.peer().cloned();
        Self::new(Carrier::Tls(Box::new(stream)), None, peer)
    }

    fn new(carrier: Carrier, held: impl Into<Option<Held>>, peer: Option<Identity>) -> Self {
        Self {
            carrier,
            is_shut_down: false,
            opened: Instant::now(),
            requests: AtomicU32::new(0),
            held: held.into(),
            peer,
            is_read: false,
        }
    }

    /// The identity that the other end has proven; `None` where the connection is plaintext.
    pub(super) fn peer(&self) -> Option<&Identity> {
        self.peer.as_ref()
    }

    /// Whether its requests are read at the destination by this process: those that need no connection are better handed over.
    pub(super) fn is_read(&self) -> bool {
        self.is_read
    }

    /// Whether nothing has come from the other end that was not read, its end neither. A stream of HBONE shares its connection
    /// with others: what has come may be for them.
    pub(super) fn is_silent(&self) -> bool {
        match &self.carrier {
            Carrier::Tcp(tcp) => net::is_silent(tcp),
            Carrier::Tls(stream) => stream.get_ref().0.is_silent(),
            Carrier::Hbone(stream) => stream.is_silent(),
            // What the application has said, its end too, the other end of the pipe may not have seen yet.
            Carrier::Beside(_) | Carrier::Gone => false,
        }
    }

    /// Counts a request that it carries.
    pub(super) fn note_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// How long it has been open.
    pub(super) fn age(&self) -> Duration {
        self.opened.elapsed()
    }

    /// The requests that it has carried.
    pub(super) fn requests(&self) -> u32 {
        self.requests.load(Ordering::Relaxed)
    }
}

impl AsyncRead for UpstreamIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.carrier {
            Carrier::Tcp(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Carrier::Hbone(stream) => Pin::new(stream).poll_read(cx, buf),
            Carrier::Beside(pipe) => Pin::new(pipe).poll_read(cx, buf),
            Carrier::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
            Carrier::Gone => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for UpstreamIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.carrier {
            Carrier::Tcp(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Carrier::Hbone(stream) => Pin::new(stream).poll_write(cx, bytes),
            Carrier::Beside(pipe) => Pin::new(pipe).poll_write(cx, bytes),
            Carrier::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
            Carrier::Gone => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.carrier {
            Carrier::Tcp(tcp) => Pin::new(tcp).poll_write_vectored(cx, slices),
            Carrier::Hbone(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Carrier::Beside(pipe) => Pin::new(pipe).poll_write_vectored(cx, slices),
            Carrier::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Carrier::Gone => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// TLS may hold a record back; all others take what is written at once.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.carrier {
            Carrier::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Carrier::Tcp(_) | Carrier::Hbone(_) | Carrier::Beside(_) | Carrier::Gone => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.is_shut_down = true;
        match &mut self.carrier {
            Carrier::Tcp(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Carrier::Hbone(stream) => Pin::new(stream).poll_shutdown(cx),
            Carrier::Beside(pipe) => Pin::new(pipe).poll_shutdown(cx),
            Carrier::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Carrier::Gone => Poll::Ready(Ok(())),
        }
    }
}

impl Drop for UpstreamIo {
    /// A stream that this side has ended in order has the time to be ended by the other: dropped before, it would be reset.
    fn drop(&mut self) {
        let carrier = std::mem::replace(&mut self.carrier, Carrier::Gone);
        let Some(runtime) = self.is_shut_down.then(Handle::try_current).and_then(Result::ok) else { return };
        match carrier {
            Carrier::Hbone(stream) => drop(runtime.spawn(await_end(stream, self.held.take()))),
            Carrier::Beside(pipe) => drop(runtime.spawn(await_end(pipe, self.held.take()))),
            Carrier::Tcp(_) | Carrier::Tls(_) | Carrier::Gone => {}
        }
    }
}

async fn await_end(mut stream: impl AsyncRead + Unpin, _held: Option<Held>) {
    let mut ignored = [0; 1024];
    let to_end = async { while stream.read(&mut ignored).await.is_ok_and(|count| count > 0) {} };
    let _ = tokio::time::timeout(LONGEST_END, to_end).await;
}

/// Closes connections of a pod that have been without requests for as long as they are kept, until it leaves; then all of them.
pub(in crate::proxy) async fn sweep(pools: &[HttpPool], left: impl Future<Output = ()>) {
    let mut interval = tokio::time::interval(SWEEP_INTERVAL);
    let mut left = std::pin::pin!(left);
    loop {
        tokio::select! {
            _ = interval.tick() => pools.iter().for_each(|pool| pool.sweep()),
            () = &mut left => break,
        }
    }
    pools.iter().for_each(HttpPool::clear);
}

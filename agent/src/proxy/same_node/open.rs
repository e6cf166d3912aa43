//! Links to pods of the same node, and connections on them that carry the bytes of requests without leaving the process. The destination's
//! side serves these as it serves what comes over HBONE, so that the same decides about them and the same is counted; what falls away are
//! TLS, HTTP/2 around the bytes, and the sockets between. Where the destination's side reads requests, `hand_over` spares the bytes, too.
//!
//! Before the first one, the agent connects from the source's namespace to the destination's HBONE port, as for HBONE: the network
//! decides whether that is possible, and the namespace in which the connection arrives says whose it is. It carries nothing, and while
//! it is open, and both certificates count, it is a link. Whatever is not in order leaves the connection to HBONE, which tells of it.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::HeaderValue;
use tokio::net::TcpStream;
use weir_common::HBONE_PORT;

use super::links::{Begun, Link};
use super::neighbours::Ends;
use super::request::{Granted, OpenedBeside, PipeRequest};
use crate::hbone::{Activity, HboneError, Lifetime, Target};
use crate::lifecycle::{first_of, when_woken};
use crate::limits::{Held, LimitKind};
use crate::net;
use crate::proxy::inbound::AuthenticatedPeer;
use crate::proxy::pod::PodProxy;
use crate::tls::vouching::{Vouched, vouch};

/// How long a link may take. Both ends are in this process: one that takes longer is none.
const OPENING_TIMEOUT: Duration = Duration::from_millis(500);
/// How often in the time that it is kept without connections a link is looked at.
const IDLE_PARTS: u32 = 10;

impl PodProxy {
    /// The pod of the same node that a target's address is known to be of, where requests to it may stay within the process.
    fn beside(&self, target: &Target) -> Option<Arc<Self>> {
        // While a process drains its successor accepts.
        let may_stay = self.proxy.pool.in_process && !self.proxy.drain.is_draining();
        self.neighbours.at(target.peer.ip()).filter(|_| may_stay && target.peer.port() == HBONE_PORT)
    }

    /// Whether requests to a target may stay within the process, as far as is known.
    pub(in crate::proxy) fn is_beside(&self, target: &Target) -> bool {
        self.beside(target).is_some()
    }

    /// Opens a connection to a target, where that is a pod of the same node. `None`: it goes over HBONE.
    ///
    /// # Errors
    /// As of HBONE, where the destination's side refuses.
    pub(in crate::proxy) async fn open_beside(
        self: &Arc<Self>,
        target: &Target,
        authority: &str,
        forwarded: Option<HeaderValue>,
    ) -> Option<Result<OpenedBeside, HboneError>> {
        let link = self.link_to(target).await?;
        let begun = link.begin()?;
        let (request, asked) = PipeRequest::new(authority, forwarded);
        let serving = begun.server.serve_pipe(request);
        let identity = link.server.clone();
        tokio::spawn(serve_on(begun, serving));
        let opened = asked.answered(target.peer, self.proxy.timeouts.request).await;
        Some(opened.map(|Granted { pipe, reads_requests }| {
            link.note_bytes_to(authority, !reads_requests);
            OpenedBeside { pipe, identity, reads_requests }
        }))
    }

    /// The link to a target, where that is a pod of the same node, and there is one or one can be had.
    pub(super) async fn link_to(self: &Arc<Self>, target: &Target) -> Option<Arc<Link<Self>>> {
        let expected = self.beside(target)?;
        let link = self.links.find(target, || Box::pin(self.open_link(target, &expected))).await?;
        link.leads_to(&expected).then_some(link)
    }

    /// The same, where there is one and nobody has to be waited for.
    pub(super) fn link_at_hand(&self, target: &Target) -> Option<Arc<Link<Self>>> {
        let expected = self.beside(target)?;
        self.links.at_hand(target).filter(|link| link.leads_to(&expected))
    }

    /// A link to the pod that is expected at the target's address.
    async fn open_link(self: &Arc<Self>, target: &Target, expected: &Arc<Self>) -> Option<Arc<Link<Self>>> {
        let opening = tokio::time::timeout(OPENING_TIMEOUT, self.link(target, expected)).await;
        let opened = opening.unwrap_or(None);
        if opened.is_none() {
            tracing::debug!(peer = %target.peer, "no link to a pod of the same node: connections to it go over HBONE");
        }
        opened
    }

    async fn link(self: &Arc<Self>, target: &Target, expected: &Arc<Self>) -> Option<Arc<Link<Self>>> {
        let proxy = &self.proxy;
        if self.pod.left.is_cancelled() || expected.pod.left.is_cancelled() {
            return None;
        }
        let own = proxy.certificates.get(&self.identity()).await.ok()?;
        let theirs = proxy.certificates.get(&expected.identity()).await.ok()?;
        let vouched = vouch(&own, &theirs, &target.identities, &proxy.trusted());
        let (client, server) = vouched.inspect_err(|why| tracing::debug!(peer = %target.peer, %why, "no link")).ok()?;
        let held = self.pod.limits.of(LimitKind::HboneConnections).try_take()?;
        let (held_of_peer, limit) = expected.inbound_peers.connect(&client.identity)?;
        let (tcp, addr) = self.connect_to_neighbour(target.peer, expected).await?;
        let Vouched { identity, hash: certificate, live, expires } = client;
        let lifetimes =
            [proxy.timeouts.age.begin(live, expires), proxy.timeouts.age.begin(server.live, server.expires)];
        let activity = Arc::new(Activity::begin());
        let peer = AuthenticatedPeer { identity, certificate, addr, listener: target.peer, limit, activity };
        let link = Link::new(peer, server.identity, expected.clone(), self.links.serve);
        let keeping =
            Keeping { link: link.clone(), source: self.clone(), destination: expected.clone(), tcp, lifetimes };
        tokio::spawn(keeping.run([held, held_of_peer]));
        Some(link)
    }

    /// Connects to a pod from this one's namespace; with the address that the network has seen. `None` where it is not the
    /// namespace of that pod in which the connection arrives.
    async fn connect_to_neighbour(&self, to: SocketAddr, expected: &Arc<Self>) -> Option<(TcpStream, SocketAddr)> {
        let mut own = self.pod.spec.addresses.iter().filter(|address| address.is_ipv4() == to.is_ipv4());
        // Of several, the kernel would choose.
        let (Some(address), None) = (own.next(), own.next()) else { return None };
        let socket = self.pod.netns.tcp_socket(to.ip()).ok()?;
        socket.bind(&SocketAddr::new(*address, 0).into()).ok()?;
        let source = socket.local_addr().ok()?.as_socket()?;
        let mut arrival = self.neighbours.expect(Ends { source, destination: to });
        let tcp = net::connect(socket, to, OPENING_TIMEOUT).await.ok()?;
        net::end_in_order(&tcp);
        let accepted = arrival.accepted().await?;
        Arc::ptr_eq(&accepted, expected).then_some((tcp, source))
    }
}

/// Serves what has begun on a link, to its end or that of the link.
pub(super) async fn serve_on(begun: Begun<PodProxy>, serving: BoxFuture<'static, ()>) {
    let ended = pin!(begun.link.ended.cancelled());
    tokio::select! {
        biased;
        () = when_woken(ended) => {}
        () = serving => {}
    }
}

/// A link while it is kept.
struct Keeping {
    link: Arc<Link<PodProxy>>,
    source: Arc<PodProxy>,
    destination: Arc<PodProxy>,
    tcp: TcpStream,
    /// How long its two ends may be believed.
    lifetimes: [Lifetime; 2],
}

impl Keeping {
    /// Keeps it as an HBONE connection is kept: until a pod leaves, the process drains, it is old or was idle for long, no further
    /// connections begin, and those that are open go on; when a pod dies, the drain is over or a certificate counts no more, all end. So
    /// they do where the network ends the connection. `_held`: what counts it among what both pods may have.
    async fn run(self, _held: [Held; 2]) {
        let Self { link, source, destination, tcp, lifetimes: [of_source, of_destination] } = self;
        let proxy = &source.proxy;
        let _gauge = proxy.metrics.same_node_link_opened();
        let leaving = first_of([source.pod.left.cancelled(), destination.pod.left.cancelled(), proxy.drain.draining()]);
        let mut leaving = pin!(leaving);
        let mut retiring = pin!(async {
            tokio::select! { () = of_source.retires() => {}, () = of_destination.retires() => {} }
        });
        let ends = async {
            tokio::select! { () = of_source.ends() => {}, () = of_destination.ends() => {} }
        };
        let stopped = first_of([source.pod.dead.cancelled(), destination.pod.dead.cancelled(), proxy.drain.closing()]);
        let mut stopped = pin!(stopped);
        let mut ends = pin!(ends);
        let mut looks = tokio::time::interval(proxy.pool.idle / IDLE_PARTS);
        let mut is_closed = false;
        while !is_closed || link.idle_for().is_none() {
            tokio::select! {
                () = &mut leaving, if !is_closed => is_closed = true,
                () = &mut retiring, if !is_closed => is_closed = true,
                _ = looks.tick(), if !is_closed => {
                    link.sweep();
                    is_closed = link.idle_for().is_some_and(|idle| idle >= proxy.pool.idle);
                }
                () = link.one_ended.notified() => {}
                () = &mut ends, if is_closed => break,
                () = &mut stopped => break,
                _ = tcp.readable() => break,
            }
            if is_closed {
                link.close();
            }
        }
        link.close();
        link.ended.cancel();
    }
}

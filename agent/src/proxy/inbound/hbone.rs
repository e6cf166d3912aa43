//! HBONE connections from peers: a handshake, then any number of streams, each of them a request. Or, from a pod of the same node, a
//! connection that carries nothing, and says that one could be made.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use super::admission::Accepted;
use super::client::Downstream;
use super::http::RequestStreams;
use super::peers::AuthenticatedPeer;
use super::request;
use crate::hbone::{Activity, HboneServer, Incoming, Lifetime, SessionError, handshake_failure_label};
use crate::lifecycle::{first_of, when_woken};
use crate::limits::{Held, Limit, LimitKind};
use crate::model::address::canonical;
use crate::net;
use crate::proxy::budget::Budget;
use crate::proxy::pod::PodProxy;
use crate::proxy::same_node::Ends;
use crate::telemetry::connection::ResponseFlag;
use crate::telemetry::metrics::{Metrics, Side};
use crate::tls::handshake::{self, HandshakeError, Secured};

/// How long a peer may take to close a connection after the agent has sent GOAWAY. Then the agent closes it.
const PEER_CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a peer may keep a connection without streams after it was asked to open no more.
const PEER_LEAVE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often in its idle time a connection is looked at; and the part of it that suffices once more than half of what the pod, or the
/// peer, may have inbound is taken.
const IDLE_PARTS: u32 = 10;

/// A connection whose peer has authenticated.
struct Served {
    server: HboneServer,
    peer: AuthenticatedPeer,
    lifetime: Lifetime,
    /// Counts it among what the peer holds.
    _held: Held,
}

/// Serves a connection to the HBONE port to its end.
pub(in crate::proxy) async fn serve(pod_proxy: Arc<PodProxy>, tcp: TcpStream, _budget: Budget) {
    let (Ok(source), Ok(local)) = (tcp.peer_addr(), tcp.local_addr()) else { return };
    let accepted = Accepted { source: canonical(source), local: canonical(local) };
    if accepted.is_dialled_directly() {
        accepted.record_dialled_directly(&pod_proxy);
        return reset(&tcp);
    }
    let ends = Ends { source: accepted.source, destination: accepted.local };
    if pod_proxy.neighbours.accepted(ends, &pod_proxy) {
        // It carries nothing. Who has opened it closes it.
        let _ = tcp.readable().await;
        return;
    }
    // The state of the handshake is large and soon over. A box gives its memory back before the first stream is served.
    if let Some(served) = Box::pin(establish(&pod_proxy, tcp, &accepted)).await {
        serve_streams(&pod_proxy, served).await;
    }
}

/// The TLS handshake, then the HTTP/2 preface. A failure is recorded.
async fn establish(pod_proxy: &PodProxy, tcp: TcpStream, accepted: &Accepted) -> Option<Served> {
    let secured = {
        let handshake = pod_proxy.handshakes.begin(pod_proxy.pod.limits.of(LimitKind::Handshakes)).await;
        tokio::select! {
            secured = secure(pod_proxy, tcp, accepted) => secured,
            () = handshake.displaced() => {
                let error = "a newer connection took the place of this handshake, which was the oldest of too many";
                accepted.record_refused(pod_proxy, ResponseFlag::TlsFailure, &error);
                None
            }
        }
    }?;
    let Some((held, limit)) = pod_proxy.inbound_peers.connect(&secured.peer) else {
        let error = "the peer holds as many of the pod's inbound connections as one peer may";
        accepted.record_refused(pod_proxy, ResponseFlag::ConnectFailure, &error);
        return None;
    };
    let (addr, listener) = (accepted.source, accepted.local);
    let (identity, certificate) = (secured.peer.clone(), secured.peer_hash);
    let activity = Arc::new(Activity::begin());
    let peer = AuthenticatedPeer { identity, certificate, addr, listener, limit, activity };
    let (budget, has_request_streams) = (pod_proxy.budget.clone(), pod_proxy.proxy.pool.request_streams);
    let start = HboneServer::start(secured, budget, pod_proxy.proxy.timeouts.age, has_request_streams);
    let (server, lifetime) = greet(&pod_proxy.proxy.metrics, start, &peer, pod_proxy.proxy.timeouts.handshake).await?;
    Some(Served { server, peer, lifetime, _held: held })
}

/// Has the peer learn that there will be no connection.
fn reset(tcp: &TcpStream) {
    // A socket that is closed already cannot be reset any more, and need not be.
    let _ = net::reset_on_close(&SockRef::from(tcp));
}

/// The TLS handshake, under the pod's identity. A failure is recorded.
async fn secure(pod_proxy: &PodProxy, tcp: TcpStream, accepted: &Accepted) -> Option<Secured<TcpStream>> {
    let proxy = &pod_proxy.proxy;
    let own = match proxy.certificates.get(&pod_proxy.identity()).await {
        Ok(own) => own,
        Err(error) => {
            accepted.record_refused(pod_proxy, ResponseFlag::IdentityError, &error);
            reset(&tcp);
            return None;
        }
    };
    let trusted = proxy.trusted();
    let handshake = tokio::time::timeout(proxy.timeouts.handshake, handshake::accept(&own, tcp, &trusted)).await;
    match handshake.unwrap_or(Err(HandshakeError::Timeout)) {
        Ok(secured) => Some(secured),
        Err(error) => {
            proxy.metrics.handshake_failed(Side::Downstream, handshake_failure_label(&error));
            accepted.record_refused(pod_proxy, ResponseFlag::TlsFailure, &error);
            None
        }
    }
}

/// The HTTP/2 preface and settings.
async fn greet(
    metrics: &Metrics,
    start: impl Future<Output = Result<(HboneServer, Lifetime), Arc<SessionError>>>,
    peer: &AuthenticatedPeer,
    timeout: Duration,
) -> Option<(HboneServer, Lifetime)> {
    match tokio::time::timeout(timeout, start).await {
        Ok(Ok(started)) => Some(started),
        Ok(Err(error)) => {
            metrics.handshake_failed(Side::Downstream, "http2");
            tracing::debug!(peer = %peer.addr, %error, "HTTP/2 preface failed");
            None
        }
        Err(_) => {
            metrics.handshake_failed(Side::Downstream, "timeout");
            tracing::debug!(peer = %peer.addr, "HTTP/2 preface took too long");
            None
        }
    }
}

/// Serves the streams of a connection. When the pod leaves, the process drains or the connection is old, the peer is asked to
/// open no more. The same when it would no longer be accepted, or the connection has carried nothing for long.
async fn serve_streams(pod_proxy: &Arc<PodProxy>, Served { mut server, peer, lifetime, _held }: Served) {
    let PodProxy { proxy, pod, .. } = &**pod_proxy;
    let _gauge = proxy.metrics.hbone_connection_opened(Side::Downstream);
    let limit = &peer.limit;
    let (mut is_going_away, mut is_retired) = (false, false);
    // One timer for the connection, not one for each request; and what may end it is polled only when it has something to say, not each
    // time that bytes move.
    let mut retires = pin!(lifetime.retires());
    let mut retires = pin!(when_woken(retires.as_mut()));
    let mut leaves = pin!(first_of([pod.left.cancelled(), proxy.drain.draining()]));
    let mut ends = pin!(first_of([pod.dead.cancelled(), proxy.drain.closing()]));
    let mut idle = pin!(sleep(proxy.timeouts.inbound_idle / IDLE_PARTS));
    let mut is_unused = false;
    let streams = Arc::new(RequestStreams::default());
    loop {
        tokio::select! {
            next = server.next() => match next {
                Ok(incoming) => {
                    let (pod_proxy, peer) = (pod_proxy.clone(), peer.clone());
                    match incoming {
                        Incoming::Tunnel(request) => {
                            drop(tokio::spawn(request::serve(pod_proxy, peer, Downstream::Hbone(request))));
                        }
                        Incoming::Request(request) => {
                            drop(tokio::spawn(streams.clone().serve(pod_proxy, peer, request)));
                        }
                    }
                    // Requests that came together begin together, and their answers leave in one TLS record; but where the
                    // node serves others, too, the next one begins behind whatever else this worker has to do by now.
                    if proxy.workers.load() > limit.held() as usize {
                        tokio::task::yield_now().await;
                    }
                }
                Err(error) => {
                    tracing::debug!(peer = %peer.addr, %error, "HBONE connection ended");
                    return server.peer_closed(PEER_CLOSE_TIMEOUT).await;
                }
            },
            () = &mut leaves, if !is_going_away => {
                is_going_away = true;
                server.goaway();
            }
            () = &mut retires, if !is_retired => {
                (is_going_away, is_retired) = (true, true);
                server.goaway();
            }
            () = &mut idle => {
                streams.sweep();
                if peer.activity.idle_for().is_some_and(|time| time >= idle_time(pod_proxy, &peer, is_unused)) {
                    if is_unused {
                        return server.abort().await;
                    }
                    (is_going_away, is_unused) = (true, true);
                    server.goaway();
                }
                let pause = if is_unused { PEER_LEAVE_TIMEOUT } else { proxy.timeouts.inbound_idle / IDLE_PARTS };
                idle.as_mut().reset(Instant::now() + pause);
            }
            () = lifetime.ends(), if is_retired => return server.abort().await,
            () = &mut ends => return server.abort().await,
        }
    }
}

/// How long a connection may carry nothing; once it `is_unused`, and the peer was asked to leave, until it is closed.
fn idle_time(pod_proxy: &PodProxy, peer: &AuthenticatedPeer, is_unused: bool) -> Duration {
    let idle = pod_proxy.proxy.timeouts.inbound_idle;
    let is_crowded = |limit: &Limit| limit.held() > limit.maximum() / 2;
    match () {
        () if is_unused => PEER_LEAVE_TIMEOUT,
        () if is_crowded(&peer.limit) || is_crowded(pod_proxy.pod.limits.of(LimitKind::InboundConnections)) => {
            idle / IDLE_PARTS
        }
        () => idle,
    }
}

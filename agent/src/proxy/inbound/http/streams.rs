//! Requests that come each by itself, and not as the bytes of a connection: as streams of their own on the HBONE connections of other
//! agents, or handed over by the side of a pod of the same node. What is said of such a request is believed as far as the same is in a
//! CONNECT request, and policy is asked about it as about one that came inside of CONNECT.
//!
//! Where something is not in order the request is not admitted, and comes as bytes instead, over HBONE inside of CONNECT: what is wrong is
//! answered and recorded there, once.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

use super::connection::{ApplicationPool, HttpConnection};
use super::downstream::cut_off;
use super::request::InboundRequest;
use crate::enrollment::pod::OpenConnection;
use crate::hbone::{self, ActiveStream, IncomingRequest};
use crate::http::{BodyLength, Downstream};
use crate::limits::{Held, LimitKind};
use crate::model::http::destination::DEFAULT_IDLE_TIMEOUT;
use crate::model::http::head::RequestHead;
use crate::model::http::hop::{self, RequestHop};
use crate::proxy::inbound::admission;
use crate::proxy::inbound::connection::InboundConnection;
use crate::proxy::inbound::error::InboundError;
use crate::proxy::inbound::peers::AuthenticatedPeer;
use crate::proxy::inbound::request::{client_address, destination_of};
use crate::proxy::pod::PodProxy;
use crate::proxy::revocation::{PolicyChanges, Tracked, TrackedRequests};
use crate::proxy::same_node::NotAdmitted;
use crate::proxy::workers::{Load, Workers};
use crate::telemetry::record::ConnectionRecord;

/// Clients that are remembered, with what they ask for, before those are forgotten that have no request under way. There are never more than
/// that, or than twice those that have.
const FIRST_FORGOTTEN_AT: usize = 128;
/// Destinations whose connections to the application are kept while nobody uses them.
const MAX_DESTINATIONS: usize = 128;

/// A place among what the peer, and the pod, may have inbound.
type Place = (Held, Held);

/// What the requests on one HBONE connection, or one link, have in common.
#[derive(Default)]
pub(in crate::proxy::inbound) struct RequestStreams(Mutex<Shared>);

#[derive(Default)]
struct Shared {
    known: HashMap<Key, Arc<Known>>,
    /// How many of them there are before some are forgotten.
    forgets_at: usize,
    /// By address and port of the pod: all of the peer's clients are of one pod.
    applications: HashMap<SocketAddr, Arc<ApplicationPool>>,
}

/// Whom requests are from, and what they are for.
#[derive(PartialEq, Eq, Hash)]
struct Key {
    client: SocketAddr,
    destination: SocketAddr,
    /// The service that the client asked for.
    service: Option<Box<str>>,
}

/// What requests from one client for one destination have in common, as if they came on a connection, as which it counts.
struct Known {
    connection: HttpConnection,
    tracked: Tracked,
    changes: PolicyChanges,
    record: Mutex<ConnectionRecord>,
    /// Requests that are under way, and when there was one last.
    under_way: AtomicU32,
    last_used: Mutex<Instant>,
    _place: Place,
}

/// A request that was admitted, counted as under way until dropped.
pub(in crate::proxy::inbound) struct UnderWay {
    client: CountedClient,
    /// Of a request beside others of its client.
    _place: Option<Place>,
    _counted: Counted,
}

/// What counts a request while it is served.
type Counted = (OpenConnection, Load, ActiveStream);

/// A client, counted as one that has a request under way, until dropped.
struct CountedClient(Arc<Known>);

impl Drop for CountedClient {
    fn drop(&mut self) {
        *self.0.last_used.lock() = Instant::now();
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

impl RequestStreams {
    /// Serves a request to the end of its stream.
    pub(in crate::proxy::inbound) fn serve(
        self: Arc<Self>,
        pod_proxy: Arc<PodProxy>,
        peer: AuthenticatedPeer,
        request: IncomingRequest,
    ) -> impl Future<Output = ()> + Send + 'static {
        // In a box of its own: the runtime moves a new task several times.
        Box::pin(async move { self.admit_and_serve(&pod_proxy, &peer, request).await })
    }

    async fn admit_and_serve(&self, pod_proxy: &Arc<PodProxy>, peer: &AuthenticatedPeer, request: IncomingRequest) {
        let IncomingRequest { stream, mut head, length } = request;
        let Some(hop) = hop::take(&mut head) else { return stream.refuse() };
        let admitted = tokio::select! {
            biased;
            admitted = self.admit(pod_proxy, peer, &hop) => admitted,
            () = stream.given_up() => return,
        };
        match admitted {
            Ok(admitted) => admitted.serve(stream, head, length).await,
            Err(_) => stream.refuse(),
        }
    }

    /// Admits a request. Ready at once where its client and its destination are known, and policy has not changed.
    ///
    /// # Errors
    /// Where it has to come as bytes.
    pub(in crate::proxy::inbound) async fn admit(
        &self,
        pod_proxy: &Arc<PodProxy>,
        peer: &AuthenticatedPeer,
        hop: &RequestHop,
    ) -> Result<UnderWay, NotAdmitted> {
        let RequestHop { destination, forwarded } = hop;
        let destination = destination_of(pod_proxy, peer, Some(destination)).map_err(|_| NotAdmitted::NotInOrder)?;
        let load = pod_proxy.proxy.workers.count_load(Workers::current());
        let counted = (pod_proxy.pod.count_connection(), load, peer.activity.stream());
        let client = client_address(peer, Some(forwarded));
        let service = hbone::service_of(forwarded);
        if let Some(known) = self.find(client, destination, service) {
            return self.begin(known, counted, pod_proxy, peer).ok_or(NotAdmitted::NoPlace);
        }
        let connection = InboundConnection { pod_proxy, client, destination, peer: Some(peer) };
        let admitting = Box::pin(self.admit_client(connection, service, counted));
        tokio::select! {
            admitted = admitting => admitted.unwrap_or(Err(NotAdmitted::NotInOrder)),
            () = pod_proxy.pod.dead.cancelled() => Err(NotAdmitted::NotInOrder),
            () = pod_proxy.proxy.drain.closing() => Err(NotAdmitted::NotInOrder),
        }
    }

    /// What is known of a client's requests for a destination. Once policy has changed it is asked anew, and may have nothing more to say.
    fn find(&self, client: SocketAddr, destination: SocketAddr, service: Option<&str>) -> Option<Arc<Known>> {
        let key = Key { client, destination, service: service.map(Into::into) };
        let mut shared = self.0.lock();
        let known = shared.known.get(&key)?;
        if known.tracked.revoked.is_cancelled() || known.changes.is_behind() {
            shared.known.remove(&key);
            return None;
        }
        Some(known.clone())
    }

    /// Begins a request of a client that is known. One beside others counts as a connection of its own.
    fn begin(
        &self,
        known: Arc<Known>,
        counted: Counted,
        pod_proxy: &PodProxy,
        peer: &AuthenticatedPeer,
    ) -> Option<UnderWay> {
        let others = known.under_way.fetch_add(1, Ordering::Relaxed);
        let client = CountedClient(known);
        let place = if others == 0 { None } else { Some(self.take_place(pod_proxy, peer)?) };
        Some(UnderWay { client, _place: place, _counted: counted })
    }

    /// A place for a client, or for a request beside others. Where there is none, clients without requests make room.
    fn take_place(&self, pod_proxy: &PodProxy, peer: &AuthenticatedPeer) -> Option<Place> {
        let take = || {
            let of_peer = peer.limit.try_take()?;
            Some((of_peer, pod_proxy.pod.limits.of(LimitKind::InboundConnections).try_take()?))
        };
        take().or_else(|| {
            self.make_room();
            take()
        })
    }

    /// Forgets clients that have no request under way: each holds a place.
    pub(in crate::proxy::inbound) fn make_room(&self) {
        self.0.lock().known.retain(|_, known| known.is_in_use());
    }

    /// Asks policy about a client's requests for a destination, and begins the first of them.
    async fn admit_client(
        &self,
        connection: InboundConnection<'_>,
        service: Option<&str>,
        counted: Counted,
    ) -> Result<Result<UnderWay, NotAdmitted>, InboundError> {
        let InboundConnection { pod_proxy, client, destination, peer } = connection;
        let Some(place) = peer.and_then(|peer| self.take_place(pod_proxy, peer)) else {
            return Ok(Err(NotAdmitted::NoPlace));
        };
        let access = connection.access_request();
        let tracked = admission::admit_requests(pod_proxy, &access).await?;
        let Some(tracked) = tracked else { return Ok(Err(NotAdmitted::OnlyBytes)) };
        let TrackedRequests { connection: tracked, changes } = tracked;
        let ends = {
            let mesh = pod_proxy.proxy.mesh.read();
            connection.ends(&mesh, pod_proxy.source_workload(&mesh), service)
        };
        let record = ConnectionRecord::open_provisional(pod_proxy.connection_reporting(), ends.clone());
        record.settle_for_requests(None);
        let revoked = tracked.revoked.clone();
        let pool = self.applications_at(destination);
        let connection = HttpConnection::new(pod_proxy, access, client, ends, peer.cloned(), revoked).sharing(pool);
        let known = Arc::new(Known {
            connection,
            tracked,
            changes,
            record: Mutex::new(record),
            under_way: AtomicU32::new(1),
            last_used: Mutex::new(Instant::now()),
            _place: place,
        });
        self.remember(Key { client, destination, service: service.map(Into::into) }, &known);
        Ok(Ok(UnderWay { client: CountedClient(known), _place: None, _counted: counted }))
    }

    /// The connections to the application at an address and port. A peer that names very many keeps those alone that a client uses.
    fn applications_at(&self, destination: SocketAddr) -> Arc<ApplicationPool> {
        let mut shared = self.0.lock();
        if shared.applications.len() >= MAX_DESTINATIONS {
            shared.applications.retain(|_, pool| Arc::strong_count(pool) > 1);
        }
        shared.applications.entry(destination).or_default().clone()
    }

    /// Remembers what is known, unless another request has found that out meanwhile.
    fn remember(&self, key: Key, known: &Arc<Known>) {
        let mut shared = self.0.lock();
        if shared.known.len() >= shared.forgets_at.max(FIRST_FORGOTTEN_AT) {
            // Clients whose connections are gone are most of them.
            shared.known.retain(|_, known| known.is_in_use());
            shared.forgets_at = 2 * shared.known.len();
        }
        shared.known.entry(key).or_insert_with(|| known.clone());
    }

    /// Forgets clients that have asked for nothing for long, and closes connections to the application that nobody uses.
    pub(in crate::proxy::inbound) fn sweep(&self) {
        let mut shared = self.0.lock();
        shared.known.retain(|_, known| known.is_in_use() || known.last_used.lock().elapsed() < DEFAULT_IDLE_TIMEOUT);
        shared.applications.retain(|_, pool| {
            pool.sweep();
            Arc::strong_count(pool) > 1
        });
    }
}

impl UnderWay {
    /// Serves the request to its end.
    pub(in crate::proxy::inbound) async fn serve(self, stream: impl Downstream, head: RequestHead, length: BodyLength) {
        self.client.0.serve(stream, head, length).await;
    }
}

impl Known {
    /// Whether a request is under way.
    fn is_in_use(&self) -> bool {
        self.under_way.load(Ordering::Relaxed) > 0
    }

    async fn serve(&self, mut stream: impl Downstream, mut head: RequestHead, length: BodyLength) {
        let Self { connection, tracked, changes, record, .. } = self;
        let pod_proxy = &connection.pod_proxy;
        let (config, mut changes) = (pod_proxy.proxy.mesh.routes().current(), changes.clone());
        let request = InboundRequest::begin(connection, &config, &mut stream, &mut head, length);
        let error = tokio::select! {
            biased;
            error = cut_off(pod_proxy, &tracked.revoked) => error,
            // A stream whose response has not ended is reset as it is dropped.
            _ = request.serve(&config, &mut changes) => return,
        };
        // Requests that this ends tell of the rest.
        if matches!(error, InboundError::Revoked) {
            record.lock().fail(error.flag(), &error);
        }
    }
}

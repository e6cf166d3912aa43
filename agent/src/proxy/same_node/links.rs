//! The links of a pod to pods of the same node. A link takes the place of an HBONE connection: it says who both ends are, and connections
//! begin on it for as long as it may be believed.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::request::PipeRequest;
use crate::hbone::{ActiveStream, Target};
use crate::model::identity::Identity;
use crate::proxy::inbound::AuthenticatedPeer;

/// How long none is tried again to a target where there was none to be had.
const RETRY_PAUSE: Duration = Duration::from_secs(5);
/// Targets that are known before those are looked for that have no link any more.
const SWEEP_AT: usize = 64;

/// See the module. `D`: a pod.
pub(in crate::proxy) struct Links<D> {
    places: Mutex<HashMap<Target, Place<D>>>,
    /// Serves a connection of a peer to a pod, as what comes over HBONE is served.
    pub(super) serve: Serve<D>,
}

type Serve<D> = fn(Arc<D>, AuthenticatedPeer, PipeRequest) -> BoxFuture<'static, ()>;

/// Locked while a link is being opened: others wait for it.
type Place<D> = Arc<tokio::sync::Mutex<Known<D>>>;

enum Known<D> {
    Nothing,
    Link(Arc<Link<D>>),
    /// There was none to be had.
    None(Instant),
}

/// A link that was opened.
pub(super) struct Link<D> {
    /// The source, as the destination knows it.
    pub(super) peer: AuthenticatedPeer,
    /// Who the destination is.
    pub(super) server: Identity,
    /// `None` once no further connections may begin.
    destination: Mutex<Option<Arc<D>>>,
    /// Cancelled when all of its connections are to end.
    pub(super) ended: CancellationToken,
    /// Told when a connection has ended.
    pub(super) connection_ended: Notify,
}

impl<D> fmt::Debug for Links<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Links").field("targets", &self.places.lock().len()).finish()
    }
}

impl<D> Links<D> {
    pub(in crate::proxy) fn new(serve: Serve<D>) -> Self {
        Self { places: Mutex::default(), serve }
    }

    /// The link to a target, where there is one or `open` has one.
    pub(super) async fn find<F>(&self, target: &Target, open: impl FnOnce() -> F) -> Option<Arc<Link<D>>>
    where
        F: Future<Output = Option<Arc<Link<D>>>>,
    {
        let place = self.place(target);
        let mut known = place.lock().await;
        match &*known {
            Known::Link(link) if link.takes_connections() => return Some(link.clone()),
            Known::None(since) if since.elapsed() < RETRY_PAUSE => return None,
            _ => {}
        }
        let opened = open().await;
        *known = match &opened {
            Some(link) => Known::Link(link.clone()),
            None => Known::None(Instant::now()),
        };
        opened
    }

    fn place(&self, target: &Target) -> Place<D> {
        let mut places = self.places.lock();
        if places.len() >= SWEEP_AT {
            let is_in_use = |place: &Place<D>| place.try_lock().is_ok_and(|known| known.is_in_use());
            places.retain(|_, place| Arc::strong_count(place) > 1 || is_in_use(place));
        }
        places.entry(target.clone()).or_insert_with(|| Arc::new(tokio::sync::Mutex::new(Known::Nothing))).clone()
    }
}

impl<D> Known<D> {
    fn is_in_use(&self) -> bool {
        matches!(self, Self::Link(link) if link.takes_connections())
    }
}

impl<D> Link<D> {
    pub(super) fn new(peer: AuthenticatedPeer, server: Identity, destination: Arc<D>) -> Arc<Self> {
        let (ended, connection_ended) = (CancellationToken::new(), Notify::new());
        Arc::new(Self { peer, server, destination: Mutex::new(Some(destination)), ended, connection_ended })
    }

    fn takes_connections(&self) -> bool {
        self.destination.lock().is_some()
    }

    /// Counts a connection that begins; `None` where none may any more.
    pub(super) fn begin(&self) -> Option<(Arc<D>, ActiveStream)> {
        let destination = self.destination.lock();
        // Counted before anybody can close the link and find that it has none.
        destination.as_ref().map(|destination| (destination.clone(), self.peer.activity.stream()))
    }

    /// Has no further connections begin.
    pub(super) fn close(&self) {
        *self.destination.lock() = None;
    }

    /// For how long it has had no connection; `None` while it has one.
    pub(super) fn idle_for(&self) -> Option<Duration> {
        self.peer.activity.idle_for()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::hbone::Activity;
    use crate::limits::{LimitKind, NodeLimits};
    use crate::model::identity::TrustDomain;

    fn link() -> Arc<Link<()>> {
        let identity = Identity::new(TrustDomain::new(""), "shop", "web");
        let peer = AuthenticatedPeer {
            identity: identity.clone(),
            certificate: [0; 32],
            addr: ([10, 0, 0, 1], 50000).into(),
            listener: ([10, 0, 0, 2], 15008).into(),
            limit: Arc::new(NodeLimits::new(|_| 1).for_pod().of(LimitKind::InboundOfPeer).clone()),
            activity: Arc::new(Activity::begin()),
        };
        Link::new(peer, identity, Arc::new(()))
    }

    fn links() -> Links<()> {
        Links::new(|_, _, _| async {}.boxed())
    }

    async fn not_again() -> Option<Arc<Link<()>>> {
        panic!("what is known is enough")
    }

    fn target(port: u16) -> Target {
        Target { peer: ([10, 0, 0, 2], port).into(), identities: Vec::new() }
    }

    #[tokio::test]
    async fn a_link_is_used_while_it_takes_connections_and_a_failure_is_remembered() {
        let links = links();
        let opened = links.find(&target(1), || async { Some(link()) }).await.expect("it was opened");
        let found = links.find(&target(1), not_again).await.expect("it is there");
        assert!(Arc::ptr_eq(&opened, &found));
        opened.close();
        let another = links.find(&target(1), || async { Some(link()) }).await.expect("it was opened");
        assert!(!Arc::ptr_eq(&opened, &another));
        assert!(links.find(&target(2), || async { None }).await.is_none());
        assert!(links.find(&target(2), not_again).await.is_none());
    }

    #[tokio::test]
    async fn targets_without_a_link_are_forgotten() {
        let links = links();
        let kept = links.find(&target(0), || async { Some(link()) }).await;
        for port in 1..1000 {
            links.find(&target(port), || async { None }).await;
        }
        assert!(links.places.lock().len() <= SWEEP_AT + 1);
        let found = links.find(&target(0), not_again).await;
        assert!(kept.zip(found).is_some_and(|(kept, found)| Arc::ptr_eq(&kept, &found)));
    }

    #[test]
    fn no_connection_begins_on_a_link_that_is_closed() {
        let link = link();
        let (_destination, active) = link.begin().expect("it is open");
        assert_eq!(link.idle_for(), None, "it has a connection");
        link.close();
        assert!(link.begin().is_none());
        drop(active);
        assert!(link.idle_for().is_some());
    }
}

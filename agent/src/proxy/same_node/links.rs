//! The links of a pod to pods of the same node. A link takes the place of an HBONE connection: it says who both ends are, and connections
//! and requests begin on it for as long as it may be believed.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::request::PipeRequest;
use crate::hbone::{ActiveStream, Target};
use crate::http::HandedRequest;
use crate::model::http::hop::RequestHop;
use crate::model::identity::Identity;
use crate::proxy::inbound::AuthenticatedPeer;

/// How long none is tried again to a target where there was none to be had.
const RETRY_PAUSE: Duration = Duration::from_secs(5);
/// Targets that are known before those are looked for that have no link any more.
const SWEEP_AT: usize = 64;
/// Destinations of one link that are remembered.
const MAX_DESTINATIONS: usize = 64;

/// The destination's side of a link.
pub(in crate::proxy) trait LinkServer: Send + Sync {
    /// Serves a connection as one that comes over HBONE, to its end.
    fn serve_pipe(&self, request: PipeRequest) -> BoxFuture<'static, ()>;

    /// Admits a request that is about to be handed over. Ready at once while others of its client are known.
    fn admit<'a>(&'a self, hop: &'a RequestHop) -> BoxFuture<'a, Result<ServesRequest, NotAdmitted>>;

    /// Forgets what nobody has used for long.
    fn sweep(&self);
}

/// Serves one request that was admitted, to its end.
pub(in crate::proxy) type ServesRequest = Box<dyn FnOnce(HandedRequest) -> BoxFuture<'static, ()> + Send>;

/// Why a request has to come as bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proxy) enum NotAdmitted {
    /// Nothing is decided about it: its bytes are moved without being read.
    OnlyBytes,
    /// The pod, or its peer, has as much under way as it may.
    NoPlace,
    /// Something is not in order. Whoever gets the bytes says what.
    NotInOrder,
}

/// See the module. `D`: a pod.
pub(in crate::proxy) struct Links<D> {
    places: Mutex<HashMap<Target, Place<D>>>,
    /// The side of a pod on a link from a peer.
    pub(super) serve: Serve<D>,
}

type Serve<D> = fn(Arc<D>, AuthenticatedPeer) -> Arc<dyn LinkServer>;

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
    /// `None` once nothing further may begin.
    destination: Mutex<Option<Destination<D>>>,
    /// Destinations, as CONNECT names them, about whose requests nothing was decided when it was looked last.
    moved_as_bytes: Mutex<HashSet<Box<str>>>,
    /// Cancelled when all that has begun on it is to end.
    pub(super) ended: CancellationToken,
    /// Told when something has ended, after it was closed.
    pub(super) one_ended: Notify,
}

struct Destination<D> {
    pod: Arc<D>,
    server: Arc<dyn LinkServer>,
}

/// A connection, or a request, that has begun on a link, until dropped.
pub(super) struct Begun<D> {
    pub(super) server: Arc<dyn LinkServer>,
    pub(super) link: Arc<Link<D>>,
    /// `None` once it is over.
    active: Option<ActiveStream>,
}

impl<D> Drop for Begun<D> {
    fn drop(&mut self) {
        self.active = None;
        // While the link is open nobody waits for that.
        if !self.link.takes_connections() {
            self.link.one_ended.notify_one();
        }
    }
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
        if let Some(link) = self.at_hand(target) {
            return Some(link);
        }
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

    /// The link to a target, where nobody has to be waited for.
    pub(super) fn at_hand(&self, target: &Target) -> Option<Arc<Link<D>>> {
        let place = self.places.lock().get(target)?.clone();
        let known = place.try_lock().ok()?;
        match &*known {
            Known::Link(link) if link.takes_connections() => Some(link.clone()),
            _ => None,
        }
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
    /// `serve`: makes the destination's side.
    pub(super) fn new(peer: AuthenticatedPeer, server: Identity, pod: Arc<D>, serve: Serve<D>) -> Arc<Self> {
        let destination = Destination { server: serve(pod.clone(), peer.clone()), pod };
        Arc::new(Self {
            peer,
            server,
            destination: Mutex::new(Some(destination)),
            moved_as_bytes: Mutex::default(),
            ended: CancellationToken::new(),
            one_ended: Notify::new(),
        })
    }

    fn takes_connections(&self) -> bool {
        self.destination.lock().is_some()
    }

    /// Whether it is to this pod, and open.
    pub(super) fn leads_to(&self, pod: &Arc<D>) -> bool {
        self.destination.lock().as_ref().is_some_and(|destination| Arc::ptr_eq(&destination.pod, pod))
    }

    /// Counts a connection or a request that begins; `None` where none may any more.
    pub(super) fn begin(self: &Arc<Self>) -> Option<Begun<D>> {
        let destination = self.destination.lock();
        let server = destination.as_ref()?.server.clone();
        // Counted before anybody can close the link and find that it has none.
        Some(Begun { server, link: self.clone(), active: Some(self.peer.activity.stream()) })
    }

    /// Has nothing further begin.
    pub(super) fn close(&self) {
        // What that drops may be much, and is dropped without the lock.
        let destination = self.destination.lock().take();
        drop(destination);
    }

    /// For how long nothing was under way on it; `None` while something is.
    pub(super) fn idle_for(&self) -> Option<Duration> {
        self.peer.activity.idle_for()
    }

    /// Has the destination's side forget what nobody has used for long.
    pub(super) fn sweep(&self) {
        let server = self.destination.lock().as_ref().map(|destination| destination.server.clone());
        if let Some(server) = server {
            server.sweep();
        }
    }

    /// Whether nothing was decided about requests to a destination when it was looked last.
    pub(super) fn moves_bytes_to(&self, authority: &str) -> bool {
        self.moved_as_bytes.lock().contains(authority)
    }

    pub(super) fn note_bytes_to(&self, authority: &str, are_moved: bool) {
        let mut moved = self.moved_as_bytes.lock();
        if !are_moved {
            moved.remove(authority);
        } else if !moved.contains(authority) {
            if moved.len() >= MAX_DESTINATIONS {
                moved.clear();
            }
            moved.insert(authority.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::hbone::Activity;
    use crate::limits::{LimitKind, NodeLimits};
    use crate::model::identity::TrustDomain;

    struct Nobody;

    impl LinkServer for Nobody {
        fn serve_pipe(&self, _: PipeRequest) -> BoxFuture<'static, ()> {
            async {}.boxed()
        }

        fn admit<'a>(&'a self, _: &'a RequestHop) -> BoxFuture<'a, Result<ServesRequest, NotAdmitted>> {
            async { Err(NotAdmitted::NotInOrder) }.boxed()
        }

        fn sweep(&self) {}
    }

    fn nobody(_: Arc<()>, _: AuthenticatedPeer) -> Arc<dyn LinkServer> {
        Arc::new(Nobody)
    }

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
        Link::new(peer, identity, Arc::new(()), nobody)
    }

    fn links() -> Links<()> {
        Links::new(nobody)
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
        assert!(links.at_hand(&target(1)).is_some_and(|link| Arc::ptr_eq(&opened, &link)));
        opened.close();
        assert!(links.at_hand(&target(1)).is_none() && links.at_hand(&target(3)).is_none());
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
        let begun = link.begin().expect("it is open");
        assert_eq!(link.idle_for(), None, "it has a connection");
        link.close();
        assert!(link.begin().is_none());
        drop(begun);
        assert!(link.idle_for().is_some());
        assert!(link.one_ended.notified().now_or_never().is_some(), "whoever waits for the last one is told");
    }

    #[test]
    fn what_was_found_out_last_about_a_destination_is_remembered() {
        let link = link();
        let destination = |number: usize| format!("10.0.0.2:{number}");
        assert!(!link.moves_bytes_to(&destination(0)));
        link.note_bytes_to(&destination(0), true);
        assert!(link.moves_bytes_to(&destination(0)) && !link.moves_bytes_to(&destination(1)));
        link.note_bytes_to(&destination(0), false);
        assert!(!link.moves_bytes_to(&destination(0)));
        (0..10 * MAX_DESTINATIONS).for_each(|number| link.note_bytes_to(&destination(number), true));
        assert!(link.moved_as_bytes.lock().len() <= MAX_DESTINATIONS);
    }
}

//! The task that keeps the direct path: it follows the pods, the mesh, the objects and what is trusted, for as long as this agent serves
//! the node.
//!
//! Connections begin to be direct only for a short time from the last time that everything was decided: where this task stands
//! still, or no agent serves, they go by the agent.

use std::collections::HashSet;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::time::Interval;

use super::counting::Answer;
use super::path::{DirectPath, Pods};
use super::suggestions::Suggestion;
use crate::capture::NetnsCookie;
use crate::capture::direct::DirectMaps;
use crate::capture::noted::Noted;
use crate::enrollment::netns;
use crate::proxy::node::{DirectSetting, Proxy};
use crate::proxy::pod::PodProxy;

/// How long connections may begin to be direct from the moment of which everything that has changed until then was decided.
const LEASE: Duration = Duration::from_secs(1);
/// How often that is renewed, and it is looked which pods are gone and what the kernel has noted; counted from the end of one look to the
/// next, so that changes have their turn however long one takes.
const INTERVAL: Duration = Duration::from_millis(250);
/// So many of those and everything is decided again, though nothing has told of a change: certificates expire.
const INTERVALS_TO_RECONSIDER: u32 = 20;
/// So many and the bytes of what is open are counted.
const INTERVALS_TO_COUNT: u32 = 4;
/// How long changes are gathered before everything is decided again.
const GATHERING: Duration = Duration::from_millis(10);
/// How long connections that have ended are gathered.
const READING_PAUSE: Duration = Duration::from_millis(20);

/// How long the pods of a former agent may take to come.
const ARRIVING: Duration = Duration::from_millis(500);

/// What the task is told by.
#[derive(Debug)]
pub(in crate::proxy) struct Sources {
    /// Whether this agent serves the node, and has a mesh.
    pub(in crate::proxy) serves: watch::Receiver<bool>,
    pub(in crate::proxy) pods: mpsc::UnboundedReceiver<Arc<PodProxy>>,
    pub(in crate::proxy) suggestions: mpsc::Receiver<Suggestion<PodProxy>>,
}

/// Keeps the direct path. Ends with the proxy.
pub(in crate::proxy) async fn keep(proxy: Arc<Proxy>, mut sources: Sources) {
    let mut pods = Pods::new();
    let is_on = proxy.direct.is_on && can_be();
    if is_on {
        tracing::info!("connections between pods of this node may be direct");
    }
    while sources.until_serving(&mut pods).await {
        sources.gather(&mut pods).await;
        match DirectMaps::open(&proxy.capture) {
            Ok(maps) => {
                let setting = DirectSetting { is_on, ..proxy.direct.clone() };
                let path = DirectPath::new(maps, setting, proxy.capture.take_orphans());
                if Serving::new(&proxy, &mut pods, path).run(&mut sources).await == Outcome::NothingToDo {
                    return;
                }
            }
            Err(error) => {
                tracing::error!(%error, "no connection is direct");
                return;
            }
        }
    }
}

/// Whether direct connections can be followed here: what cannot be ended must not begin.
fn can_be() -> bool {
    match netns::can_end_sockets() {
        Ok(()) => true,
        Err(error) => {
            tracing::error!(%error, "this kernel cannot end connections (CONFIG_INET_DIAG_DESTROY): none is direct");
            false
        }
    }
}

impl Sources {
    /// Takes note of pods until this agent serves. False at the end of the proxy.
    async fn until_serving(&mut self, pods: &mut Pods) -> bool {
        loop {
            tokio::select! {
                pod = self.pods.recv() => match pod {
                    Some(pod) => add(pods, pod),
                    None => return false,
                },
                Some(_) = self.suggestions.recv() => {}
                serves = becomes(&mut self.serves, true) => return serves,
            }
        }
    }

    /// Takes note of the pods that a former agent has left, which come one after the other: what has ended meanwhile is told of as theirs.
    async fn gather(&mut self, pods: &mut Pods) {
        let mut until = pin!(tokio::time::sleep(ARRIVING));
        loop {
            tokio::select! {
                Some(pod) = self.pods.recv() => add(pods, pod),
                () = &mut until => return,
            }
        }
    }
}

/// Waits for a value; false where it will never be.
async fn becomes(serves: &mut watch::Receiver<bool>, value: bool) -> bool {
    serves.wait_for(|serves| *serves == value).await.is_ok()
}

fn add(pods: &mut Pods, pod: Arc<PodProxy>) {
    pods.insert(pod.pod.netns.cookie(), pod);
}

/// The task while this agent serves.
struct Serving<'a> {
    proxy: &'a Proxy,
    pods: &'a mut Pods,
    path: DirectPath,
    mesh: watch::Receiver<u64>,
    objects: watch::Receiver<()>,
    trust: watch::Receiver<u64>,
    ticks: Interval,
    /// Of everything that had changed until then was decided.
    decided: Instant,
    /// Pods that have left or died, and have direct connections still.
    gone: HashSet<NetnsCookie>,
    /// More connections have ended than were told of in a row.
    is_behind: bool,
    /// Pods have come of whose connections nothing was decided yet.
    are_new: bool,
    ticked: u32,
}

/// Why the task ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// This agent serves no more, or the process ends.
    Stopped,
    /// No connection is to be direct, and none is.
    NothingToDo,
}

/// What there is to do.
enum Event {
    /// This agent serves no more, or the process ends.
    Stop,
    Pod(Arc<PodProxy>),
    Suggestion(Suggestion<PodProxy>),
    /// Connections have ended.
    Ended,
    /// The mesh, or objects, have changed.
    Changed,
    /// Roots, revocation lists or trust domains have.
    TrustChanged,
    /// A pod has said what these connections have received.
    Received(Answer, Vec<Noted>),
    Tick,
}

impl<'a> Serving<'a> {
    fn new(proxy: &'a Proxy, pods: &'a mut Pods, path: DirectPath) -> Self {
        let (mesh, objects) = (proxy.mesh.watch(), proxy.mesh.routes().watch());
        let trust = proxy.certificates.watch_trust();
        Self {
            proxy,
            pods,
            path,
            mesh,
            objects,
            trust,
            ticks: tokio::time::interval(INTERVAL),
            decided: Instant::now(),
            gone: HashSet::new(),
            is_behind: false,
            are_new: true,
            ticked: 0,
        }
    }

    async fn run(mut self, sources: &mut Sources) -> Outcome {
        // What a former agent has left.
        self.is_behind = self.path.read_ended(self.pods);
        loop {
            match self.next(sources).await {
                Event::Stop => {
                    self.path.stop();
                    return Outcome::Stopped;
                }
                Event::Pod(pod) => {
                    self.gone.remove(&pod.pod.netns.cookie());
                    add(self.pods, pod);
                    self.are_new = true;
                }
                Event::Suggestion((source, dialled)) => self.path.consider(&source, dialled),
                Event::Ended => {
                    let pause = if self.is_behind { Duration::ZERO } else { READING_PAUSE };
                    tokio::time::sleep(pause).await;
                    self.is_behind = self.path.read_ended(self.pods);
                }
                Event::Changed => self.reconsider().await,
                Event::TrustChanged => {
                    self.path.vouchers.forget();
                    self.reconsider().await;
                }
                Event::Received(answer, connections) => self.path.note_received(&answer, &connections),
                Event::Tick => {
                    if self.look_after_pods() {
                        return Outcome::NothingToDo;
                    }
                    self.ticked = self.ticked.wrapping_add(1);
                    if self.ticked.is_multiple_of(INTERVALS_TO_COUNT) {
                        self.path.begin_to_count(self.pods);
                    }
                    if self.ticked.is_multiple_of(INTERVALS_TO_RECONSIDER) {
                        self.path.correct_room();
                    }
                    if std::mem::take(&mut self.are_new) || self.ticked.is_multiple_of(INTERVALS_TO_RECONSIDER) {
                        self.reconsider().await;
                    }
                    self.ticks.reset();
                }
            }
            if !self.has_changed() {
                self.decided = Instant::now();
            }
            self.path.allow_for(LEASE.saturating_sub(self.decided.elapsed()));
        }
    }

    /// Whether something has changed that nothing was decided about yet.
    fn has_changed(&self) -> bool {
        let has_changed = |changed: Result<bool, _>| changed.unwrap_or(true);
        has_changed(self.mesh.has_changed())
            || has_changed(self.objects.has_changed())
            || has_changed(self.trust.has_changed())
    }

    /// Changes come before what they may change: a connection is permitted only by what is in force. However often they come, the
    /// kernel is looked at; and however long that takes, changes come before the next look.
    async fn next(&mut self, sources: &mut Sources) -> Event {
        tokio::select! {
            biased;
            _ = becomes(&mut sources.serves, false) => Event::Stop,
            _ = self.ticks.tick() => Event::Tick,
            changed = self.mesh.changed() => changed.map_or(Event::Stop, |()| Event::Changed),
            changed = self.objects.changed() => changed.map_or(Event::Stop, |()| Event::Changed),
            changed = self.trust.changed() => changed.map_or(Event::Stop, |()| Event::TrustChanged),
            (answer, connections) = self.path.counting.next() => Event::Received(answer, connections),
            pod = sources.pods.recv() => pod.map_or(Event::Stop, Event::Pod),
            Some(suggestion) = sources.suggestions.recv() => Event::Suggestion(suggestion),
            () = std::future::ready(()), if self.is_behind => Event::Ended,
            ended = self.path.maps.some_ended() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "direct connections are found to have ended only now and then");
                }
                Event::Ended
            }
        }
    }

    async fn reconsider(&mut self) {
        tokio::time::sleep(GATHERING).await;
        self.mesh.mark_unchanged();
        self.objects.mark_unchanged();
        let begins = Instant::now();
        self.path.reconsider(self.pods, &self.proxy.metrics).await;
        self.decided = begins;
    }

    /// Nothing begins any more to or from pods that have left; and records are kept of what the kernel has noted. Returns whether
    /// there is nothing to do any more.
    fn look_after_pods(&mut self) -> bool {
        for (cookie, pod) in &*self.pods {
            let is_gone = pod.pod.left.is_cancelled() || pod.pod.dead.is_cancelled();
            if is_gone && self.gone.insert(*cookie) {
                self.path.pod_is_going(*cookie);
            }
        }
        let seen = self.path.sweep(self.pods, &self.proxy.metrics);
        // What has ended before is told of first.
        self.is_behind = self.path.read_ended(self.pods);
        let Self { gone, pods, path, is_behind, .. } = self;
        gone.retain(|cookie| {
            let is_needed = seen.contains(cookie) || *is_behind;
            if !is_needed {
                pods.remove(cookie);
                if let Err(error) = path.maps.forget_pod(*cookie) {
                    tracing::debug!(%error, "the room of a pod that is gone stays taken");
                }
            }
            is_needed
        });
        path.is_done(&seen)
    }
}

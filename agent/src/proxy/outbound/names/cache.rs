//! The names that are known or being looked up, and how many lookups run at once.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;

use super::answer::{Answer, Known, LookupError};
use super::pod_configuration::PodConfiguration;
use super::system_files::SystemFiles;
use crate::enrollment::pod::EnrolledPod;
use crate::limits::{Limit, LimitKind, PodLimits};

/// How long addresses may be used after their time while there are no new ones. Envoy uses them without an end.
const LAST_ANSWER_TTL: Duration = Duration::from_secs(300);
/// How long a connection waits for a new answer where there is one of former days.
const NEW_ANSWER_WAIT: Duration = Duration::from_millis(500);
/// Lookups that run at once of all pods, beyond the first of each.
const MAX_SHARED_LOOKUPS: usize = 32;
/// Names that are remembered which the objects of the mesh name.
const MAX_CACHED_NAMES: usize = 4096;
/// Names that are remembered of one pod's own choice: hosts of its requests.
const MAX_CACHED_NAMES_OF_POD: usize = 256;

/// Good answers by name, and until when they may be used.
type LastAnswers = HashMap<Arc<str>, (Arc<[IpAddr]>, Instant)>;
/// Looks a name up.
pub(super) type LookUp = Arc<dyn Fn(Arc<str>) -> BoxFuture<'static, Known> + Send + Sync>;

/// The names that are known, or being looked up.
pub(in crate::proxy) struct Names {
    known: Mutex<HashMap<Arc<str>, watch::Receiver<Option<Known>>>>,
    /// The last good answers. As many at most as names are remembered.
    last: Arc<Mutex<LastAnswers>>,
    shared: Arc<Semaphore>,
    look_up: LookUp,
    /// How many are remembered.
    max: usize,
}

/// The lookups of one pod.
#[derive(Debug)]
pub(in crate::proxy) struct PodLookups {
    /// How many run at once.
    limit: Limit,
    /// The one that is the pod's alone: pods whose DNS servers are silent keep no other from looking names up.
    own: Arc<Semaphore>,
}

impl PodLookups {
    pub(in crate::proxy) fn new(limits: &PodLimits) -> Self {
        Self { limit: limits.of(LimitKind::NameLookups).clone(), own: Arc::new(Semaphore::new(1)) }
    }
}

impl Default for Names {
    /// Names that are looked up as the agent's own system has it.
    fn default() -> Self {
        let files = Arc::<SystemFiles>::default();
        Self::new(Arc::new(move |name| {
            let files = files.clone();
            Box::pin(async move { files.look_up(&name).await })
        }))
    }
}

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Names").field("known", &self.known.lock().len()).finish_non_exhaustive()
    }
}

impl Names {
    fn new(look_up: LookUp) -> Self {
        Self {
            known: Mutex::default(),
            last: Arc::default(),
            shared: Arc::new(Semaphore::new(MAX_SHARED_LOOKUPS)),
            look_up,
            max: MAX_CACHED_NAMES,
        }
    }

    /// The names that one pod chooses itself, and all its names where it has a resolver configuration of its own: what they make the
    /// agent remember is the pod's own. Lookups count among the others.
    pub(in crate::proxy) fn of_pod(&self, pod: &Arc<EnrolledPod>) -> Self {
        let (shared, mut look_up) = (self.shared.clone(), self.look_up.clone());
        if let Some(own) = PodConfiguration::of(pod).map(Arc::new) {
            look_up = Arc::new(move |name| {
                let own = own.clone();
                Box::pin(async move { own.look_up(&name).await })
            });
        }
        Self { known: Mutex::default(), last: Arc::default(), shared, look_up, max: MAX_CACHED_NAMES_OF_POD }
    }

    /// The addresses of a name, IPv6 first; at least one. `pod`: the lookups of the pod for which one is
    /// begun, if need be.
    ///
    /// # Errors
    /// See [`LookupError`].
    pub(in crate::proxy::outbound) async fn addresses(
        &self,
        name: &Arc<str>,
        pod: &PodLookups,
        within: Duration,
    ) -> Answer {
        let last = self.last_answer(name);
        let wait = if last.is_some() { within.min(NEW_ANSWER_WAIT) } else { within };
        let answer =
            tokio::time::timeout(wait, self.answer(name, pod)).await.unwrap_or(Err(LookupError::TimedOut(within)));
        answer.or_else(|error| last.ok_or(error))
    }

    /// The last good answer, unless it is too old.
    fn last_answer(&self, name: &str) -> Option<Arc<[IpAddr]>> {
        let last = self.last.lock();
        last.get(name).filter(|(_, until)| Instant::now() < *until).map(|(addresses, _)| addresses.clone())
    }

    async fn answer(&self, name: &Arc<str>, pod: &PodLookups) -> Answer {
        let mut answer = match self.known(name) {
            Some(answer) => answer,
            None => {
                // Given back when the lookup is done, not when this connection has stopped waiting.
                let held = pod.limit.take().await;
                let turn = self.turn(pod).await;
                self.known_or_begun(name, (held, turn))
            }
        };
        match answer.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(known)) => known.answer.clone(),
            _ => Err(LookupError::Failed("the lookup was given up".into())),
        }
    }

    /// The turn for a lookup: the pod's own, or one of those that all pods share, whichever is free first.
    async fn turn(&self, pod: &PodLookups) -> OwnedSemaphorePermit {
        let taken = tokio::select! {
            biased;
            own = pod.own.clone().acquire_owned() => own,
            shared = self.shared.clone().acquire_owned() => shared,
        };
        taken.expect("nobody closes these semaphores")
    }

    /// A lookup that is under way, or whose answer is still good.
    fn known(&self, name: &str) -> Option<watch::Receiver<Option<Known>>> {
        self.known.lock().get(name).filter(|known| is_good(known)).cloned()
    }

    /// The same, begun now if need be. `holds` is kept for as long as it runs.
    fn known_or_begun(&self, name: &Arc<str>, holds: impl Send + 'static) -> watch::Receiver<Option<Known>> {
        let mut known = self.known.lock();
        if let Some(answer) = known.get(name).filter(|known| is_good(known)) {
            return answer.clone();
        }
        if known.len() >= self.max {
            known.retain(|_, known| is_good(known));
            if known.len() >= self.max
                && let Some(any) = known.keys().next().cloned()
            {
                known.remove(&any);
            }
        }
        let (answered, answer) = watch::channel(None);
        known.insert(name.clone(), answer.clone());
        drop(known);
        let (lookup, last, max) = ((self.look_up)(name.clone()), self.last.clone(), self.max);
        let name = name.clone();
        tokio::spawn(async move {
            let _holds = holds;
            let known = lookup.await;
            if let Ok(addresses) = &known.answer {
                remember(&mut last.lock(), max, name, addresses.clone(), known.until);
            }
            answered.send_replace(Some(known));
        });
        answer
    }
}

/// Remembers the last good answer for a name, in the place of an old one where there are too many.
fn remember(last: &mut LastAnswers, max: usize, name: Arc<str>, addresses: Arc<[IpAddr]>, until: Instant) {
    if last.len() >= max && !last.contains_key(&name) {
        last.retain(|_, (_, until)| Instant::now() < *until);
        if last.len() >= max
            && let Some(any) = last.keys().next().cloned()
        {
            last.remove(&any);
        }
    }
    last.insert(name, (addresses, until + LAST_ANSWER_TTL));
}

/// Whether a lookup is under way, or its answer still good. One whose task was dropped is neither.
fn is_good(known: &watch::Receiver<Option<Known>>) -> bool {
    match &*known.borrow() {
        Some(known) => Instant::now() < known.until,
        None => known.has_changed().is_ok(),
    }
}

#[cfg(test)]
mod tests;

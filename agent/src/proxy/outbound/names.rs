//! Addresses of endpoints that only have a name (`resolution: DNS`).
//!
//! The system's resolver is asked, as the agent's own `/etc/resolv.conf` and `/etc/hosts` have it. It blocks a thread for as long as
//! the DNS servers take, and returns no TTL. So all connections to a name share one lookup, what came of it is remembered for a
//! short time, and only so many lookups run at once: in all, and of one pod. Each pod has one lookup that no other can take
//! ([`PodLookups`]). Whoever waits too long for an answer, or gets a failure, goes by the last good one: DNS servers that are silent
//! for some names, which others ask for, stop no name that was known.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;

use crate::limits::{Limit, LimitKind, PodLimits};

/// How long addresses are used without asking again. Names that move do so with DNS TTLs of this order, and the resolver returns none.
const ANSWER_TTL: Duration = Duration::from_secs(5);
/// How long an answer of former days may be used while there is no new one. Envoy uses it without an end.
const LAST_ANSWER_TTL: Duration = Duration::from_secs(300);
/// How long a connection waits for a new answer where there is one of former days.
const NEW_ANSWER_WAIT: Duration = Duration::from_millis(500);
/// How long a failure is remembered.
const FAILURE_TTL: Duration = Duration::from_secs(1);
/// Lookups that run at once of all pods, beyond the first of each: each holds a thread.
const MAX_SHARED_LOOKUPS: usize = 32;
/// Names that are remembered which the objects of the mesh name.
const MAX_CACHED_NAMES: usize = 4096;
/// Names that are remembered of one pod's own choice: hosts of its requests.
const MAX_CACHED_NAMES_OF_POD: usize = 256;
/// Addresses of one name that are used; RFC 8305 tries them one after the other.
const MAX_ADDRESSES_PER_NAME: usize = 16;

/// Why a name has no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::proxy) enum LookupError {
    #[error("{0}")]
    Failed(Arc<str>),
    #[error("it has none")]
    NoAddress,
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
}

type Answer = Result<Arc<[IpAddr]>, LookupError>;
/// Good answers by name, and when they came.
type LastAnswers = HashMap<Arc<str>, (Arc<[IpAddr]>, Instant)>;
/// Asks the resolver; blocks.
type Ask = Arc<dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync>;

/// The names that are known, or being looked up.
pub(in crate::proxy) struct Names {
    known: Mutex<HashMap<Arc<str>, watch::Receiver<Option<Known>>>>,
    /// The last good answers, and when they came. As many at most as names are remembered.
    last: Arc<Mutex<LastAnswers>>,
    shared: Arc<Semaphore>,
    ask: Ask,
    /// How many are remembered.
    max: usize,
}

/// What came of a lookup.
#[derive(Debug, Clone)]
struct Known {
    answer: Answer,
    until: Instant,
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
    fn default() -> Self {
        Self::new(Arc::new(|name| {
            Ok((name, 0).to_socket_addrs()?.map(|address| address.ip().to_canonical()).collect())
        }))
    }
}

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Names").field("known", &self.known.lock().len()).finish_non_exhaustive()
    }
}

impl Names {
    fn new(ask: Ask) -> Self {
        Self {
            known: Mutex::default(),
            last: Arc::default(),
            shared: Arc::new(Semaphore::new(MAX_SHARED_LOOKUPS)),
            ask,
            max: MAX_CACHED_NAMES,
        }
    }

    /// The names that one pod chooses itself: what they make the agent remember is the pod's own. Lookups count among the others.
    pub(in crate::proxy) fn of_pod(&self) -> Self {
        let (shared, ask) = (self.shared.clone(), self.ask.clone());
        Self { known: Mutex::default(), last: Arc::default(), shared, ask, max: MAX_CACHED_NAMES_OF_POD }
    }

    /// The addresses of a name, in the resolver's order of preference; at least one. `pod`: the lookups of the pod for which one is
    /// begun, if need be.
    ///
    /// # Errors
    /// See [`LookupError`].
    pub(super) async fn addresses(&self, name: &Arc<str>, pod: &PodLookups, within: Duration) -> Answer {
        let last = self.last_answer(name);
        let wait = if last.is_some() { within.min(NEW_ANSWER_WAIT) } else { within };
        let answer =
            tokio::time::timeout(wait, self.answer(name, pod)).await.unwrap_or(Err(LookupError::TimedOut(within)));
        answer.or_else(|error| last.ok_or(error))
    }

    /// The last good answer, unless it is too old.
    fn last_answer(&self, name: &str) -> Option<Arc<[IpAddr]>> {
        let last = self.last.lock();
        last.get(name).filter(|(_, at)| at.elapsed() < LAST_ANSWER_TTL).map(|(addresses, _)| addresses.clone())
    }

    async fn answer(&self, name: &Arc<str>, pod: &PodLookups) -> Answer {
        let mut answer = match self.known(name) {
            Some(answer) => answer,
            None => {
                // Given back when the resolver is done, not when this connection has stopped waiting.
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
        let (ask, name, last, max) = (self.ask.clone(), name.clone(), self.last.clone(), self.max);
        tokio::task::spawn_blocking(move || {
            let _holds = holds;
            let answer: Answer = match ask(&name) {
                Ok(addresses) if addresses.is_empty() => Err(LookupError::NoAddress),
                Ok(addresses) => Ok(addresses.into_iter().take(MAX_ADDRESSES_PER_NAME).collect()),
                Err(error) => Err(LookupError::Failed(error.to_string().into())),
            };
            if let Ok(addresses) = &answer {
                remember(&mut last.lock(), max, name, addresses.clone());
            }
            let time = if answer.is_ok() { ANSWER_TTL } else { FAILURE_TTL };
            answered.send_replace(Some(Known { answer, until: Instant::now() + time }));
        });
        answer
    }
}

/// Remembers the last good answer for a name, in the place of an old one where there are too many.
fn remember(last: &mut LastAnswers, max: usize, name: Arc<str>, addresses: Arc<[IpAddr]>) {
    if last.len() >= max && !last.contains_key(&name) {
        last.retain(|_, (_, at)| at.elapsed() < LAST_ANSWER_TTL);
        if last.len() >= max
            && let Some(any) = last.keys().next().cloned()
        {
            last.remove(&any);
        }
    }
    last.insert(name, (addresses, Instant::now()));
}

/// Whether a lookup is under way, or its answer still good. One whose task was dropped is neither.
fn is_good(known: &watch::Receiver<Option<Known>>) -> bool {
    match &*known.borrow() {
        Some(known) => Instant::now() < known.until,
        None => known.has_changed().is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;
    use crate::limits::NodeLimits;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn name(text: &str) -> Arc<str> {
        text.into()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("tests write addresses")
    }

    #[tokio::test]
    async fn all_addresses_are_known_and_asked_for_once() {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let names = Names::new(Arc::new(move |name: &str| {
            count.fetch_add(1, Ordering::Relaxed);
            match name {
                "both" => Ok(vec![ip("2001:db8::1"), ip("192.0.2.1")]),
                "none" => Ok(Vec::new()),
                _ => Err(io::Error::other("no such name")),
            }
        }));
        let pod = &PodLookups::new(&NodeLimits::new(|_| 4).for_pod());
        let expected: Answer = Ok([ip("2001:db8::1"), ip("192.0.2.1")].into());
        for _ in 0..3 {
            assert_eq!(names.addresses(&name("both"), pod, PATIENCE).await, expected);
            assert_eq!(names.addresses(&name("none"), pod, PATIENCE).await, Err(LookupError::NoAddress));
            let failed = LookupError::Failed("no such name".into());
            assert_eq!(names.addresses(&name("lost"), pod, PATIENCE).await, Err(failed));
        }
        assert_eq!(asked.load(Ordering::Relaxed), 3);
        tokio::time::pause();
        tokio::time::advance(FAILURE_TTL).await;
        assert!(names.known("lost").is_none() && names.known("both").is_some());
        tokio::time::advance(ANSWER_TTL).await;
        assert!(names.known("both").is_none());
    }

    /// A resolver that answers for the name `prompt` alone, how many other lookups it was asked for, and what ends these once dropped.
    fn silent_but_for_prompt() -> (Names, Arc<AtomicUsize>, mpsc::Sender<()>) {
        let (release, wait) = mpsc::channel::<()>();
        let (wait, running) = (Mutex::new(wait), Arc::new(AtomicUsize::new(0)));
        let count = running.clone();
        let names = Names::new(Arc::new(move |name: &str| {
            if name == "prompt" {
                return Ok(vec![ip("192.0.2.1")]);
            }
            count.fetch_add(1, Ordering::Relaxed);
            let _ = wait.lock().recv();
            Ok(vec![ip("192.0.2.2")])
        }));
        (names, running, release)
    }

    #[tokio::test]
    async fn a_resolver_that_is_silent_holds_so_many_threads_and_no_other_name() {
        let (names, running, release) = silent_but_for_prompt();
        let node = NodeLimits::new(|_| 2);
        let limits = node.for_pod();
        let (pod, other) = (&PodLookups::new(&limits), &PodLookups::new(&node.for_pod()));
        let short = Duration::from_millis(50);
        for silent in ["a", "b", "c", "a", "b"] {
            assert_eq!(names.addresses(&name(silent), pod, short).await, Err(LookupError::TimedOut(short)), "{silent}");
        }
        assert_eq!(running.load(Ordering::Relaxed), 2, "the pod's limit, though its connections have given up");
        assert_eq!(limits.reached()[0].limit, "name_lookups");
        assert_eq!(
            names.addresses(&name("prompt"), other, PATIENCE).await,
            Ok([ip("192.0.2.1")].into()),
            "another pod"
        );
        drop(release);
        assert_eq!(names.addresses(&name("c"), pod, PATIENCE).await, Ok([ip("192.0.2.2")].into()));
    }

    #[tokio::test]
    async fn a_name_that_was_known_is_reached_while_others_hold_all_lookups_and_when_its_own_fails() {
        let (release, wait) = mpsc::channel::<()>();
        let (wait, asked) = (Mutex::new(wait), Arc::new(AtomicUsize::new(0)));
        let count = asked.clone();
        let names = Names::new(Arc::new(move |name: &str| {
            match name {
                "known" if count.fetch_add(1, Ordering::Relaxed) == 0 => return Ok(vec![ip("192.0.2.1")]),
                "known" => return Err(io::Error::other("the server fails")),
                _ => {}
            }
            let _ = wait.lock().recv();
            Ok(vec![ip("192.0.2.2")])
        }));
        let node = NodeLimits::new(|_| 64);
        let (hostile, other) = (&PodLookups::new(&node.for_pod()), &PodLookups::new(&node.for_pod()));
        let known: Answer = Ok([ip("192.0.2.1")].into());
        assert_eq!(names.addresses(&name("known"), other, PATIENCE).await, known);
        for silent in 0..=MAX_SHARED_LOOKUPS {
            let _ = names.addresses(&name(&silent.to_string()), hostile, Duration::from_millis(1)).await;
        }
        // The other pod's own one, too.
        let _ = names.addresses(&name("slow"), other, Duration::from_millis(1)).await;
        names.known.lock().remove("known");
        assert_eq!(names.addresses(&name("known"), other, PATIENCE).await, known, "its refresh waits for a lookup");
        drop(release);
        names.known.lock().remove("known");
        assert_eq!(names.addresses(&name("known"), other, PATIENCE).await, known, "its refresh fails");
        assert!(asked.load(Ordering::Relaxed) > 1, "it was asked for anew");
    }

    #[tokio::test]
    async fn pods_that_hold_all_shared_lookups_leave_each_other_pod_one_of_its_own() {
        let (names, running, release) = silent_but_for_prompt();
        let node = NodeLimits::new(|_| 16);
        for pod in 0..8 {
            let hostile = PodLookups::new(&node.for_pod());
            for silent in 0..16 {
                let _ = names.addresses(&name(&format!("{pod}-{silent}")), &hostile, Duration::from_millis(1)).await;
            }
        }
        assert_eq!(running.load(Ordering::Relaxed), MAX_SHARED_LOOKUPS + 8, "all, and one of each pod");
        let other = PodLookups::new(&node.for_pod());
        assert_eq!(names.addresses(&name("prompt"), &other, PATIENCE).await, Ok([ip("192.0.2.1")].into()));
        drop(release);
    }
}

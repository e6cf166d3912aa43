//! What became of the requests.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde_json::{Value, json};

use super::answer::{Fault, Seen};
use super::kind::{Kind, Member};

/// Milliseconds since the Unix epoch.
pub(super) type Moment = u64;

#[derive(Debug)]
pub(super) struct Tally(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    /// Workers that have had no answer yet.
    waiting: usize,
    by_kind: BTreeMap<&'static str, u64>,
    statuses: BTreeMap<u16, u64>,
    pods: BTreeMap<String, u64>,
    /// What answers by each version of the route were like.
    routes: BTreeMap<u64, Route>,
    bytes: u64,
    messages: u64,
    lost: u64,
    wrong: u64,
    slowest_ms: u64,
}

/// Requests that one version of the route decided about.
#[derive(Debug, Clone, Copy, Serialize)]
struct Route {
    answers: u64,
    first_end: Moment,
    last_begin: Moment,
}

pub(super) fn now() -> Moment {
    moment(SystemTime::now())
}

pub(super) fn moment(time: SystemTime) -> Moment {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(Moment::MAX)
}

impl Tally {
    pub(super) fn new(workers: usize) -> Self {
        Self(Mutex::new(Counts { waiting: workers, ..Counts::default() }))
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().expect("no holder panics")
    }

    /// Counts an answer that was right; of those that a policy allows at times it is told when they were.
    pub(super) fn answered(&self, kind: Kind, begun: Moment, seen: &Seen) {
        let ended = now();
        let mut counts = self.counts();
        *counts.by_kind.entry(kind.name()).or_default() += 1;
        counts.bytes += seen.bytes;
        counts.messages += seen.messages;
        counts.slowest_ms = counts.slowest_ms.max(ended - begun);
        if let Some(status) = seen.status {
            *counts.statuses.entry(status).or_default() += 1;
        }
        if let Some(pod) = &seen.pod {
            *counts.pods.entry(pod.clone()).or_default() += 1;
        }
        if let Some(version) = seen.route {
            let new = Route { answers: 0, first_end: ended, last_begin: begun };
            let route = counts.routes.entry(version).or_insert(new);
            route.answers += 1;
            route.first_end = route.first_end.min(ended);
            route.last_begin = route.last_begin.max(begun);
        }
        if kind == Kind::Open {
            println!("{}", json!({ "open": seen.parity, "status": seen.status, "begun": begun, "ended": ended }));
        }
    }

    /// Counts and tells what was lost, or answered wrongly. `since` is when its connection was opened.
    pub(super) fn failed(&self, member: &Member, number: u64, begun: Moment, since: Option<Moment>, fault: &Fault) {
        let ended = now();
        let (key, why, status) = match fault {
            Fault::Lost { why, status } => ("lost", why, *status),
            Fault::Wrong(why) => ("wrong", why, None),
        };
        let mut counts = self.counts();
        *(if key == "lost" { &mut counts.lost } else { &mut counts.wrong }) += 1;
        let told = json!({
            "kind": member.kind.name(), "http2": member.is_http2, "number": number, "why": why, "status": status,
            "begun": begun, "ended": ended, "opened": since,
        });
        println!("{}", json!({ key: told }));
    }

    /// Prints a line when it was the last.
    pub(super) fn worker_has_answer(&self) {
        let mut counts = self.counts();
        counts.waiting -= 1;
        if counts.waiting == 0 {
            println!("{}", json!({ "flows": true }));
        }
    }

    pub(super) fn report(&self, begun: u64) -> Value {
        let counts = self.counts();
        let answered: u64 = counts.by_kind.values().sum();
        json!({ "tally": {
            "begun": begun, "answered": answered, "by_kind": counts.by_kind, "statuses": counts.statuses,
            "pods": counts.pods, "routes": counts.routes, "bytes": counts.bytes, "messages": counts.messages,
            "lost": counts.lost, "wrong": counts.wrong, "slowest_ms": counts.slowest_ms,
        } })
    }
}

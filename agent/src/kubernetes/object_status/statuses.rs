//! Whose status is to be written, and when; no I/O, and time is a parameter.
//!
//! The agents of a cluster see the same objects and judge them alike, so that each may write and one suffices. None is chosen: each
//! waits for a random time, and most of them then see that another was faster. Agents that judge differently, because they are of different
//! versions, do not write in turns: what an agent has once said of an object, or found said, it does not say again until it thinks
//! otherwise or the object changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::api::DynamicObject;
use serde_json::Value as Json;

use super::conditions::Verdict;
use crate::compile::MissingReferences;
use crate::kubernetes::watch::Change;

/// How long an agent waits for others to write, at most.
const SPREAD: Duration = Duration::from_secs(2);
/// How long something has to be missing: who applies an object and what it names at once is not told that it is.
const SETTLING: Duration = Duration::from_secs(3);
/// How long after a write that came too late: what another wrote is seen by then.
const OVERTAKEN_PAUSE: Duration = Duration::from_secs(1);
/// How long until an object is written to that the API server did not find: it may be gone, which the watch then tells.
const NOT_FOUND_PAUSE: Duration = Duration::from_secs(5);
/// How long until a status is written again that the API server refused.
const REFUSED_PAUSE: Duration = Duration::from_secs(300);

/// An object as the API server told it, as far as its status is concerned.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::kubernetes) struct Seen {
    uid: String,
    generation: Option<i64>,
    version: String,
    is_being_deleted: bool,
    /// The conditions in its status.
    told: Vec<Json>,
    /// Why it is refused.
    invalid: Option<Arc<str>>,
}

impl Seen {
    /// With the reason why the object is refused.
    pub(in crate::kubernetes) fn judged(self, invalid: Option<Arc<str>>) -> Self {
        Self { invalid, ..self }
    }
}

impl From<&DynamicObject> for Seen {
    fn from(object: &DynamicObject) -> Self {
        let metadata = &object.metadata;
        Self {
            uid: metadata.uid.clone().unwrap_or_default(),
            generation: metadata.generation,
            version: metadata.resource_version.clone().unwrap_or_default(),
            is_being_deleted: metadata.deletion_timestamp.is_some(),
            told: object.data["status"]["conditions"].as_array().cloned().unwrap_or_default(),
            invalid: None,
        }
    }
}

/// All objects whose status is written, by `namespace/name`.
#[derive(Debug, Default)]
pub(super) struct Statuses {
    objects: BTreeMap<Arc<str>, Tracked>,
    /// Those that the list which is under way has named.
    named: Option<BTreeSet<Arc<str>>>,
}

#[derive(Debug)]
struct Tracked {
    seen: Seen,
    /// What this agent said last or found said, and of which generation.
    said: Option<(i64, Verdict)>,
    due: Option<Due>,
    /// The API server did not find it when its status was written last.
    was_not_found: bool,
}

#[derive(Debug)]
struct Due {
    verdict: Verdict,
    at: Instant,
}

/// A status to be written now.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Write {
    pub(super) name: Arc<str>,
    pub(super) uid: String,
    pub(super) version: String,
    generation: i64,
    verdict: Verdict,
    told: Vec<Json>,
}

impl Write {
    /// The conditions, as the status has them.
    pub(super) fn conditions(&self, now: &str) -> Json {
        self.verdict.written(&self.told, self.generation, now)
    }
}

/// How a write went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Written,
    /// The object has changed meanwhile, be it that another agent wrote its status.
    Overtaken,
    NotFound,
    Refused,
}

/// What there is to be done.
#[derive(Debug, PartialEq)]
pub(super) enum Next {
    Write(Box<Write>),
    /// Nothing before then.
    At(Instant),
    Nothing,
}

impl Statuses {
    /// Takes a change of the objects. False where nothing but status or metadata of one can be different.
    pub(super) fn take(&mut self, change: Change<(Arc<str>, Seen)>) -> bool {
        match change {
            Change::Listing => self.named = Some(BTreeSet::new()),
            Change::Put((name, seen)) => return self.put(name, seen),
            Change::Removed((name, _)) => drop(self.objects.remove(&name)),
            Change::Listed => {
                let named = self.named.take().unwrap_or_default();
                self.objects.retain(|name, _| named.contains(name));
            }
        }
        true
    }

    fn put(&mut self, name: Arc<str>, seen: Seen) -> bool {
        if let Some(named) = &mut self.named {
            named.insert(name.clone());
        }
        match self.objects.get_mut(&name).filter(|known| known.seen.uid == seen.uid) {
            Some(known) => {
                let is_same = seen.generation.is_some() && known.seen.generation == seen.generation;
                known.seen = seen;
                !is_same
            }
            None => {
                self.objects.insert(name, Tracked { seen, said: None, due: None, was_not_found: false });
                true
            }
        }
    }

    /// Judges all objects, and decides when what is new of that is to be written. False if nobody can say yet what to think of one. While a
    /// list is under way none is judged: what the mesh makes of the objects follows once it is complete.
    pub(super) fn judge(
        &mut self,
        now: Instant,
        find_missing: impl Fn(&str) -> Option<MissingReferences>,
        mut chance: impl FnMut() -> f64,
    ) -> bool {
        if self.named.is_some() {
            return true;
        }
        let mut all_judged = true;
        for (name, tracked) in &mut self.objects {
            let verdict = match &tracked.seen.invalid {
                Some(reason) => Some(Verdict::invalid(reason)),
                None => find_missing(name).map(|missing| Verdict::valid(&missing)),
            };
            all_judged &= verdict.is_some();
            tracked.take(verdict, now, &mut chance);
        }
        all_judged
    }

    /// The status to be written at this moment, or when to ask again unless something changes.
    pub(super) fn next(&self, now: Instant) -> Next {
        let due = |(name, tracked): (&'_ Arc<str>, &'_ Tracked)| Some((tracked.due.as_ref()?.at, name.clone()));
        let first = self.objects.iter().filter_map(due).min().filter(|_| self.named.is_none());
        let Some((at, name)) = first else { return Next::Nothing };
        if at > now {
            return Next::At(at);
        }
        let Tracked { seen, due, .. } = &self.objects[&name];
        let (Some(due), Some(generation)) = (due, seen.generation) else { return Next::Nothing };
        Next::Write(Box::new(Write {
            uid: seen.uid.clone(),
            version: seen.version.clone(),
            generation,
            verdict: due.verdict.clone(),
            told: seen.told.clone(),
            name,
        }))
    }

    /// Takes how a write has ended. True if the API server does not find an object that is there.
    pub(super) fn ended(&mut self, write: &Write, end: End, now: Instant, mut chance: impl FnMut() -> f64) -> bool {
        let tracked = self.objects.get_mut(&write.name).filter(|tracked| tracked.seen.uid == write.uid);
        let Some(tracked) = tracked else { return false };
        let was_not_found = std::mem::replace(&mut tracked.was_not_found, end == End::NotFound);
        if end == End::Written {
            tracked.said = Some((write.generation, write.verdict.clone()));
        }
        let pause = match end {
            End::Written => {
                tracked.due = None;
                return false;
            }
            End::Overtaken => OVERTAKEN_PAUSE,
            End::NotFound if !was_not_found => NOT_FOUND_PAUSE,
            End::NotFound | End::Refused => REFUSED_PAUSE,
        };
        if let Some(due) = &mut tracked.due {
            due.at = now + pause + wait_for_others(chance());
        }
        end == End::NotFound && was_not_found
    }
}

impl Tracked {
    /// Takes what this agent thinks now.
    fn take(&mut self, verdict: Option<Verdict>, now: Instant, mut chance: impl FnMut() -> f64) {
        let (Some(verdict), Some(generation)) = (verdict, self.seen.generation) else {
            self.due = None;
            return;
        };
        let is_said = self.said.as_ref().is_some_and(|(of, said)| *of == generation && *said == verdict);
        if is_said || self.seen.is_being_deleted {
            self.due = None;
        } else if verdict.is_told(&self.seen.told, generation) {
            self.due = None;
            self.said = Some((generation, verdict));
        } else if self.due.as_ref().is_none_or(|due| due.verdict != verdict) {
            let settling = if verdict.is_missing_something() { SETTLING } else { Duration::ZERO };
            self.due = Some(Due { verdict, at: now + settling + wait_for_others(chance()) });
        }
    }
}

/// How long to wait for others, by a number between 0 and 1. The root makes short waits rare: of many agents only a few have begun to write
/// before they can see that the first one has, and a single one does not wait for long.
fn wait_for_others(chance: f64) -> Duration {
    SPREAD.mul_f64(chance.clamp(0.0, 1.0).sqrt())
}

#[cfg(test)]
mod tests;

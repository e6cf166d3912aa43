//! The limits of one pod with what is counted of them, and the decision whether a request is within all of them.

use std::collections::HashMap;
use std::sync::Arc;

use super::cell::{Bound, Cell, Counted, UnderWay};
use super::config::CountingLimit;
use super::objects::{CountedBy, GlobalLimit, QuotaHeaders};
use super::sources::Sources;
use super::tokens::{Beyond, Moment, Quota};
use crate::model::authorization::{AccessRequest, HttpRequest, Subject};

/// A limit by its object's key and its name.
type LimitKey = (Arc<str>, Arc<str>);

/// What is counted of the limits of a pod. It outlives changes of the objects: a limit of the same name goes on. `P` is a place among
/// the sources that are counted by themselves.
#[derive(Debug)]
pub struct LimitStates<P> {
    by_limit: HashMap<LimitKey, Arc<State<P>>>,
}

/// What is counted of the limits that all pods of a node share.
#[derive(Debug, Default)]
pub struct NodeStates {
    by_limit: HashMap<LimitKey, std::sync::Weak<Cell>>,
}

#[derive(Debug)]
struct State<P> {
    /// Of all requests.
    all: Arc<Cell>,
    by_source: Sources<P>,
    by: CountedBy,
}

/// The limits that count for a pod, each with what is counted of it.
#[derive(Debug)]
pub struct PodLimits<P> {
    limits: Vec<(CountingLimit, Arc<State<P>>)>,
}

/// What is asked about a request.
#[derive(Debug, Clone, Copy)]
pub struct LimitedRequest<'a> {
    pub connection: &'a AccessRequest,
    pub http: &'a HttpRequest<'a>,
    pub now: Moment,
}

/// What the limits say of a request. Limits are named by their position among those of the pod.
#[derive(Debug, Default)]
pub struct Decision {
    /// The limit that the request is beyond; then it counts for no local one.
    pub refused: Option<(usize, Beyond)>,
    /// Limits of dry-run objects that it is beyond.
    pub would_refuse: Vec<usize>,
    /// Limits that it is within.
    pub within: Vec<usize>,
    /// Limits that a service keeps, which is to be asked about the request.
    pub to_ask: Vec<usize>,
    /// To be kept for as long as the request is under way.
    pub under_way: Vec<UnderWay>,
    /// Of the limit with the least left, among those whose responses say what is left.
    pub told: Option<Quota>,
}

impl<P> Default for LimitStates<P> {
    fn default() -> Self {
        Self { by_limit: HashMap::new() }
    }
}

impl<P> LimitStates<P> {
    /// The limits of the pod from now on. What is counted of limits that are gone is forgotten. `node` has what the pods of the node
    /// share.
    pub fn apply(&mut self, counting: Vec<CountingLimit>, node: &mut NodeStates) -> PodLimits<P> {
        let mut former = std::mem::take(&mut self.by_limit);
        let mut limits = Vec::with_capacity(counting.len());
        for limit in counting {
            let key = (limit.object.key.clone(), limit.rule.name.clone());
            let by = limit.rule.measure.bound().map_or(CountedBy::Pod, |(_, by)| by);
            let known = former.remove(&key).filter(|state| state.by == by);
            let state = known.unwrap_or_else(|| {
                let all = if by == CountedBy::Node { node.cell(&key) } else { Arc::default() };
                Arc::new(State { all, by_source: Sources::default(), by })
            });
            self.by_limit.insert(key, state.clone());
            limits.push((limit, state));
        }
        PodLimits { limits }
    }
}

impl NodeStates {
    fn cell(&mut self, key: &LimitKey) -> Arc<Cell> {
        self.by_limit.retain(|_, cell| cell.strong_count() > 0);
        if let Some(cell) = self.by_limit.get(key).and_then(std::sync::Weak::upgrade) {
            return cell;
        }
        let cell = Arc::default();
        self.by_limit.insert(key.clone(), Arc::downgrade(&cell));
        cell
    }
}

impl<P> PodLimits<P> {
    /// Whether any limit counts at a port of the pod.
    #[must_use]
    pub fn count_at(&self, port: u16) -> bool {
        self.limits.iter().any(|(limit, _)| limit.counts_at(port))
    }

    /// The limits, in the order of their positions.
    pub fn iter(&self) -> impl Iterator<Item = &CountingLimit> {
        self.limits.iter().map(|(limit, _)| limit)
    }

    /// The limit at a position.
    #[must_use]
    pub fn at(&self, position: usize) -> &CountingLimit {
        &self.limits[position].0
    }

    /// What a limit at this position asks of a service.
    #[must_use]
    pub fn global_at(&self, position: usize) -> Option<&GlobalLimit> {
        match &self.at(position).rule.measure {
            super::objects::Measure::Global(limit) => Some(limit),
            _ => None,
        }
    }

    /// Counts a request for each limit that it is about, unless it is beyond one of them. `place` is asked for a place for a source that
    /// is not known.
    pub(in crate::model) fn take(
        &self,
        request: LimitedRequest<'_>,
        subject: &Subject<'_>,
        place: impl Fn() -> Option<P>,
    ) -> Decision {
        let mut decision = Decision::default();
        let mut counted: Vec<Counted> = Vec::new();
        let port = request.connection.destination.port();
        for (position, (limit, state)) in self.limits.iter().enumerate() {
            let rule = &limit.rule;
            if !limit.counts_at(port) || !(rule.groups.is_empty() || subject.matches_any(&rule.groups)) {
                continue;
            }
            let Some((bound, _)) = rule.measure.bound() else {
                decision.to_ask.push(position);
                continue;
            };
            match state.take(bound, request, &place) {
                Ok((quota, one)) => {
                    decision.within.push(position);
                    decision.tell(limit, quota);
                    counted.push(one);
                }
                Err(_) if limit.object.dry_run => decision.would_refuse.push(position),
                Err(beyond) => {
                    counted.into_iter().for_each(Counted::undo);
                    decision.within.clear();
                    decision.refused = Some((position, beyond));
                    return decision;
                }
            }
        }
        decision.under_way = counted.into_iter().filter_map(Counted::under_way).collect();
        decision
    }
}

impl<P> State<P> {
    fn take(
        &self,
        bound: Bound,
        request: LimitedRequest<'_>,
        place: impl Fn() -> Option<P>,
    ) -> Result<(Quota, Counted), Beyond> {
        let take = |cell: &Arc<Cell>| cell.take(bound, request.now);
        match self.by {
            CountedBy::Pod | CountedBy::Node => take(&self.all),
            CountedBy::Source => self.by_source.with(request.connection.source.as_ref(), request.now, place, take),
        }
    }
}

impl Decision {
    fn tell(&mut self, limit: &CountingLimit, quota: Quota) {
        let is_told = limit.object.response.quota_headers == QuotaHeaders::Always && !limit.object.dry_run;
        if is_told && self.told.is_none_or(|told| quota.remaining < told.remaining) {
            self.told = Some(quota);
        }
    }
}

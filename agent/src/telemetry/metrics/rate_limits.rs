//! Counting what rate limits said of requests, by object, limit and outcome: as many series as limits count for pods of the node, and a
//! bounded number of those that did.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, LabelSetEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::labels::put;
use super::series::{Series, SeriesTable};

const NAME: &str = "weir_rate_limit_requests";
const HELP: &str = "The total number of requests that a limit was asked about, by what it said";

/// What a limit said of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LimitOutcome {
    /// The request is within it.
    Allowed,
    /// It is beyond it, and was refused.
    Limited,
    /// It is beyond it, and the object is a dry run.
    DryRun,
    /// The service that keeps the limit gave no answer.
    Error,
}

impl LimitOutcome {
    const ALL: [Self; 4] = [Self::Allowed, Self::Limited, Self::DryRun, Self::Error];

    fn label(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Limited => "limited",
            Self::DryRun => "dry_run",
            Self::Error => "error",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct LimitLabels {
    object: Arc<str>,
    limit: Arc<str>,
}

impl EncodeLabelSet for LimitLabels {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        put(encoder, "object", &self.object)?;
        put(encoder, "limit", &self.limit)
    }
}

/// How often each outcome was.
#[derive(Debug, Default)]
pub(super) struct LimitCounts([AtomicU64; LimitOutcome::ALL.len()]);

/// The counters of one limit, for whoever decides about it.
#[derive(Debug, Clone)]
pub struct LimitCounters(Arc<Series<LimitLabels, LimitCounts>>);

impl LimitCounters {
    /// Counts a request.
    pub fn count(&self, outcome: LimitOutcome) {
        self.0.0[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }
}

pub(super) type RateLimits = SeriesTable<LimitLabels, LimitCounts>;

impl LimitCounters {
    /// The counters of a limit by its object's key and its name.
    pub(super) fn find(all: &RateLimits, object: &Arc<str>, limit: &Arc<str>) -> Self {
        Self(all.series(LimitLabels { object: object.clone(), limit: limit.clone() }))
    }
}

/// Lets the registry read the table at a scrape.
#[derive(Debug)]
pub(super) struct RateLimitsCollector(pub(super) Arc<RateLimits>);

/// The labels of a limit with an outcome.
struct LimitOutcomeLabels<'a>(&'a LimitLabels, LimitOutcome);

impl EncodeLabelSet for LimitOutcomeLabels<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        self.0.encode(encoder)?;
        put(encoder, "outcome", &self.1.label())
    }
}

impl Collector for RateLimitsCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let all = self.0.all();
        if all.is_empty() {
            return Ok(());
        }
        let mut metric = encoder.encode_descriptor(NAME, HELP, None, MetricType::Counter)?;
        for series in all {
            for outcome in LimitOutcome::ALL {
                let count = series.0[outcome as usize].load(Ordering::Relaxed);
                let labels = LimitOutcomeLabels(&series.labels, outcome);
                metric.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
            }
        }
        Ok(())
    }
}

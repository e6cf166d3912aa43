//! What counts for the requests and connections of one pod: all levels of objects put together.

use std::sync::Arc;

use super::expression::Expression;
use super::objects::{CustomTag, Metric};

/// Stands for the access log that the agent writes where no object says anything, in lists of providers.
pub const OWN_LOG: &str = "";

/// The setting of a pod.
#[derive(Debug, Clone, PartialEq)]
pub struct TelemetrySetting {
    pub client: SideSetting,
    pub server: SideSetting,
}

/// The setting of a pod on one side.
#[derive(Debug, Clone, PartialEq)]
pub struct SideSetting {
    /// Where lines go; empty: nowhere.
    pub access_log: Vec<LogSetting>,
    /// `None`: all metrics, with their standard labels.
    pub metrics: Option<MetricsSetting>,
    pub tracing: TracingSetting,
}

/// One provider of an access log.
#[derive(Debug, Clone, PartialEq)]
pub struct LogSetting {
    /// Its name in lower case, or [`OWN_LOG`].
    pub provider: Arc<str>,
    /// What must hold for a line to be written.
    pub filter: Option<Arc<Expression>>,
}

/// All metrics, as overrides have them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MetricsSetting([MetricSetting; Metric::COUNT]);

/// One metric.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MetricSetting {
    pub is_disabled: bool,
    /// By name: labels with a value of their own, and labels that are removed (`None`).
    pub tags: Vec<(Arc<str>, Option<Arc<Expression>>)>,
}

/// Spans.
#[derive(Debug, Clone, PartialEq)]
pub struct TracingSetting {
    /// The name in lower case of the provider that gets them; `None`: the collector that the agent was started with.
    pub provider: Option<Arc<str>>,
    pub reports_spans: bool,
    /// `None`: as the agent was started.
    pub sampling_percent: Option<f64>,
    pub custom_tags: Arc<[CustomTag]>,
    pub has_istio_tags: bool,
    /// Whether what is sent on says which trace it is part of.
    pub propagates_context: bool,
    /// Whether the request's id decides if it is recorded, so that all agents decide alike.
    pub samples_by_request_id: bool,
}

impl MetricsSetting {
    #[must_use]
    pub fn of(&self, metric: Metric) -> &MetricSetting {
        &self.0[metric as usize]
    }

    pub(super) fn of_mut(&mut self, metric: Metric) -> &mut MetricSetting {
        &mut self.0[metric as usize]
    }

    /// None of them is counted.
    pub(super) fn all_disabled() -> Self {
        Self(std::array::from_fn(|_| MetricSetting { is_disabled: true, tags: Vec::new() }))
    }

    pub(super) fn is_standard(&self) -> bool {
        self.0.iter().all(|metric| *metric == MetricSetting::default())
    }

    /// Every expression in it.
    pub fn expressions(&self) -> impl Iterator<Item = &Expression> {
        self.0.iter().flat_map(|metric| metric.tags.iter().filter_map(|(_, tag)| tag.as_deref()))
    }
}

impl Default for TracingSetting {
    fn default() -> Self {
        Self {
            provider: None,
            reports_spans: true,
            sampling_percent: None,
            custom_tags: Arc::default(),
            has_istio_tags: true,
            propagates_context: true,
            samples_by_request_id: true,
        }
    }
}

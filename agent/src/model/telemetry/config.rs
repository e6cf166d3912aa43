//! Which Telemetry objects count for a pod, and what they come to together (istiod's `pilot/pkg/model/telemetry.go`): first the
//! oldest object of the root namespace without a selector, then that of the pod's namespace, then those of its namespace
//! whose selectors match the pod.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::expression::Expression;
use super::objects::{AccessLogging, Metric, MetricsRule, TagOverride, TelemetryObject, TracingRule, WorkloadMode};
use super::providers::{PROMETHEUS, ProviderKind, TelemetryDefaults};
use super::setting::{LogSetting, MetricsSetting, OWN_LOG, SideSetting, TelemetrySetting, TracingSetting};
use crate::model::peer_authentication::Labels;

/// Everything that decides about metrics, access logs and spans.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TelemetryConfig {
    /// Oldest first, then by name, then by namespace.
    pub objects: Vec<Arc<TelemetryObject>>,
    pub root_namespace: Arc<str>,
    pub defaults: TelemetryDefaults,
}

impl TelemetryConfig {
    /// Whether nothing is said: all pods have the setting that no object changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let TelemetryDefaults { access_logging, tracing, sampling_percent, custom_tags, has_istio_tags, .. } =
            &self.defaults;
        let says_of_spans =
            !tracing.is_empty() || sampling_percent.is_some() || !custom_tags.is_empty() || has_istio_tags.is_some();
        self.objects.is_empty() && access_logging.is_empty() && !says_of_spans
    }

    /// What counts for a pod.
    #[must_use]
    pub fn setting(&self, namespace: &str, labels: &Labels) -> TelemetrySetting {
        let objects = self.applicable(namespace, labels);
        let side = |side| SideSetting {
            access_log: access_log(&objects, &self.defaults.access_logging, side),
            metrics: metrics(&objects, &self.defaults, side),
            tracing: tracing(&objects, &self.defaults, side),
        };
        TelemetrySetting { client: side(WorkloadMode::Client), server: side(WorkloadMode::Server) }
    }

    /// The objects that count for a pod, the most general one first.
    fn applicable(&self, namespace: &str, labels: &Labels) -> Vec<&TelemetryObject> {
        let of = |namespace: &str| {
            let namespace: Arc<str> = namespace.into();
            let is_of = move |object: &&TelemetryObject| object.namespace == namespace && !object.spec.is_for_waypoints;
            self.objects.iter().map(|object| &**object).filter(is_of)
        };
        let wide = |object: &&TelemetryObject| object.spec.selector.is_empty();
        let is_root = namespace == &*self.root_namespace;
        let of_root = of(&self.root_namespace).find(wide);
        let of_namespace = of(namespace).find(wide).filter(|_| !is_root);
        let selects = |object: &&TelemetryObject| {
            let selector = &object.spec.selector;
            !selector.is_empty() && selector.iter().all(|(key, value)| labels.get(key) == Some(value))
        };
        of_root.into_iter().chain(of_namespace).chain(of(namespace).filter(selects)).collect()
    }
}

/// istiod's `mergeLogs`. Where nothing names a provider, the access log that the agent writes anyway is meant.
fn access_log(objects: &[&TelemetryObject], defaults: &[Arc<str>], side: WorkloadMode) -> Vec<LogSetting> {
    let defaults = if defaults.is_empty() { vec![OWN_LOG.into()] } else { defaults.to_vec() };
    let levels = || objects.iter().map(|object| &object.spec.access_logging).filter(|level| !level.is_empty());
    let mut in_scope = defaults.clone();
    for level in levels() {
        let here = level.iter().filter(|entry| entry.sides.has(side));
        let named: Vec<_> = here.flat_map(|entry| entry.providers.iter().cloned()).collect();
        if !named.is_empty() {
            in_scope = named;
        }
    }
    let mut filters: BTreeMap<Arc<str>, Option<Arc<Expression>>> = BTreeMap::new();
    let mut enabled: BTreeMap<Arc<str>, bool> = BTreeMap::new();
    // What switches the other side off leaves this one as it was.
    if levels().flatten().all(|entry| entry.is_disabled && !entry.sides.has(side)) {
        enabled.extend(defaults.iter().map(|name| (name.clone(), true)));
    }
    let mut inherited = &defaults;
    for entry in levels().flatten() {
        let AccessLogging { sides, providers, is_disabled, filter } = entry;
        inherited = if providers.is_empty() { inherited } else { providers };
        for name in inherited.iter().filter(|name| sides.has(side) && in_scope.contains(name)) {
            if !providers.is_empty() || filter.is_some() {
                filters.insert(name.clone(), filter.clone());
            }
            enabled.insert(name.clone(), !is_disabled);
        }
    }
    let enabled = enabled.into_iter().filter(|(_, is_enabled)| *is_enabled);
    enabled.map(|(provider, _)| LogSetting { filter: filters.remove(&provider).flatten(), provider }).collect()
}

/// istiod's `mergeMetrics`, for the provider that is served here.
fn metrics(objects: &[&TelemetryObject], defaults: &TelemetryDefaults, side: WorkloadMode) -> Option<MetricsSetting> {
    let rules = || objects.iter().flat_map(|object| &object.spec.metrics);
    rules().next()?;
    let built_in = [Arc::from(PROMETHEUS)];
    let inherited = if defaults.metrics.is_empty() { &built_in[..] } else { &defaults.metrics };
    let is_ours = |names: &[Arc<str>]| names.iter().any(|n| defaults.provider(n) == Some(&ProviderKind::Prometheus));
    let in_scope = rules().rfind(|rule| !rule.providers.is_empty()).map_or(inherited, |rule| &rule.providers);
    if !is_ours(in_scope) {
        return Some(MetricsSetting::all_disabled());
    }
    let (mut setting, mut are_all_off, mut inherited) = (MetricsSetting::default(), false, inherited);
    for MetricsRule { providers, overrides } in rules() {
        inherited = if providers.is_empty() { inherited } else { providers };
        if !is_ours(inherited) {
            continue;
        }
        for one in overrides.iter().filter(|one| one.sides.has(side)) {
            are_all_off = one.metric.is_none() && one.is_disabled == Some(true);
            if are_all_off {
                continue;
            }
            for metric in Metric::ALL.into_iter().filter(|metric| one.metric.is_none_or(|only| only == *metric)) {
                let metric = setting.of_mut(metric);
                metric.is_disabled = one.is_disabled.unwrap_or(metric.is_disabled);
                one.tags.iter().for_each(|(name, tag)| metric.put(name, tag));
            }
        }
    }
    let setting = if are_all_off { MetricsSetting::all_disabled() } else { setting };
    (!setting.is_standard()).then_some(setting)
}

impl super::setting::MetricSetting {
    fn put(&mut self, name: &Arc<str>, tag: &TagOverride) {
        let tag = match tag {
            TagOverride::Upsert(expression) => Some(expression.clone()),
            TagOverride::Remove => None,
        };
        match self.tags.binary_search_by(|(known, _)| known.cmp(name)) {
            Ok(at) => self.tags[at].1 = tag,
            Err(at) => self.tags.insert(at, (name.clone(), tag)),
        }
    }
}

/// istiod's `Telemetries.Tracing`.
fn tracing(objects: &[&TelemetryObject], defaults: &TelemetryDefaults, side: WorkloadMode) -> TracingSetting {
    let mut setting = TracingSetting {
        provider: defaults.tracing.first().cloned(),
        sampling_percent: defaults.sampling_percent.filter(|percent| *percent != 0.0),
        custom_tags: defaults.custom_tags.clone(),
        has_istio_tags: defaults.has_istio_tags.unwrap_or(true),
        ..TracingSetting::default()
    };
    let rules = objects.iter().flat_map(|object| &object.spec.tracing).filter(|rule| rule.sides.has(side));
    for rule in rules {
        let TracingRule { sides: _, providers, sampling_percent, disable_span_reporting, custom_tags, .. } = rule;
        setting.provider = providers.first().cloned().or(setting.provider);
        setting.sampling_percent = sampling_percent.or(setting.sampling_percent);
        setting.reports_spans = disable_span_reporting.map_or(setting.reports_spans, |disabled| !disabled);
        setting.custom_tags = custom_tags.clone().unwrap_or(setting.custom_tags);
        setting.has_istio_tags = rule.enable_istio_tags.unwrap_or(setting.has_istio_tags);
        let propagates = rule.disable_context_propagation.map(|disabled| !disabled);
        setting.propagates_context = propagates.unwrap_or(setting.propagates_context);
        setting.samples_by_request_id = rule.use_request_id_for_trace_sampling.unwrap_or(setting.samples_by_request_id);
    }
    setting
}

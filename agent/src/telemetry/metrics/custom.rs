//! Metrics of pods for which Telemetry objects change labels: each of their series has its labels written out, so that two
//! combinations that differ in a removed label only are one series.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::{EncodeLabelSet, LabelSetEncoder};

use super::histogram::Histogram;
use super::labels::{EachLabel, put};
use super::series::{Series, SeriesTable};
use crate::limits::{Held, Limit};
use crate::model::telemetry::objects::Metric;
use crate::model::telemetry::setting::MetricSetting;
use crate::model::telemetry::{Expression, Facts, UNKNOWN};

/// Bytes of the value of a label, at most; what is longer is cut.
const MAX_VALUE_BYTES: usize = 256;
/// The value of every changed label where the pod has as many series as it may.
pub(super) const OVERFLOW: &str = "overflow";

/// The labels of one series, in their order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct CustomLabels {
    pub(super) metric: Metric,
    labels: Box<[(Cow<'static, str>, Box<str>)]>,
}

/// What is counted of a series.
#[derive(Debug, Default)]
pub(super) struct Custom<C> {
    pub(super) count: C,
    /// Its place among those that its pod may have, if it needs one.
    _held: Option<Held>,
}

pub(super) type CustomCounter = Arc<Series<CustomLabels, Custom<AtomicU64>>>;
pub(super) type CustomHistogram = Arc<Series<CustomLabels, Custom<Histogram>>>;

/// All series with labels of their own.
#[derive(Debug, Default)]
pub(super) struct CustomSeries {
    pub(super) counters: SeriesTable<CustomLabels, Custom<AtomicU64>>,
    pub(super) histograms: SeriesTable<CustomLabels, Custom<Histogram>>,
}

impl CustomLabels {
    /// The labels of a metric as a setting changes them. `value` says what an expression comes to.
    pub(super) fn new(
        metric: Metric,
        setting: &MetricSetting,
        standard: &impl EachLabel,
        value: impl Fn(&Expression) -> Box<str>,
    ) -> Self {
        let mut labels: Vec<(Cow<'static, str>, Box<str>)> = Vec::new();
        let known = |name: &str| setting.tags.iter().find(|(known, _)| **known == *name);
        // Nothing here fails: the labels are written to memory.
        let _ = standard.each(&mut |name, written| {
            match known(name) {
                Some((_, None)) => {}
                Some((_, Some(expression))) => labels.push((name.into(), value(expression))),
                None => labels.push((name.into(), written.to_string().into())),
            }
            Ok(())
        });
        for (name, expression) in &setting.tags {
            if let Some(expression) = expression
                && !labels.iter().any(|(known, _)| *known == **name)
            {
                labels.push((name.to_string().into(), value(expression)));
            }
        }
        Self { metric, labels: labels.into() }
    }
}

/// The value of a tag.
pub(super) fn tag_value(expression: &Expression, facts: &impl Facts) -> Box<str> {
    let value = expression.text(facts);
    let value = value.as_deref().filter(|value| !value.is_empty()).unwrap_or(UNKNOWN);
    value[..value.floor_char_boundary(MAX_VALUE_BYTES)].into()
}

impl EncodeLabelSet for CustomLabels {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        self.labels.iter().try_for_each(|(name, value)| put(encoder, name, value))
    }
}

/// The series with these labels of a pod that may have so many (`places`). Where it has them and this is another one, `overflow` are
/// the labels that stand for it. A metric without a label that an expression gives a value has no more series than without objects:
/// these take no place.
pub(super) fn series<C: Default>(
    table: &SeriesTable<CustomLabels, Custom<C>>,
    places: &Limit,
    [labels, overflow]: [CustomLabels; 2],
) -> Arc<Series<CustomLabels, Custom<C>>> {
    if labels == overflow {
        return table.series(labels);
    }
    let new = || places.try_take().map(|held| Custom { count: C::default(), _held: Some(held) });
    table.series_if(labels, new).unwrap_or_else(|| table.series(overflow))
}

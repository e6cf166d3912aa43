//! What Telemetry objects and MeshConfig come to, ready to be used: forms of access logs are compiled, and providers of spans found.

use std::sync::Arc;

use super::ends::Reporter;
use super::request_log::RequestLogForm;
use super::spans::Tracing;
use crate::model::http::trace::Sampling;
use crate::model::mesh::IstioAccessLog;
use crate::model::peer_authentication::Labels;
use crate::model::telemetry::config::TelemetryConfig;
use crate::model::telemetry::objects::{CustomTag, CustomTagValue};
use crate::model::telemetry::providers::{ENVOY, ProviderKind};
use crate::model::telemetry::setting::{LogSetting, MetricsSetting, OWN_LOG, SideSetting, TracingSetting};
use crate::model::telemetry::{Expression, TextAttribute};

/// A provider of spans by its name.
pub type NamedTracing = (Arc<str>, Arc<Tracing>);

/// One state of what is in force. It does not change.
#[derive(Debug)]
pub(super) struct ReportingConfig {
    telemetry: Arc<TelemetryConfig>,
    /// The form of lines where no object says anything.
    pub(super) own_form: Arc<RequestLogForm>,
    /// Those of providers.
    forms: Vec<(Arc<str>, Arc<RequestLogForm>)>,
    /// The collector that the agent was started with.
    own_tracing: Option<Arc<Tracing>>,
    tracing: Vec<NamedTracing>,
    /// Whether all pods have the same setting, which no object and no default has changed.
    pub(super) is_plain: bool,
}

/// What counts for a pod.
#[derive(Debug)]
pub(super) struct PodSetting {
    source: SideReporting,
    destination: SideReporting,
}

/// What counts for a pod on one side.
#[derive(Debug)]
pub(super) struct SideReporting {
    pub(super) labels: Arc<Labels>,
    pub(super) sinks: Vec<LogSink>,
    /// `None`: all of them with their standard labels.
    pub(super) metrics: Option<Arc<MetricsSetting>>,
    /// `None`: no spans, and contexts of traces pass as they come.
    pub(super) spans: Option<SpanSetting>,
    /// The fields of heads that expressions and tags name.
    pub(super) wanted: WantedOfHeads,
}

/// Where lines of the access log go.
#[derive(Debug, Clone)]
pub(super) struct LogSink {
    pub(super) form: Arc<RequestLogForm>,
    pub(super) filter: Option<Arc<Expression>>,
}

/// How spans are made.
#[derive(Debug)]
pub(super) struct SpanSetting {
    pub(super) tracing: Arc<Tracing>,
    /// `None`: as the agent was started.
    pub(super) sampling: Option<Sampling>,
    pub(super) setting: TracingSetting,
}

/// Names of fields, in lower case.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct WantedOfHeads {
    pub(super) request: Vec<Box<str>>,
    pub(super) response: Vec<Box<str>>,
}

impl ReportingConfig {
    /// Compiles what is in force; with what of formats is not understood, in words. `access_log` is what MeshConfig says of lines
    /// where no object does.
    pub(super) fn new(
        access_log: Option<&IstioAccessLog>,
        telemetry: &Arc<TelemetryConfig>,
        own_tracing: Option<Arc<Tracing>>,
        tracing: Vec<NamedTracing>,
    ) -> (Self, Vec<String>) {
        let mut problems = Vec::new();
        let mut form = |settings: &IstioAccessLog| {
            let (form, found) = RequestLogForm::of(settings);
            problems.extend(found);
            Arc::new(form)
        };
        let own_form = access_log.map_or_else(|| Arc::new(RequestLogForm::Fields), &mut form);
        let defaults = &telemetry.defaults;
        let named = defaults.providers.iter().map(|provider| &provider.name);
        let names = named.cloned().chain([Arc::from(ENVOY)]);
        let forms = names.filter_map(|name| match defaults.provider(&name) {
            Some(ProviderKind::File(settings)) => Some((name, form(settings.as_ref().unwrap_or(&defaults.log_form)))),
            _ => None,
        });
        let (forms, is_plain) = (forms.collect(), telemetry.is_empty());
        (Self { telemetry: telemetry.clone(), own_form, forms, own_tracing, tracing, is_plain }, problems)
    }

    /// What counts for a pod.
    pub(super) fn pod_setting(&self, namespace: &str, labels: &Arc<Labels>) -> PodSetting {
        let setting = self.telemetry.setting(namespace, labels);
        PodSetting { source: self.side(setting.client, labels), destination: self.side(setting.server, labels) }
    }

    fn side(&self, setting: SideSetting, labels: &Arc<Labels>) -> SideReporting {
        let SideSetting { access_log, metrics, tracing } = setting;
        let sinks: Vec<LogSink> = access_log.into_iter().filter_map(|log| self.sink(log)).collect();
        let spans = self.spans(tracing);
        let mut wanted = WantedOfHeads::default();
        sinks.iter().filter_map(|sink| sink.filter.as_deref()).for_each(|filter| wanted.add(filter));
        metrics.iter().flat_map(|metrics| metrics.expressions()).for_each(|expression| wanted.add(expression));
        for tag in spans.iter().flat_map(|spans| spans.setting.custom_tags.iter()) {
            if let CustomTag { value: CustomTagValue::Header { name, .. }, .. } = tag {
                wanted.add_request(name);
            }
        }
        SideReporting { labels: labels.clone(), sinks, metrics: metrics.map(Arc::new), spans, wanted }
    }

    fn sink(&self, log: LogSetting) -> Option<LogSink> {
        let LogSetting { provider, filter } = log;
        let form = if &*provider == OWN_LOG {
            self.own_form.clone()
        } else {
            self.forms.iter().find(|(name, _)| *name == provider)?.1.clone()
        };
        Some(LogSink { form, filter })
    }

    fn spans(&self, setting: TracingSetting) -> Option<SpanSetting> {
        let tracing = match &setting.provider {
            None => self.own_tracing.clone()?,
            Some(name) => self.tracing.iter().find(|(known, _)| known == name)?.1.clone(),
        };
        Some(SpanSetting { tracing, sampling: setting.sampling_percent.map(Sampling::percent), setting })
    }
}

impl PodSetting {
    pub(super) fn of(&self, reporter: Reporter) -> &SideReporting {
        match reporter {
            Reporter::Source => &self.source,
            Reporter::Destination => &self.destination,
        }
    }
}

impl WantedOfHeads {
    fn add(&mut self, expression: &Expression) {
        expression.each_text_attribute(&mut |attribute| match attribute {
            TextAttribute::Request(name) => self.add_request(name),
            TextAttribute::UrlPath => self.add_request(":path"),
            TextAttribute::Response(name) if !self.response.contains(name) => self.response.push(name.clone()),
            _ => {}
        });
    }

    fn add_request(&mut self, name: &str) {
        if !self.request.iter().any(|known| **known == *name) {
            self.request.push(name.into());
        }
    }
}

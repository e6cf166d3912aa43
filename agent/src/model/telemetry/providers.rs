//! MeshConfig's providers, and its part in telemetry: which of them count where objects name none.

use std::sync::Arc;

use crate::model::authorization::Authorizer;
use crate::model::mesh::IstioAccessLog;
use crate::model::telemetry::objects::CustomTag;

/// What MeshConfig says of metrics, access logs and spans. Names of providers are in lower case.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TelemetryDefaults {
    /// `extensionProviders`.
    pub providers: Vec<Provider>,
    /// `defaultProviders.accessLogging`.
    pub access_logging: Vec<Arc<str>>,
    /// `defaultProviders.metrics`.
    pub metrics: Vec<Arc<str>>,
    /// `defaultProviders.tracing`.
    pub tracing: Vec<Arc<str>>,
    /// `defaultConfig.tracing.sampling`, in percent; 0 counts as not set, as in Istio.
    pub sampling_percent: Option<f64>,
    /// `defaultConfig.tracing.customTags`.
    pub custom_tags: Arc<[CustomTag]>,
    /// `defaultConfig.tracing.enableIstioTags`.
    pub has_istio_tags: Option<bool>,
    /// `accessLogFormat` and `accessLogEncoding`, whether `accessLogFile` names a file or not: the form of providers that name none.
    pub log_form: IstioAccessLog,
}

/// An item of `extensionProviders`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider {
    pub name: Arc<str>,
    pub kind: ProviderKind,
}

/// What a provider is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProviderKind {
    /// `prometheus`: what `/metrics` shows.
    Prometheus,
    /// `envoyFileAccessLog`: lines in the log of the agent. `None`: in the form that MeshConfig has for all.
    File(Option<IstioAccessLog>),
    /// `opentelemetry`: spans over OTLP and gRPC.
    Spans(Collector),
    /// `envoyExtAuthzGrpc` or `envoyExtAuthzHttp`: whom CUSTOM policies name.
    Authorizer(Arc<Authorizer>),
    /// What has no use here, by the name of its field.
    Unsupported(Arc<str>),
}

/// A collector of OTLP.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Collector {
    /// The full name of its service.
    pub service: Arc<str>,
    pub port: u16,
}

/// Istio's provider of metrics, there whether MeshConfig has it or not.
pub const PROMETHEUS: &str = "prometheus";
/// Istio's provider of access logs, there whether MeshConfig has it or not.
pub const ENVOY: &str = "envoy";

impl TelemetryDefaults {
    /// The external authorizer that a CUSTOM policy names.
    ///
    /// # Errors
    /// Why there is none of that name.
    pub fn authorizer(&self, name: &str) -> Result<&Arc<Authorizer>, String> {
        match self.providers.iter().find(|provider| &*provider.name == name).map(|provider| &provider.kind) {
            Some(ProviderKind::Authorizer(authorizer)) if &*authorizer.name == name => Ok(authorizer),
            Some(ProviderKind::Unsupported(why)) => Err(format!("the provider {name:?} cannot be used ({why})")),
            Some(_) => Err(format!("the provider {name:?} is no external authorizer")),
            None => Err(format!("MeshConfig's extensionProviders have no {name:?}")),
        }
    }

    /// The provider of a name in lower case.
    #[must_use]
    pub fn provider(&self, name: &str) -> Option<&ProviderKind> {
        let known = self.providers.iter().find(|provider| &*provider.name == name).map(|provider| &provider.kind);
        known.or(match name {
            PROMETHEUS => Some(&ProviderKind::Prometheus),
            ENVOY => Some(&ProviderKind::File(None)),
            _ => None,
        })
    }
}

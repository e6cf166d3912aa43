//! All key sets in use, by where they come from: rules that name the same place share them, whatever pods they are for.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;

use super::fetch::{FetchOptions, Fetcher};
use super::provider::{Provider, ProviderState};
use crate::jwt::KeySet;
use crate::model::authentication::KeySource;
use crate::telemetry::metrics::Metrics;

/// Providers that are asked, at most. Objects of the mesh name them, not requests.
const MAX_PROVIDERS: usize = 1024;

/// How providers are asked.
#[derive(Debug, Clone)]
pub struct KeySetsOptions {
    pub fetch: FetchOptions,
    /// How long keys count until the provider is asked again.
    pub refresh: Duration,
}

/// The key sets in use. One per process.
#[derive(Debug)]
pub struct KeySets {
    fetcher: Arc<Fetcher>,
    refresh: Duration,
    metrics: Arc<Metrics>,
    runtime: Handle,
    in_use: Mutex<HashMap<KeySource, Weak<IssuerKeys>>>,
}

/// The keys of one source, for as long as somebody has them.
#[derive(Debug)]
pub struct IssuerKeys(Kind);

#[derive(Debug)]
enum Kind {
    Inline(Option<Arc<KeySet>>),
    Remote(Provider),
}

impl KeySets {
    /// None yet. Providers are asked on this runtime.
    #[must_use]
    pub fn new(options: KeySetsOptions, metrics: Arc<Metrics>, runtime: Handle) -> Self {
        let fetcher = Arc::new(Fetcher::new(options.fetch));
        Self { fetcher, refresh: options.refresh, metrics, runtime, in_use: Mutex::default() }
    }

    /// The keys of a source. The first who asks has its provider asked.
    #[must_use]
    pub fn of(&self, source: &KeySource) -> Arc<IssuerKeys> {
        let mut in_use = self.in_use.lock();
        if let Some(known) = in_use.get(source).and_then(Weak::upgrade) {
            return known;
        }
        in_use.retain(|_, keys| keys.strong_count() > 0);
        let kind = match source {
            KeySource::Inline(text) => Kind::Inline(KeySet::read(text.as_bytes()).ok().map(Arc::new)),
            KeySource::Url(_) | KeySource::Discovery(_) if in_use.len() >= MAX_PROVIDERS => {
                tracing::warn!("{MAX_PROVIDERS} issuers' keys are in use: those of a further one are not fetched");
                Kind::Inline(None)
            }
            KeySource::Url(_) | KeySource::Discovery(_) => {
                let (fetcher, metrics) = (self.fetcher.clone(), self.metrics.clone());
                Kind::Remote(Provider::start(source.clone(), fetcher, self.refresh, metrics, &self.runtime))
            }
        };
        let keys = Arc::new(IssuerKeys(kind));
        in_use.insert(source.clone(), Arc::downgrade(&keys));
        keys
    }

    /// The keys of a source as far as they are here, without asking anybody: `None` where they are a provider's that no pod of the node
    /// needs.
    #[must_use]
    pub fn known(&self, source: &KeySource) -> Option<Arc<IssuerKeys>> {
        match source {
            KeySource::Inline(_) => Some(self.of(source)),
            KeySource::Url(_) | KeySource::Discovery(_) => self.in_use.lock().get(source).and_then(Weak::upgrade),
        }
    }

    /// How it is with each provider that is asked.
    #[must_use]
    pub fn states(&self) -> Vec<ProviderState> {
        let in_use: Vec<_> = self.in_use.lock().values().filter_map(Weak::upgrade).collect();
        let states = in_use.iter().filter_map(|keys| match &keys.0 {
            Kind::Remote(provider) => Some(provider.state()),
            Kind::Inline(_) => None,
        });
        states.collect()
    }
}

impl IssuerKeys {
    /// The keys as they are known now.
    #[must_use]
    pub fn now(&self) -> Option<Arc<KeySet>> {
        match &self.0 {
            Kind::Inline(keys) => keys.clone(),
            Kind::Remote(provider) => provider.keys(),
        }
    }

    /// The keys, where none are known once the provider has been asked for the first time, for so long at most.
    pub async fn first(&self, within: Duration) -> Option<Arc<KeySet>> {
        if let (None, Kind::Remote(provider)) = (self.now(), &self.0) {
            provider.first_end(within).await;
        }
        self.now()
    }

    /// Other keys than these, for a token whose key is not among them: the provider is asked early, unless that was done just now.
    pub async fn newer(&self, than: &Arc<KeySet>, within: Duration) -> Option<Arc<KeySet>> {
        let is_newer = |keys: &Arc<KeySet>| !Arc::ptr_eq(keys, than);
        if let Kind::Remote(provider) = &self.0
            && self.now().as_ref().is_some_and(|keys| Arc::ptr_eq(keys, than))
        {
            provider.asked_early(within).await;
        }
        self.now().filter(is_newer)
    }
}

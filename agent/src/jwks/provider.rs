//! One provider's keys: fetched when they are first needed, again at intervals, and early when a token names a key that is not known.
//! While the provider is away, the keys that it gave last count on.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::fetch::{FetchError, Fetched, Fetcher};
use crate::jwt::KeySet;
use crate::model::authentication::{JwtRule, KeySource};
use crate::telemetry::metrics::Metrics;

/// How long after a failure the provider is asked again. Each further failure doubles it.
const FIRST_RETRY: Duration = Duration::from_secs(2);
/// The longest pause after a failure.
const LONGEST_RETRY: Duration = Duration::from_secs(300);
/// How long after it was asked a provider is not asked early.
const EARLY_PAUSE: Duration = Duration::from_secs(10);

/// A provider. Dropped, it is asked no more.
#[derive(Debug)]
pub(super) struct Provider {
    shared: Arc<Shared>,
    _asking: DropGuard,
}

#[derive(Debug)]
struct Shared {
    source: KeySource,
    keys: ArcSwapOption<KeySet>,
    /// How often it was asked and has answered, or failed to.
    ended: watch::Sender<u64>,
    early: Notify,
    history: Mutex<History>,
}

#[derive(Debug, Default)]
struct History {
    text: Bytes,
    fetched_at: Option<SystemTime>,
    asked_at: Option<Instant>,
    /// In a row.
    failures: u32,
    last_error: Option<String>,
}

/// How it is with a provider, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderState {
    pub source: KeySource,
    /// Keys that verify, of those it gave last; 0 before it has given any.
    pub keys: usize,
    pub fetched_at: Option<SystemTime>,
    /// Why it could not be asked the last time.
    pub last_error: Option<String>,
}

/// A line about the keys of a rule, for people; `None` where nobody is asked for them.
#[must_use]
pub fn describe(rule: &JwtRule, states: &[ProviderState], now: SystemTime) -> Option<String> {
    let url = rule.keys.url()?;
    let text = match states.iter().find(|state| state.source == rule.keys) {
        None => "no pod of this node needs them".to_owned(),
        Some(ProviderState { keys, fetched_at: Some(at), last_error, .. }) => {
            let age = now.duration_since(*at).unwrap_or_default().as_secs();
            let since = last_error.as_ref().map(|error| format!("; since then: {error}"));
            format!("{keys}, fetched {age} s ago{}", since.unwrap_or_default())
        }
        Some(ProviderState { last_error: Some(error), .. }) => format!("none: {error}"),
        Some(_) => "not fetched yet".to_owned(),
    };
    Some(format!("keys of {} from {url}: {text}", rule.issuer))
}

impl Provider {
    /// Begins to ask a provider, on this runtime.
    pub(super) fn start(
        source: KeySource,
        fetcher: Arc<Fetcher>,
        refresh: Duration,
        metrics: Arc<Metrics>,
        runtime: &Handle,
    ) -> Self {
        let shared = Arc::new(Shared {
            source,
            keys: ArcSwapOption::empty(),
            ended: watch::Sender::new(0),
            early: Notify::new(),
            history: Mutex::default(),
        });
        let asking = CancellationToken::new();
        let (asked, stop) = (shared.clone(), asking.clone());
        runtime.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = asked.ask_for_ever(&fetcher, refresh, &metrics) => {}
            }
        });
        Self { shared, _asking: asking.drop_guard() }
    }

    /// The keys that it gave last.
    pub(super) fn keys(&self) -> Option<Arc<KeySet>> {
        self.shared.keys.load_full()
    }

    /// Waits for the first answer, or the first failure.
    pub(super) async fn first_end(&self, within: Duration) {
        let mut ended = self.shared.ended.subscribe();
        let _ = tokio::time::timeout(within, ended.wait_for(|ended| *ended > 0)).await;
    }

    /// Has the provider asked early, and waits until it has answered or failed; `false`, at once, where it was asked so lately that this
    /// must wait.
    pub(super) async fn asked_early(&self, within: Duration) -> bool {
        let mut ended = self.shared.ended.subscribe();
        let before = *ended.borrow_and_update();
        {
            let mut history = self.shared.history.lock();
            if history.asked_at.is_none_or(|at| at.elapsed() < EARLY_PAUSE) {
                return false;
            }
            // Whoever comes meanwhile does not have it asked once more.
            history.asked_at = Some(Instant::now());
        }
        self.shared.early.notify_one();
        tokio::time::timeout(within, ended.wait_for(|ended| *ended > before)).await.is_ok()
    }

    pub(super) fn state(&self) -> ProviderState {
        let history = self.shared.history.lock();
        ProviderState {
            source: self.shared.source.clone(),
            keys: self.keys().map_or(0, |keys| keys.len()),
            fetched_at: history.fetched_at,
            last_error: history.last_error.clone(),
        }
    }
}

impl Shared {
    async fn ask_for_ever(&self, fetcher: &Fetcher, refresh: Duration, metrics: &Metrics) {
        loop {
            self.history.lock().asked_at = Some(Instant::now());
            let fetched = fetcher.fetch(&self.source).await;
            metrics.jwks_fetched(fetched.is_ok());
            let pause = self.end(fetched, refresh);
            self.ended.send_modify(|ended| *ended += 1);
            let _ = tokio::time::timeout(pause, self.early.notified()).await;
        }
    }

    /// Takes an answer in. Returns when to ask again.
    fn end(&self, fetched: Result<Fetched, FetchError>, refresh: Duration) -> Duration {
        let mut history = self.history.lock();
        match fetched {
            Ok(Fetched { keys, text }) => {
                // Tokens that were verified with these very keys need no second look.
                if history.text != text || self.keys.load().is_none() {
                    self.keys.store(Some(Arc::new(keys)));
                    history.text = text;
                }
                history.fetched_at = Some(SystemTime::now());
                (history.failures, history.last_error) = (0, None);
                refresh
            }
            Err(error) => {
                let error = error.to_string();
                if history.last_error.as_ref() != Some(&error) {
                    let url = self.source.url().map_or("", |url| url);
                    tracing::warn!(url, error, "the keys of an issuer could not be fetched");
                }
                history.last_error = Some(error);
                history.failures = history.failures.saturating_add(1);
                let doubled = FIRST_RETRY.saturating_mul(1 << (history.failures - 1).min(16));
                doubled.min(LONGEST_RETRY).min(refresh)
            }
        }
    }
}

//! Objects of one kind, listed once and then watched for ever: through restarts of the API server, expired resource versions
//! and dead connections.

use std::fmt;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

use super::client::KubernetesError;
use super::status::WatchStatus;
use crate::pauses::Pauses;

/// Objects of one page of a list, which is in memory as a whole.
const PAGE_SIZE: u32 = 100;
/// The API server ends a watch after so many seconds; it then goes on from the version it had reached.
const WATCH_SECONDS: u32 = 290;
/// The pause after a failure: the first, and the longest.
const FIRST_RETRY_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_RETRY_PAUSE: Duration = Duration::from_secs(5);
/// The API server no longer has the resource version to go on from.
const GONE: u16 = 410;

/// What lists and watches report.
#[derive(Debug)]
pub(super) enum Change<K> {
    /// A list begins: an object that is not named from here to [`Change::Listed`] does not exist any more.
    Listing,
    Put(K),
    Removed(K),
    /// The list is complete.
    Listed,
}

impl<K> Change<K> {
    pub(super) fn map<T>(self, map: impl FnOnce(K) -> T) -> Change<T> {
        match self {
            Self::Listing => Change::Listing,
            Self::Put(object) => Change::Put(map(object)),
            Self::Removed(object) => Change::Removed(map(object)),
            Self::Listed => Change::Listed,
        }
    }
}

/// Which objects are meant: those that both selectors match, in the API's own form. Empty ones match all.
#[derive(Debug, Clone, Default)]
pub(super) struct Selection {
    pub(super) fields: String,
    pub(super) labels: String,
}

impl Selection {
    pub(super) fn fields(fields: String) -> Self {
        Self { fields, labels: String::new() }
    }

    pub(super) fn labels(labels: String) -> Self {
        Self { fields: String::new(), labels }
    }
}

/// Lists and watches all objects that are selected, and applies each change. Runs for ever.
pub(super) async fn list_and_watch<K>(
    api: Api<K>,
    selection: Selection,
    status: &WatchStatus,
    mut apply: impl FnMut(Change<K>),
) where
    K: Resource<DynamicType = ()> + DeserializeOwned + Clone + fmt::Debug + Send + 'static,
{
    let mut following = Following::new(api, K::plural(&()).into_owned(), selection);
    loop {
        if let Err((error, pause)) = following.advance(status, &mut apply).await {
            following.report(&error, status);
            tokio::time::sleep(pause).await;
        }
    }
}

/// Objects of one kind that are being followed.
#[derive(Debug)]
pub(super) struct Following<K> {
    api: Api<K>,
    /// The kind, in the plural, for messages.
    what: String,
    selection: Selection,
    /// The resource version that is known; `None` when all has to be listed (again).
    version: Option<String>,
    pauses: Pauses,
}

impl<K> Following<K>
where
    K: Resource + DeserializeOwned + Clone + fmt::Debug + Send + 'static,
{
    pub(super) fn new(api: Api<K>, what: String, selection: Selection) -> Self {
        Self { api, what, selection, version: None, pauses: Pauses::new(FIRST_RETRY_PAUSE, LONGEST_RETRY_PAUSE) }
    }

    /// Lists, where that is needed, or watches until the API server ends it. To be called again and again.
    ///
    /// # Errors
    /// When the API server cannot be reached or refuses, with the pause to make before the next call.
    pub(super) async fn advance(
        &mut self,
        status: &WatchStatus,
        apply: &mut impl FnMut(Change<K>),
    ) -> Result<(), (KubernetesError, Duration)> {
        let began = Instant::now();
        let ended = match &mut self.version {
            None => list(&self.api, &self.what, &self.selection, apply).await.map(|listed| self.version = Some(listed)),
            Some(version) => watch(&self.api, &self.what, &self.selection, version, status, apply)
                .await
                .and_then(|()| refuse_instant_end(began)),
        };
        if began.elapsed() > LONGEST_RETRY_PAUSE {
            self.pauses.reset();
        }
        ended.map_err(|error| {
            if error.code() == Some(GONE) {
                self.version = None;
            }
            (error, self.pauses.take())
        })
    }

    /// Records and logs a failure. That a resource version is gone is none: all is listed again.
    pub(super) fn report(&self, error: &KubernetesError, status: &WatchStatus) {
        if error.code() == Some(GONE) {
            return;
        }
        let what = &self.what;
        if status.failed(error) {
            tracing::warn!(%what, %error, "Kubernetes is not followed; it is being tried again and again");
        } else {
            tracing::debug!(%what, %error, "Kubernetes is still not followed");
        }
    }
}

/// A watch that the API server ends at once, again and again, would be a busy loop: it counts as a failure.
fn refuse_instant_end(began: Instant) -> Result<(), KubernetesError> {
    if began.elapsed() >= FIRST_RETRY_PAUSE {
        return Ok(());
    }
    Err(KubernetesError::Unreachable {
        what: "watching".to_owned(),
        reason: "the API server ended it at once".to_owned(),
    })
}

/// Lists all objects, page by page. Returns the resource version of the list.
async fn list<K>(
    api: &Api<K>,
    what: &str,
    selection: &Selection,
    apply: &mut impl FnMut(Change<K>),
) -> Result<String, KubernetesError>
where
    K: Resource + DeserializeOwned + Clone + fmt::Debug,
{
    let mut params = ListParams::default().fields(&selection.fields).labels(&selection.labels).limit(PAGE_SIZE);
    apply(Change::Listing);
    loop {
        let listed = api.list(&params).await;
        let page = listed.map_err(KubernetesError::because(format!("listing {what}")))?;
        for object in page.items {
            apply(Change::Put(object));
        }
        params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
        if params.continue_token.is_none() {
            apply(Change::Listed);
            return Ok(page.metadata.resource_version.unwrap_or_default());
        }
    }
}

/// Watches from a resource version on, which advances with each event, until the API server ends it (`Ok`) or something fails.
async fn watch<K>(
    api: &Api<K>,
    what: &str,
    selection: &Selection,
    version: &mut String,
    status: &WatchStatus,
    apply: &mut impl FnMut(Change<K>),
) -> Result<(), KubernetesError>
where
    K: Resource + DeserializeOwned + Clone + fmt::Debug + Send + 'static,
{
    let asked = || format!("watching {what}");
    let params = WatchParams::default().fields(&selection.fields).labels(&selection.labels).timeout(WATCH_SECONDS);
    let started = api.watch(&params, version).await;
    let mut events = Box::pin(started.map_err(KubernetesError::because(asked()))?);
    status.connected(what);
    while let Some(event) = events.next().await {
        match event.map_err(KubernetesError::because(asked()))? {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                advance(version, &object);
                apply(Change::Put(object));
            }
            WatchEvent::Deleted(object) => {
                advance(version, &object);
                apply(Change::Removed(object));
            }
            WatchEvent::Bookmark(mark) => *version = mark.metadata.resource_version,
            WatchEvent::Error(status) => {
                let message = status.message.clone();
                return Err(KubernetesError::Refused { what: asked(), code: status.code, message });
            }
        }
    }
    Ok(())
}

fn advance<K: Resource>(version: &mut String, object: &K) {
    if let Some(newer) = object.meta().resource_version.as_ref().filter(|newer| !newer.is_empty()) {
        version.clone_from(newer);
    }
}

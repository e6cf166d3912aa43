//! What decides about HTTP requests, as the process shares it: one writer (the configuration sources), many readers
//! (requests). A request keeps the snapshot that it began with.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::model::http::config::HttpConfig;

/// A handle to the [`HttpConfig`] in force. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct SharedRoutes(Arc<ArcSwap<HttpConfig>>);

impl SharedRoutes {
    /// The snapshot in force now.
    #[must_use]
    pub fn current(&self) -> Arc<HttpConfig> {
        self.0.load_full()
    }

    /// Puts another snapshot in force, for requests that begin from now on.
    pub fn replace(&self, config: HttpConfig) {
        self.0.store(Arc::new(config));
    }
}

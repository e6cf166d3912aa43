//! What decides about HTTP requests, as the process shares it: one writer (the configuration sources), many readers
//! (requests). A request keeps the snapshot that it began with.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::model::http::config::HttpConfig;

/// A handle to the [`HttpConfig`] in force. Cheap to clone.
#[derive(Debug, Clone)]
pub struct SharedRoutes {
    current: Arc<ArcSwap<HttpConfig>>,
    changed: Arc<watch::Sender<()>>,
}

impl Default for SharedRoutes {
    fn default() -> Self {
        Self { current: Arc::default(), changed: Arc::new(watch::Sender::new(())) }
    }
}

impl SharedRoutes {
    /// The snapshot in force now.
    #[must_use]
    pub fn current(&self) -> Arc<HttpConfig> {
        self.current.load_full()
    }

    /// Puts the snapshot in force now in the place of one that may have been followed by others. Where it is still the same, nothing is
    /// written that other threads read.
    pub fn refresh(&self, known: &mut Arc<HttpConfig>) {
        let current = self.current.load();
        if !Arc::ptr_eq(&current, known) {
            known.clone_from(&current);
        }
    }

    /// Puts another snapshot in force, for requests that begin from now on.
    pub fn replace(&self, config: HttpConfig) {
        self.current.store(Arc::new(config));
        self.changed.send_replace(());
    }

    /// Changes whenever another snapshot comes into force.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }
}

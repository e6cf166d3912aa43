//! The state of the connection: since when it is up, with which container runtime, and what failed last.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::plugin::NriError;
use crate::telemetry::metrics::Metrics;

/// How NRI is, now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NriReport {
    pub socket: PathBuf,
    /// There must be a container runtime at the socket, since somebody said where it is.
    pub is_expected: bool,
    /// Since when the agent is a plugin, and of which container runtime.
    pub connected: Option<(SystemTime, String)>,
    /// Why it is not; `None` where there is no socket.
    pub last_error: Option<String>,
}

/// The state of the connection.
#[derive(Debug, Clone)]
pub struct NriStatus {
    report: Arc<Mutex<NriReport>>,
    /// The first attempt has ended, well or not.
    is_tried: watch::Sender<bool>,
    metrics: Arc<Metrics>,
}

impl NriStatus {
    #[must_use]
    pub fn new(socket: &Path, is_expected: bool, metrics: Arc<Metrics>) -> Self {
        let report = NriReport { socket: socket.to_owned(), is_expected, connected: None, last_error: None };
        Self { report: Arc::new(Mutex::new(report)), is_tried: watch::Sender::new(false), metrics }
    }

    /// Resolves once the agent is a plugin, or has seen that it cannot be one now.
    pub async fn tried(&self) {
        // The sender is ours, so that this cannot fail.
        let _ = self.is_tried.subscribe().wait_for(|is_tried| *is_tried).await;
    }

    #[must_use]
    pub fn report(&self) -> NriReport {
        self.report.lock().clone()
    }

    pub(super) fn connected(&self, runtime: &str) {
        tracing::info!(runtime, "the container runtime asks about new pods (NRI)");
        let mut report = self.report.lock();
        report.connected = Some((SystemTime::now(), runtime.to_owned()));
        report.last_error = None;
        self.metrics.set_nri_connected(true);
        self.is_tried.send_replace(true);
    }

    /// Says what is new.
    pub(super) fn failed(&self, error: &NriError) {
        let mut report = self.report.lock();
        let was_connected = report.connected.take().is_some();
        self.metrics.set_nri_connected(false);
        let text = error.to_string();
        let is_missing = matches!(error, NriError::Socket(error) if error.kind() == io::ErrorKind::NotFound);
        let shown = (!is_missing || report.is_expected).then_some(text);
        if was_connected || shown.is_some() && report.last_error.is_none() {
            let socket = report.socket.display();
            tracing::warn!(%socket, %error, "the container runtime does not ask about new pods (NRI), it is tried again");
        }
        report.last_error = shown;
        self.is_tried.send_replace(true);
    }

    pub(super) fn stopped(&self) {
        self.report.lock().connected = None;
        self.metrics.set_nri_connected(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_nobody_named_may_be_missing() {
        let missing = || NriError::Socket(io::ErrorKind::NotFound.into());
        for (is_expected, error, is_told) in [
            (false, missing(), false),
            (true, missing(), true),
            (false, NriError::Closed, true),
            (false, NriError::Socket(io::ErrorKind::ConnectionRefused.into()), true),
        ] {
            let status = NriStatus::new(Path::new("/s"), is_expected, Metrics::new());
            status.connected("containerd v2.4.2");
            assert_eq!(status.report().connected.expect("it is").1, "containerd v2.4.2");
            status.failed(&error);
            let report = status.report();
            assert_eq!((report.connected, report.last_error.is_some()), (None, is_told), "{is_expected}, {error}");
        }
    }
}

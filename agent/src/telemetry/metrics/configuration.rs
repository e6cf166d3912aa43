//! Counting what configuration and certificates do: what came, was refused, or could not be kept.

use std::time::{Duration, SystemTime};

use super::registry::Metrics;

/// How a connection to the control plane ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum XdsTermination {
    /// It could not be made.
    ConnectionError,
    /// The control plane, or what it sent, broke it off.
    Error,
    /// The agent closed it in order to make another.
    Reconnect,
    /// The control plane closed it in good order.
    Complete,
}

impl XdsTermination {
    const ALL: [Self; 4] = [Self::ConnectionError, Self::Error, Self::Reconnect, Self::Complete];

    fn label(self) -> &'static str {
        match self {
            Self::ConnectionError => "ConnectionError",
            Self::Error => "Error",
            Self::Reconnect => "Reconnect",
            Self::Complete => "Complete",
        }
    }
}

/// What is kept on disk over a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StateFile {
    /// The last good configuration.
    LastGood,
    /// The list of enrolled pods.
    EnrolledPods,
}

impl StateFile {
    fn label(self) -> &'static str {
        match self {
            Self::LastGood => "last_good",
            Self::EnrolledPods => "enrolled_pods",
        }
    }
}

impl Metrics {
    /// A connection to the control plane ended.
    pub fn xds_connection_ended(&self, how: XdsTermination) {
        self.counted.xds_connection_terminations.get_or_create(&[("reason", how.label())]).inc();
    }

    /// A message of a subscribed type came from the control plane.
    pub fn xds_message(&self, type_url: &str, size_bytes: u64) {
        let label = [("url", type_url.to_owned())];
        self.counted.xds_messages.get_or_create(&label).inc();
        self.counted.xds_message_bytes.get_or_create(&label).inc_by(size_bytes);
    }

    /// Resources came that are byte for byte what is held. The type is one that we know.
    pub fn xds_repeated(&self, kind: &str, resources: u64) {
        if resources > 0 {
            self.counted.xds_repeats.get_or_create(&[("type", kind.to_owned())]).inc_by(resources);
        }
    }

    /// A provider was asked for the keys of an issuer of tokens.
    pub fn jwks_fetched(&self, is_answered: bool) {
        let result = if is_answered { "success" } else { "failure" };
        self.counted.jwks_fetches.get_or_create(&[("result", result)]).inc();
    }

    /// A resource or document was refused. The type is a type URL or a kind that we know.
    pub fn config_rejected(&self, kind: &str) {
        self.counted.config_rejected.get_or_create(&[("type", kind.to_owned())]).inc();
    }

    /// Configuration was received and accepted at this time (in the past, where it was read back from disk).
    pub fn config_accepted(&self, at: SystemTime) {
        *self.scraped.last_good.write() = Some(at);
    }

    /// Time since configuration was last received and accepted; `None` if never.
    #[must_use]
    pub fn last_good_age(&self) -> Option<Duration> {
        self.scraped.last_good_age(SystemTime::now())
    }

    /// Something that must outlive a restart could not be written.
    pub fn state_write_failed(&self, file: StateFile) {
        self.counted.state_write_failures.get_or_create(&[("file", file.label())]).inc();
    }

    /// A watch of the Kubernetes API ended in a failure, or could not begin.
    pub fn kubernetes_watch_failed(&self) {
        self.counted.kubernetes_watch_errors.inc();
    }

    /// The status of an object was sent to the Kubernetes API, with this result.
    pub fn object_status_written(&self, result: &'static str) {
        self.counted.object_status_writes.get_or_create(&[("result", result)]).inc();
    }

    /// A certificate was asked for, and was issued or not.
    pub fn certificate_requested(&self, issued: bool) {
        let result = if issued { "success" } else { "failure" };
        self.counted.certificate_requests.get_or_create(&[("result", result)]).inc();
    }

    pub(super) fn begin_xds_at_zero(&self) {
        for how in XdsTermination::ALL {
            drop(self.counted.xds_connection_terminations.get_or_create(&[("reason", how.label())]));
        }
    }
}
